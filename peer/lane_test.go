package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// open counts the lanes beside a link.
func (l *link) openLanes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lanes.open
}

// A caller that asks a lot on a LAN has lanes, which end with the connection that they are beside.
func TestLanes(t *testing.T) {
	p := newPlace(t)
	p.timing = hasty(func(g *timing) { g.busy = 1 })
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	client := phone.client(nil, meter)
	ours := func() *link { return phone.best(meter.id) }
	waitFor(t, func() bool {
		if code, got := get(t, client, "kindred://meter/"); code != http.StatusOK || got != "good day, phone" {
			t.Fatal(code, got)
		}
		return ours().openLanes() == 1
	})
	l, theirs := ours(), meter.best(phone.id)
	if n := theirs.openLanes(); n != 1 {
		t.Errorf("the callee has %d lanes", n)
	}
	resp, err := client.Get("kindred://meter/")
	if err != nil {
		t.Fatal(err)
	}
	body(t, resp)
	if who, _ := Callee(resp); !who.Showed || who.Path.Kind != Loopback || who.Path.Transport != TCP {
		t.Errorf("the callee is %+v", who)
	}
	if n := len(meter.seen()); n != 1 {
		t.Errorf("one hello was verified %d times", n)
	}
	if l.overdue() != nil || len(l.conn.GetStreams()) != 0 {
		t.Errorf("overdue: %v; %d streams beside the lane", l.overdue(), len(l.conn.GetStreams()))
	}
	l.cut(errors.New("the test wants it"))
	waitFor(t, func() bool { return l.openLanes() == 0 && theirs.openLanes() == 0 })
	if code, _ := get(t, client, "kindred://meter/"); code != http.StatusOK {
		t.Errorf("status %d on the next connection", code)
	}
}

// As many as may be are lanes, further ones streams of the connection; and when all lanes are closed there are no more
// until it is busy again.
func TestLanesAreBounded(t *testing.T) {
	p := newPlace(t)
	release := make(chan struct{})
	meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).Flush()
		<-release
	}))
	phone := p.join("phone", nil)
	phone.wide = true
	client := phone.client(nil, meter)
	var wait sync.WaitGroup
	for range maxLanes + 4 {
		resp, err := client.Get("kindred://meter/")
		if err != nil {
			t.Fatal(err)
		}
		wait.Go(func() { body(t, resp) })
	}
	l := phone.best(meter.id)
	if lanes, streams := l.openLanes(), len(l.conn.GetStreams()); lanes != maxLanes || streams != 4 {
		t.Errorf("%d lanes, %d streams", lanes, streams)
	}
	close(release)
	wait.Wait()
	client.CloseIdleConnections()
	if l.openLanes() != 0 || l.lanes.on {
		t.Errorf("%d lanes are left", l.openLanes())
	}
}

// Where there are no lanes to be had, calls are made without.
func TestNoLanes(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	target := phone.target(meter)
	phone.widen(target)
	for _, l := range meter.all() { // it has forgotten whom it accepted
		l.mu.Lock()
		l.met = false
		l.mu.Unlock()
	}
	client := phone.client(nil, meter)
	if code, _ := get(t, client, "kindred://meter/"); code != http.StatusOK {
		t.Error(code)
	}
	l := phone.best(meter.id)
	if l.openLanes() != 0 || l.lane() {
		t.Errorf("it goes on asking for lanes: %+v", l.lanes)
	}
	if l.requests.Store(1000); l.widen() {
		t.Error("it asks for lanes again at once")
	}
	l.mu.Lock()
	l.lanes.after = time.Now()
	l.mu.Unlock()
	if l.requests.Store(1000); !l.widen() {
		t.Error("it never asks for lanes again")
	}
}

// onLane connects as somebody would who makes a lane.
func onLane(t *testing.T, who *member, callee *member) *tls.Conn {
	t.Helper()
	raw, err := net.Dial("tcp", hostPort(at(callee, "/tcp/")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	config, _ := who.Host.identity.ConfigForPeer(callee.id)
	config.NextProtos = []string{laneALPN}
	if _, err := raw.Write(agreed); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(raw, make([]byte, len(agreed))); err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A lane is for those who are known already: everybody else is hung up on, whatever they show.
func TestLaneOfStrangers(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	conn := onLane(t, phone, meter)
	opening := frame{}.append(fullFrame(phone.show()).append(nil))
	conn.Write(append(opening, "GET / HTTP/1.1\r\nHost: meter\r\n\r\n"...)) // it may be closed already
	if got, _ := io.ReadAll(conn); len(got) != 0 {
		t.Errorf("it answered %q", got)
	}
	if n := len(meter.seen()); n != 0 {
		t.Errorf("%d hellos were verified", n)
	}
}

// What is not this protocol ends a lane, and nothing else.
func TestLaneOutOfForm(t *testing.T) {
	p := newPlace(t)
	p.timing = hasty(func(g *timing) { g.hello = 100 * time.Millisecond })
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	client := phone.client(nil, meter)
	get(t, client, "kindred://meter/")
	hello := fullFrame(phone.show())
	for name, opening := range map[string][]byte{
		"of no kind":          {7},
		"held in full":        hello.append(hello.append(nil)),
		"a digest never told": frame{}.append(fullFrame([]byte("another")).short().append(nil)),
		"tokens":              appendToken(appendToken(nil, multistream), Protocol),
		"half a hello":        {byte(frameFull), 100, 'h'},
	} {
		conn := onLane(t, phone, meter)
		conn.Write(opening) // it may be closed already
		if got, _ := io.ReadAll(conn); len(got) != 0 {
			t.Errorf("%s: it answered %q", name, got)
		}
	}
	l := meter.best(phone.id)
	waitFor(t, func() bool { return l.openLanes() == 0 })
	if code, _ := get(t, client, "kindred://meter/"); code != http.StatusOK || phone.best(meter.id) == nil {
		t.Errorf("status %d beside them", code)
	}
}

// A hello that is not accepted is answered on a lane as on a stream.
func TestLaneRefused(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	get(t, phone.client(nil, meter), "kindred://meter/")
	conn := onLane(t, phone, meter)
	opening := frame{}.append(fullFrame([]byte("hello of nobody")).append(nil))
	if _, err := conn.Write(append(opening, "GET / HTTP/1.1\r\nHost: meter\r\n\r\n"...)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(got, []byte("\x00HTTP/1.1 403 Forbidden\r\n")) {
		t.Errorf("it answered %q, %v", got, err)
	}
}

// A caller that makes more lanes than it may is hung up on.
func TestTooManyLanes(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	get(t, phone.client(nil, meter), "kindred://meter/")
	l := meter.best(phone.id)
	l.mu.Lock()
	l.lanes.open = 2 * maxLanes
	l.mu.Unlock()
	if got, _ := io.ReadAll(onLane(t, phone, meter)); len(got) != 0 {
		t.Errorf("it answered %q", got)
	}
	l.mu.Lock()
	l.lanes.open = 0
	l.mu.Unlock()
}

// Through a relay nobody makes lanes, and libp2p is never handed one.
func TestSoloist(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	for _, called := range []bool{true, false} {
		if _, err := (soloist{}).NewConn(here, called, nil); err == nil {
			t.Errorf("called %t: it takes a connection of which it knows no key", called)
		}
	}
	s := &solo{secured: tls.Client(here, &tls.Config{InsecureSkipVerify: true})}
	if _, err := s.OpenStream(context.Background()); !errors.Is(err, errSolo) {
		t.Error(err)
	}
	if _, err := s.AcceptStream(); !errors.Is(err, errSolo) {
		t.Error(err)
	}
}
