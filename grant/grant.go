// Package grant says what may be done: signed grants, and Decide, which answers for one request whether it may be done
// now. It is rules 8 to 10 of the design; package credential is rules 1 to 7.
//
// A grant is a signed statement (package signed) of type kindred/grant, with the certificates of the leaf that signed
// it. Its payload is Terms in deterministic CBOR, a map with these keys:
//
//	 1  tree      the tree of the thing, whose roster admits the grant
//	 2  ID        tree.GrantID, the key in that roster
//	 3  giver     the owner, or person, who gives it; the signer is an app right below them
//	 4  subject   {1: tree, 2: member} who gets it
//	 5  thing     {1: member, 2: affordance} what it is about; without an affordance, all of them
//	 6  actions   bits: 1 read, 2 write, 4 invoke, 8 observe
//	 7  from      Unix time, seconds; absent: at once
//	 8  until     Unix time, seconds, not included; absent: until it is taken back
//	 9  windows   [{1: days, 2: from, 3: to}, …] when in the week; absent: always
//	10  zone      IANA name of the time zone that the windows are in
//	11  offline   seconds; how old a proof still serves while the thing can get nothing newer; absent: not at all
//	12  time      when it was signed, Unix time, seconds
//	13  parent    digest of the grant that this one passes on; this version refuses grants that have one
//	14  depth     how often it may be passed on; this version refuses any but 0
//	15–18         kept for purpose, retention, obligations and the agreement with a service; not read by this version,
//	              so that a grant which has them is refused and never taken for one without conditions
//
// Who a subject is. A member that is a leaf: that leaf. An owner or person: the apps right below them, not those of
// the people they introduced. A place: the devices below it. What a thing is. A device: that device. A place: every
// device below it.
//
// Windows. Days are bits, Monday the lowest; from and to are minutes of the day by the clock on the wall of the zone.
// A window opens on its days at from and closes at to; where to is not later than from, it closes on the day after. An
// hour that the clock skips is in no window, one that it repeats is in it twice.
//
// Each grant is compiled to one Cedar policy, a permit, validated against the package's schema. No policy forbids
// anything, because Cedar skips a policy whose evaluation fails; here a failure denies. What the policy says about
// hours is said again in Go, which has to know when they end; where the two differ, the answer is no.
//
// The package is pure: no I/O, but for the time zones that package time reads, and no clock. Programs that run on
// machines without a time zone database import time/tzdata.
package grant

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Type is the type of a signed grant.
const Type signed.Type = "kindred/grant"

// Bounds of a grant.
const (
	MaxWindows = 32
	MaxOffline = 366 * 24 * time.Hour // the longest offline term
	maxZone    = 64                   // bytes
	maxName    = 63                   // bytes of an affordance's name
	maxTime    = 253402300799         // the last second of the year 9999
)

// ErrDelegated says that a grant passes on another one, which this version cannot judge.
var ErrDelegated = errors.New("grants that pass on other grants are not understood by this version")

// Terms are what a grant says.
type Terms struct {
	Tree    identity.TreeID   `cbor:"1,keyasint"`            // the thing's
	ID      tree.GrantID      `cbor:"2,keyasint"`            //
	Giver   identity.MemberID `cbor:"3,keyasint"`            // an owner or a person of Tree
	Subject Subject           `cbor:"4,keyasint"`            // who
	Thing   Thing             `cbor:"5,keyasint"`            // may use what,
	Actions Actions           `cbor:"6,keyasint"`            // how,
	From    int64             `cbor:"7,keyasint,omitempty"`  // from when, Unix time in seconds; 0: at once
	Until   int64             `cbor:"8,keyasint,omitempty"`  // until when, not included, Unix time in seconds; 0: open
	Windows []Window          `cbor:"9,keyasint,omitempty"`  // when in the week; none: always
	Zone    string            `cbor:"10,keyasint,omitempty"` // IANA name of the place's time zone
	Offline int64             `cbor:"11,keyasint,omitempty"` // seconds that a proof serves in isolation; 0: none
	Time    int64             `cbor:"12,keyasint"`           // when it was signed, Unix time in seconds
	Parent  signed.Digest     `cbor:"13,keyasint,omitzero"`  // the grant that it passes on
	Depth   uint8             `cbor:"14,keyasint,omitempty"` // how often it may be passed on
}

// A Subject is who a grant is for: a member of any tree.
type Subject struct {
	Tree   identity.TreeID   `cbor:"1,keyasint"`
	Member identity.MemberID `cbor:"2,keyasint"`
}

// A Thing is what a grant is about: a device, or a place and so every device below it.
type Thing struct {
	Member     identity.MemberID `cbor:"1,keyasint"`
	Affordance string            `cbor:"2,keyasint,omitempty"` // name of a property, action or event; "": all of them
}

