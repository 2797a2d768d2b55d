package peer_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/netlab"
	"github.com/kindred-iot/kindred/netlab/netlabtest"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/portmap"
)

// A meter behind a router that forwards ports as it is asked, and a relay that sees it.
type forwardedHome struct {
	lab    *netlabtest.Lab
	birch  *netlabtest.Home
	router *netlabtest.Forwarder
	meter  *labPeer

	internet string // what the addresses of its public segment have in them
}

func newForwardedHome(t *testing.T, nat netlab.NAT, settings ...string) *forwardedHome {
	lab := netlabtest.New(t)
	h := &forwardedHome{lab: lab, birch: lab.Home("birch", nat)}
	h.router = h.birch.Forward(settings...)
	if h.internet = "/ip4/25."; nat == netlab.IPv6Only {
		h.internet = "/ip6/2a10:25:"
	}
	return h
}

// moor starts the relay and the meter.
func (h *forwardedHome) moor(t *testing.T) {
	t.Helper()
	relay := start(t, h.lab.Public("relay"), "relay")
	h.meter = start(t, h.birch.Host("meter"), "listen", "map")
	h.meter.Say("relays " + relay.relayIn(h.internet)[0])
	h.meter.moored(1)
}

// doors waits until relays have tried every port that the router says it forwards.
func (h *forwardedHome) doors(door string) {
	h.meter.t.Helper()
	h.meter.until("that both ports are "+door, func() bool {
		return len(h.meter.reach.Mapped) == 2 && !slices.ContainsFunc(h.meter.reach.Mapped, func(f peer.Forward) bool { return f.Door != door })
	})
}

// at returns where the meter is said to be at an IP address of the router's, or its own.
func (h *forwardedHome) at(ip string) (all []string) {
	return slices.DeleteFunc(slices.Clone(h.meter.addresses), func(a string) bool {
		return !strings.Contains(a, "/"+ip+"/") || peer.IsRelayed(a)
	})
}

// opens checks that the meter is told of at two addresses, that the router lets callers in there by as many rules, that
// others call directly from new hosts of a LAN, and that nobody gets in when the meter is closed.
func (h *forwardedHome) opens(t *testing.T, by string, at []string, rules func() []string, from func(name string) *netlabtest.Host) {
	t.Helper()
	h.moor(t)
	h.doors(peer.DoorOpen)
	want := []peer.Forward{{Address: at[0], By: by, Door: peer.DoorOpen}, {Address: at[1], By: by, Door: peer.DoorOpen}}
	if r := h.meter.reach; !slices.Equal(r.Mapped, want) || r.Door != peer.DoorOpen {
		t.Errorf("the meter knows of itself %+v, want %+v", r, want)
	}
	if got := rules(); len(got) != 2 {
		t.Errorf("the router lets in %q", got)
	}
	for i, a := range at {
		if !slices.Contains(h.meter.addresses, a) {
			t.Errorf("the meter does not publish %s", a)
		}
		phone, meter := start(t, from("phone"+string(rune('0'+i)))), *h.meter
		meter.addresses = []string{a}
		if n := phone.get(&meter); n.Error != "" || n.Path.Kind != peer.Direct {
			t.Errorf("at %s the answer is %+v %+v", a, n, n.Path)
		}
	}
	if code := h.meter.Stop(); code != 0 {
		t.Errorf("the meter ended with %d", code)
	}
	if left := rules(); len(left) > 0 {
		t.Errorf("the router still lets in %q", left)
	}
}

// Somebody behind a NAT that shows each other end another address calls directly at the port that is forwarded, and no
// port stays forwarded when the callee is closed.
func TestLabForwarded(t *testing.T) {
	for _, tt := range []struct {
		by       string
		settings []string
	}{
		{portmap.PCP, []string{"enable_natpmp=yes", "enable_upnp=no"}},
		{portmap.UPnP, []string{"enable_natpmp=no", "enable_upnp=yes"}},
	} {
		t.Run(tt.by, func(t *testing.T) {
			t.Parallel()
			h := newForwardedHome(t, netlab.Cone, tt.settings...)
			h.opens(t, tt.by, []string{"/ip4/25.0.2.1/udp/4711/quic-v1", "/ip4/25.0.2.1/tcp/4711"}, h.router.Forwarded,
				h.lab.Home("hotel", netlab.Symmetric).Host)
		})
	}
}

// Where a home has IPv6 the router's firewall is opened, so that somebody calls directly whom nobody inside has called; it
// is shut again when the callee is closed.
func TestLabFirewallOpened(t *testing.T) {
	for _, by := range []string{portmap.PCP, portmap.UPnP} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			h := newForwardedHome(t, netlab.IPv6Only, "enable_natpmp=yes", "enable_upnp=yes")
			if by == portmap.UPnP {
				h.router.Deafen(5351)
			}
			h.opens(t, by, []string{"/ip6/2a10:25:0:1::2/udp/4711/quic-v1", "/ip6/2a10:25:0:1::2/tcp/4711"}, h.router.Opened, h.lab.Public)
		})
	}
}

// A router that names an address which is not its own is not believed: the relay gets in where it sees the meter, and
// others are told that.
func TestLabRouterNamesAnotherAddress(t *testing.T) {
	t.Parallel()
	h := newForwardedHome(t, netlab.Cone, "enable_natpmp=yes", "enable_upnp=no", "ext_ip=25.0.9.9")
	h.moor(t)
	h.doors(peer.DoorOpen)
	if lie, true := h.at("25.0.9.9"), h.at("25.0.2.1"); len(lie) > 0 || len(true) != 2 {
		t.Errorf("the meter publishes %q and %q", lie, true)
	}
}

// A router that says that it forwards and does not is not believed either.
func TestLabRouterForwardsNothing(t *testing.T) {
	t.Parallel()
	h := newForwardedHome(t, netlab.Cone, "enable_natpmp=yes", "enable_upnp=no")
	h.router.Break()
	h.moor(t)
	h.doors(peer.DoorShut)
	h.meter.until("what the relay found", func() bool { return h.meter.reach.Door == peer.DoorShut })
	if told := h.at("25.0.2.1"); len(told) > 0 {
		t.Errorf("the meter publishes %q, where nobody gets in", told)
	}
}

// A firewall that says that it is open and is not: no relay gets in.
func TestLabFirewallShut(t *testing.T) {
	t.Parallel()
	h := newForwardedHome(t, netlab.IPv6Only, "enable_natpmp=yes", "enable_upnp=no")
	h.router.Break()
	h.moor(t)
	h.doors(peer.DoorShut)
	h.meter.addresses = h.at("2a10:25:0:1::2")[:1]
	if n := start(t, h.lab.Public("phone")).get(h.meter); n.Error == "" {
		t.Errorf("past a firewall that is shut the answer is %+v %+v", n, n.Path)
	}
}
