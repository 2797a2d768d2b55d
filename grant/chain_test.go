package grant

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A company is a home in which things are passed on: sam, the owner, gives to an adviser, who gives to eva, who gives to
// tom.
type company struct {
	*credentialtest.Home
	t testing.TB
}

func newCompany(t testing.TB) company {
	h := credentialtest.New(t, now)
	for _, m := range []struct {
		kind identity.Kind
		path identity.Path
	}{
		{identity.Person, "sam/adviser"}, {identity.App, "sam/adviser/laptop"}, {identity.App, "sam/adviser/phone"},
		{identity.Person, "sam/eva"}, {identity.App, "sam/eva/phone"}, {identity.Person, "sam/tom"}, {identity.App, "sam/tom/phone"},
		{identity.Device, "home/meter"}, {identity.Place, "home/porch"}, {identity.Device, "home/porch/bell"}, {identity.Device, "home/gateway"},
	} {
		h.Add(m.kind, m.path)
	}
	return company{h, t}
}

// a change is made to terms before they are signed.
type change = func(*Terms)

func depth(n uint8) change { return func(t *Terms) { t.Depth = n } }

// give is a grant to whoever is at who about the meter, signed by a leaf for a giver, and put into the roster.
func (c company) give(by, giver, who identity.Path, parent signed.Digest, changes ...change) tree.Admitted {
	c.t.Helper()
	t := household{c.Tree}.terms(who, "home/meter")
	t.Giver, t.Parent, t.Time = c.At(giver).Member(), parent, c.Clock.Unix()
	for _, change := range changes {
		change(&t)
	}
	raw, err := Sign(c.At(by).Signer, c.At(by).Raw, t)
	if err != nil {
		c.t.Fatal(err)
	}
	g := c.Grant(t.ID, c.At(giver), c.At(by), raw)
	return g
}

// chain gives the meter to the adviser, on to eva, and on to tom.
func (c company) chain() (links []tree.Admitted) {
	c.t.Helper()
	top := c.give("sam/laptop", "sam", "sam/adviser", signed.Digest{}, depth(3))
	middle := c.give("sam/adviser/laptop", "sam/adviser", "sam/eva", top.Statement, depth(2))
	return []tree.Admitted{top, middle, c.give("sam/eva/phone", "sam/eva", "sam/tom", middle.Statement)}
}

// judge decides on a leaf reading the meter's power, which shows these grants.
func (c company) judge(by identity.Path, shown ...tree.Admitted) (Decision, error) {
	return c.ask(by, "home/meter", Read, shown...)
}

func (c company) ask(by, on identity.Path, action Action, shown ...tree.Admitted) (Decision, error) {
	c.t.Helper()
	who, live := c.Principal(c.Clock, by, shown...)
	var raws [][]byte
	for _, g := range shown {
		raws = append(raws, g.Raw)
	}
	grants, err := VerifyAll(raws, live, c.Clock)
	req := Request{Thing: c.At(on).Chain, Affordance: "power", Action: action}
	return mustDecide(c.t, req, who, grants, fresh(c.Clock)), err
}

func TestChain(t *testing.T) {
	c := newCompany(t)
	links := c.chain()
	for by, from := range map[identity.Path]int{"sam/adviser/phone": 0, "sam/eva/phone": 1, "sam/tom/phone": 2} {
		d, err := c.judge(by, links...)
		if err != nil || !d.Allowed || d.Grant != links[from].ID || len(d.Above) != from {
			t.Errorf("%s: %+v, %v", by, d, err)
		}
	}
	d, err := c.judge("sam/tom/phone", links[2], links[0])
	if err == nil || !strings.Contains(err.Error(), "is not shown") || d.Allowed {
		t.Errorf("without the link in the middle: %+v, %v", d, err)
	}
	reversed := slices.Clone(links)
	slices.Reverse(reversed)
	if d, err := c.judge("sam/tom/phone", append(reversed, links...)...); err != nil || !d.Allowed {
		t.Errorf("in another order, and twice: %+v, %v", d, err)
	}
}

