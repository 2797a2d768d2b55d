package peer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"
)

// everyWay runs a test for each way to the meter of a place.
func everyWay(t *testing.T, cut func(*timing), test func(t *testing.T, p *place, w way, meter *member)) {
	for i, name := range []string{"QUIC", "TCP", "relay"} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.timing = hasty(cut)
			test(t, p, p.ways()[i], p.join("meter", greet, quiet))
		})
	}
}

// quiet is for members that have much to say.
func quiet(c *Config) { c.Log = nil }

// patient leaves the timing as it is.
func patient(*timing) {}

// eventually waits until something holds, or the test fails.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after 20 s: %s", what)
		}
	}
}

// undisturbed calls the meter anew, again and again while attack runs, and as often after it as is left of n. Every
// call has to be answered.
func undisturbed(t *testing.T, phone, meter *member, leads []string, n int, attack func()) {
	t.Helper()
	client := phone.client(func(g *Target) { g.Addresses = leads }, meter)
	attacked := make(chan struct{})
	go func() {
		defer close(attacked)
		attack()
	}()
	for served := 0; ; served++ {
		select {
		case <-attacked:
			if served >= n {
				return
			}
		default:
		}
		if _, got := get(t, client, "kindred://meter/"); got != "good day, phone" {
			t.Fatalf("call %d got %q", served, got)
		}
		if err := phone.Disconnect(meter.public()); err != nil {
			t.Fatal(err)
		}
		client.CloseIdleConnections()
	}
}

// underWay is how many handshakes an address has.
func (m *member) underWay(ip netip.Addr) int {
	return m.swarm.ResourceManager().(*gate).underWay.of(netip.PrefixFrom(ip, ip.BitLen()))
}

// strange is how many strangers are connected.
func (m *member) strange() int {
	m.strangers.mu.Lock()
	defer m.strangers.mu.Unlock()
	return len(m.strangers.all)
}

// TestHalfOpen: handshakes that are begun and never finished, more than an address may have.
func TestHalfOpen(t *testing.T) {
	t.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true") // a muteSocket has none to set
	const many = 3 * maxHandshakes
	for _, tt := range []struct {
		name, mark string
		begin      func(t *testing.T, from netip.Addr, addr string)
	}{
		{"TCP, nothing said", "/tcp/", func(t *testing.T, from netip.Addr, addr string) { dialTCP(t, from, addr) }},
		{"TCP, byte by byte", "/tcp/", func(t *testing.T, from netip.Addr, addr string) {
			if c, err := dialTCP(t, from, addr); err == nil {
				c.Write([]byte("\x13"))
			}
		}},
		{"TCP, TLS begun", "/tcp/", func(t *testing.T, from netip.Addr, addr string) {
			if c, err := dialTCP(t, from, addr); err == nil {
				io.WriteString(c, "\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n\x16\x03\x01\x01\x00\x01")
			}
		}},
		{"QUIC, first flight only", "/quic-v1", firstFlight},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			p.timing = hasty(func(t *timing) { t.hello = time.Second })
			meter, phone := p.join("meter", greet, quiet), p.join("phone", nil, quiet)
			burglar := netip.MustParseAddr("127.0.0.2")
			undisturbed(t, phone, meter, []string{at(meter, tt.mark)}, 5, func() {
				for range many {
					tt.begin(t, burglar, at(meter, tt.mark))
					if n := meter.underWay(burglar); n > maxHandshakes {
						t.Errorf("%d handshakes from one address are under way", n)
					}
				}
			})
			eventually(t, "the owner was told", func() bool { return meter.told(Stalling) > 0 })
			eventually(t, "all are given up", func() bool { return meter.underWay(burglar) == 0 })
		})
	}
}

