// Package grant says what may be done: signed grants, and Decide, which answers for one request whether it may be done
// now. It is rules 8 to 10 of the design; package credential is rules 1 to 7.
//
// A grant is a signed statement (package signed) of type kindred/grant, with the certificates of the leaf that signed
// it. Its payload is Terms in deterministic CBOR, a map with these keys:
//
//	 1  tree      the tree of the thing, whose roster admits the grant
//	 2  ID        tree.GrantID, the key in that roster
//	 3  giver     the owner who gives it, and the signer is an app right below them; or whoever passes it on
//	 4  subject   {1: tree, 2: member, 3: below, 4: path} who gets it; path is for people, of members of other trees
//	 5  thing     {1: member, 2: affordance} what it is about; without an affordance, all of them
//	 6  actions   bits: 1 read, 2 write, 4 invoke, 8 observe
//	 7  from      Unix time, seconds; absent: at once
//	 8  until     Unix time, seconds, not included; absent: until it is taken back
//	 9  windows   [{1: days, 2: from, 3: to}, …] when in the week; absent: always
//	10  zone      IANA name of the time zone that the windows are in
//	11  offline   seconds; how old a proof still serves while the thing can get nothing newer; absent: not at all
//	12  time      when it was signed, Unix time, seconds
//	13  parent    digest of the grant that this one passes on
//	14  depth     how often it may be passed on
//	15  purpose   what for; a request must name it
//	16  retention seconds that whoever gets it may keep what they learn
//	17  agreement {1: clear, 2: recipient, 3: place, 4: notice, 5: preview} with a service
//	18  moments   {1: from, 2: until, 3: always} which recorded moments may be looked at
//	19  detail    {1: step, 2: area} how finely
//	20  rate      {1: uses, 2: seconds} how often
//	21  home      bool; only to callers on the home's own network
//	22  uses      how many times in all
//	23  budget    seconds of use in all
//	24  route     0 any, 1 direct, 2 direct or by the home's own gateway
//	25  hand on   bits as for actions: what may be passed on, and is not allowed to the subject itself
//	26  from tree the giver's tree, where it is not that of the thing
//
// Who a subject is. A member that is a leaf: that leaf. An owner or person: the apps right below them, not those of
// the people they introduced. A place: the devices below it. With "below", everyone below the member. Of another tree:
// one leaf, or one owner's or person's apps, and never a branch. What a thing is.
// A device: that device. A place: every device below it.
//
// Windows. Days are bits, Monday the lowest; from and to are minutes of the day by the clock on the wall of the zone.
// A window opens on its days at from and closes at to; where to is not later than from, it closes on the day after. An
// hour that the clock skips is in no window, one that it repeats is in it twice.
//
// Passing on. A grant whose depth is not 0 may be passed on by whom it is for: with a grant that names it as its
// parent, of a smaller depth, about the same thing or one below, and of no other actions. Every grant of such a chain
// must be live, and must allow a request: see VerifyAll. Hand on is what may be passed on and not done by oneself.
//
// A grant with an agreement counts once its service has consented to it, and where it shows something of the never class
// once somebody beside its giver has: see Consent and Class.
//
// Each grant is compiled to one Cedar policy, a permit, validated against the package's schema. No policy forbids
// anything, because Cedar skips a policy whose evaluation fails; here a failure denies. What the policy says is said
// again in Go, which has to know what is missing and when it ends; where the two differ, the answer is no.
//
// doc/grant-format.md says all of this for other implementations, with vectors.
//
// The package is pure: no I/O, but for the time zones that package time reads, and no clock. Programs that run on
// machines without a time zone database import time/tzdata.
package grant

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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
	MaxDepth   = 4                    // how often a grant may be passed on
	MaxClear   = 32                   // fields that a service may be shown
	maxText    = 128                  // bytes of a text for people
)

// ErrNoGiver says that a grant was signed for somebody who is no owner, and passes nothing on.
var ErrNoGiver = errors.New("which acts for no owner, and it passes nothing on")

// ErrForeign says that a grant is from a giver of another tree and more than that can give: whoever visits passes on what
// they were given, and gives nothing of their own.
var ErrForeign = errors.New("givers of another tree pass on what they were given, and give nothing else")

