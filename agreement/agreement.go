// Package agreement is what a home and a service have in writing: the terms of a grant, and all that was signed about
// them, from the preview before the first copy in clear to the receipt for its deletion; and the same as a consent record
// and a consent receipt in the form of ISO/IEC TS 27560:2023, in JSON-LD with the W3C's Data Privacy Vocabulary.
//
// # What is signed
//
//	kindred/grant     (package grant) the terms; its agreement names the digests of the notice and of the preview
//	kindred/consent   (package grant) of the service, that it accepts the terms: nothing is shown to it before; and of
//	                  another owner, or with the root key, where something of the never class is shown
//	kindred/demand    of an owner's app: the grant is taken back, delete what you got by it
//	kindred/deletion  of the service: what it deleted, or why not yet
//
// The payload of kindred/demand is a map in deterministic CBOR with these keys:
//
//	1  tree       as in the grant
//	2  grant      its ID
//	3  statement  digest of the signed grant
//	4  service    member ID
//	5  owner      whom the signer, an app, acts for
//	6  time       Unix time, seconds
//
// And that of kindred/deletion:
//
//	1  tree     as in the demand
//	2  demand   its digest
//	3  service  member ID of the signer
//	4  time     Unix time, seconds
//	5  done     bool: nothing that was got by the grant is left
//	6  items    [{1: what, 2: how many, 3: bytes}, …] that were deleted
//	7  reason   why something is kept, for people
//	8  until    Unix time, seconds, when that will be deleted; absent: not known
//
// A preview is not signed: the grant names its digest. It is a map with the keys 1 thing, 2 path, 3 affordance, 4 leaves
// [{1: name, 2: value in JSON}, …], 5 stays [name, …], 6 time. Of what stays it has the names alone, since the service
// may come to see it.
//
// # The record
//
// A record says nothing that is not in the statements; it has all of them with it, base64url, under kindred:evidence, and
// Verify makes it anew from them to compare. So it can be checked offline by somebody who knows the tree's ID.
//
// Vectors that any implementation can run are in testdata. The package is pure: no I/O and no clock.
package agreement

