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

// A home whose router forwards ports on request: the owner is told in a sentence, a phone that is behind another NAT
// calls directly, and nothing stays forwarded when the gateway has ended.
func TestForwardedPort(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	home, hotel := lab.Home("birch", netlab.Cone), lab.Home("hotel", netlab.Symmetric)
	router := home.Forward("enable_natpmp=yes", "enable_upnp=yes")
	one, room := home.Host("one"), hotel.Host("room")
	birch := foundHousehold(t, one)
	relay := birch.start(lab.Public("relay"), "relay", "relay", "--listen", ":4712")
	at := ""
	for _, a := range read[relayReady](t, relay.Line()).Addresses {
		if strings.HasPrefix(a, "/ip4/25.") && strings.Contains(a, "/udp/") {
			at = a
		}
	}
	up := birch.up("--listen", ":4711", "--map-ports", "--relay", at)
	birch.statusSays("the router there forwards UDP port 4711 and TCP port 4711 to the gateway (PCP), and callers from outside get in")
	birch.join(one, "phone", "app", "sam/phone")
	st := read[state](t, birch.done(birch.run(one, "phone", "status")))
	if st.Seen == nil || st.Seen.Forwards == nil || len(st.Seen.Forwards.Ports) != 2 || st.Seen.Forwards.Ports[0].Door != peer.DoorOpen {
		t.Errorf("the phone's status has %+v", st.Seen)
	}
	w := birch.way(room, "phone", "home/gateway")
	if w.Kind != peer.Direct || w.First != "" || !strings.HasPrefix(w.Address, "/ip4/"+home.PublicAddr().String()+"/") || !strings.Contains(w.Address, "/4711") {
		t.Errorf("from the hotel the gateway is reached as %+v", w)
	}
	if w.Forwarded != "PCP" || !strings.Contains(w.Sentence, "directly across the internet, through a port that the router there keeps open (PCP): ") {
		t.Errorf("from the hotel the gateway is said to be reached so: %+v", w)
	}
	if w := birch.way(one, "phone", "home/gateway"); w.Forwarded != "" {
		t.Errorf("from beside it the gateway is reached as %+v", w)
	}
	if code := up.Stop(); code != exitDone {
		t.Errorf("the gateway ended with %d: %s", code, up.Said())
	}
	if left := router.Forwarded(); len(left) > 0 {
		t.Errorf("the router still forwards %q", left)
	}
}
