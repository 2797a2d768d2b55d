package grant

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// vectorGrants are the grants of the vectors, all given by sam.
func vectorGrants(h household) (names []string, all map[string]Terms) {
	all = map[string]Terms{}
	add := func(name string, who, what identity.Path, change func(*Terms)) {
		t := h.terms(who, what)
		t.Actions = See
		change(&t)
		names, all[name] = append(names, name), t
	}
	add("plain", "sam/anna", "home/lock", func(*Terms) {})
	add("place", "sam/anna", "home", func(t *Terms) { t.Actions = Use })
	add("leaf", "carl/phone", "home/lock", func(*Terms) {})
	add("devices", "home/porch", "barn/scale", func(*Terms) {})
	add("below", "sam", "barn/scale", func(t *Terms) { t.Subject.Below = true })
	add("affordance", "sam/anna", "home/lock", func(t *Terms) { t.Thing.Affordance, t.Actions = "unlock", Actions(Invoke) })
	add("term", "sam/anna", "home/lock", func(t *Terms) { t.From, t.Until = now.Unix(), now.Unix()+1800 })
	add("hours", "sam/anna", "home/lock", func(t *Terms) {
		t.Windows, t.Zone = []Window{{DayOf(time.Saturday), 14 * 60, 16 * 60}, {DayOf(time.Sunday), 22 * 60, 6 * 60}}, "Europe/Berlin"
	})
	add("night", "sam/anna", "home/lock", func(t *Terms) { t.Windows, t.Zone = []Window{{AllDays, 2 * 60, 3 * 60}}, "Europe/Berlin" })
	add("purpose", "sam/anna", "home/lock", func(t *Terms) { t.Purpose = "heating-advice" })
	add("home", "sam/anna", "home/lock", func(t *Terms) { t.Home = true })
	add("direct", "sam/anna", "home/lock", func(t *Terms) { t.Route = DirectRoute })
	add("gateway", "sam/anna", "home/lock", func(t *Terms) { t.Route = GatewayRoute })
	add("uses", "sam/anna", "home/lock", func(t *Terms) { t.Uses = 5 })
	add("rate", "sam/anna", "home/lock", func(t *Terms) { t.Rate = Rate{2, 3600} })
	add("budget", "sam/anna", "home/lock", func(t *Terms) { t.Budget = 600 })
	add("offline", "sam/anna", "home/lock", func(t *Terms) { t.Offline = 2 * 24 * 3600 })
	add("past", "sam/anna", "home/lock", func(t *Terms) { t.Moments = Moments{From: now.Unix() - 3600, Until: now.Unix() - 60} })
	add("hours-past", "sam/anna", "home/lock", func(t *Terms) {
		t.Windows, t.Zone = []Window{{DayOf(time.Saturday), 14 * 60, 16 * 60}}, "Europe/Berlin"
		t.Moments.From = 1
	})
	add("coarse", "sam/anna", "home/lock", func(t *Terms) { t.Detail = Detail{Day, true} })
	add("service", "bank", "barn/scale", func(t *Terms) { t.Actions = Use })
	add("agreement", "bank", "barn/scale", func(t *Terms) {
		t.Agreement = Agreement{Clear: []string{"weight", "mean"}, Recipient: "Bank plc", Place: "DE", Notice: signed.Sum([]byte("notice"))}
		t.Purpose, t.Retention = "lending", 30*24*3600
	})
	full := h.full()
	names, all["full"] = append(names, "full"), full
	return names, all
}