// Taking back any link takes what rests on it.
func TestChainTakenBack(t *testing.T) {
	for taken := range 3 {
		c := newCompany(t)
		links := c.chain()
		c.Revoke(links[taken].ID)
		left := slices.Delete(slices.Clone(links), taken, taken+1)
		if d, err := c.judge("sam/tom/phone", left...); d.Allowed || taken < 2 && err == nil {
			t.Errorf("link %d is taken back: %+v, %v", taken, d, err)
		}
		if d, _ := c.judge("sam/adviser/phone", left...); d.Allowed != (taken > 0) {
			t.Errorf("link %d is taken back, and above it: %+v", taken, d)
		}
	}
	for _, gone := range []identity.Path{"sam/adviser", "sam/eva"} {
		c := newCompany(t)
		links := c.chain()
		c.Remove(gone)
		if d, err := c.judge("sam/tom/phone", links...); d.Allowed || err == nil || !strings.Contains(err.Error(), "its giver") {
			t.Errorf("%s is gone: %+v, %v", gone, d, err)
		}
	}
	// The leaf that signed may go: what it did for its giver stays.
	c := newCompany(t)
	links := c.chain()
	c.Remove("sam/adviser/laptop")
	if d, err := c.judge("sam/tom/phone", links...); !d.Allowed {
		t.Errorf("the leaf that signed is gone: %+v, %v", d, err)
	}
}

// What a delegate might try. Each is signed, and in the roster, as if the keeper let it pass.
func TestChainRefuses(t *testing.T) {
	const laptop, adviser, eva = "sam/adviser/laptop", "sam/adviser", "sam/eva"
	for _, test := range []struct {
		name       string
		above      change // of what the adviser has
		by, giver  identity.Path
		below      change // of what eva is given
		asks       Action
		on         identity.Path
		err, wants string
	}{
		{name: "nothing more", above: depth(1), asks: Read},
		{name: "what may not be passed on", asks: Read, err: "passed on 0 times, and want fewer than 0"},
		{name: "as often again", above: depth(1), below: depth(1), asks: Read, err: "passed on 1 times, and want fewer than 1"},
		{name: "other actions", above: func(t *Terms) { t.Depth, t.Actions = 1, See }, asks: Write, err: "it is to write and invoke, and that is to read and observe"},
		{name: "other actions, to be passed on", above: func(t *Terms) { t.Depth, t.Actions = 2, See },
			below: func(t *Terms) { t.Depth, t.Actions, t.HandOn = 1, See, Actions(Write) }, asks: Read, err: "it is to write, and that"},
		{name: "another property", above: func(t *Terms) { t.Depth, t.Thing.Affordance = 1, "energy" },
			below: func(t *Terms) { t.Thing.Affordance = "power" }, asks: Read, err: `it is about "power"`},
		{name: "all properties", above: func(t *Terms) { t.Depth, t.Thing.Affordance = 1, "power" }, asks: Read, err: `it is about ""`},
		{name: "for longer", above: func(t *Terms) { t.Depth, t.Until = 1, now.Add(time.Hour).Unix() }, asks: Read, err: "it lasts longer"},
		{name: "for longer offline", above: func(t *Terms) { t.Depth, t.Offline = 1, 60 }, below: func(t *Terms) { t.Offline = 61 }, asks: Read, err: "it serves offline"},
		{name: "to be kept for longer", above: func(t *Terms) { t.Depth, t.Retention = 1, 3600 }, below: func(t *Terms) { t.Retention = 3601 }, asks: Read, err: "may be kept for"},
		{name: "to be kept for ever", above: func(t *Terms) { t.Depth, t.Retention = 1, 3600 }, asks: Read, err: "may be kept for ever, and by that for"},
		{name: "to be kept as long", above: func(t *Terms) { t.Depth, t.Retention = 1, 3600 }, below: func(t *Terms) { t.Retention = 3600 }, asks: Read},
		{name: "in clear", above: depth(1), below: func(t *Terms) { t.Agreement.Clear = []string{"power"} }, asks: Read, err: "in clear"},
		{name: "as another", above: depth(1), by: "sam/tom/phone", giver: "sam/tom", asks: Read, err: "whom that is not for"},
		{name: "as the owner", above: depth(1), by: "sam/laptop", giver: "sam", asks: Read, err: "whom that is not for"},
		{name: "as the leaf alone", above: depth(1), by: laptop, giver: laptop, asks: Read, err: "its giver is"},
		{name: "as the person, with the leaf's", above: func(t *Terms) { t.Depth, t.Subject.Member = 1, identity.MemberID{9} }, asks: Read, err: "whom that is not for"},
		// These are not compared: every link is asked.
		{name: "another thing", above: depth(1), below: func(t *Terms) { t.Thing.Member = identity.MemberID{} }, on: "home/gateway", asks: Read, wants: "about something else"},
		{name: "later", above: func(t *Terms) { t.Depth, t.From = 1, now.Add(time.Hour).Unix() }, asks: Read, wants: "it begins on"},
		{name: "at other hours", above: func(t *Terms) { t.Depth, t.Windows, t.Zone = 1, []Window{{DayOf(time.Sunday), 0, 60}}, "Europe/Berlin" }, asks: Read, wants: "outside its hours"},
		{name: "what is only handed on", above: func(t *Terms) { t.Depth, t.Actions, t.HandOn = 1, See, Actions(Write|Invoke) }, asks: Invoke},
	} {
		c := newCompany(t)
		if test.by == "" {
			test.by, test.giver = laptop, adviser
		}
		if test.on == "" {
			test.on = "home/meter"
		}
		fix := func(f change) change {
			return func(t *Terms) {
				if f != nil {
					f(t)
				}
				if t.Thing.Member.IsZero() {
					t.Thing.Member = c.At(test.on).Member()
				}
			}
		}
		top := c.give("sam/laptop", "sam", adviser, signed.Digest{}, fix(test.above))
		below := c.give(test.by, test.giver, eva, top.Statement, fix(test.below))
		d, err := c.ask("sam/eva/phone", test.on, test.asks, top, below)
		switch {
		case test.err != "":
			if err == nil || !strings.Contains(err.Error(), test.err) || d.Allowed {
				t.Errorf("%s: %+v, error %v, want one with %q", test.name, d, err, test.err)
			}
		case err != nil:
			t.Errorf("%s: %v", test.name, err)
		case d.Allowed != (test.wants == "") || !strings.Contains(d.Reason.String(), test.wants):
			t.Errorf("%s: %t, %q, want %q", test.name, d.Allowed, d.Reason, test.wants)
		}
	}
}

