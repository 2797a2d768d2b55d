package main

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

func TestLogSentences(t *testing.T) {
	h := newHouse(t)
	id := h.give("7kqm", "sam/anna", "home/meter", grant.Terms{}).String()
	stolen := h.party("sam/phone")
	h.leave("sam/phone")
	anna, laptop, eva := h.party("sam/anna/phone"), h.party("sam/laptop"), h.party("sam/eva/phone")
	lock, meter := h.party("home/lock"), h.party("home/meter")
	for _, tc := range []struct {
		e    journal.Entry
		want string
	}{
		{journal.Entry{Op: journal.Read, Caller: anna, Thing: meter, Affordance: "power", Outcome: journal.Served, Grant: id},
			"anna saw home/meter power (allowed by g-7kqm)"},
		{journal.Entry{Op: journal.Read, Caller: laptop, Thing: meter, Affordance: "power", Outcome: journal.Served},
			"sam saw home/meter power"},
		{journal.Entry{Op: journal.Read, Caller: laptop, Thing: meter, Outcome: journal.Served},
			"sam looked at what home/meter can do"},
		{journal.Entry{Op: journal.Read, Caller: eva, Thing: meter, Affordance: "power", Outcome: journal.Served},
			"sam/eva saw home/meter power"},
		{journal.Entry{Op: journal.Read, Caller: stolen, Thing: meter, Affordance: "power", Outcome: journal.Served},
			"sam/phone saw home/meter power"},
		{journal.Entry{Op: journal.Read, Caller: lock, Thing: meter, Affordance: "power", Outcome: journal.Served},
			"home/lock saw home/meter power"},
		{journal.Entry{Op: journal.Write, Caller: laptop, Thing: lock, Affordance: "state", Outcome: journal.Served},
			"sam set home/lock state"},
		{journal.Entry{Op: journal.Invoke, Caller: anna, Thing: lock, Affordance: "unlock", Outcome: journal.Served, Grant: "g-zzzz" + id[6:]},
			"anna used home/lock unlock (allowed by g-zzzz)"},
		{journal.Entry{Op: journal.Invoke, Caller: laptop, Thing: lock, Affordance: "unlock", Outcome: journal.Served, Offline: true, AsOf: noon.Add(-time.Hour)},
			"sam used home/lock unlock, without the gateway, by the offline term, checked 11:00"},
		{journal.Entry{Op: journal.Invoke, Caller: laptop, Thing: lock, Affordance: "unlock", Outcome: journal.Failed, Reason: "the bolt is stuck"},
			"sam tried home/lock unlock, which failed: the bolt is stuck"},
		{journal.Entry{Op: journal.Invoke, Caller: anna, Thing: lock, Affordance: "unlock", Outcome: journal.Refused, Reason: "nothing was granted"},
			"anna was refused home/lock unlock: nothing was granted"},
		{journal.Entry{Op: journal.Withdraw, Caller: stolen, Thing: meter, Outcome: journal.Refused, Grant: id, Reason: "who demands it must be a member"},
			"sam/phone was refused that home/meter deletes what it got (g-7kqm): who demands it must be a member"},
		{journal.Entry{Op: journal.Countersign, Caller: laptop, Thing: lock, Affordance: "unlock", Outcome: journal.Refused, Reason: "it is of another request"},
			"sam did not sign a receipt for home/lock unlock: it is of another request"},
		{journal.Entry{Op: journal.Observe, Caller: anna, Thing: meter, Affordance: "telegram", Outcome: journal.Served, Grant: id},
			"anna began to watch home/meter telegram (allowed by g-7kqm)"},
		{journal.Entry{Op: journal.Observe, Caller: anna, Thing: meter, Affordance: "telegram", Outcome: journal.Ended, Grant: id},
			"anna stopped watching home/meter telegram"},
		{journal.Entry{Op: journal.Observe, Caller: anna, Thing: meter, Affordance: "telegram", Outcome: journal.Ended, Reason: "access was taken away"},
			"anna was cut off from home/meter telegram: access was taken away"},
		{journal.Entry{Op: journal.Connect, Thing: lock, Outcome: journal.Refused, Reason: "somebody from another tree", Count: 3},
			"somebody from another tree was refused at home/lock, 3 times"},
		{journal.Entry{Op: journal.Hold, Thing: lock, Outcome: journal.Refused, Reason: "of one member's journal the gateway takes 1280 MB a day"},
			"home/lock writes far more journal than there is room for, and keeps the rest until there is: of one member's journal the gateway takes 1280 MB a day"},
		{journal.Entry{Op: journal.Connect, Thing: lock, Outcome: journal.Refused},
			"somebody was refused at home/lock"},
		{journal.Entry{Op: journal.Admit, Caller: laptop, With: lock, Outcome: journal.Served},
			"sam let in home/lock"},
		{journal.Entry{Op: journal.Remove, Caller: laptop, With: stolen, Outcome: journal.Served},
			"sam removed sam/phone"},
		{journal.Entry{Op: journal.Share, Caller: laptop, Thing: meter, With: h.party("sam/anna"), Outcome: journal.Served, Grant: id},
			"sam shared home/meter with anna (g-7kqm)"},
		{journal.Entry{Op: journal.Unshare, Caller: laptop, Thing: meter, With: h.party("sam/anna"), Outcome: journal.Served, Grant: id},
			"sam took back home/meter from anna (g-7kqm)"},
		{journal.Entry{Op: journal.Unshare, Caller: laptop, With: h.party("sam/anna"), Outcome: journal.Served, Grant: id},
			"sam took back what was shared with anna (g-7kqm)"},
		{journal.Entry{Op: journal.Limit, Caller: laptop, Thing: lock, Outcome: journal.Served},
			"sam changed how lately whoever uses home/lock must have been checked"},
		{journal.Entry{Op: "polish", Caller: laptop, Thing: lock, Outcome: journal.Served},
			"sam polish home/lock"},
	} {
		if got := (teller{namesOf(h.roster), noon}).sentence(tc.e); got != tc.want {
			t.Errorf("%s\nwant\n%s", got, tc.want)
		}
		if word := inner.FindString(tc.want); word != "" {
			t.Errorf("%q says %q", tc.want, word)
		}
	}
}

