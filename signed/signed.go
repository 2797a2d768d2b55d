// Package signed is the one envelope in which Kindred puts whatever somebody signs: charters, heads, grants,
// revocations, checkpoints, invitations.
//
// A statement is a COSE_Sign1 message (RFC 9052 §4.2), tagged 18, in deterministic CBOR (RFC 8949 §4.2.1). Nothing
// else is accepted, so that a statement has one encoding only:
//
//	18([
//	  protected:   << { 1: algorithm, 16: type, ? 33: x5chain } >>,
//	  unprotected: {},
//	  payload:     bstr,
//	  signature:   bstr,
//	])
//
// The algorithm follows from the key: EdDSA (-8) for Ed25519, ES256 (-7) for ECDSA on P-256. The type (`typ`,
// RFC 9596) separates signatures: what was signed as a grant never verifies as a revocation. The certificates of
// the signer travel, where a reader needs them, in the protected x5chain header (RFC 9360), leaf first.
//
// A statement is named by its Digest, the hash of the bytes that were signed (the Sig_structure of RFC 9052 §4.4).
// It covers the protected header and the payload and not the signature, because an ECDSA signature can be altered
// and stay valid.
//
// The package knows no type of statement and no certificate: who may sign what is the business of the packages that
// define them.
package signed

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

// A Type says what a statement is, such as "kindred/head". Each package that defines statements declares its own.
type Type string

// maxChain is the number of certificates a statement carries at most.
const maxChain = 16

const tagSign1 = 18

// A Statement is a parsed envelope. Its signature has not been checked: only Open hands out the payload as a value,
// and only for the right key and type.
type Statement struct {
	Raw     []byte   // the envelope as it was read
	Type    Type     // what it claims to be
	Chain   [][]byte // the signer's certificates, DER, leaf first; may be empty
	Payload []byte   // deterministic CBOR
	Digest  Digest   // names the statement

	algorithm cose.Algorithm
	signing   []byte // the Sig_structure
	signature []byte
}

type envelope struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected struct{}
	Payload     []byte
	Signature   []byte
}

type protected struct {
	Algorithm cose.Algorithm  `cbor:"1,keyasint"`
	Type      Type            `cbor:"16,keyasint"`
	Chain     cbor.RawMessage `cbor:"33,keyasint,omitempty"`
}

type sigStructure struct {
	_         struct{} `cbor:",toarray"`
	Context   string
	Protected []byte
	External  []byte
	Payload   []byte
}

// Sign returns the statement that payload is, signed by key as a typ. The payload is encoded with Marshal; chain,
// if any, are the signer's certificates in DER, leaf first.
func Sign(key crypto.Signer, typ Type, payload any, chain ...[]byte) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("signed: signing a %s: %w", typ, err) }
	algorithm, err := algorithmOf(key.Public())
	if err != nil {
		return fail(err)
	}
	body, err := Marshal(payload)
	if err != nil {
		return fail(err)
	}
	header, err := marshalHeader(algorithm, typ, chain)
	if err != nil {
		return fail(err)
	}
	signing, err := Marshal(sigStructure{Context: "Signature1", Protected: header, Payload: body})
	if err != nil {
		return fail(err)
	}
	signer, err := cose.NewSigner(algorithm, key)
	if err != nil {
		return fail(err)
	}
	signature, err := signer.Sign(rand.Reader, signing)
	if err != nil {
		return fail(err)
	}
	return Marshal(cbor.Tag{
		Number:  tagSign1,
		Content: envelope{Protected: header, Payload: body, Signature: signature},
	})
}

// Parse reads the envelope of a statement. It checks the form only.
func Parse(raw []byte) (Statement, error) {
	s, err := parse(raw)
	if err != nil {
		return Statement{}, fmt.Errorf("signed: reading a statement: %w", err)
	}
	return s, nil
}

