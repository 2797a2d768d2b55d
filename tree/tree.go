// Package tree holds a tree of trust: the roster of what is live in it, and the signed statements about it.
//
// The roster is an authenticated map (package merkle) of entries, each keyed by its type and ID. Only what is live
// is in it, so that a proof of inclusion says "not taken away":
//
//	"member"      MemberID   Member: the certificate it has now, who asked for it, since when, its label, limits, and for whom it is private
//	"grant"       GrantID    Grant: the signed grant that it admits, its giver, who asked for it, since when, whether
//	                         it is paused and by an owner, who else stands behind it
//	"checkpoint"  MemberID   Checkpoint: where that member's journal stood
//	"recognition" TreeID     Known: the signed recognition of another tree, who asked for it, since when
//
// Values are deterministic CBOR (package signed). Every value names random bytes, so none can be guessed from the
// hashes in a proof. A State is the roster; an Update is what somebody wants changed; Plan checks it and returns the
// Change, which Commit makes. In between the keeper signs a Head and writes both to disk.
//
// The statements, each a signed.Statement that names its tree:
//
//	kindred/charter     who rules the tree: root certificate, keeper key, guardians, ledger anchors, by epoch
//	kindred/head        the state of the roster: sequence, Merkle root, time, digest of the revocation list
//	kindred/revocation  one thing taken away, on its own, by somebody entitled to it
//	kindred/address     where a member can be reached
//	kindred/recipient   to which key is sealed what a member may read
//	kindred/recognition that one tree knows another: its charter, its name for people, where its gateway is
//
// The package is pure: no I/O, no clock. Who may ask for what is decided by its callers.
package tree

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
)

// The types of entry, which go into their keys.
const (
	memberEntry      = "member"
	grantEntry       = "grant"
	checkpointEntry  = "checkpoint"
	recognitionEntry = "recognition"
)

// MemberKey returns the key of a member's entry.
func MemberKey(id identity.MemberID) merkle.Hash { return merkle.KeyOf(memberEntry, id[:]) }

// GrantKey returns the key of a grant's entry.
func GrantKey(id GrantID) merkle.Hash { return merkle.KeyOf(grantEntry, id[:]) }

// CheckpointKey returns the key of the entry for a member's journal.
func CheckpointKey(id identity.MemberID) merkle.Hash { return merkle.KeyOf(checkpointEntry, id[:]) }

// RecognitionKey returns the key of the entry for another tree that is recognized.
func RecognitionKey(other identity.TreeID) merkle.Hash {
	return merkle.KeyOf(recognitionEntry, other[:])
}

// A GrantID names a grant: 16 random bytes.
type GrantID [16]byte

const grantPrefix = "g-"

// NewGrantID draws a grant ID from random.
func NewGrantID(random io.Reader) (GrantID, error) {
	id, err := identity.NewMemberID(random)
	return GrantID(id), err
}

// ParseGrantID reads the 28 characters that String returns.
func ParseGrantID(s string) (GrantID, error) {
	rest, ok := strings.CutPrefix(s, grantPrefix)
	id, err := identity.ParseMemberID(rest)
	if !ok || err != nil {
		return GrantID{}, fmt.Errorf("tree: %.40q is no grant ID: want %s and 26 characters", s, grantPrefix)
	}
	return GrantID(id), nil
}

// String returns "g-" and the ID in lower-case base32. People use the first few characters of it.
func (id GrantID) String() string { return grantPrefix + identity.MemberID(id).String() }

// IsZero reports whether id names nothing.
func (id GrantID) IsZero() bool { return id == GrantID{} }

