package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab"
	"github.com/kindred-iot/kindred/netlab/netlabtest"
	"github.com/kindred-iot/kindred/peer"
)

// A journey is a household at home behind one router, and sam's phone in a hotel behind another, with a relay between.
type journey struct {
	*household
	birch, hotel *netlabtest.Home
	two          *netlabtest.Host // where the lock is
	room         *netlabtest.Host // where the phone is
	between      *netlabtest.Host // where the relay is
	relay        *netlabtest.Process
	relayAt      []string // its addresses that the household can reach, UDP first
	metrics      string   // IP:PORT on its host
	gateway      *netlabtest.Process
}

// each is how long a packet takes between a home and the public segment.
const each = 10 * time.Millisecond

// travel makes a household, and carries the phone to a hotel.
func travel(t *testing.T, home, away netlab.NAT, listen ...string) *journey {
	t.Helper()
	j := depart(t, home, away)
	j.settle(listen...)
	j.device(j.two, "lock", "home/lock", "lock")
	j.join(j.at, "phone", "app", "sam/phone")
	j.join(j.at, "tablet", "app", "sam/tablet")
	return j
}

// depart makes the networks, on which nobody talks yet.
func depart(t *testing.T, home, away netlab.NAT) *journey {
	t.Helper()
	lab := netlabtest.New(t)
	j := &journey{between: lab.Public("relay"), birch: lab.Home("birch", home), hotel: lab.Home("hotel", away)}
	j.birch.SetDelay(each)
	j.hotel.SetDelay(each)
	one := j.birch.Host("one")
	j.two, j.room = j.birch.Host("two"), j.hotel.Host("room")
	j.household = foundHousehold(t, one)
	return j
}

// settle starts the relay, which listens at these addresses, and the gateway.
func (j *journey) settle(listen ...string) {
	j.t.Helper()
	j.startRelay(listen...)
	j.gateway = j.up("--relay", strings.Join(j.relayAt, ","))
}

// startRelay starts the relay, where it was before, and notes its address.
func (j *journey) startRelay(listen ...string) {
	j.t.Helper()
	if len(listen) == 0 {
		listen = []string{":4712"}
	}
	j.relay = j.start(j.between, "relay", "relay", "--listen", strings.Join(listen, ","), "--metrics", "127.0.0.1:0", "--rate-each", "16")
	line := read[relayReady](j.t, j.relay.Line())
	j.metrics = strings.TrimSuffix(strings.TrimPrefix(line.Metrics, "http://"), "/metrics")
	j.relayAt = nil
	for _, a := range line.Addresses {
		if strings.Contains(a, "/"+j.address(j.between)+"/") {
			j.relayAt = append(j.relayAt, a)
		}
	}
	if len(j.relayAt) == 0 {
		j.t.Fatal("the relay names no address")
	}
}

// address returns the address of a public host that the household can reach.
func (j *journey) address(public *netlabtest.Host) string {
	for _, a := range public.Addrs() {
		if a.Is6() == j.at.Addr().Is6() {
			return a.String()
		}
	}
	return ""
}

// eventually waits until the phone reaches the lock over a kind of way, and returns how long that took.
func (j *journey) eventually(kind string) (way, time.Duration) {
	j.t.Helper()
	for began := time.Now(); ; {
		w := j.way(j.room, "phone", "home/lock")
		if w.Kind == kind {
			return w, time.Since(began)
		}
		if time.Since(began) > netlabtest.Patience {
			j.t.Fatalf("the lock is reached %+v, not %s", w, kind)
		}
	}
}

// found waits until somebody new finds the lock from the hotel.
func (j *journey) found() {
	j.t.Helper()
	for began := time.Now(); ; {
		r := j.run(j.room, "tablet", "get", "home/lock", "state")
		if r.Code == exitDone {
			return
		}
		if r.Code != exitUnreachable || time.Since(began) > netlabtest.Patience {
			j.t.Fatalf("the lock is not found: %+v", r)
		}
	}
}

// A follower watches the lock's state from the hotel.
type follower struct {
	*netlabtest.Process
	j *journey
}

func (j *journey) follow() *follower {
	j.t.Helper()
	f := &follower{j.start(j.room, "phone", "watch", "home/lock", "state"), j}
	f.sees("locked")
	return f
}

