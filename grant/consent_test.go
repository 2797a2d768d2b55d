package grant

import (
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A deal is a home with two owners, sam and kim, and two services; sam grants one of them the lock's state in clear.
type deal struct {
	*credentialtest.Home
	t     *testing.T
	given tree.Admitted
	terms Terms
}

func newDeal(t *testing.T) deal {
	h := credentialtest.New(t, now)
	for _, m := range []struct {
		kind identity.Kind
		path identity.Path
	}{
		{identity.Owner, "kim"}, {identity.App, "kim/phone"}, {identity.App, "sam/phone"},
		{identity.Person, "sam/anna"}, {identity.App, "sam/anna/phone"},
		{identity.Service, "bank"}, {identity.Service, "broker"}, {identity.Device, "home/lock"},
	} {
		h.Add(m.kind, m.path)
	}
	d := deal{Home: h, t: t}
	d.terms = household{h.Tree}.terms("bank", "home/lock")
	d.terms.Thing.Affordance, d.terms.Actions = "state", See
	d.terms.Agreement = Agreement{Clear: []string{"state"}, Recipient: "First Bank", Place: "DE"}
	d.given = give(t, h, d.terms)
	return d
}

func (d deal) digest(raw []byte) signed.Digest {
	s, err := signed.Parse(raw)
	if err != nil {
		d.t.Fatal(err)
	}
	return s.Digest
}

// consent is what a member's leaf signs about the deal; change makes it another one.
func (d deal) consent(by *identitytest.Member, change func(*Consent)) []byte {
	d.t.Helper()
	c := Consent{Tree: d.ID, Grant: d.given.ID, Statement: d.given.Statement, By: by.Member(), Time: now.Unix()}
	if by.Kind() == identity.App {
		c.By = by.ActsFor()
	}
	return d.sign(by.Signer, by.Raw, c, change)
}

func (d deal) sign(key crypto.Signer, chain [][]byte, c Consent, change func(*Consent)) []byte {
	d.t.Helper()
	if change != nil {
		change(&c)
	}
	raw, err := SignConsent(key, chain, c)
	if err != nil {
		d.t.Fatal(err)
	}
	return raw
}

func (d deal) live(members ...identity.Path) credential.Live {
	var proved []*identitytest.Member
	for _, path := range append([]identity.Path{"sam", "bank"}, members...) {
		proved = append(proved, d.At(path))
	}
	return d.Live(d.Clock, []tree.GrantID{d.given.ID}, proved...)
}

// standing is the deal's grant with whatever of the consents opens.
func (d deal) standing(live credential.Live, consents ...[]byte) Grant {
	d.t.Helper()
	g, err := Verify(d.given.Raw, live, d.Clock)
	if err != nil {
		d.t.Fatal(err)
	}
	return g.With(d.opened(live, consents), live, d.Clock)
}

// admitted has the roster take in consents to the deal, as the keeper does for who is live.
func (d *deal) admitted(by *identitytest.Member, consents ...[]byte) {
	d.t.Helper()
	u := tree.Update{By: by.Member()}
	for _, raw := range consents {
		u.Second = append(u.Second, tree.Seconding{Grant: d.given.ID, Consent: d.digest(raw), Raw: raw})
	}
	d.Apply(u)
	d.given, _ = d.State.Grant(d.given.ID)
}

func (d deal) opened(live credential.Live, consents [][]byte) (opened []Consented) {
	for _, raw := range consents {
		if c, err := OpenConsent(raw, live.VerifyChain, live.RootKey()); err == nil {
			opened = append(opened, c)
		}
	}
	return opened
}

// trusted is what somebody knows who has seen the newest head.
func (d deal) trusted() credential.Trusted {
	d.t.Helper()
	_, trusted, err := credential.VerifyProof(d.Prove(nil, d.At("sam/laptop")), d.Trusted(), d.Clock)
	if err != nil {
		d.t.Fatal(err)
	}
	return trusted
}

func (d deal) root(change func(*Consent)) []byte {
	return d.sign(d.RootKey, nil, Consent{Tree: d.ID, Grant: d.given.ID, Statement: d.given.Statement, Time: now.Unix()}, change)
}

// Nothing is shown to a service before it accepted, and nothing of the never class before somebody beside the giver
// said yes. One stolen key does neither: sam's phone cannot be two owners, and whoever has the gateway has no owner's key.
func TestConsents(t *testing.T) {
	d := newDeal(t)
	other := newDeal(t)
	accepted := d.consent(d.At("bank"), nil)
	elsewhere := d.terms
	elsewhere.ID = newID()
	earlier := give(t, d.Home, elsewhere)
	about := func(g tree.Admitted) func(*Consent) {
		return func(c *Consent) { c.Grant, c.Statement = g.ID, g.Statement }
	}
	later := func(c *Consent) { c.Time++ }
	// What the roster took in is necessary, and not enough: a keeper that takes in anything cannot make it count.
	for _, by := range []identity.Path{"kim/phone", "sam/phone", "sam/anna/phone"} {
		d.admitted(d.At(by), d.consent(d.At(by), nil))
	}
	d.admitted(d.At("sam/laptop"), d.root(nil))
	for _, c := range []struct {
		name     string
		never    bool
		consents [][]byte
		proved   []identity.Path
		want     Code
	}{
		{"nobody", false, nil, nil, Unaccepted},
		{"the service", false, [][]byte{accepted}, nil, Granted},
		{"another service", false, [][]byte{d.consent(d.At("broker"), nil)}, nil, Unaccepted},
		{"another service in its name", false, [][]byte{d.consent(d.At("broker"), func(c *Consent) { c.By = d.At("bank").Member() })}, nil, Unaccepted},
		{"the owner for the service", false, [][]byte{d.consent(d.At("sam/laptop"), func(c *Consent) { c.By = d.At("bank").Member() })}, nil, Unaccepted},
		{"what it accepted before", false, [][]byte{d.consent(d.At("bank"), about(earlier))}, nil, Unaccepted},
		{"what it accepted before, under this ID", false, [][]byte{d.consent(d.At("bank"), func(c *Consent) { c.Statement = earlier.Statement })}, nil, Unaccepted},
		{"in the future", false, [][]byte{d.consent(d.At("bank"), func(c *Consent) { c.Time += 3600 })}, nil, Unaccepted},
		{"in another tree", false, [][]byte{other.consent(other.At("bank"), nil)}, nil, Unaccepted},

		{"never: the giver alone", true, [][]byte{accepted}, nil, Unseconded},
		{"never: the giver's other phone", true, [][]byte{accepted, d.consent(d.At("sam/phone"), nil)}, []identity.Path{"kim"}, Unseconded},
		{"never: the giver's phone in another's name", true, [][]byte{accepted, d.consent(d.At("sam/phone"), func(c *Consent) { c.By = d.At("kim").Member() })}, []identity.Path{"kim"}, Unseconded},
		{"never: the giver's phone as the root", true, [][]byte{accepted, d.sign(d.At("sam/phone").Signer, nil, Consent{Tree: d.ID, Grant: d.given.ID, Statement: d.given.Statement, Time: now.Unix()}, nil)}, nil, Unseconded},
		{"never: a person", true, [][]byte{accepted, d.consent(d.At("sam/anna/phone"), nil)}, []identity.Path{"sam/anna"}, Unseconded},
		{"never: the keeper", true, [][]byte{accepted, d.sign(d.Keeper, nil, Consent{Tree: d.ID, Grant: d.given.ID, Statement: d.given.Statement, Time: now.Unix()}, nil)}, nil, Unseconded},
		{"never: another owner, of another grant", true, [][]byte{accepted, d.consent(d.At("kim/phone"), about(earlier))}, []identity.Path{"kim"}, Unseconded},
		{"never: another owner, who is not proved", true, [][]byte{accepted, d.consent(d.At("kim/phone"), nil)}, nil, Unseconded},
		{"never: another owner", true, [][]byte{accepted, d.consent(d.At("kim/phone"), nil)}, []identity.Path{"kim"}, Granted},
		{"never: another owner, and not accepted", true, [][]byte{d.consent(d.At("kim/phone"), nil)}, []identity.Path{"kim"}, Unaccepted},
		{"never: the root key", true, [][]byte{accepted, d.root(nil)}, nil, Granted},
		{"never: another owner, whose consent was not taken in", true, [][]byte{accepted, d.consent(d.At("kim/phone"), later)}, []identity.Path{"kim", "kim/phone"}, Unseconded},
		{"never: the root key, and that was not taken in", true, [][]byte{accepted, d.root(later)}, nil, Unseconded},
		{"never: the root key, of another grant", true, [][]byte{accepted, d.root(about(earlier))}, nil, Unseconded},
	} {
		g := d.standing(d.live(c.proved...), c.consents...)
		who := credential.Principal{Chain: d.At("bank").Chain, AsOf: d.Clock}
		facts := fresh(d.Clock)
		facts.Never = c.never
		got := mustDecide(t, Request{Thing: d.At("home/lock").Chain, Affordance: "state", Action: Read}, who, []Grant{g}, facts)
		if got.Reason.Code != c.want || got.Allowed != (c.want == Granted) {
			t.Errorf("%s: %s (%s), want %s", c.name, got.Reason.Code, got.Reason, c.want)
		}
	}
}

// An owner who is gone stands behind nothing any more. Where a phone is gone alone, what the roster took in before stays, as
// long as nobody takes that away, and what the phone signs now counts for nothing, as of whenever it says to be.
func TestSecondRemoved(t *testing.T) {
	d := newDeal(t)
	phone := d.At("kim/phone")
	consents := [][]byte{d.consent(d.At("bank"), nil), d.consent(phone, nil)}
	before := d.Moment
	d.admitted(phone, consents[1])
	if g := d.standing(d.live("kim"), consents...); !g.Seconded() || !g.Accepted() {
		t.Fatal("an owner's consent does not count")
	}
	if _, _, err := credential.VerifyProof(before.Prove([]tree.GrantID{d.given.ID}, d.At("bank")), d.trusted(), d.Clock); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("the grant as it was before: %v", err)
	}
	d.Remove("kim/phone")
	if g := d.standing(d.live("kim"), consents...); !g.Seconded() {
		t.Error("a phone is removed, and what the roster had taken in of it does not count")
	}
	backdated := d.consent(phone, func(c *Consent) { c.Time -= 60 })
	if g := d.standing(d.live("kim"), consents[0], backdated); g.Seconded() {
		t.Error("what a removed phone signed counts")
	}
	seconded := d.Moment
	d.Apply(tree.Update{Unsecond: []tree.Seconding{{Grant: d.given.ID, Consent: d.digest(consents[1])}}})
	if g := d.standing(d.live("kim"), consents...); g.Seconded() {
		t.Error("what was taken away counts")
	}
	if _, _, err := credential.VerifyProof(seconded.Prove([]tree.GrantID{d.given.ID}, d.At("bank")), d.trusted(), d.Clock); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("the grant as it was when it was seconded: %v", err)
	}
	d.admitted(d.At("sam/laptop"), consents[1])
	d.Remove("kim")
	if g := d.standing(d.live(), consents...); g.Seconded() {
		t.Error("the consent of a removed owner counts")
	}
}

