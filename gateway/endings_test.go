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
