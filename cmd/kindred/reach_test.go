package main

import (
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/peer"
)

func TestSentenceOfPath(t *testing.T) {
	for kind, want := range map[string]string{
		peer.Loopback: "You talk to home/lock directly on this machine: nothing leaves it.",
		peer.LAN:      "You talk to home/lock directly on this network: nobody in between can read anything.",
		peer.Direct:   "You talk to home/lock directly across the internet: who carries it sees that you talk, and can read nothing.",
		peer.Relayed:  "You talk to home/lock through the relay at 9.9.9.9: it sees that the two of you talk, when and how much, and can read nothing.",
		"pigeon":      `You talk to home/lock over a connection of the kind "pigeon", and only the two of you can read what is said.`,
	} {
		if got := sentenceOf("home/lock", peer.Path{Kind: kind, Relay: "/ip4/9.9.9.9/udp/1/quic-v1/p2p/x"}); got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
}

func TestSentenceOfForwardedPath(t *testing.T) {
	w := wayOf("home/gateway", peer.Path{Kind: peer.Direct, Address: "/ip4/9.9.9.9/tcp/4711", Forwarded: "UPnP"})
	near := wayOf("home/gateway", peer.Path{Kind: peer.Direct, Near: true, Address: "/ip6/2a00::1/tcp/4711"})
	if near.Sentence != "You talk to home/gateway directly on this network: nobody in between can read anything." {
		t.Errorf("of an address of IPv6 on this network: %q", near.Sentence)
	}
	want := "You talk to home/gateway directly across the internet, through a port that the router there keeps open (UPnP): " +
		"who carries it sees that you talk, and can read nothing."
	if w.Sentence != want || w.Forwarded != "UPnP" {
		t.Errorf("%+v, want %q", w, want)
	}
}

func TestWhyRelayed(t *testing.T) {
	for _, tt := range []struct{ punch, nat, want string }{
		{peer.PunchNever, "", "not tried yet"},
		{peer.PunchTrying, peer.NATSymmetric, "is being tried"},
		{peer.PunchFailed, peer.NATSymmetric, "symmetric NAT"},
		{peer.PunchFailed, peer.NATCone, "this end would allow it"},
		{peer.PunchFailed, peer.NATNone, "this end would allow it"},
		{peer.PunchFailed, "", "one of the ends"},
		{peer.PunchNever, peer.NATBlocked, "no UDP"},
	} {
		w := wayOf("home/lock", peer.Path{Kind: peer.Relayed, Punch: tt.punch, NAT: tt.nat})
		if !strings.Contains(w.Why, tt.want) || !strings.Contains(w.text(time.Now()), "why relayed  "+w.Why) {
			t.Errorf("%s, %s: %q", tt.punch, tt.nat, w.Why)
		}
	}
	if w := wayOf("home/lock", peer.Path{Kind: peer.LAN}); w.Why != "" || strings.Contains(w.text(time.Now()), "why") {
		t.Errorf("of a LAN it says why: %q", w.Why)
	}
}

func TestRouterOfAWay(t *testing.T) {
	for kind, want := range map[string]bool{peer.Direct: true, peer.Relayed: true, peer.LAN: false, peer.Loopback: false} {
		text := wayOf("home/lock", peer.Path{Kind: kind, NAT: peer.NATSymmetric, Relay: "/ip4/9.9.9.9/udp/1/quic-v1/p2p/x"}).text(time.Now())
		if got := strings.Contains(text, "router here  shows each other end another address"); got != want {
			t.Errorf("%s: %q", kind, text)
		}
	}
}

func TestSeenRows(t *testing.T) {
	const relayed = "/ip4/9.9.9.9/udp/1/quic-v1/p2p/12D3KooWHkRc9ub5sn9fLx3bv2xyY3DmXYU6CsAHmX7KtBFoEiyP/p2p-circuit"
	for _, tt := range []struct {
		seen seen
		want string
	}{
		{seen{}, `outside|not reached: "kindred up --relay ADDRESS" lets it be`},
		{seen{Gateway: []string{"/ip4/8.8.8.8/udp/1/quic-v1", relayed}}, "outside|the gateway is reached directly, through the relay at 9.9.9.9"},
		{
			seen{Gateway: []string{relayed}, At: []string{"/ip4/8.8.4.4/udp/7/quic-v1"}, NAT: peer.NATCone},
			"outside|the gateway is reached through the relay at 9.9.9.9|seen at|8.8.4.4|router|lets direct ways be made",
		},
		{
			seen{Gateway: []string{"/ip4/8.8.8.8/udp/1/quic-v1"}, Relays: []string{relayed}, Forwards: &control.Forwards{Asked: true, Ports: []control.Forwarded{
				{Address: "/ip4/8.8.8.8/udp/1/quic-v1", By: "PCP", Door: peer.DoorOpen}, {Address: "/ip4/8.8.8.8/tcp/2", By: "PCP", Door: peer.DoorOpen},
			}}},
			"outside|the gateway is reached directly|forwarded|the router there forwards UDP port 1 and TCP port 2 to the gateway (PCP), and callers from outside get in",
		},
		{
			seen{Relays: []string{relayed}, Gateway: []string{relayed}, Forwards: &control.Forwards{Asked: true, Ports: []control.Forwarded{
				{Address: "/ip4/10.0.0.8/udp/1/quic-v1", By: "UPnP", Door: peer.DoorShut}, {Address: "/ip4/10.0.0.8/tcp/2", By: "UPnP"},
			}}},
			"outside|the gateway is reached through the relay at 9.9.9.9|forwarded|the router there says that it forwards UDP port 1 to the gateway (UPnP), " +
				"but no relay gets in there: another router may be in front of it; the router there says that it forwards TCP port 2 to the gateway (UPnP), " +
				"which no relay has tried yet",
		},
		{
			seen{Gateway: []string{"/ip4/8.8.8.8/udp/1/quic-v1"}, Forwards: &control.Forwards{Asked: true, Ports: []control.Forwarded{{Address: "/ip4/8.8.8.8/udp/1/quic-v1", By: "UPnP"}}}},
			"outside|the gateway is reached directly|forwarded|the router there says that it forwards UDP port 1 to the gateway (UPnP), " +
				`which nobody has tried: "kindred up --relay ADDRESS" has a relay try it`,
		},
		{
			seen{Gateway: []string{"/ip6/2a00::1/udp/1/quic-v1"}, Relays: []string{relayed}, Forwards: &control.Forwards{Asked: true, Ports: []control.Forwarded{
				{Address: "/ip4/8.8.8.8/udp/1/quic-v1", By: "UPnP", Door: peer.DoorShut}, {Address: "/ip6/2a00::1/udp/1/quic-v1", By: "PCP", Door: peer.DoorOpen},
				{Address: "/ip6/2a00::2/udp/1/quic-v1", By: "PCP"},
			}}},
			"outside|the gateway is reached directly|forwarded|the router there opens its firewall to the gateway's UDP port 1 of IPv6 (PCP), and callers from outside get in; " +
				"the router there says that it forwards UDP port 1 to the gateway (UPnP), but no relay gets in there: another router may be in front of it; " +
				"the router there says that it opens its firewall to the gateway's UDP port 1 of IPv6 (PCP), which no relay has tried yet",
		},
		{
			seen{Gateway: []string{relayed}, Forwards: &control.Forwards{Asked: true}},
			"outside|the gateway is reached through the relay at 9.9.9.9|forwarded|nothing: no router there does as the gateway asks",
		},
	} {
		var got []string
		for _, row := range tt.seen.rows() {
			got = append(got, row...)
		}
		if got := strings.Join(got, "|"); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