// firstFlight sends what begins a QUIC connection, and nothing more.
func firstFlight(t *testing.T, from netip.Addr, addr string) {
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		t.Error(err)
		return
	}
	to, _ := net.ResolveUDPAddr("udp4", hostPort(addr))
	who, _ := identity(t)
	config, _ := who.ConfigForPeer("")
	config.NextProtos = []string{"libp2p"}
	ctx, cancel := context.WithCancel(t.Context())
	mute := &muteSocket{PacketConn: socket, sent: cancel}
	if _, err := quic.Dial(ctx, mute, to, config, nil); err == nil {
		t.Error("connected without hearing an answer")
	}
	socket.Close()
}

// A muteSocket sends, and hears nothing.
type muteSocket struct {
	net.PacketConn
	sent func()
	n    int
}

func (s *muteSocket) WriteTo(b []byte, to net.Addr) (int, error) {
	if s.n++; s.n > 2 { // a ClientHello of libp2p's takes one or two packets; what follows takes leave
		return len(b), nil
	}
	defer s.sent()
	return s.PacketConn.WriteTo(b, to)
}

func (s *muteSocket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		if _, _, err := s.PacketConn.ReadFrom(b); err != nil {
			return 0, nil, err
		}
	}
}

// TestManyStrangers: more connections of strangers than there may be together, on which nothing is said.
func TestManyStrangers(t *testing.T) {
	everyWay(t, patient, func(t *testing.T, p *place, w way, meter *member) {
		const most = 10
		meter.strangers.most = most
		phone := p.join("phone", nil, quiet)
		var all []burglar
		undisturbed(t, phone, meter, w.leads(meter), 5, func() {
			for range 2 * most {
				if b, err := w.breaks(t, meter); err == nil { // whether the newest is let in is not the question
					all = append(all, b)
				}
				if n := meter.strange(); n > most {
					t.Errorf("%d strangers at a time", n)
				}
			}
		})
		eventually(t, "the owner was told of the crowd", func() bool { return meter.told(Crowding) > 0 })
		for _, b := range all {
			b.Close()
		}
		eventually(t, "all are gone", func() bool { return meter.strange() == 0 })
	})
}

// TestManyStrangeStreams: a stranger opens streams as if it were a member.
func TestManyStrangeStreams(t *testing.T) {
	everyWay(t, patient, func(t *testing.T, p *place, w way, meter *member) {
		b, err := w.breaks(t, meter)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		var all []io.ReadWriteCloser
		for range 4 * strangeStreams {
			s, err := b.open(t.Context())
			if err == nil {
				_, err = io.WriteString(s, selected[:1])
			}
			if err != nil {
				break // closed already
			}
			all = append(all, s)
		}
		if w.name == "QUIC" { // whose streams are turned away one by one
			// Of how many depends on whether the first were given up while the last were opened.
			eventually(t, "the owner was told", func() bool { return meter.told(Crowding) >= len(all)-2*strangeStreams })
			return
		}
		<-b.gone()
	})
}

// TestManyColdCalls: a member makes more calls at once on a new connection than strangers may.
func TestManyColdCalls(t *testing.T) {
	everyWay(t, patient, func(t *testing.T, p *place, w way, meter *member) {
		leads := w.leads(meter)
		client := p.join("phone", nil, quiet).client(func(g *Target) { g.Addresses = leads }, meter)
		var served atomic.Int64
		var wg sync.WaitGroup
		for range 8 * strangeStreams {
			wg.Go(func() {
				if code, _ := get(t, client, "kindred://meter/"); code == 200 {
					served.Add(1)
				}
			})
		}
		wg.Wait()
		if n := served.Load(); n != 8*strangeStreams {
			t.Errorf("%d calls were served", n)
		}
	})
}

