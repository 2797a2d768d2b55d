package peer_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab"
	"github.com/kindred-iot/kindred/netlab/netlabtest"
	"github.com/kindred-iot/kindred/peer"
)

// wayTo waits until the phone's way to the meter is as ok says, and returns it.
func (p *labPeer) wayTo(callee *labPeer, what string, ok func(*peer.Path) bool) *peer.Path {
	p.t.Helper()
	for deadline := time.Now().Add(netlabtest.Patience); ; time.Sleep(10 * time.Millisecond) {
		way := p.path(callee)
		if way != nil && ok(way) {
			return way
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s: waited in vain for %s; the way is %+v", p.name, what, way)
		}
	}
}

// isDirect reports whether no relay is on a way.
func isDirect(p *peer.Path) bool { return p.Kind == peer.Direct }

// A pair is a meter at home and a phone elsewhere, and relays that both reach.
type pair struct {
	birch, hotel netlabtest.Home
	meter, phone *labPeer
	relays       []*labPeer
	at           []string // the relays' addresses
}

// newPair makes one behind routers of two kinds, with a meter that is found at so many relays.
func newPair(t testing.TB, home, away netlab.NAT, relays int) *pair {
	lab := netlabtest.New(t)
	p := &pair{birch: *lab.Home("birch", home), hotel: *lab.Home("hotel", away)}
	for range relays {
		r := start(t, lab.Public("relay"+string(rune('0'+len(p.relays)))), "relay")
		p.relays, p.at = append(p.relays, r), append(p.at, r.relayAt()[0])
	}
	p.meter = start(t, p.birch.Host("meter"), "listen")
	p.phone = start(t, p.hotel.Host("phone"))
	p.meter.Say("relays " + strings.Join(p.at, " "))
	p.meter.moored(relays)
	return p
}

// firstThrough makes the first call, which comes through a relay.
func (p *pair) firstThrough(t testing.TB) news {
	t.Helper()
	first := p.phone.get(p.meter)
	if first.Error != "" || first.Path.Kind != peer.Relayed || !slices.Contains(p.at, first.Path.Relay) {
		t.Fatalf("the first answer is %+v %+v", first, first.Path)
	}
	t.Logf("first byte through the relay after %v", first.Took)
	return first
}

// Two homes behind NATs that map alike for everyone: the first byte comes through the relay, and soon the way is direct.
func TestLabCones(t *testing.T) {
	t.Parallel()
	p := newPair(t, netlab.Cone, netlab.Cone, 1)
	first := p.firstThrough(t)
	way := p.phone.wayTo(p.meter, "a direct way", isDirect)
	t.Logf("direct %v after the relayed connection, %v round trip", way.Since.Sub(first.Path.Since), way.RTT)
	if n := p.phone.get(p.meter); n.Error != "" || n.Path.Kind != peer.Direct || n.Path.Transport != peer.QUIC {
		t.Errorf("the next answer is %+v", n)
	}
	p.meter.until("that the router lets nobody in", func() bool { return p.meter.reach.Door == peer.DoorShut })
	if slices.ContainsFunc(p.meter.addresses, func(a string) bool { return strings.HasPrefix(a, "/ip4/25.0.2.1/") }) {
		t.Errorf("it publishes an address at which nobody gets in: %q", p.meter.addresses)
	}
}

// A NAT that maps differently for each: it stays relayed, and says why.
func TestLabSymmetric(t *testing.T) {
	t.Parallel()
	p := newPair(t, netlab.Symmetric, netlab.Cone, 1)
	p.firstThrough(t)
	p.meter.until("what its NAT is", func() bool { return p.meter.reach.NAT == peer.NATSymmetric })
	way := p.phone.wayTo(p.meter, "an end of the tries", func(p *peer.Path) bool { return p.Punch == peer.PunchFailed })
	if way.Kind != peer.Relayed {
		t.Errorf("the way is %+v", way)
	}
	if n := p.phone.get(p.meter); n.Error != "" || n.Path.Kind != peer.Relayed {
		t.Errorf("the next answer is %+v", n)
	}
}

// What a relay sees at two ports of its own tells how a NAT maps.
func TestLabNATKind(t *testing.T) {
	t.Parallel()
	p := newPair(t, netlab.Cone, netlab.Cone, 1)
	p.meter.until("what its NAT is", func() bool { return p.meter.reach.NAT == peer.NATCone })
	if seen := p.meter.reach.Seen; len(seen) != 1 {
		t.Errorf("it is seen at %q", seen)
	}
}

// watch has the phone keep a stream open to the meter.
func (p *pair) watch(t testing.TB) {
	t.Helper()
	p.phone.Say("watch meter " + strings.Join(p.meter.addresses, " "))
	if n := p.phone.next("a stream's beginning", func(n news) bool { return n.Body != "" || n.Error != "" }); n.Error != "" {
		t.Fatal(n.Error)
	}
}

