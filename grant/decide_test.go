package grant

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
)

// fresh are the facts of an ordinary moment.
func fresh(at time.Time) Facts {
	return Facts{Now: at, Limit: Limit{Fresh: time.Hour, Offline: 7 * 24 * time.Hour}}
}

func mustDecide(t testing.TB, req Request, who credential.Principal, grants []Grant, facts Facts) Decision {
	t.Helper()
	d, err := Decide(req, who, grants, facts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Who may use what, by grants to and about members of every kind.
func TestDecideWhoAndWhat(t *testing.T) {
	h := newHousehold(t)
	other := newHousehold(t)
	for _, test := range []struct {
		who, what identity.Path // of the grant
		by, on    identity.Path // of the request
		want      bool
	}{
		{"sam/anna", "home/lock", "sam/anna/phone", "home/lock", true},
		{"sam/anna", "home/lock", "carl/phone", "home/lock", false},
		{"sam/anna", "home/lock", "sam/anna/phone", "home/porch/doorbell", false},
		{"sam/anna", "home", "sam/anna/phone", "home/lock", true},
		{"sam/anna", "home", "sam/anna/phone", "home/porch/doorbell", true},
		{"sam/anna", "home/porch", "sam/anna/phone", "home/porch/doorbell", true},
		{"sam/anna", "home/porch", "sam/anna/phone", "home/lock", false},
		{"sam/anna", "home", "sam/anna/phone", "barn/scale", false},
		{"sam", "home/lock", "sam/anna/phone", "home/lock", false}, // not the people they introduced
		{"sam/anna/phone", "home/lock", "sam/anna/phone", "home/lock", true},
		{"sam/laptop", "home/lock", "sam/anna/phone", "home/lock", false},
		{"home", "barn/scale", "home/lock", "barn/scale", true}, // a place: the devices below
		{"home", "barn/scale", "home/porch/doorbell", "barn/scale", true},
		{"home/porch", "barn/scale", "home/lock", "barn/scale", false},
		{"barn", "barn/scale", "home/lock", "barn/scale", false},
		{"home/lock", "barn/scale", "home/lock", "barn/scale", true},
		{"bank", "barn/scale", "bank", "barn/scale", true},
		{"sam/anna", "sam", "sam/anna/phone", "sam/laptop", false}, // an owner is no place
	} {
		grants := []Grant{stands(h.terms(test.who, test.what), now)}
		req := Request{Thing: h.At(test.on).Chain, Affordance: "state", Action: Invoke}
		d := mustDecide(t, req, h.principal(test.by, now), grants, fresh(now))
		if d.Allowed != test.want {
			t.Errorf("granted to %s on %s, asked by %s on %s: %t, %q", test.who, test.what, test.by, test.on, d.Allowed, d.Reason)
		}
		if d.Allowed && (d.Grant != grants[0].Terms().ID || d.Reason.Code != Granted) {
			t.Errorf("granted to %s on %s: allowed by %s, %q", test.who, test.what, d.Grant, d.Reason)
		}
		// The same member IDs in another tree are other members.
		bent := h.terms(test.who, test.what)
		bent.Subject.Tree = other.ID
		if d := mustDecide(t, req, h.principal(test.by, now), []Grant{stands(bent, now)}, fresh(now)); d.Allowed {
			t.Errorf("granted to %s of another tree, asked by %s: allowed", test.who, test.by)
		}
		bent = h.terms(test.who, test.what)
		bent.Tree = other.ID
		if d := mustDecide(t, req, h.principal(test.by, now), []Grant{stands(bent, now)}, fresh(now)); d.Allowed {
			t.Errorf("granted on %s of another tree, asked on %s: allowed", test.what, test.on)
		}
	}
}

func TestDecideOwners(t *testing.T) {
	h, other := newHousehold(t), newHousehold(t)
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "unlock", Action: Invoke}
	d := mustDecide(t, req, h.principal("sam/phone", now), nil, fresh(now))
	if !d.Allowed || d.Offline || !d.Grant.IsZero() || d.Reason.Code != OwnersRight || !d.Until.Equal(now.Add(time.Hour)) {
		t.Errorf("an owner's app: %+v", d)
	}
	for name, who := range map[string]credential.Principal{
		"an owner of another tree": other.principal("sam/phone", now),
		"a person's app":           h.principal("sam/anna/phone", now),
		"a device":                 h.principal("home/gateway", now),
		"a service":                h.principal("bank", now),
		"an owner, not a leaf":     h.principal("sam", now),
	} {
		if d := mustDecide(t, req, who, nil, fresh(now)); d.Allowed || d.Reason.Code != NoGrant {
			t.Errorf("%s without a grant: %+v", name, d)
		}
	}
}

// Rule 9, for an owner, a guest with an offline term, a guest without one, and a visitor.
func TestDecideAge(t *testing.T) {
	h, abroad := newHousehold(t), newHousehold(t)
	const day = 24 * time.Hour
	limits := Limit{Fresh: 5 * time.Second, Offline: 3 * day}
	guest, without := h.terms("sam/anna", "home/lock"), h.terms("sam/anna", "home/lock")
	guest.Offline = int64(2 * day / time.Second)
	long := guest
	long.Offline = int64(30 * day / time.Second)
	visitor := h.termsFor(Subject{Tree: abroad.ID, Member: abroad.At("sam").Member()}, "home/lock")
	for _, test := range []struct {
		name       string
		who        credential.Principal
		grants     []Grant
		after      time.Duration // the moment, after what is known
		isolated   bool
		limit      Limit
		want       string        // "no", "yes", "offline"
		until      time.Duration // after what is known
		wantReason string
	}{
		{"an owner, fresh", h.principal("sam/phone", now), nil, 4 * time.Second, false, limits, "yes", 5 * time.Second, "owner"},
		{"an owner, stale", h.principal("sam/phone", now), nil, 7 * time.Second, false, limits, "no", 0, "checked 7 s ago, home/lock asks for 5 s: stale"},
		{"an owner, isolated", h.principal("sam/phone", now), nil, 5 * time.Second, true, limits, "offline", 3 * day, "owner"},
		{"an owner, isolated too long", h.principal("sam/phone", now), nil, 3 * day, true, limits, "no", 0, "stale, and offline it serves 3 days"},
		{"an owner, where the thing allows more than seven days", h.principal("sam/phone", now), nil, 7 * day, true, Limit{time.Hour, 30 * day}, "no", 0, "offline it serves 7 days"},
		{"an owner, isolated but fresh", h.principal("sam/phone", now), nil, time.Second, true, limits, "yes", 5 * time.Second, "owner"},
		{"a guest, fresh", h.principal("sam/anna/phone", now), []Grant{stands(without, now)}, 0, false, limits, "yes", 5 * time.Second, "granted"},
		{"a guest without offline term", h.principal("sam/anna/phone", now), []Grant{stands(without, now)}, 5 * time.Second, true, limits, "no", 0, "stale, and it does not serve offline"},
		{"a guest with one", h.principal("sam/anna/phone", now), []Grant{stands(guest, now)}, day, true, limits, "offline", 2 * day, "granted"},
		{"a guest with one, not isolated", h.principal("sam/anna/phone", now), []Grant{stands(guest, now)}, day, false, limits, "no", 0, "stale"},
		{"a guest with one, too late", h.principal("sam/anna/phone", now), []Grant{stands(guest, now)}, 2 * day, true, limits, "no", 0, "offline it serves 2 days"},
		{"a guest with a longer one than the thing honours", h.principal("sam/anna/phone", now), []Grant{stands(long, now)}, 3*day - 1, true, limits, "offline", 3 * day, "granted"},
		{"and too late", h.principal("sam/anna/phone", now), []Grant{stands(long, now)}, 3 * day, true, limits, "no", 0, "stale"},
		{"a thing that honours none", h.principal("sam/anna/phone", now), []Grant{stands(guest, now)}, 5 * time.Second, true, Limit{Fresh: 5 * time.Second}, "no", 0, "does not serve offline"},
		{"a thing without limits", h.principal("sam/phone", now), nil, 0, true, Limit{}, "no", 0, "stale"},
		{"an older grant counts", h.principal("sam/anna/phone", now), []Grant{stands(without, now.Add(-4*time.Second))}, time.Second, false, limits, "no", 0, "checked 5 s ago"},
		{"an older principal counts", h.principal("sam/anna/phone", now.Add(-4*time.Second)), []Grant{stands(without, now)}, time.Second, false, limits, "no", 0, "checked 5 s ago"},
		{"the fresh one of two is preferred", h.principal("sam/anna/phone", now), []Grant{stands(guest, now.Add(-time.Hour)), stands(without, now)}, 0, true, limits, "yes", 5 * time.Second, "granted"},
		{"a visitor", abroad.principal("sam/phone", now.Add(-20*time.Hour)), []Grant{stands(visitor, now)}, 0, false, limits, "yes", 5 * time.Second, "granted"},
		{"a visitor, about to be too old", abroad.principal("sam/phone", now.Add(-day+2*time.Second)), []Grant{stands(visitor, now)}, 0, false, limits, "yes", 2 * time.Second, "granted"},
		{"a visitor of yesterday", abroad.principal("sam/phone", now.Add(-day)), []Grant{stands(visitor, now)}, 0, false, limits, "no", 0, "its own tree was last checked 24 h ago"},
		{"a visitor, whose grant is old", abroad.principal("sam/phone", now), []Grant{stands(visitor, now.Add(-time.Minute))}, 0, false, limits, "no", 0, "checked 60 s ago"},
		{"from the future", h.principal("sam/phone", now.Add(3*time.Minute)), nil, 0, false, limits, "no", 0, "the clocks differ"},
		{"a little from the future", h.principal("sam/phone", now.Add(time.Minute)), nil, 0, false, limits, "yes", time.Minute + 5*time.Second, "owner"},
	} {
		facts := Facts{Now: now.Add(test.after), Limit: test.limit, Isolated: test.isolated}
		d := mustDecide(t, Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}, test.who, test.grants, facts)
		got := map[bool]string{true: "yes", false: "no"}[d.Allowed]
		if d.Allowed && d.Offline {
			got = "offline"
		}
		if got != test.want || !strings.Contains(d.Reason.String(), test.wantReason) {
			t.Errorf("%s: %s, %q, want %s, %q", test.name, got, d.Reason, test.want, test.wantReason)
		}
		if d.Allowed && !d.Until.Equal(now.Add(test.until)) {
			t.Errorf("%s: until %s after, want %s", test.name, d.Until.Sub(now), test.until)
		}
	}
}

