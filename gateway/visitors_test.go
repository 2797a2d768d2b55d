package gateway_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

// A street is two homes that recognize each other. The one has a lock, and a shed that is nobody's business.
type street struct {
	t              *testing.T
	home, birch    *gatewaytest.Home
	laptop, sam    *kindred.Node // the owners' apps
	lock           *kindred.Node
	anna           *kindred.Node // anna's phone, of birch
	atLock, atShed identity.ID
	annas          identity.ID // anna herself
}

func newStreet(t *testing.T) *street {
	t.Helper()
	s := &street{t: t, home: gatewaytest.New(t), birch: gatewaytest.New(t)}
	s.laptop, s.sam = s.home.Open("laptop"), s.birch.Open("laptop")
	s.lock = s.home.Invite(s.laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	s.home.Serve(s.lock, lock.New().Thing())
	shed := s.home.Invite(s.laptop, identity.Device, "home/shed", "", "127.0.0.1:0")
	s.home.Serve(shed, lock.New().Thing())
	s.anna = s.birch.Invite(s.sam, identity.Person, "sam/anna", "phone")
	gatewaytest.Recognize(t, s.laptop, s.sam, "birch")
	gatewaytest.Recognize(t, s.sam, s.laptop, "oak")
	s.atLock, s.atShed = s.lock.Self().ID, shed.Self().ID
	s.annas = identity.ID{Tree: s.sam.Self().ID.Tree, Path: "sam/anna"}
	return s
}

// reads has a member of birch read the lock.
func (s *street) reads(who *kindred.Node) error {
	s.t.Helper()
	_, err := s.birch.StateOf(who, s.atLock)
	return err
}

// forget returns what takes back that home recognizes birch.
func (s *street) forget() kindred.Target {
	s.t.Helper()
	roster, err := s.laptop.Roster(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	birch, ok := roster.Called("birch")
	if !ok || birch.Other != s.annas.Tree {
		s.t.Fatalf("birch is not recognized: %+v", roster.Others)
	}
	return roster.Forget(birch)
}

func TestVisitorUsesWhatIsShared(t *testing.T) {
	s := newStreet(t)
	if err := s.reads(s.anna); err == nil {
		t.Fatal("before anything is shared anna reads the lock")
	}
	_, target := s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See})
	if err := s.reads(s.anna); err != nil {
		t.Fatalf("anna cannot read the lock: %v", err)
	}
	if got, err := s.birch.StateOf(s.anna, s.atShed); err == nil {
		t.Errorf("what is not shared anna reads as %s", got)
	}
	if err := s.anna.UseID(t.Context(), s.atLock, func(c *thing.Client) error {
		_, err := c.Invoke(t.Context(), "unlock", nil)
		return err
	}); code(err) != "action" {
		t.Errorf("anna, who may look, unlocks: %v", err)
	}
	report, err := s.laptop.Revoke(t.Context(), target)
	if err != nil || len(report.Things) != 1 || !report.Things[0].Closed {
		t.Fatalf("taken back: %+v, %v", report, err)
	}
	if err := s.reads(s.anna); err == nil {
		t.Error("after it was taken back anna reads the lock")
	}
}

// A visitor signs for what was done for it, like anybody, and so may go on: also where it began anew in between.
func TestVisitorSignsForActions(t *testing.T) {
	s := newStreet(t)
	s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.Use})
	for i := range 6 {
		for _, action := range []string{"unlock", "lock"} {
			if err := s.anna.UseID(t.Context(), s.atLock, func(c *thing.Client) error {
				_, err := c.Invoke(t.Context(), action, nil)
				return err
			}); err != nil {
				t.Fatalf("anna's %s, time %d: %v", action, i, err)
			}
		}
		if i == 2 {
			s.anna = s.birch.Reopen("annaphone", s.anna)
		}
	}
}