// vectorDecisions are what is asked of them.
func vectorDecisions() (all []decisionVector) {
	ask := func(name string, grants []string, change func(*decisionVector)) {
		d := decisionVector{Name: name, Grants: grants}
		d.Ask.By, d.Ask.Thing, d.Ask.Affordance, d.Ask.Action = "sam/anna/phone", "home/lock", "state", "read"
		d.Facts.Now, d.Facts.AsOf, d.Facts.Fresh, d.Facts.Offline = now.Unix(), now.Unix(), 3600, 7*24*3600
		d.Facts.Way = Relayed.String()
		change(&d)
		all = append(all, d)
	}
	by := func(who identity.Path) func(*decisionVector) { return func(d *decisionVector) { d.Ask.By = who } }
	scale := func(who identity.Path, action string) func(*decisionVector) {
		return func(d *decisionVector) { d.Ask.By, d.Ask.Thing, d.Ask.Action = who, "barn/scale", action }
	}
	when := func(unix int64) func(*decisionVector) {
		return func(d *decisionVector) { d.Facts.Now, d.Facts.AsOf = unix, unix }
	}
	way := func(w Way) func(*decisionVector) { return func(d *decisionVector) { d.Facts.Way = w.String() } }
	used := func(u usedVector) func(*decisionVector) { return func(d *decisionVector) { d.Facts.Used = &u } }
	one := func(name string) []string { return []string{name} }
	later := func(seconds int64, isolated bool) func(*decisionVector) {
		return func(d *decisionVector) { d.Facts.Now += seconds; d.Facts.Isolated = isolated }
	}
	const spring, autumn = 1806195600, 1824944400 // 28 March 2027, 01:00 UTC; 31 October 2027, 01:00 UTC
	ask("an owner's app", []string{}, by("sam/phone"))
	ask("an owner's app, in isolation", []string{}, func(d *decisionVector) { by("sam/phone")(d); later(3600, true)(d) })
	ask("an owner's app, stale", []string{}, func(d *decisionVector) { by("sam/phone")(d); later(3600, false)(d) })
	ask("nothing granted", []string{}, by("sam/anna/phone"))
	ask("granted", one("plain"), by("sam/anna/phone"))
	ask("granted to somebody else", one("plain"), by("carl/phone"))
	ask("granted to other actions", one("plain"), func(d *decisionVector) { d.Ask.Action = "invoke" })
	ask("granted on the place", one("place"), func(d *decisionVector) { d.Ask.Action = "invoke" })
	ask("granted on another place", one("place"), func(d *decisionVector) { d.Ask.Thing = "barn/scale" })
	ask("granted to the leaf", one("leaf"), by("carl/phone"))
	ask("granted to the devices of a place", one("devices"), scale("home/porch/doorbell", "read"))
	ask("granted to those of another place", one("devices"), scale("home/gateway", "read"))
	ask("granted to everyone below", one("below"), scale("sam/anna/phone", "read"))
	ask("not below", one("below"), scale("carl/phone", "read"))
	ask("another affordance", one("affordance"), by("sam/anna/phone"))
	ask("the affordance", one("affordance"), func(d *decisionVector) { d.Ask.Affordance, d.Ask.Action = "unlock", "invoke" })
	ask("before it begins", one("term"), when(now.Unix()-1))
	ask("while it lasts", one("term"), when(now.Unix()))
	ask("when it is over", one("term"), when(now.Unix()+1800))
	ask("within hours", one("hours"), when(now.Unix()))
	ask("when the hours close", one("hours"), when(now.Unix()+1800))
	ask("past midnight", one("hours"), when(now.Unix()+38*3600)) // Monday, 05:30
	ask("an hour that the clock skips", one("night"), when(spring))
	ask("an hour that it repeats, the first time", one("night"), when(autumn-1800))
	ask("the second time", one("night"), when(autumn+1800))
	ask("for a purpose", one("purpose"), func(d *decisionVector) { d.Ask.Purpose = "heating-advice" })
	ask("for another purpose", one("purpose"), func(d *decisionVector) { d.Ask.Purpose = "advertising" })
	ask("for none", one("purpose"), by("sam/anna/phone"))
	ask("at home", one("home"), way(AtHome))
	ask("not at home", one("home"), way(Direct))
	ask("directly", one("direct"), way(Direct))
	ask("not directly", one("direct"), way(ByGateway))
	ask("by the gateway", one("gateway"), way(ByGateway))
	ask("by another relay", one("gateway"), way(Relayed))
	ask("the last use", one("uses"), used(usedVector{Uses: 4}))
	ask("used up", one("uses"), used(usedVector{Uses: 5}))
	ask("nobody counts", one("uses"), by("sam/anna/phone"))
	ask("not too often", one("rate"), used(usedVector{Uses: 9, Recent: 1}))
	ask("too often", one("rate"), used(usedVector{Uses: 9, Recent: 2}))
	ask("time is left", one("budget"), used(usedVector{Seconds: 500}))
	ask("no time is left", one("budget"), used(usedVector{Seconds: 600}))
	ask("stale", one("plain"), later(3600, false))
	ask("stale, in isolation", one("plain"), later(3600, true))
	ask("in isolation, with an offline term", one("offline"), later(3600, true))
	ask("with an offline term, and not in isolation", one("offline"), later(3600, false))
	ask("in isolation for too long", one("offline"), later(2*24*3600, true))
	ask("what was recorded while it stands", one("plain"), func(d *decisionVector) {
		d.Want.Sees, d.Want.Hides = []int64{now.Unix() - 60, now.Unix()}, []int64{now.Unix() - 61}
	})
	ask("what was recorded before", one("past"), func(d *decisionVector) {
		d.Want.Sees, d.Want.Hides = []int64{now.Unix() - 3600, now.Unix() - 61}, []int64{now.Unix() - 3601, now.Unix() - 60}
	})
	ask("what was recorded in the hours", one("hours-past"), func(d *decisionVector) {
		d.Want.Sees, d.Want.Hides = []int64{now.Unix() - 7*24*3600, now.Unix() - 5400}, []int64{now.Unix() - 5401, now.Unix() - 24*3600}
	})
	ask("coarsely", one("coarse"), by("sam/anna/phone"))
	ask("a service, and nothing in clear", one("service"), scale("bank", "read"))
	ask("a service, which acts", one("service"), scale("bank", "invoke"))
	agreed := func(d *decisionVector) {
		scale("bank", "read")(d)
		d.Ask.Affordance, d.Ask.Purpose, d.Facts.Accepted = "weight", "lending", true
	}
	ask("a service, as agreed", one("agreement"), agreed)
	ask("a service that has not accepted", one("agreement"), func(d *decisionVector) { agreed(d); d.Facts.Accepted = false })
	ask("a service, for another purpose", one("agreement"), func(d *decisionVector) { agreed(d); d.Ask.Purpose = "advertising" })
	ask("the nearest of several reasons", []string{"affordance", "term", "hours"}, when(now.Unix()+1800))
	ask("what does not count is preferred", []string{"uses", "coarse"}, used(usedVector{}))
	ask("what shows more is preferred", []string{"coarse", "plain"}, by("sam/anna/phone"))
	ask("all terms at once", one("full"), func(d *decisionVector) {
		way(AtHome)(d)
		used(usedVector{Uses: 4, Recent: 1, Seconds: 599})(d)
		d.Ask.Purpose, d.Facts.Accepted = "heating-advice", true
	})
	return all
}