// The reason that a refusal gives, and the moment at which what is allowed ends.
func TestDecideTerms(t *testing.T) {
	h := newHousehold(t)
	saturday := []Window{{DayOf(time.Saturday), 14 * 60, 16 * 60}}
	for _, test := range []struct {
		name   string
		change func(*Terms)
		at     time.Time
		action Action
		want   string // the reason
		until  time.Time
	}{
		{"everything", func(t *Terms) {}, now, Write, "granted", now.Add(time.Hour)},
		{"another affordance", func(t *Terms) { t.Thing.Affordance = "battery" }, now, Read, "granted is battery alone", time.Time{}},
		{"the affordance", func(t *Terms) { t.Thing.Affordance = "state" }, now, Read, "granted", now.Add(time.Hour)},
		{"another action", func(t *Terms) { t.Actions = See }, now, Invoke, "granted is to read and observe, not to invoke", time.Time{}},
		{"before", func(t *Terms) { t.From = now.Unix() + 1 }, now, Read, "it begins on 21 Nov 2026, 14:30 (UTC)", time.Time{}},
		{"the first moment", func(t *Terms) { t.From = now.Unix() }, now, Read, "granted", now.Add(time.Hour)},
		{"the last moment", func(t *Terms) { t.Until = now.Unix() + 1 }, now.Add(999 * time.Millisecond), Read, "granted", now.Add(time.Second)},
		{"after", func(t *Terms) { t.Until = now.Unix(); t.Zone = "Europe/Berlin" }, now, Read, "it ended on 21 Nov 2026, 15:30 (Berlin)", time.Time{}},
		{"in its hours", func(t *Terms) { t.Windows, t.Zone = saturday, "Europe/Berlin" }, now, Read, "granted", now.Add(30 * time.Minute)},
		{"outside its hours", func(t *Terms) { t.Windows, t.Zone = saturday, "Europe/Berlin" }, now.Add(30 * time.Minute), Read,
			"outside its hours: Saturdays 14:00–16:00 (Berlin)", time.Time{}},
		{"in another zone", func(t *Terms) { t.Windows, t.Zone = saturday, "America/New_York" }, now, Read,
			"outside its hours: Saturdays 14:00–16:00 (New York)", time.Time{}},
	} {
		terms := h.terms("sam/anna", "home/lock")
		test.change(&terms)
		d := mustDecide(t, Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: test.action}, h.principal("sam/anna/phone", test.at), []Grant{stands(terms, now)}, fresh(test.at))
		if d.Reason.String() != test.want || d.Allowed != (test.want == "granted") {
			t.Errorf("%s: %t, %q, want %q", test.name, d.Allowed, d.Reason, test.want)
		}
		if !d.Until.Equal(test.until) {
			t.Errorf("%s: until %s, want %s", test.name, d.Until, test.until)
		}
	}
}

