package peer

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/kindred-iot/kindred/peer/peertest"
)

// Once a direct way is known, requests leave the relay. An answer that is being read stays there, and can tell; the
// circuit is closed when nobody uses it.
func TestLeavesTheRelay(t *testing.T) {
	p := newPlace(t)
	p.timing = hasty(func(t *timing) { t.supersede = 100 * time.Millisecond })
	r := p.relay(RelayLimits{})
	keep, news := mooring(r.at())
	meter, phone := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		greet(w, r)
		if r.URL.Path == "/stream" {
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}), keep), p.join("phone", nil)
	until(t, news, "a reservation", meter.moored)
	direct := false
	c := phone.client(func(g *Target) {
		if !direct {
			byRelays(g)
		}
	}, meter)
	kind := func() string {
		resp, err := c.Get("kindred://meter/")
		if err != nil {
			t.Fatal(err)
		}
		body(t, resp)
		who, _ := Callee(resp)
		return who.Path.Kind
	}
	if k := kind(); k != Relayed {
		t.Fatalf("the first call was %s", k)
	}
	stream, err := c.Get("kindred://meter/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if Superseded(stream) {
		t.Error("there is a better way than the only one")
	}
	direct = true
	c.CloseIdleConnections() // the next stream is told of the direct way
	waitFor(t, func() bool { return kind() == Loopback })
	if !Superseded(stream) {
		t.Error("an answer does not tell that there is a better way by now")
	}
	stream.Body.Close()
	waitFor(t, func() bool { return !phone.relayed(meter.id) && !meter.relayed(phone.id) })
}

// A link that is not the best any more is closed when nothing goes over it, and not before.
func TestComesHome(t *testing.T) {
	p := newPlace(t)
	release := make(chan struct{})
	meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			http.NewResponseController(w).Flush()
			<-release
		}
	}))
	phone := p.join("phone", nil)
	c := phone.client(nil, meter)
	slow, err := c.Get("kindred://meter/slow")
	if err != nil {
		t.Fatal(err)
	}
	l := phone.best(meter.id)
	phone.comeHome(l, []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/1")})
	if l.retired {
		t.Fatal("it went where nobody is")
	}
	phone.comeHome(l, []ma.Multiaddr{ma.StringCast(meter.Addresses()[0])})
	if l.overdue() != nil {
		t.Error("a link in use is closed")
	}
	close(release)
	body(t, slow)
	c.CloseIdleConnections()
	<-l.ctx.Done()
	waitFor(t, l.conn.IsClosed)
	if code, _ := get(t, c, "kindred://meter/"); code != http.StatusOK || phone.best(meter.id) == l {
		t.Errorf("status %d, over the old link: %v", code, phone.best(meter.id) == l)
	}
}

// Where the network changed, a way that has ceased to exist is given up at once, and one that lives is kept.
func TestDoubt(t *testing.T) {
	p := newPlace(t)
	meter, lock, phone := p.join("meter", greet), p.join("lock", greet), p.join("phone", nil)
	tap := peertest.NewTap(t, meter.Addresses())
	ways := map[*member]string{meter: tap.Address(), lock: lock.Addresses()[0]}
	for m, at := range ways {
		if code, _ := get(t, phone.client(func(g *Target) { g.Addresses = []string{at} }, m), "kindred://"+m.name+"/"); code != http.StatusOK {
			t.Fatal(code)
		}
	}
	dead, alive := phone.best(meter.id), phone.best(lock.id)
	tap.Cut.Store(true)
	began := time.Now()
	phone.Host.moved()
	<-dead.ctx.Done()
	if why := context.Cause(dead.ctx); !errors.Is(why, ErrUnreachable) {
		t.Errorf("it was given up because %v", why)
	}
	if took := time.Since(began); took > defaultTiming.silence {
		t.Errorf("it was given up after %v", took)
	}
	waitFor(t, func() bool {
		alive.mu.Lock()
		defer alive.mu.Unlock()
		return alive.doubted.at.IsZero()
	})
	if alive.ctx.Err() != nil {
		t.Error("a way that lives was given up")
	}
}

func TestSlept(t *testing.T) {
	var c clock
	now := time.Now()
	if c.slept(now) || c.slept(now.Add(time.Minute)) {
		t.Error("it noticed sleep where there was none")
	}
	if woke := now.Add(2 * time.Minute).Round(0); !c.slept(woke.Add(time.Hour)) && c.last.IsZero() {
		t.Error("it noticed nothing")
	}
}

func TestNear(t *testing.T) {
	n := nets{list: []netip.Prefix{netip.MustParsePrefix("192.168.1.7/24"), netip.MustParsePrefix("fd00::7/64")}}
	for ip, want := range map[string]bool{"192.168.1.2": true, "192.168.2.2": false, "fd00::1": true, "fd01::1": false} {
		if got := n.near(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %v", ip, got)
		}
	}
	if changed, err := n.look(); err != nil || !changed || n.changes() != 1 {
		t.Errorf("looking: %v, %v", changed, err)
	}
	if changed, err := n.look(); err != nil || changed || n.changes() != 1 {
		t.Errorf("looking again: %v, %v", changed, err)
	}
}

