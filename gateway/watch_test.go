package gateway_test

import (
	"context"
	"crypto"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/tree"
)

// watched is a home whose owner's tablet watches it.
type watched struct {
	*gatewaytest.Home
	t      *testing.T
	laptop *kindred.Node
	tablet *kindred.Node
	shown  chan [][]byte // the certificates that it is told it has; closed when it is told no more
}

func newWatched(t *testing.T, clock func() time.Time) *watched {
	t.Helper()
	w := &watched{Home: gatewaytest.New(t), t: t, shown: make(chan [][]byte)}
	if clock != nil {
		w.Clock = clock
		w.Restart()
	}
	w.laptop = w.Open("laptop")
	w.tablet = w.Invite(w.laptop, identity.App, "sam/tablet", "")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(w.shown)
		w.tablet.Gateway().Watch(ctx, func(e control.Event) error {
			if e.Evidence == nil {
				return nil
			}
			select {
			case w.shown <- e.Evidence.Chain:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	w.sees(w.tablet.Self().Raw)
	return w
}

// sees waits until the tablet is told of certificates.
func (w *watched) sees(chain [][]byte) {
	w.t.Helper()
	for shown := range w.shown {
		if slices.EqualFunc(shown, chain, slices.Equal) {
			return
		}
	}
	w.t.Fatal("the tablet is told no more, while it is a member")
}

// admits gives the tablet other certificates.
func (w *watched) admits(key crypto.PublicKey, until time.Time, stolen bool) [][]byte {
	w.t.Helper()
	above, err := w.laptop.Authority()
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	raw, err := above.Issue(identity.Subject{
		Kind: identity.App, Member: w.tablet.Self().Member(), Name: "tablet", Key: key, NotBefore: now.Add(-time.Minute), NotAfter: until,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := identity.Verify(raw, w.laptop.Self().ID.Tree, w.laptop.Charter().RootCertificate(), now)
	if err == nil {
		err = w.Gateway.Keeper().Admit(w.t.Context(), w.laptop.Self(), []tree.Admission{{Chain: c, Stolen: stolen}})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

// ends waits until the tablet is told no more. Meanwhile it may be told what it had before.
func (w *watched) ends(when string, before [][]byte) {
	w.t.Helper()
	for shown := range w.shown {
		if !slices.EqualFunc(shown, before, slices.Equal) {
			w.t.Fatalf("%s the tablet is still told of the home", when)
		}
	}
}

// Whoever stole a tablet is told no more of the home from when the tablet has another key; new certificates for its own it
// is handed.
func TestWatchEndsWithKey(t *testing.T) {
	w := newWatched(t, nil)
	own := w.admits(w.tablet.Self().Key, time.Now().Add(24*time.Hour), false)
	w.sees(own)
	w.admits(identitytest.NewKey(t).Public(), time.Now().Add(24*time.Hour), true)
	w.ends("with its key replaced", own)
}

func TestWatchEndsWithCertificates(t *testing.T) {
	var ahead atomic.Int64
	w := newWatched(t, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	own := w.admits(w.tablet.Self().Key, time.Now().Add(time.Hour), false)
	w.sees(own)
	ahead.Store(int64(time.Hour))
	if err := w.Gateway.Keeper().Label(t.Context(), w.laptop.Self(), w.laptop.Self().Member(), "desk"); err != nil {
		t.Fatal(err)
	}
	for i, shown := 0, true; shown; i++ { // what was due before, once
		if _, shown = <-w.shown; i > 2 {
			t.Fatal("the tablet is still told of the home when its certificates have ended")
		}
	}
}

func TestWatchEndsWithMember(t *testing.T) {
	w := newWatched(t, nil)
	roster, err := w.laptop.Roster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, _ := roster.At("sam/tablet")
	if _, err := w.laptop.Revoke(t.Context(), roster.Member(m)); err != nil {
		t.Fatal(err)
	}
	w.ends("removed", w.tablet.Self().Raw)
}