// Whoever has a right to act, and is shown nothing, needs nobody's second word: a lock is opened, and nothing leaves.
func TestNeverIsAboutClearText(t *testing.T) {
	d := newDeal(t)
	d.terms.ID, d.terms.Thing.Affordance, d.terms.Actions = newID(), "unlock", Actions(Invoke)
	d.terms.Agreement.Clear = nil
	d.given = give(t, d.Home, d.terms)
	g := d.standing(d.live(), d.consent(d.At("bank"), nil))
	facts := fresh(d.Clock)
	facts.Never = true
	who := credential.Principal{Chain: d.At("bank").Chain, AsOf: d.Clock}
	if got := mustDecide(t, Request{Thing: d.At("home/lock").Chain, Affordance: "unlock", Action: Invoke}, who, []Grant{g}, facts); !got.Allowed {
		t.Errorf("refused: %s", got.Reason)
	}
}

func (d deal) class(by *identitytest.Member, never bool, at time.Time) ([]byte, Class) {
	d.t.Helper()
	c := Class{Tree: d.ID, Owner: by.ActsFor(), Thing: d.At("home/lock").Member(), Affordance: "state", Never: never, Time: at.Unix()}
	raw, err := SignClass(by.Signer, by.Raw, c)
	if err != nil {
		d.t.Fatal(err)
	}
	return raw, c
}