// writeVectors makes the file anew, with new keys.
func writeVectors(t *testing.T) {
	h := newHousehold(t)
	v := vectors{
		Comment: "Made by go test ./grant -run TestVectors -update, for doc/grant-format.md.",
		Tree:    h.ID.String(), Root: h.Root.Raw, Members: map[identity.Path]shown{},
	}
	for _, path := range []identity.Path{
		"sam", "sam/laptop", "sam/phone", "sam/anna", "sam/anna/phone", "carl", "carl/phone", "bank",
		"home", "home/lock", "home/gateway", "home/porch", "home/porch/doorbell", "barn", "barn/scale",
	} {
		m := h.At(path)
		s := shown{ID: m.Member().String(), Kind: m.Kind().String()}
		if m.Kind().Leaf() {
			s.Chain = m.Raw
		}
		v.Members[path] = s
	}
	names, terms := vectorGrants(h)
	opened, byID := map[string]Opened{}, map[string]string{}
	for _, name := range names {
		raw := h.sign(t, "sam/laptop", terms[name])
		o, err := Open(raw, h.verify)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := signed.Marshal(o.Terms())
		if err != nil {
			t.Fatal(err)
		}
		v.Grants = append(v.Grants, grantVector{name, byKey(o.Terms()), payload, raw, o.Digest().String()})
		opened[name], byID[o.Terms().ID.String()] = o, name
	}
	v.Decisions = vectorDecisions()
	for i, d := range v.Decisions {
		v.Decisions[i].Want = d.decide(t, v, h.verify, opened, byID)
	}
	data, err := json.MarshalIndent(v, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.FromSlash(vectorsFile), append(data, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
