package kindred

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
)

func TestWay(t *testing.T) {
	n := &Node{}
	n.neighbours.look = func() []ownNetwork {
		return []ownNetwork{
			{netip.MustParsePrefix("192.168.1.0/24"), "eth0"}, {netip.MustParsePrefix("fd12:3456::/64"), "eth0"},
			{netip.MustParsePrefix("fe80::/64"), "eth0"},
		}
	}
	for _, tt := range []struct {
		kind, address string
		want          grant.Way
	}{
		{peer.Loopback, "/ip4/127.0.0.1/udp/4001/quic-v1", grant.AtHome},
		{peer.LAN, "/ip4/192.168.1.7/udp/4001/quic-v1", grant.AtHome},
		{peer.LAN, "/ip6/fd12:3456::7/tcp/4001", grant.AtHome},
		{peer.LAN, "/ip6zone/eth0/ip6/fe80::1/udp/4001/quic-v1", grant.AtHome},
		// The same address on a tunnel, and where it is not known on what.
		{peer.LAN, "/ip6zone/tun0/ip6/fe80::1/udp/4001/quic-v1", grant.Direct},
		{peer.LAN, "/ip6/fe80::1/udp/4001/quic-v1", grant.Direct},
		{peer.LAN, "/ip4/169.254.0.1/udp/4001/quic-v1", grant.Direct},
		// Private, and not of a network that the thing is on: behind a router or a tunnel.
		{peer.LAN, "/ip4/192.168.2.7/udp/4001/quic-v1", grant.Direct},
		{peer.LAN, "/ip4/10.8.0.2/udp/4001/quic-v1", grant.Direct},
		{peer.LAN, "/ip6/fd12:9999::7/tcp/4001", grant.Direct},
		{peer.Direct, "/ip4/203.0.113.9/udp/4001/quic-v1", grant.Direct},
		{peer.LAN, "/dns4/meter.local/udp/4001/quic-v1", grant.Direct},
		{peer.LAN, "/ip6zone/eth0", grant.Direct},
		{peer.LAN, "/ip4", grant.Direct},
		// Carried, by whom is not known: the farthest.
		{peer.Relayed, "/ip4/192.168.1.1/udp/4001/quic-v1/p2p-circuit", grant.Relayed},
		{"", "", grant.Relayed},
		{"tunnelled", "/ip4/192.168.1.7/tcp/1", grant.Relayed},
	} {
		if got := n.wayBy(peer.Path{Kind: tt.kind, Address: tt.address}); got != tt.want {
			t.Errorf("%s from %s came %s, want %s", tt.kind, tt.address, got, tt.want)
		}
	}
}

// A call that lasts comes from where its caller is by now.
func TestWayOfWhatLasts(t *testing.T) {
	home := []ownNetwork{{netip.MustParsePrefix("192.168.1.0/24"), "eth0"}}
	n := &Node{}
	n.neighbours.look = func() []ownNetwork { return home }
	c := &call{calls: &calls{node: n}, ctx: withArrival(t.Context(), arrival{at: "192.168.1.7:443"})}
	if c.locate(); c.came() != grant.AtHome {
		t.Errorf("a neighbour comes %s", c.came())
	}
	home = nil // the thing was carried to another network
	n.neighbours.found.Store(nil)
	if c.locate(); c.came() != grant.Direct {
		t.Errorf("who is a neighbour no more comes %s", c.came())
	}
}

// What this machine is on itself are networks of its own addresses, and none that anybody can be on.
func TestOwnNetworks(t *testing.T) {
	for _, n := range ownNetworks() {
		if !n.Addr().IsPrivate() && !n.Addr().IsLinkLocalUnicast() || n.Bits() == 0 {
			t.Errorf("%s on %s counts as home", n, n.link)
		}
	}
}

func TestPurposeOf(t *testing.T) {
	for sent, want := range map[string]string{"": "", "billing": "billing", strings.Repeat("x", maxPurpose+1): ""} {
		r := &http.Request{Header: http.Header{thing.PurposeHeader: {sent}}}
		if got := purposeOf(r); got != want {
			t.Errorf("%.80q is taken for %q", sent, got)
		}
	}
}
