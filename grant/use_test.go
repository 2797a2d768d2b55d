package grant

import (
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// Each of the terms that limit a use, met and not met: the reason, and until when it is allowed.
func TestDecideUse(t *testing.T) {
	h := newHousehold(t)
	heating := func(t *Terms) { t.Purpose = "heating-advice" }
	home := func(t *Terms) { t.Home = true }
	direct := func(t *Terms) { t.Route = DirectRoute }
	gateway := func(t *Terms) { t.Route = GatewayRoute }
	uses := func(t *Terms) { t.Uses = 5 }
	rate := func(t *Terms) { t.Rate, t.Zone = Rate{2, 3600}, "Europe/Berlin" }
	budget := func(t *Terms) { t.Budget = 600 }
	hour := now.Add(time.Hour)
	for _, test := range []struct {
		name   string
		change func(*Terms)
		ask    string // purpose
		way    Way
		used   *Usage
		want   Code
		text   string
		until  time.Time
	}{
		{"a purpose that is named", heating, "heating-advice", Relayed, nil, Granted, "granted", hour},
		{"no purpose", heating, "", AtHome, nil, WrongPurpose, "granted for heating-advice alone, and the request names no purpose", time.Time{}},
		{"another purpose", heating, "advertising", AtHome, nil, WrongPurpose, `granted for heating-advice alone, not for "advertising"`, time.Time{}},
		{"a purpose that nothing asks for", func(*Terms) {}, "advertising", Relayed, nil, Granted, "granted", hour},
		{"at home", home, "", AtHome, nil, Granted, "granted", hour},
		{"not at home", home, "", Direct, nil, Away, "granted within the home's own network alone", time.Time{}},
		{"directly", direct, "", Direct, nil, Granted, "granted", hour},
		{"directly, at home", direct, "", AtHome, nil, Granted, "granted", hour},
		{"not directly", direct, "", ByGateway, nil, WrongWay, "granted without any relay, and it came by the gateway", time.Time{}},
		{"by the gateway", gateway, "", ByGateway, nil, Granted, "granted", hour},
		{"directly, where the gateway may help", gateway, "", Direct, nil, Granted, "granted", hour},
		{"by another relay", gateway, "", Relayed, nil, WrongWay, "granted without any relay but the home's own gateway, and it came relayed", time.Time{}},
		{"the first use", uses, "", Relayed, &Usage{}, Granted, "granted", hour},
		{"the last use", uses, "", Relayed, &Usage{Uses: 4}, Granted, "granted", hour},
		{"one use too many", uses, "", Relayed, &Usage{Uses: 5}, UsedUp, "it was used 5 times, as often as was granted", time.Time{}},
		{"uses that nobody counts", uses, "", AtHome, nil, Uncounted, "it is granted so many times, or for so long, and nobody has counted", time.Time{}},
		{"within the rate", rate, "", Relayed, &Usage{Uses: 100, Recent: 1}, Granted, "granted", hour},
		{"too often", rate, "", Relayed, &Usage{Recent: 2, Free: now.Add(20 * time.Minute)}, TooOften,
			"it was used twice within 1 h, as often as was granted: again from 21 Nov 2026, 15:50 (Berlin)", time.Time{}},
		{"a rate that nobody counts", rate, "", AtHome, nil, Uncounted, "it is granted so many times, or for so long, and nobody has counted", time.Time{}},
		{"the whole budget", budget, "", Relayed, &Usage{}, Granted, "granted", now.Add(10 * time.Minute)},
		{"the end of the budget", budget, "", Relayed, &Usage{Time: 10*time.Minute - 1}, Granted, "granted", now.Add(1)},
		{"no budget", budget, "", Relayed, &Usage{Time: 10 * time.Minute}, UsedUp, "it was used for 10 min, as long as was granted", time.Time{}},
		{"a budget that nobody counts", budget, "", AtHome, nil, Uncounted, "it is granted so many times, or for so long, and nobody has counted", time.Time{}},
		{"used up, and for another purpose", func(t *Terms) { uses(t); heating(t) }, "", Relayed, &Usage{Uses: 5}, UsedUp, "it was used 5 times, as often as was granted", time.Time{}},
	} {
		terms := h.terms("sam/anna", "home/lock")
		test.change(&terms)
		if err := terms.Validate(); err != nil {
			t.Fatal(err)
		}
		facts := fresh(now)
		facts.Way = test.way
		if test.used != nil {
			facts.Usage = func(*Terms) Usage { return *test.used }
		}
		req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Observe, Purpose: test.ask}
		d := mustDecide(t, req, h.principal("sam/anna/phone", now), []Grant{stands(terms, now)}, facts)
		if d.Reason.Code != test.want || d.Reason.String() != test.text || d.Allowed != (test.want == Granted) {
			t.Errorf("%s: %t, %s, %q, want %s, %q", test.name, d.Allowed, d.Reason.Code, d.Reason, test.want, test.text)
		}
		if !d.Until.Equal(test.until) {
			t.Errorf("%s: until %s, want %s", test.name, d.Until, test.until)
		}
		counted := d.Allowed && terms.counted()
		if d.Counts != counted || len(d.Counted()) == 1 != counted {
			t.Errorf("%s: counts %t, %d, want %t", test.name, d.Counts, len(d.Counted()), counted)
		}
		if !d.Allowed && d.View.Sees(now) {
			t.Errorf("%s: denied, and opens a view", test.name)
		}
	}
}