// Terms are what a grant says.
type Terms struct {
	Tree    identity.TreeID   `cbor:"1,keyasint"`            // the thing's
	ID      tree.GrantID      `cbor:"2,keyasint"`            //
	Giver   identity.MemberID `cbor:"3,keyasint"`            // an owner of Tree; with a Parent, whom that is for
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
	Depth   uint8             `cbor:"14,keyasint,omitempty"` // how often it may be passed on, at most MaxDepth

	Purpose   string          `cbor:"15,keyasint,omitempty"` // what for: lower case with hyphens; "": anything
	Retention int64           `cbor:"16,keyasint,omitempty"` // seconds that what was learnt may be kept; 0: nothing is agreed
	Agreement Agreement       `cbor:"17,keyasint,omitzero"`  // with a service
	Moments   Moments         `cbor:"18,keyasint,omitzero"`  // which recorded moments may be looked at
	Detail    Detail          `cbor:"19,keyasint,omitzero"`  // how finely
	Rate      Rate            `cbor:"20,keyasint,omitzero"`  // how often
	Home      bool            `cbor:"21,keyasint,omitempty"` // only to callers on the home's own network
	Uses      uint32          `cbor:"22,keyasint,omitempty"` // how many times in all; 0: any number
	Budget    int64           `cbor:"23,keyasint,omitempty"` // seconds of use, of streams, in all; 0: any
	Route     Route           `cbor:"24,keyasint,omitempty"` // which way it may go
	HandOn    Actions         `cbor:"25,keyasint,omitempty"` // what the subject may pass on and not do itself
	GiverTree identity.TreeID `cbor:"26,keyasint,omitzero"`  // the giver's tree; zero: Tree
}

// A Subject is who a grant is for: a member of any tree.
type Subject struct {
	Tree   identity.TreeID   `cbor:"1,keyasint"`
	Member identity.MemberID `cbor:"2,keyasint"`
	Below  bool              `cbor:"3,keyasint,omitempty"` // everyone below the member, of the thing's own tree alone
	Path   identity.Path     `cbor:"4,keyasint,omitempty"` // of another tree's member: what it was called then, for people
}

// TreeMember names whom it is.
func (s Subject) TreeMember() identity.TreeMember {
	return identity.TreeMember{Tree: s.Tree, Member: s.Member}
}

// An Agreement is what a service and whoever gives it something agree on, beside the other terms. Nothing is shown to a
// service but the fields named here.
type Agreement struct {
	Clear     []string      `cbor:"1,keyasint,omitempty"` // fields of the affordance's value; its own name: the whole value
	Recipient string        `cbor:"2,keyasint,omitempty"` // who runs the service, for people
	Place     string        `cbor:"3,keyasint,omitempty"` // country where it is kept: ISO 3166-1 alpha-2
	Notice    signed.Digest `cbor:"4,keyasint,omitzero"`  // of the notice that was shown before it was given
	Preview   signed.Digest `cbor:"5,keyasint,omitzero"`  // of the preview that was (package agreement)
}

// IsZero reports whether nothing was agreed on.
func (a Agreement) IsZero() bool {
	return len(a.Clear) == 0 && a.Recipient == "" && a.Place == "" && a.Notice.IsZero() && a.Preview.IsZero()
}

// Moments say what of a thing's past may be looked at. The zero Moments: what was recorded while the grant stood, which
// is from Terms.From, or Time, until Terms.Until, in its hours.
type Moments struct {
	From   int64 `cbor:"1,keyasint,omitempty"` // Unix time, seconds; 0: as the grant; 1 opens the whole past
	Until  int64 `cbor:"2,keyasint,omitempty"` // not included; 0: as the grant
	Always bool  `cbor:"3,keyasint,omitempty"` // also outside its hours
}

// A Detail says how finely values are shown. A thing that cannot show an affordance so coarsely refuses it.
type Detail struct {
	Step Step `cbor:"1,keyasint,omitempty"` // of measurements: one for each quarter of an hour, day or month
	Area bool `cbor:"2,keyasint,omitempty"` // of positions: the name of the area they are in
}