import (
	"crypto"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// The types of the statements.
const (
	DemandType   signed.Type = "kindred/demand"
	DeletionType signed.Type = "kindred/deletion"
)

const (
	maxItems = 64
	maxText  = 256          // bytes of a text for people
	maxTime  = 253402300799 // the last second of the year 9999
)

// A Demand asks a service to delete what it got by a grant, which is taken back.
type Demand struct {
	Tree      identity.TreeID   `cbor:"1,keyasint"`
	Grant     tree.GrantID      `cbor:"2,keyasint"`
	Statement signed.Digest     `cbor:"3,keyasint"`
	Service   identity.MemberID `cbor:"4,keyasint"`
	Owner     identity.MemberID `cbor:"5,keyasint"`
	Time      int64             `cbor:"6,keyasint"`
}

func (d Demand) validate() error {
	switch {
	case d.Tree.IsZero() || d.Grant.IsZero() || d.Statement.IsZero():
		return errors.New("it names no tree, no grant or no statement")
	case d.Service.IsZero() || d.Owner.IsZero():
		return errors.New("it names no service or no owner")
	}
	return validTime(d.Time)
}

func validTime(t int64) error {
	if t <= 0 || t > maxTime {
		return fmt.Errorf("it is of Unix time %d", t)
	}
	return nil
}

// A Deletion is a service's answer to a demand.
type Deletion struct {
	Tree    identity.TreeID   `cbor:"1,keyasint"`
	Demand  signed.Digest     `cbor:"2,keyasint"`
	Service identity.MemberID `cbor:"3,keyasint"`
	Time    int64             `cbor:"4,keyasint"`
	Done    bool              `cbor:"5,keyasint,omitempty"` // nothing is left
	Items   []Item            `cbor:"6,keyasint,omitempty"` // what was deleted
	Reason  string            `cbor:"7,keyasint,omitempty"` // why something is kept
	Until   int64             `cbor:"8,keyasint,omitempty"` // when that will be deleted; 0: not known
}

// An Item is a kind of thing that was deleted.
type Item struct {
	What  string `cbor:"1,keyasint" json:"what"`
	Count uint64 `cbor:"2,keyasint" json:"count"`
	Bytes uint64 `cbor:"3,keyasint" json:"bytes"`
}

// Bytes returns how much was deleted.
func (d Deletion) Bytes() (sum uint64) {
	for _, i := range d.Items {
		sum += i.Bytes
	}
	return sum
}

func (d Deletion) validate() error {
	if d.Tree.IsZero() || d.Demand.IsZero() || d.Service.IsZero() {
		return errors.New("it names no tree, no demand or no service")
	}
	if len(d.Items) > maxItems {
		return fmt.Errorf("%d kinds of things, of at most %d", len(d.Items), maxItems)
	}
	for _, i := range d.Items {
		if i.What == "" || !printable(i.What) || i.Bytes > 1<<62/maxItems {
			return fmt.Errorf("%.80q of %d bytes: want at most %d bytes of text", i.What, i.Bytes, maxText)
		}
	}
	switch {
	case !printable(d.Reason):
		return fmt.Errorf("the reason %.80q: want at most %d bytes of text", d.Reason, maxText)
	case !d.Done && d.Reason == "":
		return errors.New("something is kept, and it does not say why")
	case d.Done && (d.Reason != "" || d.Until != 0):
		return errors.New("nothing is left, and it says why something is kept")
	case d.Until < 0 || d.Until > maxTime:
		return fmt.Errorf("it will be deleted at Unix time %d", d.Until)
	}
	return validTime(d.Time)
}

func printable(s string) bool {
	if len(s) > maxText || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// Sign returns the signed demand. The chain is that of the owner's app.
func (d Demand) Sign(key crypto.Signer, chain [][]byte) ([]byte, error) {
	return sign(key, chain, DemandType, d)
}

// Sign returns the signed answer. The chain is the service's.
func (d Deletion) Sign(key crypto.Signer, chain [][]byte) ([]byte, error) {
	return sign(key, chain, DeletionType, d)
}

type statement interface{ validate() error }

func sign(key crypto.Signer, chain [][]byte, typ signed.Type, s statement) ([]byte, error) {
	err := s.validate()
	var raw []byte
	if err == nil {
		raw, err = signed.Sign(key, typ, s, chain...)
	}
	if err != nil {
		return nil, fmt.Errorf("agreement: signing a %s: %w", typ, err)
	}
	return raw, nil
}

// A Verifier checks a chain of the tree's certificates at a moment, such as credential.Live.VerifyChain does.
type Verifier = func(chain [][]byte, at time.Time) (identity.Chain, error)

// OpenDemand reads a demand that an app of the owner whom it names signed, and returns its name.
func OpenDemand(raw []byte, verify Verifier) (Demand, identity.Chain, signed.Digest, error) {
	var d Demand
	fail := func(err error) (Demand, identity.Chain, signed.Digest, error) {
		return Demand{}, identity.Chain{}, signed.Digest{}, fmt.Errorf("agreement: reading a demand: %w", err)
	}
	s, signer, err := open(raw, DemandType, &d, func() int64 { return d.Time }, verify)
	if err == nil {
		err = d.validate()
	}
	if err == nil && (signer.ID.Tree != d.Tree || !signer.Owner() || signer.ActsFor() != d.Owner) {
		err = fmt.Errorf("signed by %s, which does not act for the owner %s", signer.ID, d.Owner)
	}
	if err != nil {
		return fail(err)
	}
	return d, signer, s.Digest, nil
}

// OpenDeletion reads the answer to a demand, of the name given, that the service which it was made to signed.
func OpenDeletion(raw []byte, to Demand, name signed.Digest, verify Verifier) (Deletion, error) {
	var d Deletion
	_, signer, err := open(raw, DeletionType, &d, func() int64 { return d.Time }, verify)
	if err == nil {
		err = d.validate()
	}
	switch {
	case err != nil:
	case d.Demand != name || d.Tree != to.Tree:
		err = fmt.Errorf("it answers %s, and the demand is %s", d.Demand, name)
	case signer.ID.Tree != d.Tree || signer.Kind() != identity.Service || signer.Member() != d.Service || d.Service != to.Service:
		err = fmt.Errorf("signed by %s, and the demand was to the service %s", signer.ID, to.Service)
	}
	if err != nil {
		return Deletion{}, fmt.Errorf("agreement: reading the answer to a demand: %w", err)
	}
	return d, nil
}

// open reads a statement that a leaf signed at the time that it says.
func open(raw []byte, typ signed.Type, into any, at func() int64, verify Verifier) (signed.Statement, identity.Chain, error) {
	s, err := signed.Read(raw, typ, into)
	if err == nil {
		err = validTime(at())
	}
	if err != nil {
		return s, identity.Chain{}, err
	}
	signer, err := verify(s.Chain, time.Unix(at(), 0))
	if err != nil {
		return s, identity.Chain{}, err
	}
	return s, signer, s.Open(signer.Key, typ, into)
}

// GrantOf returns which grant a demand is about, to file it. It verifies nothing.
func GrantOf(raw []byte) (Demand, error) {
	var d Demand
	_, err := signed.Read(raw, DemandType, &d)
	if err == nil {
		err = d.validate()
	}
	if err != nil {
		return Demand{}, fmt.Errorf("agreement: reading a demand: %w", err)
	}
	return d, nil
}