// A grant to one crosses, and no right of an owner does; nor may anybody of another tree ask the gateway for more than
// where what is theirs is.
func TestNoOwnersRightCrosses(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	if err := s.reads(s.sam); err == nil {
		t.Error("the owner of the other home reads the lock")
	}
	s.home.ShareAbroad(s.laptop, identity.ID{Tree: s.annas.Tree, Path: "sam"}, "home/lock", grant.Terms{Actions: grant.See})
	if err := s.reads(s.sam); err != nil {
		t.Errorf("what is shared with sam, sam cannot read: %v", err)
	}
	if err := s.reads(s.anna); err == nil {
		t.Error("what is shared with sam, anna reads, whom sam introduced")
	}
	if err := s.sam.UseID(ctx, s.atLock, func(c *thing.Client) error {
		_, err := c.Invoke(ctx, "unlock", nil)
		return err
	}); err == nil {
		t.Error("sam, an owner elsewhere, unlocks")
	}
	gateway := control.Client{HTTP: s.sam.HTTP(), Base: peer.Scheme + "://" + s.home.Gateway.Node().Self().Member().String() + "." + s.atLock.Tree.String()}
	for name, ask := range map[string]func() error{
		"the roster":        func() error { _, err := gateway.Roster(ctx); return err },
		"the journal":       func() error { _, err := gateway.History(ctx, control.HistoryQuery{}); return err },
		"who joins":         func() error { _, err := gateway.Joins(ctx); return err },
		"what is forwarded": func() error { _, err := gateway.Forwards(ctx); return err },
		"a place":           func() error { return gateway.AddPlace(ctx, control.Place{Path: "home/attic"}) },
		"limits":            func() error { return gateway.Limit(ctx, control.Limits{Member: s.lock.Self().Member().String()}) },
		"to be recognized":  func() error { return gateway.Recognize(ctx, []byte("please")) },
		"where the shed is": func() error { _, err := gateway.Resolve(ctx, control.Lookup{Path: "home/shed"}); return err },
		"what proves him at the shed": func() error {
			_, err := gateway.Prove(ctx, control.ProofQuery{Thing: s.laptop.Self().Member().String()})
			return err
		},
	} {
		if err := ask(); code2(err) != control.Refused && code2(err) != control.NotFound {
			t.Errorf("a visitor asks for %s: %v", name, err)
		}
	}
	e, err := gateway.Prove(ctx, control.ProofQuery{Thing: s.lock.Self().Member().String()})
	if err != nil || e.Rendezvous != nil || e.Self != nil || len(e.Grants) != 1 {
		t.Errorf("a visitor is told %+v, %v", e, err)
	}
	found, err := gateway.Resolve(ctx, control.Lookup{Path: "sam"})
	if err != nil || found.Address != nil {
		t.Errorf("an owner asks who sam is: %+v, %v", found, err)
	}
}

// Whoever has nothing here is answered like a stranger, however well the tree is known: it is not even shown who this is.
func TestVisitorWithoutGrantIsAStranger(t *testing.T) {
	s := newStreet(t)
	for name, to := range map[string]*kindred.Node{"gateway": s.home.Gateway.Node(), "lock": s.lock} {
		base := peer.Scheme + "://" + to.Self().Member().String() + "." + s.atLock.Tree.String()
		if to == s.lock { // where it is, nobody told anna
			var err error
			if base, err = s.anna.At(s.atLock, s.lock.Addresses()[0]); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.anna.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		resp, err := s.anna.HTTP().Get(base + "/properties/state")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resp.Body.Close()
		if callee, ok := peer.Callee(resp); !ok || callee.Showed || resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: a visitor without a grant is answered %s, shown: %v", name, resp.Status, callee.Showed)
		}
	}
}

// watch opens a stream at the lock and returns a channel with what ends it.
func (s *street) watch(who *kindred.Node) <-chan error {
	s.t.Helper()
	ended, opened := make(chan error, 1), make(chan error, 1)
	go func() {
		err := who.UseID(s.t.Context(), s.atLock, func(c *thing.Client) error {
			c.Healing = thing.Healing{}
			stream, err := c.Observe(s.t.Context(), "state", "")
			if err == nil {
				_, err = stream.Next()
			}
			opened <- err
			for err == nil {
				_, err = stream.Next()
			}
			return err
		})
		ended <- err
	}()
	select {
	case err := <-opened:
		if err != nil {
			s.t.Fatal(err)
		}
	case err := <-ended:
		s.t.Fatal(err)
	}
	return ended
}

func (s *street) ends(what string, ended <-chan error) {
	s.t.Helper()
	select {
	case err := <-ended:
		if err == nil {
			s.t.Errorf("%s: the stream ended as if it was over", what)
		}
	case <-time.After(20 * time.Second):
		s.t.Errorf("%s: the stream goes on", what)
	}
}

