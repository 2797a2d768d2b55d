package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/kindred-iot/kindred/peer/peertest"
)

// hasty is defaultTiming with one wait cut short.
func hasty(cut func(*timing)) timing {
	t := defaultTiming
	t.tick = 10 * time.Millisecond
	cut(&t)
	return t
}

// raw opens a stream to the callee and writes b on it.
func raw(t *testing.T, caller, callee *member, b []byte) network.Stream {
	t.Helper()
	id, _ := peerID(callee.public())
	_, s, err := caller.stream(t.Context(), id, callee.Addresses())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(b); err != nil {
		t.Fatal(err)
	}
	return s
}

var selected = string(appendToken(appendToken(nil, multistream), Protocol))

// TestGarbage sends what is not in the protocol's form: the stream is reset with
// the code that says so, and others are served as before.
func TestGarbage(t *testing.T) {
	p := newPlace(t)
	meter, burglar, phone := p.join("meter", greet), p.join("burglar", nil), p.join("phone", nil)
	for _, tt := range []struct {
		name, in string
		code     network.StreamErrorCode
	}{
		{"HTTP at once", "GET / HTTP/1.1\r\nHost: meter\r\nUser-Agent: an ordinary one\r\nAccept: */*\r\n\r\n", codeMalformed},
		{"TLS at once", "\x16\x03\x01\x02\x00\x01\x00" + strings.Repeat("r", 40), codeMalformed},
		{"long token", "\xff\xff\xff", codeMalformed},
		{"other multistream", "\x13/multistream/9.0.0\n", codeMalformed},
		{"other protocols", "\x13/multistream/1.0.0\n" + strings.Repeat("\x06/ping\n", maxAsked), codeMalformed},
		{"unknown frame", selected + "\x07", codeMalformed},
		{"oversized hello", selected + "\x01\x81\x80\x04", codeMalformed},
		{"empty hello", selected + "\x01\x00", codeMalformed},
		{"full hello held", selected + "\x00\x01\x01x", codeMalformed},
		{"digest never shown", selected + "\x02" + strings.Repeat("d", 32) + "\x00", codeForgotten},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := raw(t, burglar, meter, []byte(tt.in))
			defer s.Close()
			_, err := io.Copy(io.Discard, s)
			if want := (&network.StreamError{ErrorCode: tt.code, Remote: true}); !errors.Is(err, want) {
				t.Errorf("got %v, want code %#x", err, tt.code)
			}
		})
	}
	if _, got := get(t, phone.client(nil, meter), "kindred://meter/"); got != "good day, phone" {
		t.Errorf("got %q", got)
	}
	if got := len(meter.seen()); got != 1 {
		t.Errorf("%d hellos were verified, want the phone's only", got)
	}
}

// TestPatientNegotiation speaks multistream-select step by step, as other
// implementations do, and asks for another protocol first.
func TestPatientNegotiation(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	s := raw(t, phone, meter, appendToken(appendToken(nil, multistream), "/ping"))
	defer s.Close()
	in := bufio.NewReader(s)
	for _, want := range []string{multistream, noSuch} {
		if got, err := readToken(in); got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	s.Write(appendToken(nil, Protocol))
	if got, err := readToken(in); got != Protocol {
		t.Fatalf("got %q, %v", got, err)
	}
	s.Write(frame{}.append(fullFrame(phone.show()).append(nil)))
	if f, err := readFrame(in); string(f.hello) != "hello of meter" {
		t.Fatalf("got %v, %v", f, err)
	}
	io.WriteString(s, "GET / HTTP/1.1\r\nHost: meter\r\n\r\n")
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); got != "good day, phone" {
		t.Errorf("got %q", got)
	}
}

// TestStall stops half-way: the callee cuts the stream by itself.
func TestStall(t *testing.T) {
	hello := string(fullFrame([]byte("hello of burglar")).append(nil))
	everyWay(t, func(t *timing) { t.hello = 500 * time.Millisecond }, func(t *testing.T, p *place, w way, meter *member) {
		for _, tt := range []struct{ name, in string }{
			{"in the negotiation", selected[:25]},
			{"before the hello", selected},
			{"in the hello", selected + hello[:5]},
			{"before what is held", selected + hello},
			{"in the header", selected + hello + "\x00GET / HTTP/1.1\r\nHos"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				b, err := w.breaks(t, meter)
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				s, err := b.open(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				_, _ = io.WriteString(s, tt.in) // on a busy machine it is too late already
				io.Copy(io.Discard, s)          // ends, or the test times out
			})
		}
	})
}