func TestDecideMoment(t *testing.T) {
	h := newHousehold(t)
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
	sam := h.principal("sam/phone", now)
	if d := mustDecide(t, req, sam, nil, Facts{Limit: fresh(now).Limit}); d.Allowed || d.Reason.Code != NoClock {
		t.Errorf("a clock not set: %+v", d)
	}
	end := sam.NotAfter
	sam.AsOf = end.Add(-time.Minute)
	if d := mustDecide(t, req, sam, nil, fresh(end.Add(-time.Second))); !d.Allowed || !d.Until.Equal(end) {
		t.Errorf("a certificate about to end: %+v", d)
	}
	if d := mustDecide(t, req, sam, nil, fresh(end)); d.Allowed || d.Reason.Code != Expired {
		t.Errorf("a certificate that ended: %+v", d)
	}
}

// What cannot be evaluated is denied, even if another grant would allow it.
func TestDecideFails(t *testing.T) {
	h := newHousehold(t)
	anna := h.principal("sam/anna/phone", now)
	good := stands(h.terms("sam/anna", "home/lock"), now)
	broken := h.terms("sam/anna", "home/lock")
	broken.Zone = "Mars/Olympus"
	empty := h.terms("sam/anna", "home/lock")
	empty.Windows = []Window{{}} // an empty set of days, which the schema does not let through
	empty.Zone = "Europe/Berlin"
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
	for name, test := range map[string]struct {
		req    Request
		who    credential.Principal
		grants []Grant
	}{
		"no caller":           {req, credential.Principal{}, []Grant{good}},
		"no thing":            {Request{Affordance: "state", Action: Read}, anna, []Grant{good}},
		"no action":           {Request{Thing: req.Thing, Affordance: "state", Action: 0}, anna, []Grant{good}},
		"two actions at once": {Request{Thing: req.Thing, Affordance: "state", Action: Read | Write}, anna, []Grant{good}},
		"an unknown zone":     {req, anna, []Grant{good, stands(broken, now), good}},
		"an invalid policy":   {req, anna, []Grant{good, stands(empty, now), good}},
	} {
		d, err := Decide(test.req, test.who, test.grants, fresh(now))
		if err == nil || d.Allowed || d.Reason.Code != Failed {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
	if d := mustDecide(t, req, anna, []Grant{{}, good}, fresh(now)); !d.Allowed {
		t.Errorf("a zero grant beside a good one: %+v", d)
	}
}

// Of several refusals the one nearest to being allowed is told.
func TestDecideNearestReason(t *testing.T) {
	h := newHousehold(t)
	elsewhere, action, hours := h.terms("sam/anna", "barn/scale"), h.terms("sam/anna", "home"), h.terms("sam/anna", "home/lock")
	action.Actions = Actions(Write)
	hours.Windows, hours.Zone = []Window{{DayOf(time.Monday), 0, 0}}, "Europe/Berlin"
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
	for _, test := range []struct {
		grants []Terms
		want   Code
	}{
		{nil, NoGrant}, {[]Terms{elsewhere}, NoGrant}, {[]Terms{action, elsewhere}, Doing},
		{[]Terms{hours, action}, OutOfHours}, {[]Terms{action, hours}, OutOfHours},
	} {
		var grants []Grant
		for _, t := range test.grants {
			grants = append(grants, stands(t, now))
		}
		if d := mustDecide(t, req, h.principal("sam/anna/phone", now), grants, fresh(now)); d.Allowed || d.Reason.Code != test.want {
			t.Errorf("%d grants: %s, %q, want %s", len(grants), d.Reason.Code, d.Reason, test.want)
		}
	}
}

// Of several grants that allow a request, the one that allows it longest counts.
func TestDecideLongest(t *testing.T) {
	h := newHousehold(t)
	short, long := h.terms("sam/anna", "home/lock"), h.terms("sam/anna", "home")
	short.Until, long.Until = now.Add(time.Minute).Unix(), now.Add(10*time.Minute).Unix()
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
	for _, order := range [][]Terms{{short, long}, {long, short}} {
		grants := []Grant{stands(order[0], now), stands(order[1], now)}
		d := mustDecide(t, req, h.principal("sam/anna/phone", now), grants, fresh(now))
		if d.Grant != long.ID || !d.Until.Equal(now.Add(10*time.Minute)) {
			t.Errorf("allowed until %s", d.Until)
		}
	}
}

func TestIndex(t *testing.T) {
	h := newHousehold(t)
	var x Index
	anna, again, place := h.terms("sam/anna", "home/lock"), h.terms("sam/anna", "home"), h.terms("home", "barn/scale")
	for _, terms := range []Terms{anna, again, place, anna} {
		x.Set(stands(terms, now))
	}
	x.Set(Grant{})
	check := func(path identity.Path, want ...Terms) {
		t.Helper()
		got := x.For(h.At(path).Chain)
		if len(got) != len(want) {
			t.Fatalf("%d grants for %s, want %d", len(got), path, len(want))
		}
		for i, terms := range want {
			if got[i].Terms().ID != terms.ID {
				t.Errorf("grant %d for %s is another", i, path)
			}
		}
	}
	check("sam/anna/phone", again, anna)
	check("home/porch/doorbell", place)
	check("carl/phone")
	moved := anna
	moved.Subject.Member = h.At("carl").Member()
	x.Set(stands(moved, now))
	check("carl/phone", moved)
	check("sam/anna/phone", again)
	x.Delete(again.ID)
	x.Delete(again.ID)
	check("sam/anna/phone")
	if x.Len() != 2 || len(x.subjects) != 2 {
		t.Errorf("%d grants for %d subjects left, want 2 for 2", x.Len(), len(x.subjects))
	}
	if got := x.For(identity.Chain{}); len(got) != 0 {
		t.Errorf("%d grants for nobody", len(got))
	}
}

// Verified grants are shared: each is compiled once, by whoever asks first.
func TestDecideConcurrently(t *testing.T) {
	h := newHousehold(t)
	var grants []Grant
	for range 4 {
		terms := h.usual()
		terms.Windows = nil
		grants = append(grants, stands(terms, now))
	}
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
	anna := h.principal("sam/anna/phone", now)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if d, err := Decide(req, anna, grants, fresh(now)); err != nil || !d.Allowed {
					t.Errorf("%+v, %v", d, err)
				}
			}
		})
	}
	all.Wait()
}