// A Step is a stretch of time in which there is one value.
type Step uint8

// The steps, finer ones first. Days and months are those of the place's zone.
const (
	Full Step = iota // every value
	QuarterHour
	Hour
	Day
	Month
)

// A Rate is how often something may be used: so many times in any so many seconds.
type Rate struct {
	Uses    uint32 `cbor:"1,keyasint,omitempty"`
	Seconds int64  `cbor:"2,keyasint,omitempty"`
}

// A Route is which way a request and its answer may go. All ways are encrypted from end to end.
type Route uint8

// The routes.
const (
	AnyRoute     Route = iota
	DirectRoute        // no relay carries it
	GatewayRoute       // direct, or carried by the home's own gateway
)

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
	case !(t.Actions | t.HandOn).valid():
		return fmt.Errorf("grant: checking terms: actions %#x, want one or more of the bits %#x", uint8(t.Actions|t.HandOn), uint8(Use))
	case t.Time <= 0 || t.Time > maxTime:
		return fmt.Errorf("grant: checking terms: signed at Unix time %d", t.Time)
	case t.From < 0 || t.From > maxTime || t.Until < 0 || t.Until > maxTime:
		return fmt.Errorf("grant: checking terms: from Unix time %d until %d", t.From, t.Until)
	case t.Until != 0 && t.Until <= max(t.From, t.Time):
		return fmt.Errorf("grant: checking terms: it ends at %s, before it begins", clock(t.Until, time.UTC, english.layout))
	case t.Offline < 0 || t.Offline > int64(MaxOffline/time.Second):
		return fmt.Errorf("grant: checking terms: an offline term of %d seconds, of at most %d", t.Offline, int64(MaxOffline/time.Second))
	}
	if err := t.validateDepth(); err != nil {
		return err
	}
	if t.Subject.Path != "" {
		if _, err := identity.ParsePath(string(t.Subject.Path)); err != nil {
			return fmt.Errorf("grant: checking terms: %w", err)
		}
	}
	if err := t.validateUse(); err != nil {
		return err
	}
	if err := t.Agreement.validate(); err != nil {
		return err
	}
	return t.validateHours()
}

// validateDepth checks what may be passed on.
func (t Terms) validateDepth() error {
	deepest := uint8(MaxDepth)
	if !t.Parent.IsZero() {
		deepest--
	}
	switch {
	case t.Depth > deepest:
		return fmt.Errorf("grant: checking terms: it may be passed on %d times, of at most %d", t.Depth, deepest)
	case t.HandOn&t.Actions != 0:
		return fmt.Errorf("grant: checking terms: to %s is allowed, and also only to be passed on", and((t.HandOn & t.Actions).names()))
	case t.HandOn != 0 && t.Depth == 0:
		return errors.New("grant: checking terms: it is there to be passed on, and may not be")
	case !t.GiverTree.IsZero() && (t.GiverTree == t.Tree || t.Parent.IsZero()):
		return fmt.Errorf("grant: checking terms: %w", ErrForeign)
	}
	return nil
}

// validateUse checks how much, how finely and how often something may be used.
func (t Terms) validateUse() error {
	const longest = int64(MaxOffline / time.Second)
	switch m, r := t.Moments, t.Rate; {
	case t.Subject.Below && t.Subject.Tree != t.Tree:
		return errors.New("grant: checking terms: it is for everyone below a member of another tree: want one member")
	case t.Subject.Path != "" && t.Subject.Tree == t.Tree:
		return fmt.Errorf("grant: checking terms: it says that whom it is for is called %.80q, which is said of other trees' members alone", t.Subject.Path)
	case t.Purpose != "" && !validPurpose(t.Purpose):
		return fmt.Errorf("grant: checking terms: the purpose %.80q: want lower-case words with hyphens, at most %d bytes", t.Purpose, maxName)
	case t.Retention < 0 || t.Retention > 100*longest:
		return fmt.Errorf("grant: checking terms: kept for %d seconds, of at most %d", t.Retention, 100*longest)
	case m.From < 0 || m.From > maxTime || m.Until < 0 || m.Until > maxTime || m.Until != 0 && m.Until <= m.From:
		return fmt.Errorf("grant: checking terms: moments from Unix time %d until %d", m.From, m.Until)
	case t.Detail.Step > Month:
		return fmt.Errorf("grant: checking terms: step %d, of at most %d", t.Detail.Step, Month)
	case (r.Uses == 0) != (r.Seconds == 0) || r.Seconds < 0 || r.Seconds > longest:
		return fmt.Errorf("grant: checking terms: %d uses in %d seconds", r.Uses, r.Seconds)
	case t.Budget < 0 || t.Budget > longest:
		return fmt.Errorf("grant: checking terms: %d seconds of use, of at most %d", t.Budget, longest)
	case t.Route > GatewayRoute:
		return fmt.Errorf("grant: checking terms: route %d, of at most %d", t.Route, GatewayRoute)
	}
	return nil
}

