package pairing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// maxRequest is the size of a certification request in bytes, at most.
const maxRequest = 1 << 10

// Keys are the new member's, made on its machine.
type Keys struct {
	Leaf crypto.Signer // of the device, app or service; of a person or owner: of the first app
	CA   crypto.Signer // of a person or owner; nil for others
	App  string        // what a person's or owner's first app is called, one name; "" for others
}

// PublicKeys are the public part of Keys.
type PublicKeys struct {
	Leaf crypto.PublicKey
	CA   crypto.PublicKey // nil but for a person or owner
	App  string
}

// Member returns the key that the invited member itself is certified for: a person's is that of the CA.
func (k PublicKeys) Member() crypto.PublicKey {
	if k.CA != nil {
		return k.CA
	}
	return k.Leaf
}

// A Claim asks for an invitation to be kept. It holds nothing secret, and goes from the joiner through the gateway to
// the inviter.
type Claim struct {
	ID      ID     `cbor:"1,keyasint" json:"id"`                      // of the invitation
	Leaf    []byte `cbor:"2,keyasint" json:"leaf"`                    // certification request, DER
	CA      []byte `cbor:"3,keyasint,omitempty" json:"ca,omitempty"`  // of a person or owner
	App     string `cbor:"4,keyasint,omitempty" json:"app,omitempty"` // of a person or owner
	Binding []byte `cbor:"5,keyasint" json:"binding"`                 // see the package documentation
}

// NewClaim makes the claim of an invitation for keys.
func NewClaim(inv Invitation, keys Keys) (Claim, error) {
	c := Claim{ID: inv.ID(), App: keys.App}
	fail := func(err error) (Claim, error) { return Claim{}, fmt.Errorf("pairing: claiming %s: %w", inv.Path, err) }
	if keys.Leaf == nil {
		return fail(errors.New("no key"))
	}
	var err error
	if c.Leaf, err = newRequest(c.ID, keys.Leaf); err != nil {
		return fail(err)
	}
	if keys.CA != nil {
		if c.CA, err = newRequest(c.ID, keys.CA); err != nil {
			return fail(err)
		}
	}
	public, err := c.keys(inv.Kind)
	if err != nil {
		return fail(err)
	}
	material, err := public.material()
	if err != nil {
		return fail(err)
	}
	c.Binding = inv.derive("keys", material)
	return c, nil
}

// Check checks for the inviter that the claim of inv was made by a holder of the invitation and of the keys, and
// returns these. The error wraps ErrSwapped if somebody on the way changed the claim.
func (c Claim) Check(inv Invitation) (PublicKeys, error) {
	fail := func(err error) (PublicKeys, error) {
		return PublicKeys{}, fmt.Errorf("pairing: checking the claim of %s: %w", inv.Path, err)
	}
	if c.ID != inv.ID() {
		return fail(fmt.Errorf("it is of invitation %s", c.ID))
	}
	keys, err := c.keys(inv.Kind)
	if err != nil {
		return fail(err)
	}
	material, err := keys.material()
	if err != nil {
		return fail(err)
	}
	if !hmac.Equal(c.Binding, inv.derive("keys", material)) {
		return fail(ErrSwapped)
	}
	return keys, nil
}

// Digits returns the six digits that both ends show for these keys.
func (inv Invitation) Digits(keys PublicKeys) (string, error) {
	material, err := keys.material()
	if err != nil {
		return "", fmt.Errorf("pairing: %w", err)
	}
	return fmt.Sprintf("%06d", binary.BigEndian.Uint64(inv.derive("digits", material))%1_000_000), nil
}

// material is K of the package documentation.
func (k PublicKeys) material() ([]byte, error) {
	var m struct {
		Leaf []byte `cbor:"1,keyasint"`
		CA   []byte `cbor:"2,keyasint,omitempty"`
		App  string `cbor:"3,keyasint,omitempty"`
	}
	var err error
	if m.Leaf, err = x509.MarshalPKIXPublicKey(k.Leaf); err != nil {
		return nil, err
	}
	if k.CA != nil {
		if m.CA, err = x509.MarshalPKIXPublicKey(k.CA); err != nil {
			return nil, err
		}
	}
	m.App = k.App
	return signed.Marshal(m)
}

// same reports whether two claims are by the same keys.
func (k PublicKeys) same(other PublicKeys) bool {
	return k.App == other.App && identity.SameKey(k.Leaf, other.Leaf) && (k.CA == nil) == (other.CA == nil) &&
		(k.CA == nil || identity.SameKey(k.CA, other.CA))
}

// keys checks the claim of a member of a kind, as far as can be done without the secret.
func (c Claim) keys(kind identity.Kind) (PublicKeys, error) {
	keys := PublicKeys{App: c.App}
	var err error
	if keys.Leaf, err = readRequest(c.ID, c.Leaf); err != nil {
		return PublicKeys{}, fmt.Errorf("the certification request: %w", err)
	}
	if !bringsCA(kind) {
		if c.CA != nil || c.App != "" {
			return PublicKeys{}, fmt.Errorf("a %s comes with one key and no app", kind)
		}
		return keys, nil
	}
	if keys.CA, err = readRequest(c.ID, c.CA); err != nil {
		return PublicKeys{}, fmt.Errorf("the CA's certification request: %w", err)
	}
	if identity.SameKey(keys.Leaf, keys.CA) {
		return PublicKeys{}, errors.New("the app has the same key as the CA")
	}
	if p, err := identity.ParsePath(c.App); err != nil || p.Parent() != "" {
		return PublicKeys{}, fmt.Errorf("%.80q is no name for an app", c.App)
	}
	return keys, nil
}

func newRequest(id ID, key crypto.Signer) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: id.String()}}, key)
}

// readRequest checks a certification request for an invitation and returns its key.
func readRequest(id ID, der []byte) (crypto.PublicKey, error) {
	if len(der) == 0 {
		return nil, errors.New("there is none")
	}
	if len(der) > maxRequest {
		return nil, fmt.Errorf("%d bytes, of at most %d", len(der), maxRequest)
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, err
	}
	switch pub := r.PublicKey.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if pub.Curve != elliptic.P256() {
			return nil, fmt.Errorf("an ECDSA key on %s, want P-256", pub.Curve.Params().Name)
		}
	default:
		return nil, fmt.Errorf("a key of type %T, want Ed25519 or ECDSA P-256", pub)
	}
	if r.Subject.CommonName != id.String() {
		return nil, fmt.Errorf("it is for %.40q, want the invitation's ID %q", r.Subject.CommonName, id)
	}
	return r.PublicKey, r.CheckSignature()
}

// backdated is how long before its making a certificate begins to be valid, for machines whose clock is behind.
const backdated = time.Hour

// Issue certifies the member that was claimed: below a person or owner the CA, else the leaf. It returns the chain to
// answer with, and draws the member ID.
func Issue(a *identity.Authority, kind identity.Kind, path identity.Path, keys PublicKeys, now, until time.Time) ([][]byte, error) {
	fail := func(err error) ([][]byte, error) { return nil, fmt.Errorf("pairing: certifying %s: %w", path, err) }
	if path.Parent() != a.Path() {
		return fail(fmt.Errorf("it is not right below %q", a.Path()))
	}
	member, err := identity.NewMemberID(rand.Reader)
	if err != nil {
		return fail(err)
	}
	chain, err := a.Issue(identity.Subject{
		Kind: kind, Member: member, Name: path.Name(), Key: keys.Member(),
		NotBefore: now.Add(-backdated), NotAfter: until,
	})
	if err != nil {
		return fail(err)
	}
	return chain, nil
}