// sees waits until the follower is told of a state.
func (f *follower) sees(state string) {
	f.j.t.Helper()
	for {
		var event struct{ Data string }
		line := f.Line()
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			f.j.t.Fatalf("%v in %q", err, line)
		}
		if event.Data == state {
			return
		}
	}
}

// learns has something done at home, and returns how long it took until the follower was told. Five seconds are promised;
// it is told and not judged, for a machine that runs other tests may take longer.
func (f *follower) learns(action, state string) time.Duration {
	f.j.t.Helper()
	began := time.Now()
	f.j.turn(action)
	f.sees(state)
	return time.Since(began)
}

// listening is where the relay listens.
func (j *journey) listening() string {
	var at []string
	for _, a := range j.relayAt {
		a, _, _ = strings.Cut(a, "/p2p/")
		at = append(at, a)
	}
	return strings.Join(at, ",")
}

// settles waits until a connection is made directly from home to hotel, as the hotel's provider sees it.
func (j *journey) settles() {
	j.t.Helper()
	j.hotel.Watch().Until("of a connection from home to hotel", j.straight)
}

// straight reports whether a packet comes directly from home to hotel, and answers one that got through: what punches a
// hole is 64 bytes long, and may come before the relay has carried that it is due.
func (j *journey) straight(p netlab.Packet) bool {
	return p.From.Addr() == j.birch.PublicAddr() && p.To.Addr() == j.hotel.PublicAddr() && len(p.Data) > 64
}

// turn has the laptop, at home, unlock or lock the lock.
func (j *journey) turn(action string) {
	j.t.Helper()
	j.done(j.run(j.at, "laptop", "do", "home/lock", action))
}

// Both homes have NATs through which holes can be punched: relayed at first, and soon direct.
func TestBetweenCones(t *testing.T) {
	t.Parallel()
	j := travel(t, netlab.Cone, netlab.Cone)
	r := j.run(j.room, "phone", "get", "home/lock", "state")
	if got := j.done(r); got != `"locked"` {
		t.Errorf("the lock is %s", got)
	}
	w, took := j.eventually(peer.Direct)
	t.Logf("the first answer took %v, a direct way %v: %+v", r.Took, took, w)
	if !strings.HasPrefix(w.Address, "/ip4/"+j.birch.PublicAddr().String()+"/udp/") {
		t.Errorf("it is reached at %s, and the home is at %s", w.Address, j.birch.PublicAddr())
	}
	j.done(j.run(j.room, "phone", "do", "home/lock", "unlock"))
}

// A NAT that gives each connection another port cannot be punched through, if the other end's is no better.
func TestSymmetricNAT(t *testing.T) {
	for name, nats := range map[string][2]netlab.NAT{
		"both": {netlab.Symmetric, netlab.Symmetric}, "home": {netlab.Symmetric, netlab.Cone}, "hotel": {netlab.Cone, netlab.Symmetric},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := travel(t, nats[0], nats[1])
			f := j.follow()
			j.turn("unlock")
			f.sees("unlocked")
			f.Stop()
			w := j.way(j.room, "phone", "home/lock")
			if w.Kind != peer.Relayed || !strings.HasPrefix(w.Address, "/ip4/"+j.between.Addr().String()+"/") {
				t.Errorf("the lock is reached %+v", w)
			}
			t.Logf("%s", w.Sentence)
		})
	}
}

// The relay sees who talks, and neither what is said nor who they are to each other, and no more does anybody on the way:
// from the very beginning, whether calls are carried, over UDP or TCP, or a hole is punched for them, or members look for
// each other at the relay.
func TestRelaySeesNothing(t *testing.T) {
	for name, nat := range map[string]netlab.NAT{"relayed": netlab.Symmetric, "punched": netlab.Cone} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := depart(t, nat, nat)
			between, home, hotel := j.between.Capture(), j.birch.Watch(), j.hotel.Watch()
			j.settle()
			j.device(j.two, "camera", "home/porch-camera", "camera", "--fps", "20", "--pictures", j.pictures())
			door := j.device(j.two, "door", "home/frontdoor", "lock")
			j.join(j.at, "phone", "app", "sam/telephone")
			if nat == netlab.Cone {
				watched := j.hotel.Watch()
				r := j.footage("home/porch-camera")
				j.direct(watched, r)
				r.kill()
			}
			j.done(j.run(j.room, "phone", "do", "home/frontdoor", "unlock"))
			for _, restrict := range []func(){j.hotel.Unrestrict, j.hotel.DropUDP} {
				restrict()
				before := between.Size()
				seen := filepath.Join(t.TempDir(), "seen.jpg")
				j.done(j.run(j.room, "phone", "get", "home/porch-camera", "picture", "-o", seen))
				if size := between.Size() - before; nat == netlab.Symmetric && size < len(j.picture()) {
					t.Errorf("%d bytes came by the relay, and the picture has %d", size, len(j.picture()))
				}
			}
			j.gateway.Kill()
			door.Kill()
			for began := time.Now(); j.looked() == 0; { // the gateway cannot say where the door is
				if time.Since(began) > netlabtest.Patience {
					t.Fatal("nobody is found by what the relay keeps")
				}
				if r := j.run(j.room, "phone", "get", "home/frontdoor", "state"); r.Code != exitUnreachable {
					t.Fatalf("a door that is no more answers %+v", r)
				}
			}
			for _, c := range []*netlabtest.Capture{between, home, hotel} {
				j.nothingIn(c)
			}
		})
	}
}

