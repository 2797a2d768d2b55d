package kindred_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/thing"
)

// Whoever is no owner acts no more once a thing's disk is almost full, which it could fill with its acts, and the owner
// still does. What is only read goes on.
func TestDiskIsKeptForOwners(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	var free atomic.Int64
	free.Store(1 << 40)
	device.Room(func() (int64, int64, error) {
		if free.Load() < 0 {
			return 0, 0, errors.New("nobody knows")
		}
		return free.Load(), 1 << 40, nil
	})
	h.Serve(device, lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use})
	unlock := func(n *kindred.Node) error {
		return n.Use(t.Context(), "home/lock", func(c *thing.Client) error {
			_, err := c.Invoke(t.Context(), "unlock", nil)
			return err
		})
	}
	for _, with := range []struct {
		free int64
		full bool
	}{{1 << 40, false}, {64<<20 - 1, true}, {-1, true}, {64 << 20, false}} {
		free.Store(with.free)
		var p *thing.Problem
		switch err := unlock(anna); {
		case !with.full && err != nil:
			t.Errorf("with %d bytes free: %v", with.free, err)
		case with.full && (!errors.As(err, &p) || p.Status != http.StatusInsufficientStorage || p.Code != "full"):
			t.Errorf("with %d bytes free a guest acts: %v", with.free, err)
		}
		if err := unlock(laptop); err != nil {
			t.Errorf("with %d bytes free the owner does not act: %v", with.free, err)
		}
		if _, err := h.State(anna, "home/lock"); err != nil {
			t.Errorf("with %d bytes free a guest does not read: %v", with.free, err)
		}
	}
	items, err := device.Journal().Query(t.Context(), journal.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(items, func(i journal.Item) bool {
		return i.Entry.Outcome == journal.Refused && strings.Contains(i.Entry.Reason, "almost full")
	}) {
		t.Error("the journal does not tell of what was refused")
	}
}
