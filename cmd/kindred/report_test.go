package main

import (
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/journal"
)

// What happened outside of what was agreed is told, whichever way a thing, or a gateway, that should have refused it
// went wrong; and nothing else is.
func TestOutsideOfWhatWasAgreed(t *testing.T) {
	h := newHouse(t)
	anna, laptop, eva := h.party("sam/anna/phone"), h.party("sam/laptop"), h.party("sam/eva/phone")
	lock, meter := h.party("home/lock"), h.party("home/meter")
	saturdays := h.give("satu", "sam/anna", "home/lock", grant.Terms{
		Actions: grant.Use, Windows: []grant.Window{{Days: grant.DayOf(time.Saturday), From: 11 * 60, To: 13 * 60}}, Zone: "Europe/Berlin",
	}).String()
	power := h.give("powe", "sam/anna", "home/meter", grant.Terms{Actions: grant.See}).String()
	gone := strings.Replace(power, "powe", "gone", 1)
	namesake := eva
	namesake.ID.Tree[0]++
	for _, test := range []struct {
		name    string
		entries []journal.Entry
		outside string // why, "": nothing is
	}{
		{"within its hours", []journal.Entry{{Op: journal.Invoke, Caller: anna, Thing: lock, Affordance: "unlock", Outcome: journal.Served, Grant: saturdays, Time: noon}}, ""},
		{"a day later", []journal.Entry{{Op: journal.Invoke, Caller: anna, Thing: lock, Affordance: "unlock", Outcome: journal.Served, Grant: saturdays, Time: noon.Add(24 * time.Hour)}}, "outside its hours"},
		{"refused a day later", []journal.Entry{{Op: journal.Invoke, Caller: anna, Thing: lock, Affordance: "unlock", Outcome: journal.Refused, Grant: saturdays, Time: noon.Add(24 * time.Hour)}}, ""},
		{"another action", []journal.Entry{{Op: journal.Write, Caller: anna, Thing: meter, Affordance: "power", Outcome: journal.Served, Grant: power, Time: noon}}, "granted is to read and observe"},
		{"what it can do", []journal.Entry{{Op: journal.Read, Caller: anna, Thing: lock, Outcome: journal.Served, Grant: saturdays, Time: noon.Add(24 * time.Hour)}}, ""},
		{"a stream that ends with its hours", []journal.Entry{{Op: journal.Observe, Caller: anna, Thing: lock, Affordance: "state", Outcome: journal.Ended, Grant: saturdays, Time: noon.Add(time.Hour + 5*time.Second)}}, ""},
		{"a stream that does not", []journal.Entry{{Op: journal.Observe, Caller: anna, Thing: lock, Affordance: "state", Outcome: journal.Ended, Grant: saturdays, Time: noon.Add(time.Hour + time.Minute)}}, "outside its hours"},
		{"after it was taken back", []journal.Entry{
			{Op: journal.Unshare, Caller: laptop, Thing: meter, With: anna, Outcome: journal.Served, Grant: gone, Time: noon},
			{Op: journal.Read, Caller: anna, Thing: meter, Affordance: "power", Outcome: journal.Served, Grant: gone, Time: noon.Add(time.Minute)},
		}, "it was taken back at"},
		{"before it was taken back", []journal.Entry{
			{Op: journal.Read, Caller: anna, Thing: meter, Affordance: "power", Outcome: journal.Served, Grant: gone, Time: noon.Add(-time.Minute)},
			{Op: journal.Unshare, Caller: laptop, Thing: meter, With: anna, Outcome: journal.Served, Grant: gone, Time: noon},
		}, ""},
		{"by somebody who was removed", []journal.Entry{
			{Op: journal.Remove, Caller: laptop, With: eva, Outcome: journal.Served, Time: noon},
			{Op: journal.Read, Caller: eva, Thing: meter, Affordance: "power", Outcome: journal.Served, Grant: gone, Time: noon.Add(time.Minute)},
		}, "it was taken back at"},
		{"by an app of somebody who was removed", []journal.Entry{
			{Op: journal.Remove, Caller: laptop, With: h.party("sam/eva"), Outcome: journal.Served, Time: noon},
			{Op: journal.Read, Caller: eva, Thing: meter, Affordance: "power", Outcome: journal.Served, Grant: gone, Time: noon.Add(time.Minute)},
		}, "it was taken back at"},
		{"by somebody who was let in again", []journal.Entry{
			{Op: journal.Remove, Caller: laptop, With: h.party("sam/eva"), Outcome: journal.Served, Time: noon},
			{Op: journal.Admit, Caller: laptop, With: h.party("sam/eva"), Outcome: journal.Served, Time: noon.Add(time.Minute)},
			{Op: journal.Read, Caller: eva, Thing: meter, Affordance: "power", Outcome: journal.Served, Grant: gone, Time: noon.Add(time.Hour)},
		}, ""},
		{"by a namesake of another home", []journal.Entry{
			{Op: journal.Remove, Caller: laptop, With: eva, Outcome: journal.Served, Time: noon},
			{Op: journal.Read, Caller: namesake, Thing: meter, Affordance: "power", Outcome: journal.Served, Grant: gone, Time: noon.Add(time.Minute)},
		}, ""},
		{"by an owner's phone that was removed", []journal.Entry{
			{Op: journal.Remove, Caller: h.party("sam/phone"), With: laptop, Outcome: journal.Served, Time: noon},
			{Op: journal.Invoke, Caller: laptop, Thing: lock, Affordance: "unlock", Outcome: journal.Served, Time: noon.Add(time.Minute)},
		}, "it was taken back at"},
		{"while it was paused", []journal.Entry{
			{Op: journal.Pause, Caller: laptop, Thing: lock, With: anna, Outcome: journal.Served, Grant: saturdays, Time: noon.Add(-time.Hour)},
			{Op: journal.Invoke, Caller: anna, Thing: lock, Affordance: "unlock", Outcome: journal.Served, Grant: saturdays, Time: noon},
		}, "it was paused at"},
		{"while it was paused, by an owner too later on", []journal.Entry{
			{Op: journal.Pause, Caller: h.party("sam/phone"), Thing: lock, With: anna, Outcome: journal.Served, Grant: saturdays, Time: noon.Add(-time.Hour)},
			{Op: journal.Pause, Caller: laptop, Thing: lock, With: anna, Outcome: journal.Served, Grant: saturdays, Time: noon.Add(-time.Second)},
			{Op: journal.Invoke, Caller: anna, Thing: lock, Affordance: "unlock", Outcome: journal.Served, Grant: saturdays, Time: noon},
		}, "it was paused at"},
		{"once it was resumed", []journal.Entry{
			{Op: journal.Pause, Caller: laptop, Thing: lock, With: anna, Outcome: journal.Served, Grant: saturdays, Time: noon.Add(-time.Hour)},
			{Op: journal.Resume, Caller: laptop, Thing: lock, With: anna, Outcome: journal.Served, Grant: saturdays, Time: noon.Add(-time.Minute)},
			{Op: journal.Invoke, Caller: anna, Thing: lock, Affordance: "unlock", Outcome: journal.Served, Grant: saturdays, Time: noon},
		}, ""},
		{"told by a caller too", []journal.Entry{{Op: journal.Invoke, Caller: anna, Thing: lock, Affordance: "unlock", Outcome: journal.Asked, Time: noon}}, ""},
		{"an owner", []journal.Entry{{Op: journal.Read, Caller: laptop, Thing: meter, Affordance: "power", Outcome: journal.Served, Time: noon}}, ""},
	} {
		a := account{Since: noon.Add(-time.Hour), Until: noon, reader: h.At("sam/laptop").Chain, teller: teller{namesOf(h.roster), noon}, language: grant.English}
		a.open(h.roster.Grants)
		for _, e := range test.entries {
			e.AsOf = e.Time
			a.enter(e)
		}
		a.close()
		switch {
		case test.outside == "" && len(a.Outside) > 0:
			t.Errorf("%s: %+v", test.name, a.Outside)
		case test.outside != "" && (len(a.Outside) != 1 || !strings.Contains(a.Outside[0].Why, test.outside)):
			t.Errorf("%s: %+v, want %q", test.name, a.Outside, test.outside)
		}
		text := a.text(&session{colour: true})
		if red := strings.Contains(text, "\x1b[31m"); red != (test.outside != "") {
			t.Errorf("%s: red is %t in %s", test.name, red, text)
		}
	}
}

// What left in clear is told with how often, how much and to where, under the right it rests on.
func TestReportTellsCopies(t *testing.T) {
	h := newHouse(t)
	id := h.give("clea", "sam/anna", "home/meter", grant.Terms{Actions: grant.See}).String()
	a := account{Since: noon.Add(-time.Hour), Until: noon, reader: h.At("sam/laptop").Chain, teller: teller{namesOf(h.roster), noon}, language: grant.English}
	a.open(h.roster.Grants)
	for _, bytes := range []uint64{1200, 800} {
		a.enter(journal.Entry{Op: journal.Copy, Caller: h.party("sam/anna/phone"), Thing: h.party("home/meter"), Affordance: "power",
			Outcome: journal.Served, Grant: id, Bytes: bytes, Reason: "power to First Bank, kept in DE", Time: noon, AsOf: noon})
	}
	a.close()
	if want := "left in clear twice, 2.0 kB: power to First Bank, kept in DE"; !strings.Contains(a.text(&session{}), want) {
		t.Errorf("%s has no %q", a.text(&session{}), want)
	}
}
