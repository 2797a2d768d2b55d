package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/netlab"
	"github.com/kindred-iot/kindred/netlab/netlabtest"
	"github.com/kindred-iot/kindred/peer"
)

// Hosts on a LAN that leads nowhere have no default route, and nobody to ask who is where.
func TestLANWithoutInternet(t *testing.T) {
	t.Parallel()
	den := netlabtest.New(t).LAN("den")
	one, two := den.Host("one"), den.Host("two")
	birch := newHousehold(t, one)
	birch.device(two, "lock", "home/lock", "lock")
	birch.join(two, "phone", "app", "sam/phone")
	birch.reads(one, "laptop", "home/lock", peer.LAN, two)
	birch.reaches(two, "phone", "home/gateway", peer.LAN, one)
}

// A home with no IPv4 at all, and somebody elsewhere who has no other either.
func TestIPv6Only(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	home := lab.Home("birch", netlab.IPv6Only)
	one, two := home.Host("one"), home.Host("two")
	birch := newHousehold(t, one)
	birch.device(two, "lock", "home/lock", "lock")
	birch.reads(one, "laptop", "home/lock", peer.Direct, two)
}

// A captive network that drops UDP, and then all but TCP to port 443.
func TestUDPDropped(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	one, two := lab.Public("one"), lab.Public("two")
	birch := newHousehold(t, one, "--listen", one.Addr().String()+":443")
	birch.device(two, "lock", "home/lock", "lock", "--listen", two.Addr().String()+":443")
	hotel := lab.Home("hotel", netlab.Cone)
	room := hotel.Host("room")
	birch.join(room, "phone", "app", "sam/phone")
	if w := birch.reads(room, "phone", "home/lock", peer.Direct, two); !strings.Contains(w.Address, "/udp/443/quic-v1") {
		t.Errorf("nothing is dropped, and the way is %s", w.Address)
	}
	for _, tt := range []struct {
		name     string
		restrict func()
	}{{"no UDP", hotel.DropUDP}, {"TCP to port 443 alone", func() { hotel.OnlyTCP(443) }}} {
		tt.restrict()
		if w := birch.reads(room, "phone", "home/lock", peer.Direct, two); !strings.Contains(w.Address, "/tcp/443") {
			t.Errorf("%s, and the way is %s", tt.name, w.Address)
		}
	}
}

// What the network carries tells nothing of who and what it is about: neither what is said, nor anything by which the
// household could be known again.
func TestNothingInClear(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	one, two := lab.Public("one"), lab.Public("two")
	watched := lab.Internet().Capture()
	birch := newHousehold(t, one)
	birch.device(two, "camera", "home/porch-camera", "camera", "--pictures", birch.pictures())
	hotel := lab.Home("hotel", netlab.Cone)
	room := hotel.Host("room")
	birch.join(room, "phone", "app", "sam/telephone")
	birch.device(two, "lock", "home/frontdoor", "lock")
	birch.done(birch.run(room, "phone", "do", "home/frontdoor", "unlock"))
	for _, restrict := range []func(){hotel.Unrestrict, hotel.DropUDP} { // over QUIC, and over TCP
		restrict()
		before := watched.Size()
		seen := filepath.Join(t.TempDir(), "seen.jpg")
		birch.done(birch.run(room, "phone", "get", "home/porch-camera", "picture", "-o", seen))
		birch.reads(room, "phone", "home/frontdoor", peer.Direct, two)
		if got, err := os.ReadFile(seen); err != nil || !bytes.Equal(got, birch.picture()) {
			t.Fatalf("the picture came as %d bytes, %v", len(got), err)
		}
		if size := watched.Size() - before; size < len(birch.picture()) {
			t.Errorf("%d bytes were watched, and the picture has %d", size, len(birch.picture()))
		}
	}
	birch.nothingIn(watched)
}