// A Member is the roster's entry for a member.
type Member struct {
	Certificate signed.Digest     `cbor:"1,keyasint"`           // identity.Link.Digest of the certificate it has now
	By          identity.MemberID `cbor:"2,keyasint"`           // the leaf that asked for it to have that
	Since       int64             `cbor:"3,keyasint"`           // from when on it has that: Unix time, seconds
	Label       string            `cbor:"4,keyasint,omitempty"` // what people call it, at most MaxLabel bytes
	Limits      []Limit           `cbor:"5,keyasint,omitempty"` // of a thing

	// Private are owners and persons, in the order of their IDs and at most MaxPrivate: what they do at the thing is
	// sealed to them in its journal, and nobody else can read it.
	Private []identity.MemberID `cbor:"6,keyasint,omitempty"`

	Changed identity.MemberID `cbor:"7,keyasint,omitzero"`  // the leaf that changed something else since, and did so last
	Turns   uint32            `cbor:"8,keyasint,omitempty"` // how often the entry was replaced; MaxUint32: as often or more
}

// MaxLabel is the length of a label in bytes, at most.
const MaxLabel = 128

// A Limit says how fresh a proof a thing asks for.
type Limit struct {
	Affordance string `cbor:"1,keyasint,omitempty"` // empty: the whole thing, for what its affordances leave open
	Fresh      int64  `cbor:"2,keyasint,omitempty"` // the age of a proof up to which it serves, seconds; 0: left open
	Offline    int64  `cbor:"3,keyasint,omitempty"` // the longest offline term that is honoured, seconds; 0: left open
}

const (
	// MaxLimits is the number of limits of a thing, at most.
	MaxLimits = 64
	// MaxLimit is the longest time that a limit can set.
	MaxLimit = 366 * 24 * time.Hour
	// MaxPrivate is for how many a thing is private, at most.
	MaxPrivate = 32

	maxAffordance = 128 // bytes
)

// check looks at what is for people and for things in an entry. What is no UTF-8 would be refused by every reader.
func (m Member) check() error {
	if len(m.Label) > MaxLabel || !utf8.ValidString(m.Label) {
		return fmt.Errorf("the label %.40q: %d bytes, want at most %d of UTF-8", m.Label, len(m.Label), MaxLabel)
	}
	if n := len(m.Limits); n > MaxLimits {
		return fmt.Errorf("%d limits, of at most %d", n, MaxLimits)
	}
	if n := len(m.Private); n > MaxPrivate {
		return fmt.Errorf("private for %d, of at most %d", n, MaxPrivate)
	}
	for i, id := range m.Private {
		if id.IsZero() || i > 0 && bytes.Compare(m.Private[i-1][:], id[:]) >= 0 {
			return fmt.Errorf("private for %s, which is out of order or twice there", id)
		}
	}
	seen := map[string]bool{}
	for _, l := range m.Limits {
		if len(l.Affordance) > maxAffordance || !utf8.ValidString(l.Affordance) || seen[l.Affordance] {
			return fmt.Errorf("a limit of %.40q, which is set twice, or more than %d bytes of UTF-8", l.Affordance, maxAffordance)
		}
		seen[l.Affordance] = true
		const most = int64(MaxLimit / time.Second)
		if l.Fresh < 0 || l.Fresh > most || l.Offline < 0 || l.Offline > most {
			return fmt.Errorf("a limit of %q of %d s fresh and %d s offline, want at most %d s", l.Affordance, l.Fresh, l.Offline, most)
		}
	}
	return nil
}

// The limits of a thing that has none in the roster.
const (
	DefaultFresh   = time.Hour
	DefaultOffline = 7 * 24 * time.Hour
)

// LimitFor returns the limit for an affordance: how fresh a proof must be, and the longest offline term. What the
// affordance's own limit leaves open is that of the thing, and what this leaves open the default.
func (m Member) LimitFor(affordance string) (fresh, offline time.Duration) {
	fresh, offline = DefaultFresh, DefaultOffline
	for _, of := range []string{"", affordance} {
		for _, l := range m.Limits {
			if l.Affordance == of && l.Fresh > 0 {
				fresh = time.Duration(l.Fresh) * time.Second
			}
			if l.Affordance == of && l.Offline > 0 {
				offline = time.Duration(l.Offline) * time.Second
			}
		}
	}
	return fresh, offline
}