// A grant for everyone below a member is for just those.
func TestDecideBelow(t *testing.T) {
	h := newHousehold(t)
	for _, test := range []struct {
		who, by identity.Path
		want    bool
	}{
		{"sam", "sam/phone", true},
		{"sam", "sam/anna/phone", true}, // and so the people they introduced
		{"sam", "carl/phone", false},
		{"sam/anna", "sam/anna/phone", true},
		{"sam/anna", "sam/phone", false},
		{"home", "home/porch/doorbell", true},
		{"home/porch", "home/lock", false},
		{"home/lock", "home/lock", true},
	} {
		terms := h.terms(test.who, "barn/scale")
		terms.Subject.Below = true
		var index Index
		index.Set(stands(terms, now))
		who := h.principal(test.by, now)
		req := Request{Thing: h.At("barn/scale").Chain, Affordance: "state", Action: Read}
		d := mustDecide(t, req, who, index.For(who.Chain), fresh(now))
		if d.Allowed = d.Allowed && d.Reason.Code == Granted; d.Allowed != test.want && !who.Owner() {
			t.Errorf("granted to everyone below %s, asked by %s: %t, %q", test.who, test.by, d.Allowed, d.Reason)
		}
		if got := terms.To(who.Chain); got != test.want {
			t.Errorf("%s is meant by everyone below %s: %t", test.by, test.who, got)
		}
		if direct := mustDecide(t, req, who, []Grant{stands(terms, now)}, fresh(now)); direct.Allowed != (test.want || who.Owner()) {
			t.Errorf("without an index, granted to everyone below %s, asked by %s: %t", test.who, test.by, direct.Allowed)
		}
	}
}

// A service sees the fields that it is granted in clear, and else nothing.
func TestDecideService(t *testing.T) {
	h := newHousehold(t)
	closed, open := h.terms("bank", "barn/scale"), h.terms("bank", "barn/scale")
	open.Agreement.Clear = []string{"mean", "weight"}
	for _, test := range []struct {
		name   string
		terms  Terms
		action Action
		want   Code
		clear  []string
	}{
		{"nothing in clear", closed, Read, NotShown, nil},
		{"nothing in clear, followed", closed, Observe, NotShown, nil},
		{"nothing in clear, acted on", closed, Invoke, Granted, nil},
		{"nothing in clear, written", closed, Write, Granted, nil},
		{"fields in clear", open, Read, Granted, []string{"mean", "weight"}},
		{"fields in clear, acted on", open, Invoke, Granted, []string{"mean", "weight"}},
	} {
		req := Request{Thing: h.At("barn/scale").Chain, Affordance: "weight", Action: test.action}
		g := stands(test.terms, now)
		g.accepted = true
		d := mustDecide(t, req, h.principal("bank", now), []Grant{g}, fresh(now))
		if d.Reason.Code != test.want || d.Allowed != (test.want == Granted) || !slices.Equal(d.View.Clear, test.clear) {
			t.Errorf("%s: %t, %q, clear %q", test.name, d.Allowed, d.Reason, d.View.Clear)
		}
	}
	mine := open
	mine.Subject.Member = h.At("sam/anna").Member()
	req := Request{Thing: h.At("barn/scale").Chain, Affordance: "weight", Action: Read}
	g := stands(mine, now)
	g.accepted = true
	if d := mustDecide(t, req, h.principal("sam/anna/phone", now), []Grant{g}, fresh(now)); !d.Allowed || d.View.Clear != nil {
		t.Errorf("a person, who is shown everything: %+v", d)
	}
}