// Whoever manages a grant lets others see, and sees nothing.
func TestManage(t *testing.T) {
	c := newCompany(t)
	top := c.give("sam/laptop", "sam", "sam/adviser", signed.Digest{}, func(t *Terms) { t.Actions, t.HandOn, t.Depth = 0, See, 1 })
	below := c.give("sam/adviser/laptop", "sam/adviser", "sam/eva", top.Statement, func(t *Terms) { t.Actions = Actions(Read) })
	if d, err := c.judge("sam/adviser/laptop", top, below); err != nil || d.Allowed || d.Reason.String() != "granted is to let others read and observe, not to read" {
		t.Errorf("the adviser: %+v, %v", d, err)
	}
	if d, err := c.judge("sam/eva/phone", top, below); err != nil || !d.Allowed {
		t.Errorf("eva: %+v, %v", d, err)
	}
	itself := c.give("sam/adviser/laptop", "sam/adviser", "sam/adviser", top.Statement, func(t *Terms) { t.Actions = Actions(Read) })
	if d, err := c.judge("sam/adviser/laptop", top, itself); err == nil || d.Allowed || !strings.Contains(err.Error(), "it is for whom that is for") {
		t.Errorf("the adviser, by a grant to themselves: %+v, %v", d, err)
	}
	phone := c.give("sam/adviser/laptop", "sam/adviser", "sam/adviser/phone", top.Statement, func(t *Terms) { t.Actions = Actions(Read) })
	if d, err := c.judge("sam/adviser/phone", top, phone); err != nil || d.Allowed || d.Reason.Code != Doing {
		t.Errorf("the adviser, by a grant to their phone: %+v, %v", d, err)
	}
}