func TestRecognitionTakenBackWhileAStreamRuns(t *testing.T) {
	s := newStreet(t)
	terms, _ := s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See})
	ended := s.watch(s.anna)
	report, err := s.laptop.Revoke(t.Context(), s.forget())
	if err != nil || len(report.Things) != 1 || !report.Things[0].Closed {
		t.Fatalf("taken back: %+v, %v", report, err)
	}
	s.ends("recognized no more", ended)
	if err := s.reads(s.anna); err == nil {
		t.Error("anna reads the lock in a home that does not know hers")
	}
	// Who is recognized again starts with nothing.
	gatewaytest.Recognize(t, s.laptop, s.sam, "birch")
	if err := s.reads(s.anna); err == nil {
		t.Error("the grant came back with the recognition")
	}
	roster, err := s.laptop.Roster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(roster.GrantsNamed(terms.ID.String())) > 0 {
		t.Error("the grant is listed")
	}
	s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See})
	if err := s.reads(s.anna); err != nil {
		t.Errorf("shared anew: %v", err)
	}
}

// The home that a visitor is of removes it: whoever hears of that, here by way of somebody else who visits from there,
// refuses it at once.
func TestMemberRemovedInItsOwnTree(t *testing.T) {
	s := newStreet(t)
	ben := s.birch.Invite(s.sam, identity.Person, "sam/ben", "phone")
	for _, path := range []identity.Path{"sam/anna", "sam/ben"} {
		s.home.ShareAbroad(s.laptop, identity.ID{Tree: s.annas.Tree, Path: path}, "home/lock", grant.Terms{Actions: grant.See})
	}
	ended := s.watch(s.anna)
	roster, err := s.sam.Roster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	anna, _ := roster.At("sam/anna")
	if _, err := s.sam.Revoke(t.Context(), roster.Member(anna)); err != nil {
		t.Fatal(err)
	}
	if err := ben.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.reads(ben); err != nil {
		t.Fatalf("ben cannot read the lock: %v", err)
	}
	s.ends("removed at home", ended)
	if err := s.reads(s.anna); err == nil {
		t.Error("anna, who was removed at home, reads the lock")
	}
}

// A visitor's own tree may have been checked a day ago, and no longer: the thing knows nothing newer of it.
func TestVisitorFromATreeNotHeardOf(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See})
	if err := s.laptop.SetLimits(ctx, s.lock.Self().Member(), []tree.Limit{{Fresh: int64(72 * time.Hour / time.Second)}}); err != nil {
		t.Fatal(err)
	}
	if err := s.lock.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.reads(s.anna); err != nil {
		t.Fatal(err)
	}
	var later atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	open := func(h *gatewaytest.Home, name string, old *kindred.Node, listen ...string) *kindred.Node {
		cfg := h.Config(name, listen...)
		cfg.Clock = clock
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}
		n, err := kindred.Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	at := s.lock.Addresses()[0]
	s.lock, s.anna = open(s.home, "lock", s.lock, at[:len(at)-len("/p2p/")-52]), open(s.birch, "annaphone", s.anna)
	s.home.Serve(s.lock, lock.New().Thing())
	s.home.Down()
	s.birch.Down()
	for _, test := range []struct {
		age  time.Duration
		want bool
	}{{23 * time.Hour, true}, {25 * time.Hour, false}} {
		later.Store(int64(test.age))
		if err := s.reads(s.anna); (err == nil) != test.want {
			t.Errorf("with a proof of %s ago: %v", test.age, err)
		}
	}
}

// Where birch takes its own recognition back, its members call nobody there any more.
func TestOwnTreeForgets(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See})
	if err := s.reads(s.anna); err != nil {
		t.Fatal(err)
	}
	roster, err := s.sam.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	oak, _ := roster.Called("oak")
	if _, err := s.sam.Revoke(ctx, roster.Forget(oak)); err != nil {
		t.Fatal(err)
	}
	if err := s.anna.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.reads(s.anna); !errors.Is(err, credential.ErrRevoked) && !errors.Is(err, credential.ErrStranger) {
		t.Errorf("in a home that hers knows no more anna reads the lock: %v", err)
	}
}