func TestLog(t *testing.T) {
	h := newHouse(t)
	see := journal.Entry{Time: noon, Op: journal.Read, Caller: h.party("sam/laptop"), Thing: h.party("home/lock"), Affordance: "state", Outcome: journal.Served}
	later, before := see, see
	later.Time = noon.Add(time.Minute)
	before.Time = noon.AddDate(0, 0, -2)
	s, out, _ := talk()
	if err := s.printLog([]journal.Entry{before, see, see, see, later}, h.roster, noon); err != nil {
		t.Fatal(err)
	}
	want := "Thu 26 Nov 12:00 sam saw home/lock state\n12:00 sam saw home/lock state, 3 times\n12:01 sam saw home/lock state\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}
	s, out, _ = talk()
	s.json = true
	if err := s.printLog([]journal.Entry{see}, h.roster, noon); err != nil {
		t.Fatal(err)
	}
	want = `{"time":"2026-11-28T11:00:00Z","who":"` + h.party("sam/laptop").ID.String() +
		`","op":"read","path":"home/lock","affordance":"state","outcome":"served","sentence":"sam saw home/lock state"}` + "\n"
	if out.String() != want {
		t.Errorf("%s\nwant\n%s", out, want)
	}
}

func TestClosed(t *testing.T) {
	reach := func(path identity.Path, fresh, offline time.Duration) control.Reach {
		r := control.Reach{Path: path, Closed: fresh == 0}
		if fresh > 0 {
			r.Refuses = noon.Add(fresh)
		}
		if offline > 0 {
			r.Offline = noon.Add(offline)
		}
		return r
	}
	for _, tc := range []struct {
		r    control.Report
		want string
	}{
		{control.Report{}, "Taken back. No thing had to be told."},
		{control.Report{Already: true}, "It was taken back before."},
		{control.Report{Things: []control.Reach{reach("home/lock", 0, 0)}}, "Closed on 1 of 1."},
		{control.Report{Things: []control.Reach{reach("home/lock", 0, 0), reach("home/porch/doorbell", 2*time.Hour, 7*24*time.Hour)}},
			"Closed on 1 of 2; home/porch/doorbell unreachable: refuses guests by 14:00, offline grants by Sat 5 Dec 12:00."},
		{control.Report{Things: []control.Reach{reach("a", time.Hour, 0), reach("b", time.Hour, 0)}},
			"Closed on 0 of 2; a unreachable: refuses guests by 13:00; b unreachable: refuses guests by 13:00."},
	} {
		if got := closed(tc.r, noon); got != tc.want {
			t.Errorf("%s\nwant\n%s", got, tc.want)
		}
	}
}

