package tree

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// CharterType is the type of a signed Charter.
const CharterType signed.Type = "kindred/charter"

// ErrLaterEpoch says that a charter is of an epoch this version of Kindred cannot follow. Whoever meets it must treat
// the tree as unknown.
var ErrLaterEpoch = errors.New("charters after epoch 0 are not understood by this version")

// A Charter says who rules a tree. Charters are numbered by epoch; the first is signed by the root key that the
// TreeID names.
type Charter struct {
	Tree      identity.TreeID `cbor:"1,keyasint"`
	Epoch     uint64          `cbor:"2,keyasint,omitempty"`
	Root      []byte          `cbor:"3,keyasint"`           // the root's certificate, DER
	Keeper    []byte          `cbor:"4,keyasint"`           // SubjectPublicKeyInfo of the key that signs heads, DER
	Anchors   []Anchor        `cbor:"5,keyasint"`           // where its heads are recorded
	Guardians []Guardian      `cbor:"6,keyasint,omitempty"` // who together may give the tree a new root
	Threshold uint64          `cbor:"7,keyasint,omitempty"` // how many guardians that takes
	Last      *LastHead       `cbor:"8,keyasint,omitempty"` // the last head of the epoch before that is recognized
}

// An Anchor says where a tree's heads are recorded, and who vouches for it.
type Anchor struct {
	Chain      string      `cbor:"1,keyasint"` // the chain ID
	Validators []Validator `cbor:"2,keyasint"`
	Height     uint64      `cbor:"3,keyasint,omitempty"` // counts from this block on
	Sequence   uint64      `cbor:"4,keyasint,omitempty"` // and from this head on
}

// A Validator signs blocks of a ledger.
type Validator struct {
	Key   []byte `cbor:"1,keyasint"` // Ed25519, 32 bytes
	Power int64  `cbor:"2,keyasint"`
}

// A Guardian is a member of another tree.
type Guardian struct {
	Tree   identity.TreeID   `cbor:"1,keyasint"`
	Member identity.MemberID `cbor:"2,keyasint"`
}

// A LastHead names a head of the epoch before.
type LastHead struct {
	Sequence uint64        `cbor:"1,keyasint"`
	Digest   signed.Digest `cbor:"2,keyasint"`
}

const (
	maxAnchors    = 4
	maxValidators = 128
	maxGuardians  = 16
)

// OpenCharter reads the charter of a tree and checks that it leads back to the TreeID. Charters after epoch 0 are
// read and refused with ErrLaterEpoch.
func OpenCharter(raw []byte, tree identity.TreeID) (Ruled, error) {
	r, err := openCharter(raw, tree)
	if err != nil {
		return Ruled{}, fmt.Errorf("tree: reading the charter of %s: %w", tree, err)
	}
	return r, nil
}

// Ruled is a charter that was found to lead back to its TreeID. Only OpenCharter makes one.
type Ruled struct {
	Charter
	Digest signed.Digest
	Raw    []byte

	root   *x509.Certificate
	keeper crypto.PublicKey
}

// RootCertificate returns the certificate that chains of the tree end in.
func (r Ruled) RootCertificate() *x509.Certificate { return r.root }

// KeeperKey returns the key that heads of the tree are signed with.
func (r Ruled) KeeperKey() crypto.PublicKey { return r.keeper }

func openCharter(raw []byte, tree identity.TreeID) (Ruled, error) {
	s, err := signed.Parse(raw)
	if err != nil {
		return Ruled{}, err
	}
	// The payload names the key that has to have signed it: read it, and believe it only once the TreeID
	// confirms the key and the key confirms the payload.
	var c Charter
	if err := signed.Unmarshal(s.Payload, &c); err != nil {
		return Ruled{}, err
	}
	if c.Tree != tree {
		return Ruled{}, fmt.Errorf("it is of tree %s", c.Tree)
	}
	root, err := identity.ParseRoot(tree, c.Root)
	if err != nil {
		return Ruled{}, err
	}
	if c.Epoch > 0 {
		return Ruled{}, fmt.Errorf("epoch %d: %w", c.Epoch, ErrLaterEpoch)
	}
	if id, err := identity.TreeIDOf(root.PublicKey); err != nil || id != tree {
		return Ruled{}, errors.New("its root key is not the one that the tree is named after")
	}
	if err := s.Open(root.PublicKey, CharterType, &c); err != nil {
		return Ruled{}, err
	}
	keeper, err := identity.ParseKey(c.Keeper)
	if err != nil {
		return Ruled{}, fmt.Errorf("keeper key: %w", err)
	}
	if bytes.Equal(c.Keeper, root.RawSubjectPublicKeyInfo) {
		return Ruled{}, errors.New("its keeper key is the root key")
	}
	return Ruled{Charter: c, Digest: s.Digest, Raw: raw, root: root, keeper: keeper}, c.check()
}

// check looks at the sizes and numbers in a charter.
func (c Charter) check() error {
	if c.Last != nil {
		return errors.New("a first charter recognizes no head before it")
	}
	if n := len(c.Guardians); n > maxGuardians || c.Threshold > uint64(n) || (c.Threshold == 0) != (n == 0) {
		return fmt.Errorf("%d of %d guardians", c.Threshold, n)
	}
	if n := len(c.Anchors); n == 0 || n > maxAnchors {
		return fmt.Errorf("%d anchors, want 1 to %d", n, maxAnchors)
	}
	for _, a := range c.Anchors {
		if a.Chain == "" || len(a.Chain) > 50 || strings.ContainsFunc(a.Chain, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return fmt.Errorf("an anchor with the chain ID %.60q", a.Chain)
		}
		if n := len(a.Validators); n == 0 || n > maxValidators {
			return fmt.Errorf("anchor %s: %d validators, want 1 to %d", a.Chain, n, maxValidators)
		}
		for _, v := range a.Validators {
			if len(v.Key) != 32 || v.Power <= 0 || v.Power > 1<<40 {
				return fmt.Errorf("anchor %s: a validator with a key of %d bytes and power %d", a.Chain, len(v.Key), v.Power)
			}
		}
	}
	return nil
}
