package gateway_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// Whoever is no owner is told what they did, what was done under what they gave, and what was given to them or taken from
// them; of others nothing. Nobody is told what a thing writes into its journal that is for the gateway to tell.
func TestHistoryOfOthers(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	tom := h.Invite(laptop, identity.Person, "sam/tom", "phone")
	eva := h.Invite(laptop, identity.Person, "sam/eva", "phone")
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use, Depth: 1})
	evas, target := h.Share(laptop, "sam/eva", "home/lock", grant.Terms{Actions: grant.Use})
	roster, err := anna.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	theLock, _ := roster.At("home/lock")
	to, err := anna.Resolve(ctx, "sam/tom")
	if err != nil {
		t.Fatal(err)
	}
	passed := grant.Terms{Subject: grant.Subject{Tree: to.ID.Tree, Member: to.Member()}, Actions: grant.See}
	passed.Thing.Member = theLock.Who.Member()
	if passed, err = anna.PassOn(ctx, anna.Passable(roster, passed, theLock)[0], passed); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*kindred.Node{laptop, anna, tom, eva} {
		if _, err := h.State(n, "home/lock"); err != nil {
			t.Fatal(err)
		}
	}
	// A thing says that anna shared what eva was given.
	forged := journal.Entry{
		Time: time.Now(), Op: journal.Share, Outcome: journal.Served, Grant: evas.ID.String(),
		Caller: journal.Party{Member: anna.Self().Member(), ID: anna.Self().ID}, Thing: journal.Party{Member: device.Self().Member(), ID: device.Self().ID},
	}
	if err := device.Journal().Append(ctx, forged); err != nil {
		t.Fatal(err)
	}
	if _, err := laptop.Revoke(ctx, target); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { // the gateway has the thing's journal, in which it stays
		log, err := laptop.Gateway().Entries(ctx, control.EntriesQuery{Member: device.Self().Member().String()})
		return err == nil && slices.ContainsFunc(log.Entries, func(raw []byte) bool {
			e, err := journal.ParseEntry(device.Self().ID.Tree, raw)
			return err == nil && e.Op == forged.Op
		})
	})
	for name, test := range map[string]struct {
		node *kindred.Node
		want []string // of reading, giving and taking
	}{
		"owner": {laptop, []string{"sam/anna/phone read", "sam/anna/phone share", "sam/eva/phone read", "sam/laptop read", "sam/laptop share", "sam/laptop share", "sam/laptop unshare", "sam/tom/phone read"}},
		"anna":  {anna, []string{"sam/anna/phone read", "sam/anna/phone share", "sam/laptop share", "sam/tom/phone read"}},
		"tom":   {tom, []string{"sam/anna/phone share", "sam/tom/phone read"}},
		"eva":   {eva, []string{"sam/eva/phone read", "sam/laptop share", "sam/laptop unshare"}},
		"lock":  {device, nil},
	} {
		log, err := test.node.Gateway().History(ctx, control.HistoryQuery{Limit: 100})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, e := range log.Entries {
			if slices.Contains([]journal.Op{journal.Read, journal.Share, journal.Unshare}, e.Op) {
				got = append(got, string(e.Caller.ID.Path)+" "+string(e.Op))
			}
		}
		if slices.Sort(got); !slices.Equal(got, test.want) {
			t.Errorf("%s is told %q, want %q", name, got, test.want)
		}
	}
	// What was taken back since is told to whoever gave it, still.
	roster, err = laptop.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := laptop.Revoke(ctx, roster.Grant(roster.GrantsNamed(passed.ID.String())[0])); err != nil {
		t.Fatal(err)
	}
	for _, q := range []control.HistoryQuery{{Limit: -1}, {Limit: -1, Sealed: true}} {
		var answer *control.Error
		if _, err := anna.Gateway().History(ctx, q); !errors.As(err, &answer) || answer.Code != control.Invalid {
			t.Errorf("anna, who asks for %+v, is told %v", q, err)
		}
	}
	log, err := anna.Gateway().History(ctx, control.HistoryQuery{Limit: 100})
	if err != nil || !slices.ContainsFunc(log.Entries, func(e journal.Entry) bool { return e.Op == journal.Read && e.Grant == passed.ID.String() }) {
		t.Errorf("anna is told %+v, %v", log.Entries, err)
	}
}

// The log tells what was changed, once, however often it is asked for: whoever may ask for something can make others believe
// nothing, nor fill the log.
func TestLogOfNothing(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	tom := s.home.Invite(s.laptop, identity.Person, "sam/tom", "phone")
	service := s.home.Invite(s.laptop, identity.Service, "sam/hearing", "")
	s.home.Share(s.laptop, "sam/tom", "home/lock", grant.Terms{Actions: grant.See, Depth: 1})
	s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See, Depth: 1})
	roster, err := tom.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	theLock, _ := roster.At("home/lock")
	passed := grant.Terms{Subject: grant.Subject{Tree: service.Self().ID.Tree, Member: service.Self().Member()}, Actions: grant.See}
	passed.Thing.Member = theLock.Who.Member()
	if passed, err = tom.PassOn(ctx, tom.Passable(roster, passed, theLock)[0], passed); err != nil {
		t.Fatal(err)
	}
	if roster, err = tom.Roster(ctx); err != nil {
		t.Fatal(err)
	}
	raw := roster.GrantsNamed(passed.ID.String())[0].Raw
	for range 3 {
		if err := tom.Gateway().Grant(ctx, raw); err != nil {
			t.Error(err)
		}
		if err := tom.Gateway().Resume(ctx, passed.ID.String()); err != nil {
			t.Error(err)
		}
		if err := s.anna.UnshareAbroad(ctx, s.atLock.Tree, tree.GrantID{1}); err != nil {
			t.Error(err)
		}
	}
	log, err := s.laptop.Gateway().History(ctx, control.HistoryQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range log.Entries {
		if slices.Contains([]journal.Op{journal.Share, journal.Unshare, journal.Resume}, e.Op) {
			got = append(got, string(e.Caller.ID.Path)+" "+string(e.Op))
		}
	}
	if want := []string{"sam/laptop share", "sam/laptop share", "sam/tom/phone share"}; !slices.Equal(got, want) {
		t.Errorf("the log tells of %q, want %q", got, want)
	}
}

// When a visitor takes back what she passed on, the log tells of what rested on it, as when a member does.
func TestLogOfWhatRestedOnAVisitors(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	ben := s.birch.Invite(s.sam, identity.Person, "sam/ben", "phone")
	s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See, Depth: 2})
	to := func(n *kindred.Node, path identity.Path) grant.Subject {
		return grant.Subject{Tree: s.annas.Tree, Member: n.Self().ActsFor(), Path: path}
	}
	passed, err := s.anna.PassOnAbroad(ctx, s.atLock, to(ben, "sam/ben"), grant.Terms{Actions: grant.See, Depth: 1})
	if err != nil {
		t.Fatal(err)
	}
	rests, err := ben.PassOnAbroad(ctx, s.atLock, to(s.sam, "sam"), grant.Terms{Actions: grant.See})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.anna.UnshareAbroad(ctx, s.atLock.Tree, passed.ID); err != nil {
		t.Fatal(err)
	}
	log, err := s.laptop.Gateway().History(ctx, control.HistoryQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range log.Entries {
		if e.Op == journal.Unshare {
			got = append(got, e.Grant)
		}
	}
	if want := []string{passed.ID.String(), rests.ID.String()}; !slices.Equal(got, want) {
		t.Errorf("the log tells of the end of %q, want %q", got, want)
	}
}