// Of grants that allow the same, the one is preferred that uses nothing up, then the one that shows more.
func TestDecidePrefers(t *testing.T) {
	h := newHousehold(t)
	with := func(change func(*Terms)) Terms {
		terms := h.terms("sam/anna", "home/lock")
		change(&terms)
		return terms
	}
	full := with(func(*Terms) {})
	once := with(func(t *Terms) { t.Uses = 1 })
	day := with(func(t *Terms) { t.Detail.Step = Day })
	hours := with(func(t *Terms) { t.Detail.Step = Hour })
	area := with(func(t *Terms) { t.Detail.Area = true })
	past := with(func(t *Terms) { t.Moments.From = 1 })
	soon := with(func(t *Terms) { t.Until = now.Unix() + 60; t.Moments.From = 1 })
	for _, test := range []struct {
		name   string
		grants []Terms // the first is preferred
	}{
		{"what uses nothing up", []Terms{day, once}},
		{"what shows every value", []Terms{full, day}},
		{"finer steps", []Terms{hours, day}},
		{"positions themselves", []Terms{day, area}},
		{"more of the past", []Terms{past, full}},
		{"more of the past, if for less long", []Terms{soon, full}},
		{"what holds longer", []Terms{past, soon}},
	} {
		first, second := stands(test.grants[0], now), stands(test.grants[1], now)
		facts := fresh(now)
		facts.Usage = func(*Terms) Usage { return Usage{} }
		req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
		for _, grants := range [][]Grant{{first, second}, {second, first}} {
			if d := mustDecide(t, req, h.principal("sam/anna/phone", now), grants, facts); d.Grant != first.Terms().ID {
				t.Errorf("%s is not preferred", test.name)
			}
		}
	}
}

// What the forms for people say is read again as it was.
func TestParseUse(t *testing.T) {
	for text, want := range map[string]Rate{
		"4/1h": {4, 3600}, "10/1d": {10, 24 * 3600}, "1/90s": {1, 90}, "2/30m": {2, 1800}, "7/36h": {7, 36 * 3600},
		"": {}, "4": {}, "/1h": {}, "4/": {}, "0/1h": {}, "-1/1h": {}, "4/0s": {}, "4/1ms": {}, "5000000000/1h": {}, "4/367d": {}, "4/1h/2": {},
	} {
		got, err := ParseRate(text)
		if got != want || (err != nil) != (want == Rate{}) || err == nil && got.String() != text {
			t.Errorf("ParseRate(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]Detail{
		"15m": {Step: QuarterHour}, "1h": {Step: Hour}, "1d": {Step: Day}, "1mo": {Step: Month}, "area": {Area: true}, "1d,area": {Day, true},
		"": {}, "2h": {}, "1h,1d": {}, "area,area": {}, "1d,": {}, "Area": {},
	} {
		got, err := ParseDetail(text)
		if got != want || (err != nil) != (want == Detail{}) || err == nil && got.String() != text {
			t.Errorf("ParseDetail(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, want := range map[string]Window{
		"mon-fri 08:00-12:00": {31, 480, 720}, "sat": {32, 0, 0}, "22:00-06:00": {AllDays, 1320, 360}, " sun  00:00-24:00 ": {64, 0, 0},
		"": {}, "8-12": {}, "sat 8-12": {}, "08:00": {}, "sat sun 08:00-12:00": {}, "08:00-12:00 sat": {}, "sat,": {},
	} {
		got, err := ParseWhen(text)
		if err != nil {
			got = Window{}
		}
		if got != want || (err != nil) != (want == Window{}) {
			t.Errorf("ParseWhen(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, r := range []Route{AnyRoute, DirectRoute, GatewayRoute} {
		if got, err := ParseRoute(r.String()); got != r || err != nil {
			t.Errorf("ParseRoute(%q) = %s, %v", r, got, err)
		}
	}
	if _, err := ParseRoute("relay"); err == nil {
		t.Error("a route by any relay was read")
	}
	for text, ok := range map[string]bool{"heating-advice": true, "a1": true, "": false, "Heating": false, "heating advice": false, "1a": false, "a_b": false} {
		if got, err := ParsePurpose(text); (err == nil) != ok || ok && got != text {
			t.Errorf("ParsePurpose(%q) = %q, %v", text, got, err)
		}
	}
}