func parse(raw []byte) (Statement, error) {
	var tag cbor.RawTag
	if err := Unmarshal(raw, &tag); err != nil {
		return Statement{}, err
	}
	if tag.Number != tagSign1 {
		return Statement{}, fmt.Errorf("CBOR tag %d, want %d (COSE_Sign1)", tag.Number, tagSign1)
	}
	var e envelope
	if err := Unmarshal(tag.Content, &e); err != nil {
		return Statement{}, err
	}
	var h protected
	if err := Unmarshal(e.Protected, &h); err != nil {
		return Statement{}, err
	}
	if h.Type == "" {
		return Statement{}, errors.New("no type in the protected header")
	}
	chain, err := unmarshalChain(h.Chain)
	if err != nil {
		return Statement{}, err
	}
	signing, err := Marshal(sigStructure{Context: "Signature1", Protected: e.Protected, Payload: e.Payload})
	if err != nil {
		return Statement{}, err
	}
	return Statement{
		Raw: raw, Type: h.Type, Chain: chain, Payload: e.Payload, Digest: Sum(signing),
		algorithm: h.Algorithm, signing: signing, signature: e.Signature,
	}, nil
}

// Read is Parse of a statement that has to be of a type, and reads its payload into v. It verifies no signature: what it
// reads is for filing, or for finding the key to Open it with.
func Read(raw []byte, typ Type, v any) (Statement, error) {
	s, err := Parse(raw)
	if err == nil && s.Type != typ {
		err = fmt.Errorf("it is a %.80q", s.Type)
	}
	if err == nil {
		err = Unmarshal(s.Payload, v)
	}
	return s, err
}

// Open checks that s is a typ signed by the key whose public part is pub, and decodes its payload into v.
func (s Statement) Open(pub crypto.PublicKey, typ Type, v any) error {
	fail := func(err error) error { return fmt.Errorf("signed: opening a %s: %w", typ, err) }
	if s.Type != typ {
		return fail(fmt.Errorf("it is a %q", s.Type))
	}
	algorithm, err := algorithmOf(pub)
	if err != nil {
		return fail(err)
	}
	if s.algorithm != algorithm {
		return fail(fmt.Errorf("signed with %v, the key is for %v", s.algorithm, algorithm))
	}
	verifier, err := cose.NewVerifier(algorithm, pub)
	if err != nil {
		return fail(err)
	}
	if err := verifier.Verify(s.signing, s.signature); err != nil {
		return fail(err)
	}
	if err := Unmarshal(s.Payload, v); err != nil {
		return fail(err)
	}
	return nil
}

// algorithmOf returns the one COSE algorithm a key signs with.
func algorithmOf(pub crypto.PublicKey) (cose.Algorithm, error) {
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		return cose.AlgorithmEdDSA, nil
	case *ecdsa.PublicKey:
		if pub.Curve == elliptic.P256() {
			return cose.AlgorithmES256, nil
		}
		return 0, fmt.Errorf("an ECDSA key on %s, want P-256", pub.Curve.Params().Name)
	}
	return 0, fmt.Errorf("a key of type %T, want Ed25519 or ECDSA P-256", pub)
}

// marshalHeader encodes the protected header. RFC 9360 writes one certificate as a byte string and several as an
// array of them.
func marshalHeader(algorithm cose.Algorithm, typ Type, chain [][]byte) ([]byte, error) {
	h := protected{Algorithm: algorithm, Type: typ}
	var err error
	switch n := len(chain); {
	case n > maxChain:
		err = fmt.Errorf("%d certificates, of at most %d", n, maxChain)
	case n == 1:
		h.Chain, err = Marshal(chain[0])
	case n > 1:
		h.Chain, err = Marshal(chain)
	}
	if err != nil {
		return nil, err
	}
	return Marshal(h)
}

func unmarshalChain(raw cbor.RawMessage) ([][]byte, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	const byteString, majorType = 2 << 5, 7 << 5
	if raw[0]&majorType == byteString {
		var one []byte
		if err := Unmarshal(raw, &one); err != nil {
			return nil, err
		}
		return [][]byte{one}, nil
	}
	var chain [][]byte
	if err := Unmarshal(raw, &chain); err != nil {
		return nil, err
	}
	if n := len(chain); n < 2 || n > maxChain {
		return nil, fmt.Errorf("an array of %d certificates, want 2 to %d", n, maxChain)
	}
	return chain, nil
}
