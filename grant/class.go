package grant

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// ClassType is the type of a signed Class.
const ClassType signed.Type = "kindred/class"

// A Class says whether an affordance of a thing is of the never class, in place of what the thing says of itself: what
// is in it is shown to a service in clear only by a grant with a second consent. An owner alone puts something in;
// taking something out takes a Consent like that to such a grant. As a signed statement of type kindred/class its
// payload is a map with these keys:
//
//	1  tree        the thing's
//	2  owner       whom the signer acts for
//	3  thing       its member ID, or that of a place above it
//	4  affordance  name of a property, action or event; empty: all there is, and all there will be, of the thing or place
//	5  never       bool
//	6  time        when it was signed, Unix time, seconds
//
// Of several about one affordance the newest counts; of the same second one that puts it in. How one about an affordance
// and those about all there is go together, Apart says. The thing remembers them, so that no gateway, however it was come
// by, can have it forget one.
type Class struct {
	Tree       identity.TreeID   `cbor:"1,keyasint"`
	Owner      identity.MemberID `cbor:"2,keyasint"`
	Thing      identity.MemberID `cbor:"3,keyasint"`
	Affordance string            `cbor:"4,keyasint"`
	Never      bool              `cbor:"5,keyasint,omitempty"`
	Time       int64             `cbor:"6,keyasint"`
}

// SignClass returns a signed class. The chain is that of an owner's app.
func SignClass(key crypto.Signer, chain [][]byte, c Class) ([]byte, error) {
	return signChecked(key, chain, ClassType, "a class", c)
}

func (c Class) validate() error {
	switch {
	case c.Tree.IsZero() || c.Owner.IsZero() || c.Thing.IsZero():
		return errors.New("it names no tree, no owner or no thing")
	case c.Affordance != "" && !validName(c.Affordance):
		return fmt.Errorf("%.80q is no name of an affordance", c.Affordance)
	case c.Time <= 0 || c.Time > maxTime:
		return fmt.Errorf("it is of Unix time %d", c.Time)
	}
	return nil
}

// ParseClass reads a class to file it. It checks the form and verifies nothing.
func ParseClass(raw []byte) (Class, signed.Statement, error) {
	var c Class
	s, err := signed.Read(raw, ClassType, &c)
	if err == nil {
		err = c.validate()
	}
	if err != nil {
		return Class{}, signed.Statement{}, fmt.Errorf("grant: reading a class: %w", err)
	}
	return c, s, nil
}

// A Classed is a class that an owner's app signed. Whether it counts is another matter: see Stands. Only OpenClass makes
// one.
type Classed struct {
	class  Class
	digest signed.Digest
	signer identity.Chain
}

// Class returns what was signed.
func (c Classed) Class() Class { return c.class }

// Digest returns the name of the signed statement, which consents to it name.
func (c Classed) Digest() signed.Digest { return c.digest }

// Signer returns the leaf that signed it for its owner.
func (c Classed) Signer() identity.Chain { return c.signer }

// OpenClass checks that a class was signed by an app of the owner that it names. Chains are checked by verify, as of the
// moment of signing, as in Open.
func OpenClass(raw []byte, verify func(chain [][]byte, at time.Time) (identity.Chain, error)) (Classed, error) {
	c, s, err := ParseClass(raw)
	if err != nil {
		return Classed{}, err
	}
	signer, err := verify(s.Chain, time.Unix(c.Time, 0))
	if err == nil {
		err = s.Open(signer.Key, ClassType, &c)
	}
	if err == nil && (signer.ID.Tree != c.Tree || !signer.Owner() || signer.ActsFor() != c.Owner) {
		err = fmt.Errorf("signed by %s, which does not act for the owner %s", signer.ID.Path, c.Owner)
	}
	if err != nil {
		return Classed{}, fmt.Errorf("grant: opening a class: %w", err)
	}
	return Classed{c, s.Digest, signer}, nil
}

// ErrOneOwner says that it takes another owner, or the root key, to take something out of the never class.
var ErrOneOwner = errors.New("another owner, or the root key, must approve that it is taken out of the never class")

// Stands reports, as an error, why a class does not count now: it is dated in the future; or it takes something out, and
// the leaf that signed it is not live, or nobody stands beside its owner whose leaf is (ErrOneOwner). Live says, as an
// error, who is not live on a chain. What counts is remembered where it was learnt, whatever becomes of the leaves.
func (c Classed) Stands(consents []Consented, live func(identity.Chain) error, now time.Time) error {
	if at := time.Unix(c.class.Time, 0); at.After(now.Add(credential.MaxSkew)) {
		return fmt.Errorf("grant: checking a class: it is dated %s, in the future", at.UTC().Format(time.RFC3339))
	}
	if c.class.Never {
		return nil // whatever has become of the owner since
	}
	if err := live(c.signer); err != nil {
		return fmt.Errorf("grant: checking a class: who signed it is not live: %w", err)
	}
	for _, o := range consents {
		if o.consent.Grant.IsZero() && o.consent.Statement == c.digest && o.consent.Tree == c.class.Tree &&
			!o.future(now) && o.second(c.class.Owner) && (o.consent.By.IsZero() || live(o.signer) == nil) {
			return nil
		}
	}
	return ErrOneOwner
}

// Apart reports whether an affordance of a thing is of the never class. Own is what the thing says of itself, and said what
// counts of what owners said of it and of the places above it, one of each affordance. What is said of the affordance
// counts in place of the thing's own word. Besides, it is in the class if all there is was put in, unless the affordance
// alone was taken out since. So whoever marks a place as a child's has forgotten nothing in it, and nothing that comes.
func Apart(thing identity.Chain, affordance string, own bool, said []Class) bool {
	var exact Class
	var whole int64 // when all there is was put in last
	for _, c := range said {
		switch {
		case c.Affordance == "" && c.Never && slices.ContainsFunc(thing.Line, func(l identity.Link) bool { return l.Member == c.Thing }):
			whole = max(whole, c.Time)
		case c.Affordance != "" && c.Affordance == affordance && c.Thing == thing.Member():
			exact = c
		}
	}
	if exact.Time == 0 {
		return own || whole > 0
	}
	return exact.Never || whole >= exact.Time
}

// Supersedes reports whether c counts in place of what was said before about the same affordance.
func (c Class) Supersedes(before Class) bool {
	return c.Time > before.Time || c.Time == before.Time && c.Never && !before.Never
}