// TestManyStalls opens more stalling streams than are examined at once.
func TestManyStalls(t *testing.T) {
	p := newPlace(t)
	p.timing = hasty(func(t *timing) { t.hello = 500 * time.Millisecond })
	meter, burglar, phone := p.join("meter", greet), p.join("burglar", nil), p.join("phone", nil)
	var all []network.Stream
	for range 4 * maxExamined {
		all = append(all, raw(t, burglar, meter, []byte(selected)))
	}
	if _, got := get(t, phone.client(nil, meter), "kindred://meter/"); got != "good day, phone" {
		t.Errorf("got %q", got)
	}
	for _, s := range all {
		io.Copy(io.Discard, s)
		s.Close()
	}
}

// TestManyRefusals: whoever was refused too often is not verified any more,
// until it connects anew.
func TestManyRefusals(t *testing.T) {
	p := newPlace(t)
	meter, burglar := p.join("meter", greet), p.join("burglar", nil)
	burglar.renew("hello of phone")
	client := burglar.client(func(g *Target) { g.Check = nil }, meter)
	for range 2 * maxRefused {
		if code, _ := get(t, client, "kindred://meter/"); code != 403 {
			t.Fatalf("got %d", code)
		}
	}
	if got := len(meter.seen()); got != maxRefused {
		t.Errorf("verified %d times, want %d", got, maxRefused)
	}
	burglar.renew("hello of burglar")
	burglar.Disconnect(meter.public())
	if code, _ := get(t, client, "kindred://meter/"); code != 200 {
		t.Errorf("got %d after connecting anew", code)
	}
}

// TestCalleeStalls: the callee never shows its hello.
func TestCalleeStalls(t *testing.T) {
	p := newPlace(t)
	release := make(chan struct{})
	meter := p.join("meter", greet, func(c *Config) {
		c.Admit = func(context.Context, crypto.PublicKey, []byte) (Admission, error) {
			<-release
			return Admission{}, errors.New("too late")
		}
	})
	defer close(release)
	p.timing = hasty(func(t *timing) { t.hello, t.admit = 25*time.Millisecond, 25*time.Millisecond })
	phone := p.join("phone", nil)
	_, err := phone.client(nil, meter).Get("kindred://meter/")
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "no hello in time") {
		t.Errorf("got %v", err)
	}
}

func TestOversizedHello(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	long := "hello of phone" + strings.Repeat(".", MaxHello)
	phone.renew(long[:MaxHello])
	client := phone.client(nil, meter)
	if _, got := get(t, client, "kindred://meter/"); got != "good day, phone" {
		t.Errorf("with a hello of %d bytes got %q", MaxHello, got)
	}
	phone.renew(long[:MaxHello+1])
	_, err := client.Get("kindred://meter/")
	if !errors.Is(err, ErrHelloTooLong) || !strings.HasSuffix(err.Error(), "hello too long: 65537 bytes, at most 65536 are allowed") {
		t.Errorf("got %v", err)
	}
	phone.renew("hello of phone")
	meter.renew("hello of meter" + long)
	if _, err := client.Get("kindred://meter/"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("with the callee's too long got %v", err)
	}
}

func TestWrongKey(t *testing.T) {
	p := newPlace(t)
	meter, camera, phone := p.join("meter", greet), p.join("camera", greet), p.join("phone", nil)
	_, err := phone.client(func(g *Target) { g.Addresses = camera.Addresses() }, meter).Get("kindred://meter/")
	asked, _ := peerID(meter.public())
	found, _ := peerID(camera.public())
	if !errors.Is(err, ErrWrongKey) || errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), asked.String()) ||
		!strings.Contains(err.Error(), found.String()+" is at "+camera.Addresses()[1]) {
		t.Errorf("got %v", err)
	}
	if len(camera.seen()) != 0 {
		t.Error("a hello was shown to another key")
	}
}

