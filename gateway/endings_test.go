package gateway_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// A notice is what a node was told of a grant.
type notice struct {
	id tree.GrantID
	at time.Duration // as the grant had it then
}

// endingsOf runs Endings of a node until stop, and hands on what it tells.
func endingsOf(t *testing.T, n *kindred.Node) (told <-chan notice, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	notices, done := make(chan notice, 16), make(chan error, 1)
	go func() {
		done <- n.Endings(ctx, func(_ kindred.Roster, g kindred.RosterGrant) error {
			notices <- notice{g.Terms.ID, g.Terms.Notice(time.Now())}
			return nil
		})
	}()
	return notices, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Owners, and whoever has a grant, are told before it ends, of each notice once: also while they watch, and neither when the
// gateway starts again nor when they do. Nobody else is told.
func TestEndingsAreToldOnce(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	h.Serve(h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0"), lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	eve := h.Invite(laptop, identity.Person, "sam/eve", "phone")
	give := func(left time.Duration) tree.GrantID {
		now := time.Now()
		terms, _ := h.Share(laptop, "sam/anna", "home/lock", grant.Terms{
			Actions: grant.See, From: now.Add(-365 * 24 * time.Hour).Unix(), Until: now.Add(left).Unix(),
		})
		return terms.ID
	}
	give(30 * 24 * time.Hour) // of which nobody is told
	first := give(time.Hour + 4*time.Second)
	sams, stopSam := endingsOf(t, laptop)
	annas, stopAnna := endingsOf(t, anna)
	if got := <-sams; got.id != first {
		t.Errorf("sam is told of %s", got.id)
	}
	// On a machine that is slow the first notice may be the last.
	for got := <-annas; got.at != time.Hour; got = <-annas {
		if got.id != first || got.at != 24*time.Hour {
			t.Fatalf("anna is told of %s, %s before its end", got.id, got.at)
		}
		waitFor(t, func() bool {
			h.Gateway.AnnounceEndings()
			return len(annas) > 0
		})
	}
	stopSam()
	stopAnna()

	h.Restart()
	anna = h.Reopen("annaphone", anna)
	second := give(30 * time.Minute)
	annas, stopAnna = endingsOf(t, anna)
	if got := <-annas; got.id != second {
		t.Errorf("after it all started again, anna is told of %s", got.id)
	}
	stopAnna()
	if n := len(annas); n != 0 {
		t.Errorf("anna is told of %d more", n)
	}

	// What the gateway itself says, and to whom.
	for name, test := range map[string]struct {
		node *kindred.Node
		want int
	}{"sam": {laptop, 2}, "anna": {anna, 2}, "eve": {eve, 0}} {
		enough := errors.New("enough")
		got := 0
		err := test.node.Gateway().Watch(t.Context(), func(e control.Event) error {
			if e.Ending != nil {
				got++
				return nil
			}
			return enough // its proof, which comes after
		})
		if !errors.Is(err, enough) || got != test.want {
			t.Errorf("%s is told of %d grants, want %d: %v", name, got, test.want, err)
		}
	}
}

// Whoever was given something in another home is told before it ends, by that home through their own, of each notice once,
// and nobody else is; and where they are told they can ask for more.
func TestEndingsElsewhere(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	eve := s.birch.Invite(s.sam, identity.Person, "sam/eve", "phone")
	give := func(path identity.Path, left time.Duration) tree.GrantID {
		now := time.Now()
		terms, _ := s.home.ShareAbroad(s.laptop, s.annas, path, grant.Terms{
			Actions: grant.See, From: now.Add(-365 * 24 * time.Hour).Unix(), Until: now.Add(left).Unix(),
		})
		return terms.ID
	}
	next := func(told <-chan notice) notice {
		t.Helper()
		select {
		case got := <-told:
			return got
		case <-time.After(2 * time.Minute): // a home asks the other once a minute at least
			t.Fatal("anna is told of nothing")
			return notice{}
		}
	}
	give("home/shed", 30*24*time.Hour) // of which nobody is told
	annas, stop := endingsOf(t, s.anna)
	first := give("home/lock", 30*time.Minute)
	if got := next(annas); got.id != first {
		t.Errorf("anna is told of %s", got.id)
	}
	second := give("home", 20*time.Minute) // of all there is
	if got := next(annas); got.id != second {
		t.Errorf("anna is told of %s next", got.id)
	}
	stop()

	// Nothing is told twice, whoever starts again.
	s.birch.Restart()
	s.anna = s.birch.Reopen("annaphone", s.anna)
	third := give("home/shed", 10*time.Minute)
	annas, stop = endingsOf(t, s.anna)
	if got := next(annas); got.id != third {
		t.Errorf("after it all started again anna is told of %s", got.id)
	}
	stop()
	if n := len(annas); n != 0 {
		t.Errorf("anna is told of %d more", n)
	}

	soon, err := s.anna.EndingElsewhere(ctx)
	if err != nil || len(soon) != 3 || soon[0].Terms.ID != third || soon[0].At != s.atShed || soon[1].At.Path != "home" || soon[2].At != s.atLock {
		t.Errorf("to anna ends soon %+v, %v", soon, err)
	}
	for name, who := range map[string]*kindred.Node{"eve": eve, "sam": s.birch.Reopen("laptop", s.sam)} {
		if soon, err := who.EndingElsewhere(ctx); err != nil || len(soon) != 0 {
			t.Errorf("to %s ends soon %+v, %v", name, soon, err)
		}
	}
	if _, err := eve.GivenElsewhere(ctx, s.atLock.Tree, "g-"); err == nil {
		t.Error("eve, to whom nothing was given, is told what was given to her")
	}
	given, err := s.anna.GivenElsewhere(ctx, s.atLock.Tree, first.String())
	if err != nil || len(given) != 1 || given[0].Terms.ID != first || given[0].At != s.atLock {
		t.Errorf("anna was given %+v, %v", given, err)
	}
}