// TestStrangerSendsMuch: a stranger sends hellos to their last byte but one, on all the streams it may have.
func TestStrangerSendsMuch(t *testing.T) {
	everyWay(t, patient, func(t *testing.T, p *place, w way, meter *member) {
		b, err := w.breaks(t, meter)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for range strangeStreams {
			s, err := b.open(t.Context())
			if err != nil {
				break
			}
			go s.Write([]byte(selected + "\x01\xff\xff\x03" + strings.Repeat("h", MaxHello-2)))
		}
		<-b.gone()
		eventually(t, "the owner was told", func() bool { return meter.told(Flooding) > 0 })
	})
}

// TestHelloFlood: hellos that take long to refuse, from many connections at once. So many are verified at a time as
// may be, and a member at another address has its turn.
func TestHelloFlood(t *testing.T) {
	for i, name := range []string{"QUIC", "TCP", "relay"} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.timing = hasty(patient)
			w := p.ways()[i]
			var now, most, refused atomic.Int64
			turn := make(chan struct{}, maxVerified+1)
			meter := p.join("meter", greet, quiet, func(c *Config) {
				admit := c.Admit
				c.Admit = func(ctx context.Context, from crypto.PublicKey, hello []byte) (Admission, error) {
					n := now.Add(1)
					defer now.Add(-1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					turn <- struct{}{} // what it costs: more at once would have to wait here
					defer func() { <-turn }()
					if strings.HasPrefix(string(hello), "garbage") {
						refused.Add(1)
						return Admission{}, errors.New("garbage")
					}
					return admit(ctx, from, hello)
				}
			})
			phone := p.join("phone", nil, quiet)
			const burglars = 12
			undisturbed(t, phone, meter, w.leads(meter), 10, func() {
				var wg sync.WaitGroup
				for range burglars {
					b, err := w.breaks(t, meter)
					if err != nil {
						t.Error(err)
						return
					}
					wg.Go(func() { floodHellos(t, b) })
				}
				wg.Wait()
			})
			if n := most.Load(); n > maxVerified {
				t.Errorf("%d hellos were verified at a time, want %d at most", n, maxVerified)
			}
			if n := refused.Load(); n == 0 || n > burglars*maxRefused {
				t.Errorf("%d hellos of burglars were verified, want %d at most", n, burglars*maxRefused)
			}
		})
	}
}

// floodHellos shows three times as many hellos, no two alike, as one connection may.
func floodHellos(t *testing.T, b burglar) {
	defer b.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	free := make(chan struct{}, strangeStreams/2)
	for i := range 3 * maxRefused {
		free <- struct{}{}
		s, err := b.open(t.Context())
		if err != nil {
			return
		}
		wg.Go(func() {
			defer func() { <-free }()
			hello := fullFrame(fmt.Appendf(nil, "garbage %d", i))
			s.Write(frame{}.append(hello.append([]byte(selected))))
			io.WriteString(s, "GET / HTTP/1.1\r\nHost: meter\r\n\r\n")
			io.Copy(io.Discard, s)
			s.Close()
		})
	}
}

// TestTurns: of those who wait each has a turn before anybody has a second.
func TestTurns(t *testing.T) {
	turns := turns{most: maxVerified}
	for range maxVerified {
		if err := turns.take(t.Context(), "first"); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan string)
	wait := func(who string) {
		before := turns.line()
		go func() {
			if turns.take(t.Context(), who) == nil {
				served <- who
			}
		}()
		eventually(t, who+" waits", func() bool { return turns.line() > before })
	}
	for _, who := range []string{"flood", "flood", "flood", "member", "other"} {
		wait(who)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error)
	go func() { gaveUp <- turns.take(ctx, "impatient") }()
	eventually(t, "the impatient waits", func() bool { return turns.line() == 6 })
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up was told %v", err)
	}
	var order []string
	for range 5 {
		turns.give()
		order = append(order, <-served)
	}
	if got := strings.Join(order, " "); got != "flood member other flood flood" {
		t.Errorf("the turns were %s", got)
	}
	for range maxVerified {
		turns.give()
	}
	if turns.taken != 0 || turns.line() != 0 || len(turns.waiting) != 0 {
		t.Errorf("left behind: %+v", &turns)
	}
}

