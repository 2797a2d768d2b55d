package kindred_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/peer"
)

func TestPath(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())

	for path, n := range map[identity.Path]interface{ Addresses() []string }{"home/lock": device, "home/gateway": h.Gateway.Node()} {
		way, err := laptop.Path(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		if way.Kind != "loopback" || way.Since.IsZero() || way.RTT <= 0 {
			t.Errorf("the way to %s is %+v", path, way)
		}
		leads := func(at string) bool { return strings.HasPrefix(at, way.Address+"/") }
		if !slices.ContainsFunc(n.Addresses(), leads) {
			t.Errorf("the way to %s leads to %s, and it is at %s", path, way.Address, n.Addresses())
		}
		again, err := laptop.Path(ctx, path)
		if err != nil || !again.Since.Equal(way.Since) {
			t.Errorf("asked again, %s is connected since %v, before it was %v (%v)", path, again.Since, way.Since, err)
		}
	}

	// Asking for the way is no use of the thing, so its journal has nothing to tell.
	if entries, err := device.Journal().Query(ctx, journal.Filter{Limit: 10}); err != nil || len(entries) != 0 {
		t.Errorf("the lock wrote down %+v, %v", entries, err)
	}

	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	if way, err := laptop.Path(ctx, "home/lock"); !errors.Is(err, peer.ErrUnreachable) {
		t.Errorf("the way to a lock that is off is %+v, %v", way, err)
	}
	if _, err := laptop.Path(ctx, "home/oven"); err == nil {
		t.Error("there is a way to a member that does not exist")
	}
}