func TestClass(t *testing.T) {
	d := newDeal(t)
	into, _ := d.class(d.At("sam/laptop"), true, now)
	out, _ := d.class(d.At("sam/laptop"), false, now)
	late, _ := d.class(d.At("sam/laptop"), true, now.Add(time.Hour))
	byAnna, _ := d.class(d.At("sam/anna/phone"), true, now)
	about := func(raw []byte) func(*Consent) {
		return func(c *Consent) { c.Grant, c.Statement = tree.GrantID{}, d.digest(raw) }
	}
	for _, c := range []struct {
		name     string
		raw      []byte
		consents [][]byte
		want     string
	}{
		{"one owner puts in", into, nil, ""},
		{"in the future", late, nil, "in the future"},
		{"a person puts in", byAnna, nil, "does not act for the owner"},
		{"one owner takes out", out, nil, "must approve"},
		{"and that owner's phone", out, [][]byte{d.consent(d.At("sam/phone"), about(out))}, "must approve"},
		{"and another, something else", out, [][]byte{d.consent(d.At("kim/phone"), about(into))}, "must approve"},
		{"and another, a grant", out, [][]byte{d.consent(d.At("kim/phone"), nil)}, "must approve"},
		{"and another owner", out, [][]byte{d.consent(d.At("kim/phone"), about(out))}, ""},
		{"and the root key", out, [][]byte{d.root(about(out))}, ""},
	} {
		live := d.live("kim/phone", "sam/laptop")
		opened, err := OpenClass(c.raw, live.VerifyChain)
		if err == nil {
			err = opened.Stands(d.opened(live, c.consents), live.Check, d.Clock)
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	into, _ = d.class(d.At("sam/phone"), true, now)
	out, _ = d.class(d.At("sam/phone"), false, now)
	consents := [][]byte{d.consent(d.At("kim/phone"), about(out))}
	stands := func(raw []byte, proved ...identity.Path) error {
		live := d.live(proved...)
		opened, err := OpenClass(raw, live.VerifyChain)
		if err != nil {
			t.Fatal(err)
		}
		return opened.Stands(d.opened(live, consents), live.Check, d.Clock)
	}
	if err := stands(out, "sam/phone", "kim/phone"); err != nil {
		t.Errorf("taken out by two: %v", err)
	}
	if err := stands(out, "sam/phone", "kim"); !errors.Is(err, ErrOneOwner) {
		t.Errorf("the phone that consented is not proved: %v", err)
	}
	d.Remove("sam/phone")
	if err := stands(out, "kim/phone"); err == nil {
		t.Error("a phone that was removed takes something out")
	}
	if err := stands(into, "kim/phone"); err != nil {
		t.Errorf("a phone that was removed has put something in: %v", err)
	}
	older, newer := Class{Time: 1, Never: true}, Class{Time: 2}
	same := Class{Time: 1}
	if !newer.Supersedes(older) || older.Supersedes(newer) || same.Supersedes(older) || !older.Supersedes(same) {
		t.Error("the newest does not count, or of one second not the one that puts in")
	}
}

func FuzzParseConsent(f *testing.F) {
	key := identitytest.NewKey(f)
	raw, err := SignConsent(key, nil, Consent{Tree: identity.TreeID{1}, Statement: signed.Digest{2}, Time: 3})
	if err != nil {
		f.Fatal(err)
	}
	class, err := SignClass(key, nil, Class{Tree: identity.TreeID{1}, Owner: identity.MemberID{2}, Thing: identity.MemberID{3}, Affordance: "state", Time: 4})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(class)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, s, err := ParseConsent(raw); err == nil {
			if again, err := signed.Marshal(c); err != nil || string(again) != string(s.Payload) {
				t.Errorf("read as %+v, which is written otherwise: %v", c, err)
			}
		}
		if c, s, err := ParseClass(raw); err == nil {
			if again, err := signed.Marshal(c); err != nil || string(again) != string(s.Payload) {
				t.Errorf("read as %+v, which is written otherwise: %v", c, err)
			}
		}
	})
}