// line is how many wait.
func (t *turns) line() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, line := range t.waiting {
		n += len(line)
	}
	return n
}

// TestWhoGoes: where there are too many strangers, the address with most of them gives up its oldest.
func TestWhoGoes(t *testing.T) {
	s := strangers{most: 6}
	stranger := func(host byte) *link {
		return &link{from: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, host}), 32)}
	}
	var came []*link
	for i, tt := range []struct {
		host byte
		gone int // who has to go, -1 for nobody
	}{
		{1, -1}, {2, -1}, {2, -1}, {2, -1}, {3, -1}, {1, -1},
		{4, 1}, {1, 0}, {2, 2}, {2, 3}, {5, 5}, {6, 8},
	} {
		l := stranger(tt.host)
		came = append(came, l)
		if gone := slices.Index(came, s.enter(l)); gone != tt.gone {
			t.Errorf("for number %d had number %d to go, want %d", i, gone, tt.gone)
		}
	}
	for _, l := range append(came, came...) {
		s.leave(l)
	}
	if len(s.all) != 0 || len(s.by) != 0 {
		t.Errorf("left behind: %v", s.by)
	}
}

// TestMemberWithManyStreams: a member may open many streams, and no more than that.
func TestMemberWithManyStreams(t *testing.T) {
	for _, mark := range []string{"/quic-v1", "/tcp/"} {
		t.Run(mark, func(t *testing.T) {
			p := newPlace(t)
			hold := make(chan struct{})
			meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				select {
				case <-hold:
				case <-r.Context().Done():
				}
			}), quiet)
			phone := p.join("phone", nil, quiet)
			client := phone.client(func(g *Target) { g.Addresses = []string{at(meter, mark)} }, meter)
			for range maxStreams {
				resp, err := client.Get("kindred://meter/")
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
			}
			l := phone.all()[0]
			open := maxStreams
			for late := 0; late < 3 && open < maxStreams+maxIncoming; { // in a row: by the limit, or by a very busy machine
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				s, err := l.conn.NewStream(ctx)
				cancel()
				if err != nil {
					late++
					continue
				}
				s.Write([]byte(selected))
				open, late = open+1, 0
			}
			eventually(t, "what is too much is refused", func() bool { return meter.all()[0].conn.Stat().NumStreams <= maxIncoming })
			if open < maxIncoming-1 {
				t.Errorf("only %d streams could be opened", open)
			}
			close(hold)
		})
	}
}

// TestConnectionsOfOneAddress: an address has so many connections, of IPv6 all of what a household is given together, and a
// relay bounds them by what it lets be held and called.
func TestConnectionsOfOneAddress(t *testing.T) {
	const most = 10
	for name, from := range map[string][]string{
		"IPv4": {"192.0.2.1", "192.0.2.1", "192.0.2.2"},
		"IPv6": {"2001:db8::1", "2001:db8:0:ff::1", "2001:db8:0:100::1"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := newResourceManager(most)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			open := func(ip string) error {
				_, err := m.OpenConnection(network.DirInbound, false, ma.StringCast(quicAddress(netip.AddrPortFrom(netip.MustParseAddr(ip), 1))))
				return err
			}
			for range most / 2 {
				if err := errors.Join(open(from[0]), open(from[1])); err != nil {
					t.Fatal(err)
				}
			}
			if open(from[1]) == nil {
				t.Errorf("%s has more than %d", from[1], most)
			}
			if err := open(from[2]); err != nil {
				t.Errorf("another is refused: %v", err)
			}
		})
	}
	for limits, want := range map[RelayLimits]int{{}: 256, {PerAddress: 1000, CallsPerAddress: 500}: 3064} {
		if got := limits.withDefaults().conns(); got != want {
			t.Errorf("%+v: %d connections, want %d", limits, got, want)
		}
	}
}