// Who stands where another home's gateway should be and cannot show that it is that is believed nothing.
func TestSomebodyElseForTheOtherGateway(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	key := s.birch.Gateway.Node().Self().Key // a member of a tree, and not of this one
	r, err := s.laptop.Face(ctx)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.sam.Face(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r.Name, r.Gateway.Key, r.Gateway.Addresses = "oak", other.Gateway.Key, s.birch.Gateway.Node().Addresses()
	if err := s.sam.Recognize(ctx, r); err != nil {
		t.Fatal(err)
	}
	if err := s.reads(s.anna); !errors.Is(err, kindred.ErrDistrusted) {
		t.Errorf("the gateway of birch (%T) answers for the other: %v", key, err)
	}
}

// An adviser of birch manages what the home shows of its lock, and does not see it: it lets ben, of birch too, look. Each
// link is signed, each must allow, and each can be taken back by whoever gave it.
func TestChainAcrossTrees(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	ben := s.birch.Invite(s.sam, identity.Person, "sam/ben", "phone")
	bens := grant.Subject{Tree: s.annas.Tree, Member: ben.Self().ActsFor(), Path: "sam/ben"}
	if _, err := s.anna.PassOnAbroad(ctx, s.atLock, bens, grant.Terms{Actions: grant.See}); err == nil {
		t.Error("anna passes on what she was not given")
	}
	given, target := s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{HandOn: grant.See, Depth: 1})
	if _, err := s.anna.PassOnAbroad(ctx, s.atLock, bens, grant.Terms{Actions: grant.Use}); err == nil {
		t.Error("anna lets ben unlock, which she was not given to pass on")
	}
	passed, err := s.anna.PassOnAbroad(ctx, s.atLock, bens, grant.Terms{Actions: grant.See})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.reads(ben); err != nil {
		t.Fatalf("ben cannot read the lock: %v", err)
	}
	if err := s.reads(s.anna); err == nil {
		t.Error("anna, who only manages, reads the lock")
	}
	if err := ben.UseID(ctx, s.atLock, func(c *thing.Client) error {
		_, err := c.Invoke(ctx, "unlock", nil)
		return err
	}); err == nil {
		t.Error("ben, who may look, unlocks")
	}
	if err := ben.UnshareAbroad(ctx, s.atLock.Tree, passed.ID); code2(err) != control.Refused {
		t.Errorf("ben takes back what anna gave: %v", err)
	}

	// Anna takes it back: the thing hears of it with what its gateway tells it next.
	ended := s.watch(ben)
	if err := s.anna.UnshareAbroad(ctx, s.atLock.Tree, passed.ID); err != nil {
		t.Fatal(err)
	}
	s.ends("taken back by who gave it", ended)

	// The owner takes back what anna was given: all that she gave goes with it, at once.
	if passed, err = s.anna.PassOnAbroad(ctx, s.atLock, bens, grant.Terms{Actions: grant.See}); err != nil {
		t.Fatal(err)
	}
	ended = s.watch(ben)
	roster, err := s.laptop.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(roster.GrantsNamed(passed.ID.String())) != 1 || len(roster.GrantsNamed(given.ID.String())) != 1 {
		t.Error("the owner does not see both grants")
	}
	if _, err := s.laptop.Revoke(ctx, target); err != nil {
		t.Fatal(err)
	}
	s.ends("taken back from the adviser", ended)
	if err := s.reads(ben); err == nil {
		t.Error("ben reads the lock under a grant whose parent was taken back")
	}

	// Birch removes anna: nobody can show any more that who passed it on is live.
	s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{HandOn: grant.See, Depth: 1})
	if _, err := s.anna.PassOnAbroad(ctx, s.atLock, bens, grant.Terms{Actions: grant.See}); err != nil {
		t.Fatal(err)
	}
	if err := s.reads(ben); err != nil {
		t.Fatal(err)
	}
	birch, err := s.sam.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	anna, _ := birch.At("sam/anna")
	if _, err := s.sam.Revoke(ctx, birch.Member(anna)); err != nil {
		t.Fatal(err)
	}
	if err := ben.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.reads(ben); err == nil {
		t.Error("ben reads the lock by the word of somebody who was removed")
	}
}
