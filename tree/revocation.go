package tree

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
)

// How far back a revocation list reaches.
const (
	ListedFor = 7 * 24 * time.Hour
	MaxListed = 1024
)

// A RevocationList goes with a head. It names what was taken away in the heads after From, up to that head; a
// verifier that holds it can tell of any proof as of From or later whether it still stands.
type RevocationList struct {
	From    uint64    `cbor:"1,keyasint"` // complete for proofs as of this sequence and later
	Revoked []Revoked `cbor:"2,keyasint,omitempty"`
}

// Revoked is one roster entry, key and value, that is no longer live; or, by its key, all that an entry was before a head.
type Revoked struct {
	Leaf     merkle.Hash `cbor:"1,keyasint"` // merkle.LeafHash of key and value, or the key
	Sequence uint64      `cbor:"2,keyasint"` // of the head that took it away
	Time     int64       `cbor:"3,keyasint"` // of that head, Unix time, seconds
}

// OpenRevocationList reads the list that goes with head.
func OpenRevocationList(raw []byte, head Head) (RevocationList, error) {
	var l RevocationList
	if got := signed.Sum(raw); got != head.Revoked {
		return l, fmt.Errorf("tree: reading the revocation list of head %d: its digest is %s, the head names %s", head.Sequence, got, head.Revoked)
	}
	if err := signed.Unmarshal(raw, &l); err != nil {
		return RevocationList{}, fmt.Errorf("tree: reading the revocation list of head %d: %w", head.Sequence, err)
	}
	if err := l.check(head.Sequence); err != nil {
		return RevocationList{}, fmt.Errorf("tree: reading the revocation list of head %d: %w", head.Sequence, err)
	}
	return l, nil
}

// check looks at the numbers in the list of a head: its entries are in the order of the heads that took them away.
func (l RevocationList) check(sequence uint64) error {
	if n := len(l.Revoked); n > MaxListed {
		return fmt.Errorf("%d entries, of at most %d", n, MaxListed)
	}
	last := l.From
	for _, r := range l.Revoked {
		if r.Sequence < last {
			return fmt.Errorf("an entry of head %d after head %d", r.Sequence, last)
		}
		last = r.Sequence
	}
	if last > sequence {
		return fmt.Errorf("it knows of head %d", last)
	}
	return nil
}

// Names reports whether the list takes away the entry with this leaf hash.
func (l RevocationList) Names(leaf merkle.Hash) bool {
	return slices.ContainsFunc(l.Revoked, func(r Revoked) bool { return r.Leaf == leaf })
}

// Ends reports whether the list takes away the entry with this key, whose leaf hash was that under the head with a
// sequence: the leaf, or by the key whatever there was before some later head.
func (l RevocationList) Ends(key, leaf merkle.Hash, sequence uint64) bool {
	return slices.ContainsFunc(l.Revoked, func(r Revoked) bool {
		return r.Leaf == leaf || r.Leaf == key && sequence < r.Sequence
	})
}

// Next returns the list for the head with the given sequence, made now, which takes away leaves, or keys. What is older than
// ListedFor falls off, and the oldest beyond MaxListed; From moves past whatever fell.
func (l RevocationList) Next(sequence uint64, now time.Time, leaves []merkle.Hash) RevocationList {
	next := RevocationList{From: l.From}
	all := slices.Clone(l.Revoked)
	for _, leaf := range leaves {
		all = append(all, Revoked{leaf, sequence, now.Unix()})
	}
	horizon := now.Add(-ListedFor).Unix()
	drop := 0
	for drop < len(all) && (all[drop].Time < horizon || len(all)-drop > MaxListed) {
		next.From = all[drop].Sequence // a proof as of this head saw what fell off taken away
		drop++
	}
	// Heads share a sequence among their entries: what is left of the last dropped one may stay listed.
	next.Revoked = all[drop:]
	return next
}

// RevocationType is the type of a signed Revocation.
const RevocationType signed.Type = "kindred/revocation"

// A Revocation takes one roster entry away on its own, before any head does. Its signer's certificates are in the
// statement.
type Revocation struct {
	Tree   identity.TreeID   `cbor:"1,keyasint"`
	Leaf   merkle.Hash       `cbor:"2,keyasint"`          // the entry: key and value
	Grant  GrantID           `cbor:"3,keyasint,omitzero"` // what the entry is: a grant,
	Member identity.MemberID `cbor:"4,keyasint,omitzero"` // or a member,
	Time   int64             `cbor:"5,keyasint"`          // Unix time, seconds
	Other  identity.TreeID   `cbor:"7,keyasint,omitzero"` // or the recognition of another tree

	// MadeSince takes with a member what it, those below it and its tools asked for since then, by the keeper's clock, and
	// what those made: grants, recognitions, and members but owners and places. Unix time, seconds; 0: nothing.
	MadeSince int64 `cbor:"8,keyasint,omitzero"`

	// Pause says that the grant stands and is to allow nothing until it is resumed.
	Pause bool `cbor:"6,keyasint,omitempty"`
}

// Key returns the key of the entry that r takes away.
func (r Revocation) Key() merkle.Hash {
	switch {
	case !r.Grant.IsZero():
		return GrantKey(r.Grant)
	case !r.Other.IsZero():
		return RecognitionKey(r.Other)
	}
	return MemberKey(r.Member)
}

// AddressType is the type of a signed Address.
const AddressType signed.Type = "kindred/address"

// An Address says where a member can be reached. It is signed by the member's own key.
type Address struct {
	Tree      identity.TreeID   `cbor:"1,keyasint"`
	Member    identity.MemberID `cbor:"2,keyasint"`
	Key       []byte            `cbor:"3,keyasint"` // SubjectPublicKeyInfo, DER
	Addresses []string          `cbor:"4,keyasint"` // multiaddrs, best first, at most MaxAddresses
	Time      int64             `cbor:"5,keyasint"` // Unix time, seconds
}

const (
	// MaxAddresses is the number of addresses in a record, at most.
	MaxAddresses = 16

	maxAddress = 512 // bytes
)

// OpenAddress reads the address record of the member of a tree whose key is pub.
func OpenAddress(raw []byte, tree identity.TreeID, member identity.MemberID, pub crypto.PublicKey) (Address, error) {
	var a Address
	s, err := signed.Parse(raw)
	if err == nil {
		err = s.Open(pub, AddressType, &a)
	}
	switch {
	case err != nil:
	case a.Tree != tree || a.Member != member:
		err = fmt.Errorf("it is of member %s of tree %s", a.Member, a.Tree)
	case !sameKey(a.Key, pub):
		err = errors.New("it names another key than the one that signed it")
	case len(a.Addresses) > MaxAddresses:
		err = fmt.Errorf("%d addresses, of at most %d", len(a.Addresses), MaxAddresses)
	case slices.ContainsFunc(a.Addresses, func(s string) bool { return len(s) > maxAddress }):
		err = fmt.Errorf("an address of more than %d bytes", maxAddress)
	}
	if err != nil {
		return Address{}, fmt.Errorf("tree: reading an address record: %w", err)
	}
	return a, nil
}

func sameKey(spki []byte, pub crypto.PublicKey) bool {
	want, err := x509.MarshalPKIXPublicKey(pub)
	return err == nil && bytes.Equal(spki, want)
}
