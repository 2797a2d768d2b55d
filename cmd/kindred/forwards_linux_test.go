package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab"
	"github.com/kindred-iot/kindred/netlab/netlabtest"
	"github.com/kindred-iot/kindred/peer"
)

// statusSays waits until "status" of the laptop says something, and returns all of it.
func (h *household) statusSays(what string) string {
	h.t.Helper()
	for deadline := time.Now().Add(netlabtest.Patience); ; {
		r := h.at.Run(h.program, "--dir", filepath.Join(h.dir, "laptop"), "status")
		if h.done(r); strings.Contains(r.Out, what) {
			return r.Out
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("the status never says %q:\n%s", what, r.Out)
		}
	}
}

// A home whose router forwards ports on request, and one with IPv6 whose router opens its firewall: the owner is told in a
// sentence, a phone elsewhere, behind another NAT or not, calls directly and is told why it can, and nobody gets in when the
// gateway has ended.
func TestForwardedPort(t *testing.T) {
	for _, tt := range []struct {
		name     string
		nat      netlab.NAT
		internet string // how addresses of the public segment begin
		told     string
	}{
		{"IPv4", netlab.Cone, "/ip4/25.", "the router there forwards UDP port 4711 and TCP port 4711 to the gateway (PCP), and callers from outside get in"},
		{"IPv6", netlab.IPv6Only, "/ip6/2a10:25:", "the router there opens its firewall to the gateway's UDP port 4711 and TCP port 4711 of IPv6 (PCP), and callers from outside get in"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lab := netlabtest.New(t)
			home := lab.Home("birch", tt.nat)
			router := home.Forward("enable_natpmp=yes", "enable_upnp=yes")
			one := home.Host("one")
			reached, rules, room := one.Addr(), router.Opened, lab.Public("room")
			if tt.nat == netlab.Cone {
				reached, rules, room = home.PublicAddr(), router.Forwarded, lab.Home("hotel", netlab.Symmetric).Host("room")
			}
			birch := foundHousehold(t, one)
			relay := birch.start(lab.Public("relay"), "relay", "relay", "--listen", ":4712")
			at := ""
			for _, a := range read[relayReady](t, relay.Line()).Addresses {
				if strings.HasPrefix(a, tt.internet) && strings.Contains(a, "/udp/") {
					at = a
				}
			}
			up := birch.up("--listen", ":4711", "--map-ports", "--relay", at)
			birch.statusSays(tt.told)
			birch.join(one, "phone", "app", "sam/phone")
			st := read[state](t, birch.done(birch.run(one, "phone", "status")))
			if st.Seen == nil || st.Seen.Forwards == nil || len(st.Seen.Forwards.Ports) != 2 || st.Seen.Forwards.Ports[0].Door != peer.DoorOpen {
				t.Errorf("the phone's status has %+v", st.Seen)
			}
			w := birch.way(room, "phone", "home/gateway")
			if w.Kind != peer.Direct || w.First != "" || !strings.Contains(w.Address, "/"+reached.String()+"/") || !strings.Contains(w.Address, "/4711") {
				t.Errorf("from elsewhere the gateway is reached as %+v", w)
			}
			if w.Forwarded != "PCP" || !strings.Contains(w.Sentence, "directly across the internet, through a port that the router there keeps open (PCP): ") {
				t.Errorf("from elsewhere the gateway is said to be reached so: %+v", w)
			}
			if w := birch.way(home.Host("two"), "phone", "home/gateway"); w.Forwarded != "" || !strings.Contains(w.Sentence, "directly on this network: ") {
				t.Errorf("from beside it the gateway is reached as %+v", w)
			}
			if code := up.Stop(); code != exitDone {
				t.Errorf("the gateway ended with %d: %s", code, up.Said())
			}
			if left := rules(); len(left) > 0 {
				t.Errorf("the router still lets in %q", left)
			}
		})
	}
}
