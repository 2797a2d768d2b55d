package gateway_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// A home of 1,000 devices, all connected and all in this process, and an owner's app that watches sixteen of them is
// removed: how long it takes from the command until the last stream is cut and the last device has said that it obeys.
// In a home the devices verify and store what they are told each on a machine of its own; here they share this one.
// KINDRED_TEST_MEMBERS says how many devices there are, if not 100.
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
	for i := range devices {
		path := identity.Path(fmt.Sprintf("home/lock%d", i))
		h.Serve(h.Invite(laptop, identity.Device, path, "", "127.0.0.1:0"), lock.New().Thing())
	}
	var cut, obeyed []time.Duration
	for i := 0; b.Loop(); i++ {
		path := identity.Path(fmt.Sprintf("sam/tablet%d", i))
		tablet := h.Invite(laptop, identity.App, path, "")
		ended := make(chan time.Time, watched)
		for i := range watched {
			began := make(chan error, 2)
			go func() {
				began <- watch(b, tablet, identity.Path(fmt.Sprintf("home/lock%d", i*devices/watched)), began)
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
		for range watched {
			cut = append(cut, (<-ended).Sub(asked))
		}
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