func TestWhoCan(t *testing.T) {
	h := newHouse(t)
	h.give("aaab", "sam/anna", "home", grant.Terms{})
	h.give("aaac", "sam/anna", "home/lock", grant.Terms{
		Actions: grant.Use, Zone: "Europe/Berlin", Windows: []grant.Window{{Days: 1 << 5, From: 14 * 60, To: 16 * 60}},
	})
	h.give("aaad", "sam/eva", "home/meter", grant.Terms{})
	h.give("aaae", "sam/eva", "home/lock", grant.Terms{Until: noon.Unix()})
	lock, _ := h.roster.At("home/lock")
	want := []string{
		"sam may do everything, as an owner, with laptop, phone.",
		"tom may do everything, as an owner.",
		"anna may see home until you take it back.",
		"anna may use home/lock on Saturdays 14:00–16:00 (Berlin) until you take it back.",
	}
	list := whoCan(grant.English, h.roster, lock, noon)
	for i, a := range list {
		if i >= len(want) || a.Sentence != want[i] {
			t.Errorf("%d: %s", i, a.Sentence)
		}
	}
	if len(list) != len(want) {
		t.Errorf("%d, want %d", len(list), len(want))
	}
	all := shownGrants(h.roster, noon)
	if len(all) != 4 || !all[2].Over || all[2].line() != "sam/eva may see home/lock until 28 Nov 2026, 11:00 (UTC), unless you take it back before. (over)" {
		t.Errorf("%+v", all)
	}
}

func TestDraw(t *testing.T) {
	h := newHouse(t)
	h.leave("home/porch") // not shown to everybody
	yes := true
	var list []treeMember
	for _, m := range h.roster.Members {
		tm := treeMember{Path: m.Path, Kind: m.Kind, Self: m.Path == "sam/laptop"}
		if m.Path == "home/lock" {
			tm.Label, tm.Online = "Tür", &yes
		}
		list = append(list, tm)
	}
	want := `Birch Street
├── home            place
│   ├── lock        device   online  Tür
│   ├── meter       device
│   └── porch/bell  device
├── sam             owner
│   ├── anna        person
│   │   └── phone   app
│   ├── eva         person
│   │   └── phone   app
│   ├── laptop      app      this directory
│   └── phone       app
└── tom             owner
    └── eva         person
`
	s, _, _ := talk()
	if got := s.draw("Birch Street", list); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	s.colour = true
	if got := s.draw("Birch Street", list); got == want {
		t.Error("nothing is painted")
	}
	s.json = true
	if got := s.draw("Birch Street", list); got != want {
		t.Error("JSON is painted")
	}
}

func TestStamp(t *testing.T) {
	for at, want := range map[time.Time]string{
		noon:                      "12:00",
		noon.UTC():                "12:00",
		noon.Add(-13 * time.Hour): "Fri 27 Nov 23:00",
		noon.AddDate(1, 0, 0):     "28 Nov 2027 12:00",
		noon.AddDate(0, 0, 40):    "Thu 7 Jan 12:00",
	} {
		if got := stamp(at, noon); got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		time.Second: "1 s", 90 * time.Second: "90 s", time.Minute: "1 min", time.Hour: "1 h", 90 * time.Minute: "90 min",
		24 * time.Hour: "1 day", 7 * 24 * time.Hour: "7 days", 36 * time.Hour: "36 h",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