func TestUnreachable(t *testing.T) {
	p := newPlace(t)
	p.timing = hasty(func(t *timing) { t.dial = 100 * time.Millisecond })
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	gone := meter.Addresses()[0]
	meter.Close()
	for _, tt := range []struct {
		name      string
		addresses []string
		want      string
	}{
		{"nobody there", []string{gone}, gone + ": no answer within 100ms"},
		{"no address", nil, "unreachable: no address is known"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := phone.client(func(g *Target) { g.Addresses = tt.addresses }, meter).Get("kindred://meter/")
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), tt.want) && !strings.Contains(err.Error(), "no answer at") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestBadTargets(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	other, _ := peerID(phone.public())
	for _, tt := range []struct {
		name   string
		url    string
		change func(*Target)
		want   string
	}{
		{"scheme", "http://meter/", nil, `requesting "http://meter/": not of the form kindred://HOST/PATH`},
		{"port", "kindred://meter:80/?secret", nil, `requesting "kindred://meter:80/": not of the form`},
		{"no such host", "kindred://lock/", nil, `nobody is called "lock"`},
		{"own key", "kindred://meter/", func(g *Target) { g.Key = phone.public() }, "that is this host's own key"},
		{"no key", "kindred://meter/", func(g *Target) { g.Key = nil }, "unsupported key type <nil>"},
		{"address", "kindred://meter/", func(g *Target) { g.Addresses = []string{"meter.local:80"} }, `address "meter.local:80": neither a multiaddr nor IP:PORT`},
		{"another's address", "kindred://meter/", func(g *Target) { g.Addresses[0] += "/p2p/" + other.String() }, "of another key than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := phone.client(tt.change, meter).Get(tt.url)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestTap calls through a forwarder whose address was given, then cuts it: a
// request under way fails, and so does the next, without waiting long.
func TestTap(t *testing.T) {
	p := newPlace(t)
	p.timing = hasty(func(t *timing) { t.silence, t.dial = 500*time.Millisecond, 500*time.Millisecond })
	serving, done := make(chan struct{}, 1), make(chan struct{})
	meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			serving <- struct{}{}
			<-r.Context().Done()
			close(done)
		}
	}))
	phone := p.join("phone", nil)
	tap := peertest.NewTap(t, meter.Addresses())
	client := phone.client(func(g *Target) { g.Addresses = []string{tap.Address()} }, meter)
	get(t, client, "kindred://meter/")
	path, ok := phone.Path(meter.public())
	if a, _ := parseAddress(tap.Address(), ""); !ok || path.Address != a.String() || tap.Packets.Load() == 0 {
		t.Errorf("the path is %+v, %v after %d packets through the tap, want it at %s", path, ok, tap.Packets.Load(), a)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := client.Post("kindred://meter/slow", "", strings.NewReader("x"))
		failed <- err
	}()
	<-serving
	tap.Cut.Store(true)
	// Both ends have something to send, and notice.
	l := phone.all()[0]
	for range 2 {
		if s, err := l.conn.NewStream(t.Context()); err == nil {
			s.Write([]byte(selected))
		}
	}
	if err := <-failed; !errors.Is(err, ErrUnreachable) {
		t.Errorf("the request under way ended with %v", err)
	}
	if _, err := client.Get("kindred://meter/"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("the next request ended with %v", err)
	}
	meter.Disconnect(phone.public())
	<-done
	tap.Cut.Store(false)
	get(t, client, "kindred://meter/")
}

// TestRestart: the callee's process is replaced by one with the same key and
// address. The next request finds it.
func TestRestart(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	client := phone.client(nil, meter)
	get(t, client, "kindred://meter/")
	at := meter.Addresses()
	meter.Close()
	meter.Host = p.start(meter, greet, func(c *Config) { c.Listen = at })
	if _, got := get(t, client, "kindred://meter/"); got != "good day, phone" {
		t.Errorf("got %q", got)
	}
}

// TestNewKeySameHost: HOST resolves to another key; kept streams to the former
// are not used.
func TestNewKeySameHost(t *testing.T) {
	p := newPlace(t)
	old, phone := p.join("old", greet), p.join("phone", nil)
	renewed := p.join("new", http.NotFoundHandler())
	now := old
	client := &http.Client{Transport: phone.Transport(func(context.Context, string) (Target, error) {
		return phone.target(now), nil
	})}
	if code, _ := get(t, client, "kindred://lock/"); code != 200 {
		t.Fatalf("got %d", code)
	}
	now = renewed
	phone.Disconnect(old.public())
	if code, _ := get(t, client, "kindred://lock/"); code != 404 {
		t.Errorf("got %d", code)
	}
}