// looked tells how often the relay handed out a note of where somebody is.
func (j *journey) looked() (n int) {
	j.t.Helper()
	var text []byte
	j.between.Do(func() error {
		c, err := net.Dial("tcp", j.metrics)
		if err != nil {
			return err
		}
		if _, err = fmt.Fprintf(c, "GET /metrics HTTP/1.0\r\nHost: %s\r\n\r\n", j.metrics); err == nil {
			text, err = io.ReadAll(c)
		}
		return errors.Join(err, c.Close())
	})
	_, count, ok := strings.Cut(string(text), `kindred_relay_requests_total{outcome="found"} `)
	if _, err := fmt.Sscan(count, &n); !ok || err != nil {
		j.t.Fatalf("the relay's metrics are %q", text)
	}
	return n
}

// When the relay dies, what runs over it goes on over the direct way that there is by then. Over that it goes on when the
// address of a NAT changes, at either end.
func TestHealing(t *testing.T) {
	for _, end := range []string{"hotel", "home"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			j := travel(t, netlab.Cone, netlab.Cone)
			f := j.follow()
			j.settles()
			j.relay.Kill()
			t.Logf("%v after the relay died", f.learns("unlock", "unlocked"))
			j.startRelay(j.listening())
			j.found()
			map[string]*netlabtest.Home{"hotel": j.hotel, "home": j.birch}[end].ChangePublicAddress()
			t.Logf("%v after the %s's address changed", f.learns("lock", "locked"), end)
		})
	}
}

// Where no hole can be punched, it goes on when the relay is back, and when addresses change.
func TestHealingRelayed(t *testing.T) {
	t.Parallel()
	j := travel(t, netlab.Symmetric, netlab.Symmetric)
	f := j.follow()
	j.hotel.ChangePublicAddress()
	t.Logf("%v after the hotel's address changed", f.learns("unlock", "unlocked"))
	j.birch.ChangePublicAddress()
	t.Logf("%v after the home's address changed", f.learns("lock", "locked"))
	j.relay.Kill()
	j.startRelay(j.listening())
	t.Logf("%v after the relay was back", f.learns("unlock", "unlocked"))
}

// A hotel that lets nothing through but TCP to port 443: a relay that listens there is reached all the same.
func TestRelayOnPort443(t *testing.T) {
	t.Parallel()
	j := travel(t, netlab.Cone, netlab.Cone, ":443")
	j.hotel.OnlyTCP(443)
	if got := j.done(j.run(j.room, "phone", "get", "home/lock", "state")); got != `"locked"` {
		t.Errorf("the lock is %s", got)
	}
	if w := j.way(j.room, "phone", "home/lock"); w.Kind != peer.Relayed || !strings.Contains(w.Address, "/tcp/443/") {
		t.Errorf("the lock is reached %+v", w)
	}
}

// A home that has IPv6 alone lets nobody in uninvited, and a hole is punched all the same.
func TestIPv6FromOutside(t *testing.T) {
	t.Parallel()
	j := travel(t, netlab.IPv6Only, netlab.IPv6Only)
	j.done(j.run(j.room, "phone", "do", "home/lock", "unlock"))
	w, took := j.eventually(peer.Direct)
	t.Logf("a direct way took %v: %+v", took, w)
	if !strings.HasPrefix(w.Address, "/ip6/"+j.two.Addr().String()+"/udp/") {
		t.Errorf("the lock is reached %+v", w)
	}
}