// What came of punching is told, and tried again when it may come out otherwise.
func TestPunching(t *testing.T) {
	m := newPlace(t).join("meter", nil)
	p, other := &m.puncher, newPlace(t).join("phone", nil).id
	tell := func(evt any) { p.Trace(&holepunch.Event{Remote: other, Evt: evt}) }
	if got := p.outcome(other); got != PunchNever {
		t.Errorf("at first: %q", got)
	}
	tell(&holepunch.StartHolePunchEvt{})
	tell(&holepunch.EndHolePunchEvt{Error: "no"})
	if got := p.outcome(other); got != PunchTrying {
		t.Errorf("between two tries: %q", got)
	}
	p.mu.Lock()
	p.tries[other].ended = time.Now().Add(-time.Minute)
	p.mu.Unlock()
	if got := p.outcome(other); got != PunchFailed {
		t.Errorf("after the last: %q", got)
	}
	try := p.tries[other]
	if try.due(m.nets.changes(), "") {
		t.Error("it is tried again at once")
	}
	try.failed = time.Now().Add(-2 * punchPause)
	if try.due(m.nets.changes(), "") || !try.due(m.nets.changes()+1, "") || !try.due(m.nets.changes(), "elsewhere") {
		t.Error("it is not tried again when something changed, or although nothing did")
	}
	tell(&holepunch.StartHolePunchEvt{})
	tell(&holepunch.EndHolePunchEvt{Success: true})
	if got := p.outcome(other); got != PunchNever {
		t.Errorf("once direct: %q", got)
	}
	tell(&holepunch.ProtocolErrorEvt{Error: "not ready"})
	if got := p.outcome(other); got != PunchFailed {
		t.Errorf("an end that is not ready: %q", got)
	}
}

// A connection whose packets are not seen is given up when a ping is not answered, unless something else gets through.
func TestStalled(t *testing.T) {
	p := newPlace(t)
	meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	p.timing = hasty(func(t *timing) {
		t.probe, t.tick, t.stalled = 50*time.Millisecond, 10*time.Millisecond, 300*time.Millisecond
	})
	phone := p.join("phone", nil)
	at := tcpTap(t, meter.Addresses()[1])
	resp, err := phone.client(func(g *Target) { g.Addresses = []string{at.address} }, meter).Get("kindred://meter/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	l := phone.best(meter.id)
	if l.wire.(yamuxWire).session == nil {
		t.Fatal("it is no connection of TCP's")
	}
	select {
	case <-l.ctx.Done():
		t.Fatalf("a connection that lives was given up: %v", context.Cause(l.ctx))
	case <-time.After(600 * time.Millisecond):
	}
	at.cut.Store(true)
	for range 50 { // something gets through all the while
		l.hears()
		if why := l.overdue(); why != nil {
			t.Fatalf("it was given up while something got through: %v", why)
		}
		time.Sleep(10 * time.Millisecond)
	}
	<-l.ctx.Done()
	if why := context.Cause(l.ctx); !errors.Is(why, ErrUnreachable) {
		t.Errorf("it was given up because %v", why)
	}
}

// A host that was kept from looking does not hold that against others.
func TestOwnLatenessIsExcused(t *testing.T) {
	p := newPlace(t)
	p.timing.tick = time.Hour // nobody looks but this test
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	get(t, phone.client(func(g *Target) { g.Addresses = []string{at(meter, "/tcp/")} }, meter), "kindred://meter/")
	l := phone.best(meter.id)
	asked := time.Now().Add(-p.timing.stalled - time.Second)
	l.mu.Lock()
	l.probing = asked
	l.mu.Unlock()
	l.heard.Store(0)
	if why := l.overdue(); !errors.Is(why, ErrUnreachable) {
		t.Fatalf("an end that does not answer is given up with %v", why)
	}
	l.excuse(2 * time.Second)
	if why := l.overdue(); why != nil {
		t.Errorf("it is given up although nobody looked: %v", why)
	}
}

// A tcpTapped is a way to a TCP address that can be cut: what is sent then is lost.
type tcpTapped struct {
	address string
	cut     atomic.Bool
}

func tcpTap(t *testing.T, to string) *tcpTapped {
	t.Helper()
	_, hostport, err := manet.DialArgs(ma.StringCast(to))
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tap := &tcpTapped{address: tcpAddress(front.Addr().(*net.TCPAddr).AddrPort())}
	var running sync.WaitGroup
	pump := func(from, to net.Conn) {
		defer to.Close()
		b := make([]byte, 4096)
		for {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			if !tap.cut.Load() {
				to.Write(b[:n])
			}
		}
	}
	running.Go(func() {
		for {
			c, err := front.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("tcp", hostport)
			if err != nil {
				c.Close()
				continue
			}
			running.Go(func() { pump(c, back) })
			running.Go(func() { pump(back, c) })
		}
	})
	t.Cleanup(func() { front.Close(); running.Wait() })
	return tap
}