// A Grant is the roster's entry for a grant. What it allows stands in the signed grant, which travels with whoever
// rests on it.
type Grant struct {
	Statement signed.Digest     `cbor:"1,keyasint"` // the signed grant
	Giver     identity.MemberID `cbor:"2,keyasint"` // the owner or person who gave it
	By        identity.MemberID `cbor:"3,keyasint"` // the leaf that signed it for the giver
	Since     int64             `cbor:"4,keyasint"` // Unix time, seconds

	Paused bool   `cbor:"5,keyasint,omitempty"` // it stands, and allows nothing until it is resumed
	Turns  uint32 `cbor:"6,keyasint,omitempty"` // how often the entry was replaced, so that no value comes twice

	GiverTree identity.TreeID `cbor:"7,keyasint,omitzero"` // the giver's, where it is another, which is recognized; zero: this one

	Seconds []Second `cbor:"8,keyasint,omitempty"` // who stands behind it beside its giver, at most MaxSeconds

	Held bool `cbor:"9,keyasint,omitempty"` // an owner's app paused it: so nobody else resumes it
}

// A Second is a signed consent to a grant that counts because the roster took it in, while the leaf that signed it was
// live: what that leaf signs when it is gone, under whatever date, is not here.
type Second struct {
	Consent signed.Digest     `cbor:"1,keyasint"`          // the signed consent
	By      identity.MemberID `cbor:"2,keyasint,omitzero"` // the leaf that signed it; zero: the root key
	Since   int64             `cbor:"3,keyasint"`          // Unix time, seconds
}

// MaxSeconds is how many stand behind a grant beside its giver, at most.
const MaxSeconds = 8

// GivenBy reports whether a leaf, or whom it acts for, gave the grant, which is in the roster of tree here. Each tree gives
// its members what IDs it likes, so that a giver of another one may have the ID of somebody here.
func (g Grant) GivenBy(leaf identity.Chain, here identity.TreeID) bool {
	of := g.GiverTree
	if of.IsZero() {
		of = here
	}
	return leaf.ID.Tree == of && !g.Giver.IsZero() && (leaf.ActsFor() == g.Giver || leaf.Member() == g.Giver)
}

// Seconded reports whether the roster took in a consent to the grant.
func (g Grant) Seconded(consent signed.Digest) bool {
	return slices.ContainsFunc(g.Seconds, func(s Second) bool { return s.Consent == consent })
}

// A Checkpoint is the roster's entry for a journal.
type Checkpoint struct {
	Size uint64        `cbor:"1,keyasint"` // entries
	Root signed.Digest `cbor:"2,keyasint"` // RFC 6962 root hash over them
	Time int64         `cbor:"3,keyasint"` // Unix time, seconds
}

// HeadType is the type of a signed Head.
const HeadType signed.Type = "kindred/head"

// A Head commits to a roster. Heads of a tree are numbered from 1 and each names the one before it.
type Head struct {
	Tree     identity.TreeID `cbor:"1,keyasint"`
	Sequence uint64          `cbor:"2,keyasint"`
	Previous signed.Digest   `cbor:"3,keyasint"` // zero in the first
	Root     merkle.Hash     `cbor:"4,keyasint"`
	Time     int64           `cbor:"5,keyasint"` // when it was signed, Unix time, seconds
	Revoked  signed.Digest   `cbor:"6,keyasint"` // of the encoded RevocationList
}

// OpenHead reads a head signed by the tree's keeper.
func OpenHead(raw []byte, tree identity.TreeID, keeper crypto.PublicKey) (Head, signed.Digest, error) {
	var h Head
	s, err := signed.Parse(raw)
	if err == nil {
		err = s.Open(keeper, HeadType, &h)
	}
	if err == nil && h.Tree != tree {
		err = fmt.Errorf("it is of tree %s, want %s", h.Tree, tree)
	}
	if err == nil && h.Sequence == 0 {
		err = errors.New("its sequence is 0, heads are numbered from 1")
	}
	if err != nil {
		return Head{}, signed.Digest{}, fmt.Errorf("tree: reading a head: %w", err)
	}
	return h, s.Digest, nil
}