func (a Agreement) validate() error {
	if len(a.Clear) > MaxClear {
		return fmt.Errorf("grant: checking terms: %d fields in clear, of at most %d", len(a.Clear), MaxClear)
	}
	for i, field := range a.Clear {
		if !validName(field) || slices.Contains(a.Clear[:i], field) {
			return fmt.Errorf("grant: checking terms: the field %.80q in clear is named twice, or is no name of a field", field)
		}
	}
	country := len(a.Place) == 2 && a.Place[0] >= 'A' && a.Place[0] <= 'Z' && a.Place[1] >= 'A' && a.Place[1] <= 'Z'
	switch {
	case len(a.Recipient) > maxText || !printable(a.Recipient):
		return fmt.Errorf("grant: checking terms: the recipient %.140q: want at most %d bytes to show", a.Recipient, maxText)
	case a.Place != "" && !country:
		return fmt.Errorf("grant: checking terms: the place %.80q: want two capital letters of ISO 3166-1", a.Place)
	}
	return nil
}

// printable reports whether a text can be shown as it is.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// validPurpose reports whether s is of lower-case letters, digits and hyphens, beginning with a letter.
func validPurpose(s string) bool {
	return validName(s) && strings.ToLower(s) == s && !strings.Contains(s, "_")
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

// GivenIn returns the giver's tree.
func (t *Terms) GivenIn() identity.TreeID {
	if t.GiverTree.IsZero() {
		return t.Tree
	}
	return t.GiverTree
}

// GiverMember names the giver.
func (t *Terms) GiverMember() identity.TreeMember {
	return identity.TreeMember{Tree: t.GivenIn(), Member: t.Giver}
}

// ThingMember names what the grant is about.
func (t *Terms) ThingMember() identity.TreeMember {
	return identity.TreeMember{Tree: t.Tree, Member: t.Thing.Member}
}

// GivenBy reports whether a leaf, or whom it acts for, is the giver.
func (t *Terms) GivenBy(leaf identity.Chain) bool {
	return leaf.ID.Tree == t.GivenIn() && !t.Giver.IsZero() && (leaf.ActsFor() == t.Giver || leaf.Member() == t.Giver)
}

// To reports whether the grant is for a leaf: see the package doc for who a subject is.
func (t *Terms) To(who identity.Chain) bool {
	return who.ID.Tree == t.Subject.Tree && slices.Contains(groups(who, who.ID.Tree != t.Tree), t.Subject.Member) || t.Subject.Below && t.below(who)
}

// below reports whether a leaf is below the subject.
func (t *Terms) below(who identity.Chain) bool {
	return who.ID.Tree == t.Subject.Tree && slices.ContainsFunc(who.Line, func(l identity.Link) bool { return l.Member == t.Subject.Member })
}

// On reports whether the grant is about a thing: the device itself, or a place above it. Of a place it says whether the
// grant is about all of it.
func (t *Terms) On(thing identity.Chain) bool {
	return thing.ID.Tree == t.Tree && slices.Contains(places(thing), t.Thing.Member)
}

// groups returns the members whose grants serve a leaf: itself, whom it acts for, and unless it visits, from another
// tree, the places it is below.
func groups(who identity.Chain, visits bool) []identity.MemberID {
	members := places(who)
	if visits {
		members = members[max(0, len(members)-1):]
	}
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
