package gateway_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

// A home with all its devices connected, and an owner's app that watches sixteen of them is removed: how long it takes
// from the command until the last stream is cut, and until the last device has said that it obeys. The sixteen verify
// and store what they are told as everywhere. The others take it in and say so, no more: at home each has a machine of
// its own for the rest, and here they would wait for each other. KINDRED_TEST_MEMBERS says how many devices there are,
// if not 100.
func BenchmarkRemove(b *testing.B) {
	devices := 100
	if n, err := strconv.Atoi(os.Getenv("KINDRED_TEST_MEMBERS")); err == nil {
		devices = n
	}
	b.Run(strconv.Itoa(devices), func(b *testing.B) { remove(b, devices) })
}

func remove(b *testing.B, devices int) {
	const watched = 16
	h := gatewaytest.New(b)
	laptop := h.Open("laptop")
	name := func(i int) string { return fmt.Sprintf("lock%d", i) }
	for i := range devices { // none is there yet to be told of every one that joins after it
		path := identity.Path("home").Join(name(i))
		if err := h.Invite(laptop, identity.Device, path, "", "127.0.0.1:0").Close(); err != nil {
			b.Fatal(err)
		}
	}
	for i := range watched {
		n := h.Open(name(i), "127.0.0.1:0")
		if err := n.InTouch(b.Context()); err != nil {
			b.Fatal(err)
		}
		h.Serve(n, lock.New().Thing())
	}
	for i := watched; i < devices; i++ {
		heed(b, h.Open(name(i)))
	}
	var cut, obeyed []time.Duration
	for i := 0; b.Loop(); i++ {
		path := identity.Path(fmt.Sprintf("sam/tablet%d", i))
		tablet := h.Invite(laptop, identity.App, path, "")
		ended := make(chan time.Time, watched)
		for i := range watched {
			began := make(chan error, 2)
			go func() {
				began <- watch(b, tablet, identity.Path("home").Join(name(i)), began)
				ended <- time.Now()
			}()
			if err := <-began; err != nil {
				b.Fatal(err)
			}
		}
		roster, err := laptop.Roster(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		m, ok := roster.At(path)
		if !ok {
			b.Fatalf("no %s", path)
		}
		target := roster.Member(m)
		target.Things = nil // the gateway tells them: straight at the things it is quicker
		asked := time.Now()
		report, err := laptop.Revoke(b.Context(), target)
		if err != nil {
			b.Fatal(err)
		}
		for slices.ContainsFunc(report.Things, func(r control.Reach) bool { return !r.Closed }) {
			if report, err = laptop.Gateway().Follow(b.Context(), control.Following{Leaf: report.Leaf, Closed: devices - 1}); err != nil {
				b.Fatal(err)
			}
		}
		obeyed = append(obeyed, time.Since(asked))
		if len(report.Things) != devices {
			b.Fatalf("%d things, not %d", len(report.Things), devices)
		}
		var last time.Duration
		for range watched {
			last = max(last, (<-ended).Sub(asked))
		}
		cut = append(cut, last)
	}
	quantile := func(d []time.Duration, q float64) float64 {
		slices.Sort(d)
		return d[min(len(d)-1, int(q*float64(len(d))))].Seconds()
	}
	b.ReportMetric(quantile(cut, 0.5), "s/cut-p50")
	b.ReportMetric(quantile(cut, 0.99), "s/cut-p99")
	b.ReportMetric(quantile(obeyed, 0.5), "s/all-p50")
	b.ReportMetric(quantile(obeyed, 0.99), "s/all-p99")
	b.ReportMetric(0, "ns/op")
}

// heed watches the gateway for a device, and says of all that is taken away that it obeys, from when heed returns until
// the test ends. Like a node it comes back when it is cut off, and is told what it missed.
func heed(b *testing.B, n *kindred.Node) {
	home := n.Gateway()
	var told sync.Once
	watching, ended := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(b.Context())
	b.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			home.Watch(ctx, func(e control.Event) error {
				told.Do(func() { close(watching) })
				if e.Notice == nil {
					return nil
				}
				leaf, err := takenAway(e.Notice)
				if err != nil {
					b.Error(err)
					return err
				}
				return home.Obeyed(ctx, leaf[:])
			})
		}
	}()
	<-watching
}

// takenAway reads which member's entry a revocation takes away, and verifies nothing.
func takenAway(raw []byte) (merkle.Hash, error) {
	notice, err := credential.ParseNotice(raw)
	if err != nil {
		return merkle.Hash{}, err
	}
	s, err := signed.Parse(notice.Statement)
	if err != nil {
		return merkle.Hash{}, err
	}
	var r tree.Revocation
	if err := signed.Unmarshal(s.Payload, &r); err != nil {
		return merkle.Hash{}, err
	}
	return merkle.LeafHash(r.Key(), notice.Value), nil
}

// watch follows a lock until that ends. It says when it has begun.
func watch(b *testing.B, n *kindred.Node, path identity.Path, began chan<- error) error {
	return n.Use(b.Context(), path, func(c *thing.Client) error {
		s, err := c.Observe(b.Context(), "state", "")
		if err != nil {
			return err
		}
		if _, err := s.Next(); err != nil {
			return err
		}
		began <- nil
		for {
			if _, err := s.Next(); err != nil {
				return nil
			}
		}
	})
}