// Validate reports, as an error, what is wrong with the terms in themselves.
func (t Terms) Validate() error {
	switch {
	case t.Tree.IsZero(), t.ID.IsZero(), t.Giver.IsZero():
		return errors.New("grant: checking terms: no tree, no ID or no giver")
	case t.Subject.Tree.IsZero(), t.Subject.Member.IsZero():
		return errors.New("grant: checking terms: nobody gets it")
	case t.Thing.Member.IsZero():
		return errors.New("grant: checking terms: it is about no thing")
	case t.Thing.Affordance != "" && !validName(t.Thing.Affordance):
		return fmt.Errorf("grant: checking terms: %.80q is no name of an affordance", t.Thing.Affordance)
	case !t.Actions.valid():
		return fmt.Errorf("grant: checking terms: actions %#x, want one or more of the bits %#x", uint8(t.Actions), uint8(Use))
	case t.Time <= 0 || t.Time > maxTime:
		return fmt.Errorf("grant: checking terms: signed at Unix time %d", t.Time)
	case t.From < 0 || t.From > maxTime || t.Until < 0 || t.Until > maxTime:
		return fmt.Errorf("grant: checking terms: from Unix time %d until %d", t.From, t.Until)
	case t.Until != 0 && t.Until <= max(t.From, t.Time):
		return fmt.Errorf("grant: checking terms: it ends at %s, before it begins", clock(t.Until, time.UTC))
	case t.Offline < 0 || t.Offline > int64(MaxOffline/time.Second):
		return fmt.Errorf("grant: checking terms: an offline term of %d seconds, of at most %d", t.Offline, int64(MaxOffline/time.Second))
	case !t.Parent.IsZero() || t.Depth != 0:
		return fmt.Errorf("grant: checking terms: %w", ErrDelegated)
	}
	return t.validateHours()
}

func (t Terms) validateHours() error {
	if len(t.Windows) > MaxWindows {
		return fmt.Errorf("grant: checking terms: %d windows, of at most %d", len(t.Windows), MaxWindows)
	}
	for _, w := range t.Windows {
		if !w.valid() {
			return fmt.Errorf("grant: checking terms: a window on days %#x from minute %d to %d", uint8(w.Days), w.From, w.To)
		}
	}
	if t.Zone == "" && len(t.Windows) == 0 {
		return nil
	}
	_, err := loadZone(t.Zone)
	return err
}

// validName is the rule of package thing: a letter, then letters, digits, - and _.
func validName(s string) bool {
	if len(s) == 0 || len(s) > maxName {
		return false
	}
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '_')) {
			return false
		}
	}
	return true
}

// Sign returns the grant of these terms, signed by a leaf that acts for the giver. The chain is the leaf's: its
// certificates, DER, leaf first, without the root.
func Sign(key crypto.Signer, chain [][]byte, t Terms) ([]byte, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if len(chain) == 0 {
		return nil, errors.New("grant: signing: no certificates of the signer")
	}
	raw, err := signed.Sign(key, Type, t, chain...)
	if err != nil {
		return nil, fmt.Errorf("grant: signing: %w", err)
	}
	return raw, nil
}

// Parse reads a grant to show it or to file it. It checks the form and verifies nothing.
func Parse(raw []byte) (Terms, signed.Statement, error) {
	t, s, err := parse(raw)
	if err != nil {
		return Terms{}, signed.Statement{}, fmt.Errorf("grant: reading: %w", err)
	}
	return t, s, nil
}

func parse(raw []byte) (Terms, signed.Statement, error) {
	var t Terms
	s, err := signed.Parse(raw)
	if err == nil && s.Type != Type {
		err = fmt.Errorf("it is a %.80q", s.Type)
	}
	if err == nil {
		err = signed.Unmarshal(s.Payload, &t)
	}
	if err == nil {
		err = t.Validate()
	}
	return t, s, err
}

// To reports whether the grant is for a leaf: see the package doc for who a subject is.
func (t *Terms) To(who identity.Chain) bool {
	return who.ID.Tree == t.Subject.Tree && slices.Contains(groups(who), t.Subject.Member)
}

// On reports whether the grant is about a thing: the device itself, or a place above it.
func (t *Terms) On(thing identity.Chain) bool {
	return thing.ID.Tree == t.Tree && slices.Contains(places(thing), t.Thing.Member)
}

// groups returns the members whose grants serve a leaf: itself, the places it is below, and whom it acts for.
func groups(who identity.Chain) []identity.MemberID {
	members := places(who)
	if len(who.Line) > 0 && !who.ActsFor().IsZero() {
		members = append(members, who.ActsFor())
	}
	return members
}

// places returns a member and the places above it.
func places(c identity.Chain) []identity.MemberID {
	members := make([]identity.MemberID, 0, len(c.Line)+1)
	for i, link := range c.Line {
		if link.Kind == identity.Place || i == len(c.Line)-1 {
			members = append(members, link.Member)
		}
	}
	return members
}
