package tree

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// RecognitionType is the type of a signed Recognition.
const RecognitionType signed.Type = "kindred/recognition"

// MaxRecognized is how many other trees a tree recognizes, at most.
const MaxRecognized = 256

// A Recognition is one tree's statement that it knows another, signed by an owner's app. It confers a common ancestor
// and no right: what a member of the other tree may do, a grant says.
type Recognition struct {
	Tree    identity.TreeID `cbor:"1,keyasint"`
	Other   identity.TreeID `cbor:"2,keyasint"`
	Epoch   uint64          `cbor:"3,keyasint"` // the least epoch of the other tree's charter that counts
	Time    int64           `cbor:"4,keyasint"` // Unix time, seconds
	Name    string          `cbor:"5,keyasint"` // what the other tree is called here: a name such as those on paths
	Charter []byte          `cbor:"6,keyasint"` // the other tree's signed charter, of that epoch
	Gateway Door            `cbor:"7,keyasint"`
	Salt    [16]byte        `cbor:"8,keyasint"` // random, so that none is like one that was taken away
}

// A Door is where another tree's gateway was when the tree was recognized. Its address record is newer.
type Door struct {
	Member    identity.MemberID `cbor:"1,keyasint"`
	Key       []byte            `cbor:"2,keyasint"`           // SubjectPublicKeyInfo, DER
	Addresses []string          `cbor:"3,keyasint,omitempty"` // multiaddrs, at most MaxAddresses
}

// Known is the roster's entry for another tree that is recognized. It holds all that there is to it, so that who is
// shown the entry can verify that an owner wants it so.
type Known struct {
	Statement []byte            `cbor:"1,keyasint"` // the signed Recognition, with its signer's certificates
	By        identity.MemberID `cbor:"2,keyasint"` // the leaf that asked for it
	Since     int64             `cbor:"3,keyasint"` // Unix time, seconds
}

// Recognized is a recognition with the entry it has.
type Recognized struct {
	Known
	Recognition
}

// maxStatement is the size of a signed recognition in bytes, at most.
const maxStatement = 16 << 10

// ParseRecognition reads a recognition of the tree given. It checks the form, and that the charter leads back to the other
// tree; not who signed the recognition: see OpenRecognition.
func ParseRecognition(raw []byte, tree identity.TreeID) (Recognition, error) {
	r, _, err := parseRecognition(raw, tree)
	if err != nil {
		return Recognition{}, fmt.Errorf("tree: reading a recognition: %w", err)
	}
	return r, nil
}

func parseRecognition(raw []byte, tree identity.TreeID) (Recognition, signed.Statement, error) {
	var r Recognition
	if len(raw) > maxStatement {
		return r, signed.Statement{}, fmt.Errorf("%d bytes, of at most %d", len(raw), maxStatement)
	}
	s, err := signed.Read(raw, RecognitionType, &r)
	if err == nil && r.Tree != tree {
		err = fmt.Errorf("it is by tree %s", r.Tree)
	}
	if err == nil {
		err = r.check()
	}
	return r, s, err
}

// OpenRecognition reads a recognition and checks that an owner's app of the tree signed it. The certificates are checked
// by verify, as of the moment when it was signed.
func OpenRecognition(raw []byte, tree identity.TreeID, verify func(chain [][]byte, at time.Time) (identity.Chain, error)) (Recognition, identity.Chain, error) {
	fail := func(err error) (Recognition, identity.Chain, error) {
		return Recognition{}, identity.Chain{}, fmt.Errorf("tree: opening a recognition: %w", err)
	}
	r, s, err := parseRecognition(raw, tree)
	if err != nil {
		return fail(err)
	}
	signer, err := verify(s.Chain, time.Unix(r.Time, 0))
	if err != nil {
		return fail(err)
	}
	if signer.ID.Tree != tree || !signer.Owner() {
		return fail(fmt.Errorf("signed by %s, which acts for no owner of tree %s", signer.ID, tree))
	}
	if err := s.Open(signer.Key, RecognitionType, &r); err != nil {
		return fail(err)
	}
	return r, signer, nil
}

func (r Recognition) check() error {
	switch {
	case r.Other.IsZero() || r.Other == r.Tree:
		return errors.New("it is of no other tree")
	case !ValidName(r.Name):
		return fmt.Errorf("%.80q is no name for a tree", r.Name)
	case r.Time <= 0 || r.Time > 1<<40:
		return fmt.Errorf("signed at Unix time %d", r.Time)
	}
	charter, err := OpenCharter(r.Charter, r.Other)
	switch {
	case err != nil:
		return err
	case charter.Epoch != r.Epoch:
		return fmt.Errorf("its charter is of epoch %d, it says %d", charter.Epoch, r.Epoch)
	}
	return r.Gateway.check()
}

func (d Door) check() error {
	if d.Member.IsZero() {
		return errors.New("its gateway has no member ID")
	}
	if _, err := identity.ParseKey(d.Key); err != nil {
		return fmt.Errorf("its gateway: %w", err)
	}
	if len(d.Addresses) > MaxAddresses || slices.ContainsFunc(d.Addresses, func(s string) bool { return len(s) > maxAddress }) {
		return fmt.Errorf("its gateway has %d addresses, of at most %d, of %d bytes", len(d.Addresses), MaxAddresses, maxAddress)
	}
	return nil
}

// ValidName reports whether s can be what another tree is called: one name of those that paths consist of.
func ValidName(s string) bool {
	_, err := identity.ParsePath(s)
	return err == nil && !strings.Contains(s, "/")
}