// lost waits until the phone notices that its stream is lost, and returns how long after since.
func (p *pair) lost(t testing.TB, since time.Time) time.Duration {
	t.Helper()
	n := p.phone.ended
	if n == nil {
		next := p.phone.next("the stream's end", func(n news) bool { return n.Lost })
		n = &next
	}
	if !strings.Contains(n.Error, "unreachable") {
		t.Errorf("the stream ended with %q", n.Error)
	}
	return n.At.Sub(since)
}

// moves changes the public address of one end, and returns how long it takes until the phone's stream ends for it, and
// until a request that is on its way while the way ceases to exist, and so is repeated, is answered.
func (p *pair) moves(t testing.TB, home *netlabtest.Home) (noticed, healed time.Duration) {
	t.Helper()
	home.ChangePublicAddress()
	changed := time.Now()
	n := p.phone.get(p.meter)
	if n.Error != "" {
		t.Fatal(n.Error)
	}
	return p.lost(t, changed), n.At.Sub(changed)
}

// A public address changes, at the callee's end or at the caller's, with the way direct: it is noticed, and healed.
func TestLabAddressChange(t *testing.T) {
	for _, tt := range []struct {
		name string
		home func(*pair) *netlabtest.Home
	}{
		{"the callee's", func(p *pair) *netlabtest.Home { return &p.birch }},
		{"the caller's", func(p *pair) *netlabtest.Home { return &p.hotel }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, netlab.Cone, netlab.Cone, 1)
			p.firstThrough(t)
			p.phone.wayTo(p.meter, "a direct way", isDirect)
			p.watch(t)
			noticed, healed := p.moves(t, tt.home(p))
			t.Logf("noticed after %v, an answer after %v", noticed, healed)
			p.phone.wayTo(p.meter, "a direct way again", isDirect)
		})
	}
}

// The public address of a member that is reached through a relay changes. Its connection with the relay moves along, and
// with it all that is carried.
func TestLabAddressChangeBehindARelay(t *testing.T) {
	t.Parallel()
	p := newPair(t, netlab.Symmetric, netlab.Symmetric, 1)
	p.firstThrough(t)
	p.birch.ChangePublicAddress()
	changed := time.Now()
	n := p.phone.get(p.meter)
	if n.Error != "" {
		t.Fatal(n.Error)
	}
	t.Logf("an answer (%s) after %v", n.Path.Kind, n.At.Sub(changed))
	p.meter.until("where it is seen now", func() bool {
		return slices.ContainsFunc(p.meter.reach.Seen, func(a string) bool { return strings.Contains(a, p.birch.PublicAddr().String()) })
	})
}

// A relay that is killed with a stream on it: the stream ends, and calls go through the other.
func TestLabRelayKilled(t *testing.T) {
	t.Parallel()
	p := newPair(t, netlab.Symmetric, netlab.Symmetric, 2)
	first := p.firstThrough(t)
	p.watch(t)
	died := time.Now()
	p.relays[slices.Index(p.at, first.Path.Relay)].Kill()
	noticed := p.lost(t, died)
	n := p.phone.get(p.meter)
	if n.Error != "" || n.Path.Relay == first.Path.Relay {
		t.Fatalf("the answer is %+v %+v", n, n.Path)
	}
	t.Logf("noticed after %v, an answer through the other relay after %v", noticed, n.At.Sub(died))
	p.meter.until("that one reservation is gone", func() bool {
		return slices.ContainsFunc(p.meter.reach.Relays, func(r peer.RelayedAt) bool { return !r.Held && r.Problem != "" })
	})
}

// A network that drops UDP: relays are reached over TCP.
func TestLabNoUDP(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	relay := start(t, lab.Public("relay"), "relay")
	at := relay.relayAt()
	birch := lab.Home("birch", netlab.Cone)
	meter := start(t, birch.Host("meter"), "listen")
	phone := start(t, lab.Home("hotel", netlab.Cone).Host("phone"))
	birch.DropUDP()
	meter.Say("relays " + strings.Join(at, " "))
	meter.moored(1)
	n := phone.get(meter)
	if n.Error != "" || n.Path.Kind != peer.Relayed {
		t.Fatalf("the answer is %+v %+v", n, n.Path)
	}
	if meter.reach.NAT != peer.NATBlocked {
		t.Errorf("the meter knows of itself %+v", meter.reach)
	}
}

// A machine that is unplugged and plugged in again has its reservation back soon.
func TestLabUnplugged(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	relay := start(t, lab.Public("relay"), "relay")
	host := lab.Home("birch", netlab.Cone).Host("meter")
	meter := start(t, host, "listen")
	phone := start(t, lab.Home("hotel", netlab.Cone).Host("phone"))
	meter.Say("relays " + relay.relayAt()[0])
	meter.moored(1)
	host.Unplug()
	out := time.Now()
	meter.until("that there is no reservation", func() bool { return !meter.reach.Relays[0].Held })
	noticed := time.Since(out)
	host.Plug()
	if r := host.Run("ip", "route", "add", "default", "via", "192.168.1.1"); r.Code != 0 {
		t.Fatal(r.Err)
	}
	back := time.Now()
	meter.moored(1)
	t.Logf("noticed after %v, back after %v", noticed, time.Since(back))
	if n := phone.get(meter); n.Error != "" {
		t.Errorf("the answer is %+v", n)
	}
}
