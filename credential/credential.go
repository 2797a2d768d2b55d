// Package credential decides, offline, who a peer is and as of when that is known: rules 1 to 7 of the design, and
// revocations that arrive from their signers before any head names them.
//
// A peer shows a Hello: its certificate chain, the grants it rests on, and for each tree involved a Proof that the
// roster entries of all of them were live. Three steps lead from those bytes to a decision, and each takes the
// verified value that only the one before can make:
//
//	VerifyProof(Proof, Trusted, now)  → Live        which entries were live in the tree, as of when
//	Verify(chain, peer key, Live)     → Principal   who this is
//	grant.Decide(Request, Principal…) → Decision    what it may (package grant)
//
// A Proof is deterministic CBOR (package signed) and holds
//
//	1  charters     the charters that lead back to the TreeID; missing if the verifier is known to trust them
//	2  head         signed by the keeper
//	3  revoked      the head's revocation list; may be missing if the verifier trusts this head already
//	4  entries      what is proved: ID of a member, a grant or another tree, and encoded value
//	5  map proof    combined Merkle proof that the entries are under the head's root (package merkle)
//	6  record       the ledger's record of this head and its Merkle proof (package ledger)
//	7  block        the signed block header over the ledger's state (package ledger/light)
//
// Trusted is what a verifier remembers of a tree between proofs. It only moves forward: once a newer head was seen,
// an older one counts only if the newer head's revocation list is complete since then and names nothing used.
//
// The first proof of a hello is of the peer's own tree. A visitor is a peer of another tree: it shows a proof of each of
// the two, of its own, that it is live, and of the verifier's, that this recognizes the other and that its grants are
// live. VerifyVisitor joins them. Where members of further trees passed on what a peer shows, their trees' proofs follow.
//
// The package is pure: no I/O and no clock.
package credential

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// MaxHello is the size of an encoded Hello in bytes, at most.
const MaxHello = 64 << 10

// MaxProofs is how many proofs a Hello has, at most: and so through how many trees a chain of grants leads.
const MaxProofs = 4

// MaxSkew is how far in the future a time may lie.
const MaxSkew = 2 * time.Minute

const (
	maxGrants   = 16
	maxConsents = 32
	maxEntries  = 64
)

// Errors that callers tell apart. All others mean that what was shown is wrong in itself.
var (
	// ErrRevoked says that something shown was live once and was taken away.
	ErrRevoked = errors.New("was taken away")
	// ErrTooOld says that a proof is from before anything the verifier can still judge; a fresh one is needed.
	ErrTooOld = errors.New("is too old to be judged")
	// ErrStranger says that the peer belongs to no tree the verifier knows.
	ErrStranger = errors.New("is of a tree not known here")
	// ErrUnproved says that a proof does not cover somebody, or has another certificate for them: its tree's gateway, if
	// it proved all it could, knows of no such member any more.
	ErrUnproved = errors.New("is not proved to be live")
)

// A Hello is what a peer shows of itself.
type Hello struct {
	Chain  [][]byte `cbor:"1,keyasint"`           // certificates, DER, leaf first, without the root
	Grants [][]byte `cbor:"2,keyasint,omitempty"` // signed grants it rests on
	Proofs []Proof  `cbor:"3,keyasint,omitempty"` // one for each tree involved; none to a gateway, who has the roster

	Consents [][]byte `cbor:"4,keyasint,omitempty"` // signed consents to the grants (package grant)
}

// A Proof shows that entries were live in a tree's roster.
type Proof struct {
	Charters [][]byte     `cbor:"1,keyasint,omitempty"`
	Head     []byte       `cbor:"2,keyasint"`
	Revoked  []byte       `cbor:"3,keyasint,omitempty"`
	Entries  []Entry      `cbor:"4,keyasint,omitempty"`
	Map      merkle.Proof `cbor:"5,keyasint,omitempty"`
	Record   ledger.Proof `cbor:"6,keyasint"`
	Block    light.Proof  `cbor:"7,keyasint"`
}

// An Entry is a roster entry as it stands in a Proof.
type Entry struct {
	Member identity.MemberID `cbor:"1,keyasint,omitzero"` // a member's,
	Grant  tree.GrantID      `cbor:"2,keyasint,omitzero"` // a grant's,
	Value  []byte            `cbor:"3,keyasint"`
	Other  identity.TreeID   `cbor:"4,keyasint,omitzero"` // another tree's, which is recognized,

	Journal identity.MemberID `cbor:"5,keyasint,omitzero"` // or that of where a member's journal stood
}

// Key returns the roster key of the entry.
func (e Entry) Key() merkle.Hash {
	switch {
	case !e.Grant.IsZero():
		return tree.GrantKey(e.Grant)
	case !e.Other.IsZero():
		return tree.RecognitionKey(e.Other)
	case !e.Journal.IsZero():
		return tree.CheckpointKey(e.Journal)
	}
	return tree.MemberKey(e.Member)
}