// TestOverdue: connections that nobody needs are closed.
func TestOverdue(t *testing.T) {
	t.Run("strange", func(t *testing.T) {
		p := newPlace(t)
		p.timing = hasty(func(t *timing) { t.strange = 30 * time.Millisecond })
		meter, burglar := p.join("meter", greet), p.join("burglar", nil)
		id, _ := peerID(meter.public())
		l, err := burglar.connect(t.Context(), id, meter.Addresses())
		if err != nil {
			t.Fatal(err)
		}
		<-l.ctx.Done()
		eventually(t, "the owner was told", func() bool { return meter.told(Silence) > 0 })
	})
	t.Run("unused", func(t *testing.T) {
		p := newPlace(t)
		p.timing = hasty(func(t *timing) { t.idle = 200 * time.Millisecond })
		meter, phone := p.join("meter", greet), p.join("phone", nil)
		client := phone.client(nil, meter)
		get(t, client, "kindred://meter/")
		l := phone.all()
		client.CloseIdleConnections()
		for _, l := range l {
			<-l.ctx.Done()
		}
	})
}

func TestECDSA(t *testing.T) {
	p := newPlace(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	met := make(chan crypto.PublicKey, 1)
	camera := p.join("camera", greet, func(c *Config) {
		c.Admit = func(_ context.Context, from crypto.PublicKey, _ []byte) (Admission, error) {
			met <- from
			return Admission{Hello: func() []byte { return []byte("hello of camera") }}, nil
		}
	})
	token, err := New(Config{Key: key, Listen: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	client := &http.Client{Transport: token.Transport(func(context.Context, string) (Target, error) {
		return Target{Key: camera.public(), Addresses: camera.Addresses()}, nil
	})}
	get(t, client, "kindred://camera/")
	if from := <-met; !key.PublicKey.Equal(from) {
		t.Errorf("the caller's key is %v", from)
	}
	if _, ok := camera.Path(&key.PublicKey); !ok {
		t.Error("the caller is not found by its key")
	}
}

func TestNewRefused(t *testing.T) {
	_, key, _ := ed25519.GenerateKey(nil)
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no key", Config{}, "peer: starting a host: unsupported key type <nil>"},
		{"short key", Config{Key: key[:5]}, "peer: starting a host: Ed25519 key of 5 bytes"},
		{"address", Config{Key: key, Listen: []string{"/ip4/127.0.0.1/udp/80"}}, `peer: listening: address "/ip4/127.0.0.1/udp/80": not of the form ` + forms},
		{"not ours", Config{Key: key, Listen: []string{"192.0.2.1:0"}}, "peer: listening: on /ip4/192.0.2.1/udp/0/quic-v1: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, err := New(tt.cfg)
			if err == nil {
				h.Close()
			}
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	p := newPlace(t)
	ended := make(chan struct{})
	meter, phone := p.join("meter", events(t, ended)), p.join("phone", nil)
	client := phone.client(nil, meter)
	resp, err := client.Get("kindred://meter/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, m := range []*member{phone, meter} {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	<-ended
	// net/http's goroutines may still be on their way out of a Read.
	for deadline := time.Now().Add(10 * time.Second); len(running()) > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("still running:\n%s", bytes.Join(running(), []byte("\n\n")))
		}
	}
	if _, err := client.Get("kindred://meter/"); !errors.Is(err, ErrClosed) {
		t.Errorf("a call on a closed host ended with %v", err)
	}
}

// running returns the stacks that are in this package, but for the tests'.
func running() [][]byte {
	b := make([]byte, 1<<20)
	var in [][]byte
	for _, stack := range bytes.Split(b[:runtime.Stack(b, true)], []byte("\n\n")) {
		if bytes.Contains(stack, []byte("kindred/peer.(*")) && !bytes.Contains(stack, []byte("testing.tRunner")) {
			in = append(in, stack)
		}
	}
	return in
}
