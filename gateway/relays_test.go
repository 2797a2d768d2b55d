package gateway_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
)

func throughRelay(addresses []string) bool {
	return slices.ContainsFunc(addresses, func(a string) bool { return strings.Contains(a, "/p2p-circuit") })
}

// The gateway is told of a relay; its members learn it from the gateway, are found there, and whoever looks them up
// learns that. An invitation leads there too.
func TestMembersAreFoundAtTheHomesRelay(t *testing.T) {
	v := gatewaytest.New(t)
	laptop := v.Open("laptop")
	device := v.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	v.Serve(device, lock.New().Thing())
	v.Relays = startRelay(t).Addresses
	v.Restart()
	waitFor(t, func() bool { return throughRelay(device.Addresses()) })
	waitFor(t, func() bool { return throughRelay(v.Gateway.Node().Addresses()) })
	if r := device.Reach(); len(r.Relays) != 1 || !r.Relays[0].Held {
		t.Errorf("the lock knows of itself %+v", r)
	}

	waitFor(t, func() bool {
		roster, err := laptop.Roster(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m, ok := roster.At("home/lock")
		return ok && bytes.Contains(m.Address, []byte("/p2p-circuit"))
	})
	if err := laptop.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	inv, _, err := laptop.Invite(t.Context(), kindred.Invitee{Kind: identity.Device, Path: "home/meter"})
	if err != nil {
		t.Fatal(err)
	}
	if !throughRelay(inv.Addresses) {
		t.Errorf("the invitation leads to %q", inv.Addresses)
	}
	for _, a := range inv.Addresses {
		if slices.ContainsFunc(v.Relays, func(r string) bool { return strings.HasPrefix(r, a+"/p2p/") }) {
			t.Errorf("the invitation leads to the relay itself: %q", a)
		}
	}
}
