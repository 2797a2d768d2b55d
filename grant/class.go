package grant

import (
	"crypto"
	"errors"
	"fmt"
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
//	3  thing       its member ID
//	4  affordance  name of a property, action or event
//	5  never       bool
//	6  time        when it was signed, Unix time, seconds
//
// Of several about one affordance the newest counts; of the same second one that puts it in. The thing remembers them,
// so that no gateway, however it was come by, can have it forget one.
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
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("grant: signing a class: %w", err)
	}
	raw, err := signed.Sign(key, ClassType, c, chain...)
	if err != nil {
		return nil, fmt.Errorf("grant: signing a class: %w", err)
	}
	return raw, nil
}

func (c Class) validate() error {
	switch {
	case c.Tree.IsZero() || c.Owner.IsZero() || c.Thing.IsZero():
		return errors.New("it names no tree, no owner or no thing")
	case !validName(c.Affordance):
		return fmt.Errorf("%.80q is no name of an affordance", c.Affordance)
	case c.Time <= 0 || c.Time > maxTime:
		return fmt.Errorf("it is of Unix time %d", c.Time)
	}
	return nil
}

// ParseClass reads a class to file it. It checks the form and verifies nothing.
func ParseClass(raw []byte) (Class, signed.Statement, error) {
	var c Class
	s, err := signed.Parse(raw)
	if err == nil && s.Type != ClassType {
		err = fmt.Errorf("it is a %.80q", s.Type)
	}
	if err == nil {
		err = signed.Unmarshal(s.Payload, &c)
	}
	if err == nil {
		err = c.validate()
	}
	if err != nil {
		return Class{}, signed.Statement{}, fmt.Errorf("grant: reading a class: %w", err)
	}
	return c, s, nil
}

// VerifyClass checks that an owner, who is live, signed a class, and where it takes something out of the never class
// that one of the consents is the second it takes.
func VerifyClass(raw []byte, consents [][]byte, live credential.Live, now time.Time) (Class, error) {
	c, s, err := ParseClass(raw)
	if err != nil {
		return Class{}, err
	}
	fail := func(err error) (Class, error) {
		return Class{}, fmt.Errorf("grant: verifying a class of %s: %w", c.Affordance, err)
	}
	at := time.Unix(c.Time, 0)
	signer, err := live.VerifyChain(s.Chain, at)
	if err != nil {
		return fail(err)
	}
	if err := s.Open(signer.Key, ClassType, &c); err != nil {
		return fail(err)
	}
	if now.IsZero() {
		now = live.AsOf
	}
	_, ownerLive := live.Member(c.Owner)
	switch {
	case c.Tree != live.Tree || signer.ID.Tree != live.Tree:
		return fail(fmt.Errorf("it is of tree %s, the proof of tree %s", c.Tree, live.Tree))
	case !signer.Owner() || signer.ActsFor() != c.Owner:
		return fail(fmt.Errorf("signed by %s, which does not act for the owner %s", signer.ID.Path, c.Owner))
	case !ownerLive:
		return fail(fmt.Errorf("its owner %s is not proved to be live", c.Owner))
	case at.After(now.Add(credential.MaxSkew)):
		return fail(fmt.Errorf("it is dated %s, in the future", at.UTC().Format(time.RFC3339)))
	case c.Never:
		return c, nil
	}
	for _, raw := range consents {
		o, err := OpenConsent(raw, live.VerifyChain, live.RootKey())
		if err == nil && o.consent.Grant.IsZero() && o.consent.Statement == s.Digest && o.consent.Tree == c.Tree &&
			!o.future(now, live.AsOf) && o.second(c.Owner, live) {
			return c, nil
		}
	}
	return fail(errors.New("another owner, or the root key, must approve that it is taken out of the never class"))
}

// Supersedes reports whether c counts in place of what was said before about the same affordance.
func (c Class) Supersedes(before Class) bool {
	return c.Time > before.Time || c.Time == before.Time && c.Never && !before.Never
}
