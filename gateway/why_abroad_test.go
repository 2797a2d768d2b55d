package gateway_test

import (
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
)

// The owner asks of somebody of another home what the thing would say to them, and is told the first thing against it; so
// is who asks about a thing elsewhere.
func TestWhyOfVisitors(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	ask := func(want grant.Code) grant.Decision {
		t.Helper()
		roster, err := s.laptop.Roster(ctx)
		if err != nil {
			t.Fatal(err)
		}
		lock, _ := roster.At("home/lock")
		anna, err := s.laptop.Abroad(ctx, s.annas)
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.laptop.Why(ctx, kindred.Why{By: anna.Chain, Thing: lock, Affordance: "state", Action: grant.Read})
		if err != nil || d.Reason.Code != want {
			t.Errorf("sam is told %q (%s), %v, want %s", d.Reason, d.Reason.Code, err, want)
		}
		there, granted, err := s.anna.WhyAbroad(ctx, s.atLock, "state", grant.Read, "")
		if err != nil || there.Reason.Code != want || (len(granted) > 0) != (want != grant.NoGrant) {
			t.Errorf("anna is told %q (%s) of %d grants, %v, want %s", there.Reason, there.Reason.Code, len(granted), err, want)
		}
		return d
	}
	ask(grant.NoGrant)
	terms, target := s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See})
	if d := ask(grant.Granted); d.Grant != terms.ID {
		t.Errorf("it rests on %s, not on %s", d.Grant, terms.ID)
	}
	target.Pause = true
	if _, err := s.laptop.Revoke(ctx, target); err != nil {
		t.Fatal(err)
	}
	ask(grant.Paused)
	if err := s.laptop.Gateway().Resume(ctx, terms.ID.String()); err != nil {
		t.Fatal(err)
	}
	ask(grant.Granted)
	roster, err := s.laptop.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.laptop.Revoke(ctx, roster.Grant(roster.GrantsNamed(terms.ID.String())[0])); err != nil {
		t.Fatal(err)
	}
	ask(grant.NoGrant)
	// Nobody but owners is told how others stand.
	if _, err := s.anna.Why(ctx, kindred.Why{By: s.sam.Self(), Thing: kindred.RosterMember{Who: s.lock.Self()}, Action: grant.Read}); err == nil {
		t.Error("anna asks about sam at a thing elsewhere")
	}
}