// Marshal encodes h.
func (h Hello) Marshal() ([]byte, error) {
	data, err := signed.Marshal(h)
	if err == nil && len(data) > MaxHello {
		err = fmt.Errorf("credential: encoding a hello: %d bytes, of at most %d", len(data), MaxHello)
	}
	return data, err
}

// Short returns h without charters, each a fifth of a proof's size: for a peer that trusts them already, as members do of
// their own tree's and of those that it recognizes.
func (h Hello) Short() Hello {
	h.Proofs = slices.Clone(h.Proofs)
	for i := range h.Proofs {
		h.Proofs[i].Charters = nil
	}
	return h
}

// ParseHello reads a hello. It checks the form and verifies nothing.
func ParseHello(data []byte) (Hello, error) {
	var h Hello
	fail := func(err error) (Hello, error) { return Hello{}, fmt.Errorf("credential: reading a hello: %w", err) }
	if len(data) > MaxHello {
		return fail(fmt.Errorf("%d bytes, of at most %d", len(data), MaxHello))
	}
	if err := signed.Unmarshal(data, &h); err != nil {
		return fail(err)
	}
	if n := len(h.Proofs); n > MaxProofs {
		return fail(fmt.Errorf("%d proofs, of at most %d", n, MaxProofs))
	}
	if n := len(h.Grants); n > maxGrants {
		return fail(fmt.Errorf("%d grants, of at most %d", n, maxGrants))
	}
	if n := len(h.Consents); n > maxConsents {
		return fail(fmt.Errorf("%d consents, of at most %d", n, maxConsents))
	}
	return h, nil
}

// Marshal encodes p.
func (p Proof) Marshal() ([]byte, error) { return signed.Marshal(p) }

// ParseProof reads a proof. It checks the form and verifies nothing.
func ParseProof(data []byte) (Proof, error) {
	var p Proof
	if len(data) > MaxHello {
		return p, fmt.Errorf("credential: reading a proof: %d bytes, of at most %d", len(data), MaxHello)
	}
	if err := signed.Unmarshal(data, &p); err != nil {
		return Proof{}, fmt.Errorf("credential: reading a proof: %w", err)
	}
	return p, nil
}

// Tree returns the tree that the proof says it is of. Nothing is verified.
func (p Proof) Tree() (identity.TreeID, error) {
	h, err := p.head()
	if err != nil {
		return identity.TreeID{}, fmt.Errorf("credential: reading whose proof it is: %w", err)
	}
	return h.Tree, nil
}

// head reads the head of a proof. Nothing is verified.
func (p Proof) head() (h tree.Head, err error) {
	s, err := signed.Parse(p.Head)
	if err == nil {
		err = signed.Unmarshal(s.Payload, &h)
	}
	return h, err
}

// Live is a set of roster entries that were live in a tree. Only VerifyProof makes one.
type Live struct {
	Tree     identity.TreeID
	Sequence uint64    // of the head that proves it
	AsOf     time.Time // the newest moment at which they are known to have been live

	charter tree.Ruled
	head    signed.Digest
	now     time.Time
	values  map[merkle.Hash][]byte
	beside  []Live // what is proved of other trees: a visitor's own, and those of who passed on what it shows
}

// Member returns the entry of a member.
func (l Live) Member(id identity.MemberID) (tree.Member, bool) {
	var m tree.Member
	return m, l.entry(tree.MemberKey(id), &m)
}

// IsMember reports whether a member is live.
func (l Live) IsMember(id identity.MemberID) bool {
	_, ok := l.Member(id)
	return ok
}

// Grant returns the entry of a grant.
func (l Live) Grant(id tree.GrantID) (tree.Grant, bool) {
	var g tree.Grant
	return g, l.entry(tree.GrantKey(id), &g)
}

// Checkpoint returns where a member's journal stood.
func (l Live) Checkpoint(id identity.MemberID) (tree.Checkpoint, bool) {
	var c tree.Checkpoint
	return c, l.entry(tree.CheckpointKey(id), &c)
}

func (l Live) entry(key merkle.Hash, v any) bool {
	value, ok := l.values[key]
	return ok && signed.Unmarshal(value, v) == nil
}

// RootKey returns the key that the tree grows from now; nil before any proof was verified.
func (l Live) RootKey() crypto.PublicKey {
	root := l.charter.RootCertificate()
	if root == nil {
		return nil
	}
	return root.PublicKey
}

// VerifyChain checks a certificate chain of the tree at a moment: its form and signatures, not who on it is live.
func (l Live) VerifyChain(chain [][]byte, at time.Time) (identity.Chain, error) {
	root := l.charter.RootCertificate()
	if root == nil {
		return identity.Chain{}, errors.New("credential: verifying a chain: no proof was verified before")
	}
	return identity.Verify(chain, l.Tree, root, at)
}