// Who passes on is who the grant is for, whatever kind of member that is.
func TestGiverFor(t *testing.T) {
	h := newHousehold(t)
	for _, test := range []struct {
		subject identity.Path
		below   bool
		signer  identity.Path
		want    identity.Path
	}{
		{"sam/anna", false, "sam/anna/phone", "sam/anna"},
		{"sam/anna/phone", false, "sam/anna/phone", "sam/anna/phone"},
		{"home", false, "home/lock", "home/lock"},
		{"home", false, "home/porch/doorbell", "home/porch/doorbell"},
		{"home/lock", false, "home/lock", "home/lock"},
		{"bank", false, "bank", "bank"},
		{"sam", true, "sam/anna/phone", "sam/anna"},
		{"sam", true, "sam/phone", "sam"},
		{"sam/anna", true, "sam/anna/phone", "sam/anna"},
	} {
		terms := h.terms(test.subject, "home/lock")
		terms.Subject.Below = test.below
		if got := terms.GiverFor(h.At(test.signer).Chain); got != h.At(test.want).Member() || !terms.To(h.At(test.signer).Chain) {
			t.Errorf("for %s, signed by %s: it is not from %s", test.subject, test.signer, test.want)
		}
	}
}

// A chain is as old, ends as soon, and shows as little as any link of it.
func TestChainIntersects(t *testing.T) {
	c := newCompany(t)
	soon, late := now.Add(10*time.Minute), now.Add(20*time.Minute)
	top := c.give("sam/laptop", "sam", "sam/adviser", signed.Digest{}, func(t *Terms) {
		t.Depth, t.Until, t.Offline = 1, late.Unix(), 7200
		t.Windows, t.Zone = []Window{{DayOf(time.Saturday), 15 * 60, 15*60 + 40}}, "Europe/Berlin" // until soon
	})
	c.Clock = now.Add(5 * time.Minute)
	below := c.give("sam/adviser/laptop", "sam/adviser", "sam/eva", top.Statement, func(t *Terms) { t.Until, t.Offline = late.Unix(), 3600 })
	d, err := c.judge("sam/eva/phone", top, below)
	if err != nil || !d.Allowed || !d.Until.Equal(soon) {
		t.Fatalf("%+v, %v, want it until %s", d, err, soon)
	}
	if since := d.View.Since(); !since.Equal(c.Clock) || d.View.Sees(now) || !d.View.Sees(c.Clock) || d.View.Sees(soon) {
		t.Errorf("it shows what is since %s", since)
	}
	if again, err := (Grant{}).Renew(credential.Live{}, now); err == nil {
		t.Errorf("nothing is renewed as %+v", again)
	}
}

// Whoever may pass on days does not choose where they begin: what is given on with many zones would show, as differences
// of days, each hour. The days are those of the owner's zone, and so are the months of whoever is to see less.
func TestStepsAreInTheOwnersZone(t *testing.T) {
	for step, zone := range map[Step]string{Day: "Asia/Tokyo", Month: "Asia/Kathmandu"} {
		c := newCompany(t)
		top := c.give("sam/laptop", "sam", "sam/adviser", signed.Digest{}, depth(3), func(t *Terms) {
			t.Detail.Step, t.Zone = Day, "Europe/Berlin"
		})
		given := c.give("sam/adviser/laptop", "sam/adviser", "sam/eva", top.Statement, func(t *Terms) {
			t.Detail.Step, t.Zone = step, zone
		})
		d, err := c.judge("sam/eva/phone", top, given)
		if err != nil || !d.Allowed || d.View.Detail.Step != step || d.View.Zone.String() != "Europe/Berlin" {
			t.Errorf("a step of %d in the zone of %s: %v, and by the clock of %s (%v)", step, zone, d.Reason, d.View.Zone, err)
		}
	}
}
