package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
)

// carry makes a host a relay with nothing of Config.Relay; life is that of a reservation.
func (p *place) carry(h *Host, life time.Duration) {
	p.t.Helper()
	r := relay.DefaultResources()
	r.Limit, r.ReservationTTL, r.MaxReservationsPerIP = nil, life, 64
	service, err := relay.New(bare{h}, relay.WithResources(r))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { service.Close() })
	h.serveSeen()
}

// byRelays makes a target be called through relays alone.
func byRelays(g *Target) {
	g.Addresses = slices.DeleteFunc(g.Addresses, func(a string) bool { return !strings.Contains(a, "p2p-circuit") })
}

// mooring makes a host keep reservations, and tells news on the channel returned.
func mooring(relays ...string) (func(*Config), <-chan struct{}) {
	news := make(chan struct{}, 1)
	return func(c *Config) {
		c.Relays = relays
		c.Changed = func() {
			select {
			case news <- struct{}{}:
			default:
			}
		}
	}, news
}

// until waits for news that make ok true.
func until(t *testing.T, news <-chan struct{}, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-news:
		case <-time.After(100 * time.Millisecond): // what is waited for may not be news to the host
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// moored reports whether m publishes an address through a relay.
func (m *member) moored() bool {
	return slices.ContainsFunc(m.Addresses(), func(a string) bool { return strings.HasSuffix(a, "/p2p-circuit") })
}

func TestThroughARelay(t *testing.T) {
	p := newPlace(t)
	between := p.relay(RelayLimits{})
	keep, news := mooring(between.at())
	meter, phone := p.join("meter", greet, keep), p.join("phone", nil, func(c *Config) { c.Listen = []string{} })
	until(t, news, "a reservation", meter.moored)
	resp, err := phone.client(byRelays, meter).Get("kindred://meter/")
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); got != "good day, phone" {
		t.Errorf("got %q", got)
	}
	who, _ := Callee(resp)
	if who.Path.Kind != Relayed || who.Path.Relay != between.at() || who.Path.Transport != QUIC || who.Path.Punch != PunchNever {
		t.Errorf("path is %+v", who.Path)
	}
	if r := meter.Reach(); r.NAT != NATUnknown || len(r.Relays) != 1 || !r.Relays[0].Held || len(r.Seen) != 1 {
		t.Errorf("the meter knows of itself %+v", r)
	}
	until(t, nil, "the phone to learn how it is seen", func() bool { return len(phone.Reach().Seen) == 1 })
	if got := phone.Addresses(); len(got) != 0 {
		t.Errorf("a phone that only calls publishes %q", got)
	}
}

// TestReservation follows one through renewal, the loss of the relay, and its return.
func TestReservation(t *testing.T) {
	p := newPlace(t)
	between := p.join("relay", nil)
	p.carry(between.Host, 4*time.Second)
	keep, news := mooring(between.at())
	meter := p.join("meter", greet, keep)
	ends := func() time.Time {
		b := meter.relays.all()[0]
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.until
	}
	until(t, news, "a reservation", meter.moored)
	first := ends()
	until(t, news, "its renewal", func() bool { return ends().After(first) })

	where := between.Addresses()[0]
	between.Close()
	until(t, news, "that the loss is noticed", func() bool { return !meter.moored() })
	if r := meter.Reach(); r.Relays[0].Held || r.Relays[0].Problem == "" {
		t.Errorf("without its relay the meter says %+v", r.Relays)
	}
	between.Host = p.start(between, nil, func(c *Config) { c.Listen = []string{where} })
	p.carry(between.Host, time.Hour)
	until(t, news, "a reservation at the relay that is back", meter.moored)

	if err := meter.SetRelays(nil); err != nil {
		t.Fatal(err)
	}
	until(t, news, "that no reservation is wanted", func() bool { return !meter.moored() })
}

func TestSetRelays(t *testing.T) {
	p := newPlace(t)
	m := p.join("meter", nil)
	name := "/p2p/" + m.id.String()
	for addr, want := range map[string]string{
		"127.0.0.1:1":                                  `peer: choosing relays: address "127.0.0.1:1": not of a relay`,
		"/ip4/127.0.0.1/tcp/1":                         `peer: choosing relays: address "/ip4/127.0.0.1/tcp/1": it does not name the relay's key at its end (/p2p/…)`,
		"/ip4/127.0.0.1/tcp/1" + name:                  "", // its own
		"/ip4/127.0.0.1/tcp/1" + name + "/p2p-circuit": `peer: choosing relays: address "/ip4/127.0.0.1/tcp/1` + name + `/p2p-circuit": not of a relay`,
	} {
		err := m.SetRelays([]string{addr})
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: got %v, want %q", addr, err, want)
		}
	}
	var many []string
	for range MaxRelays + 1 {
		many = append(many, p.join("relay", nil).at())
	}
	if err := m.SetRelays(many); err == nil || err.Error() != "peer: choosing relays: 5 relays, of at most 4" {
		t.Errorf("got %v", err)
	}
}

// ask opens a stream of a protocol from one host to another, and returns what answers.
func ask(t *testing.T, from, to *member, proto protocol.ID) (network.Stream, *bufio.Reader) {
	t.Helper()
	id, err := peerID(to.public())
	if err != nil {
		t.Fatal(err)
	}
	ctx := network.WithAllowLimitedConn(t.Context(), "test")
	if err := from.addresses(id, to.Addresses()[:1]); err != nil { // QUIC's
		t.Fatal(err)
	}
	s, err := from.swarm.NewStream(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Reset() })
	if err := s.SetProtocol(proto); err != nil {
		t.Fatal(err)
	}
	named := lazily(s, proto)
	return named, bufio.NewReader(named)
}

// Only the relays that a host chose may bring it circuits, and nothing but calls is served to strangers.
func TestServicesAreNotForStrangers(t *testing.T) {
	p := newPlace(t)
	between := p.relay(RelayLimits{})
	keep, news := mooring(between.at())
	meter, stranger := p.join("meter", greet, keep), p.join("stranger", nil)
	until(t, news, "a reservation", meter.moored)
	meter.setService("/test/echo", func(s network.Stream) { io.WriteString(s, "x"); s.Close() })
	for _, p := range []protocol.ID{proto.ProtoIDv2Stop, "/libp2p/dcutr", "/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", seenProtocol, "/test/echo"} {
		_, in := ask(t, stranger, meter, p)
		if b, err := in.ReadByte(); err == nil || !strings.Contains(err.Error(), "not supported") {
			t.Errorf("%s: a stranger got %q, %v", p, b, err)
		}
	}
	phone := p.join("phone", nil)
	if code, _ := get(t, phone.client(nil, meter), "kindred://meter/"); code != http.StatusOK {
		t.Fatal(code)
	}
	_, in := ask(t, phone, meter, "/test/echo")
	if b, err := in.ReadByte(); err != nil || b != 'x' {
		t.Errorf("somebody known got %q, %v", b, err)
	}
}

// Nobody learns where others see a host before its hello was accepted.
func TestAddressesAreNotForStrangers(t *testing.T) {
	p := newPlace(t)
	meter, stranger, phone := p.join("meter", greet), p.join("stranger", nil), p.join("phone", nil)
	stranger.renew("hello of nobody")
	for _, m := range []*member{stranger, phone} {
		if _, err := m.client(func(g *Target) { g.Check = nil }, meter).Get("kindred://meter/"); err != nil {
			t.Fatal(err)
		}
	}
	secret := []ma.Multiaddr{ma.StringCast("/ip4/9.9.9.9/udp/1/quic-v1")}
	a := acquainted{meter.Host}
	settled := func(m *member) bool {
		for _, c := range meter.swarm.ConnsToPeer(m.id) {
			select {
			case <-a.IdentifyWait(c):
				return true
			default:
			}
		}
		return false
	}
	if got := a.FilterLocal(stranger.id, secret); got != nil || settled(stranger) {
		t.Errorf("a stranger is told %v", got)
	}
	if got := a.FilterLocal(phone.id, secret); len(got) != 1 || !settled(phone) {
		t.Errorf("the phone is told %v", got)
	}
	told := []ma.Multiaddr{
		ma.StringCast("/ip4/192.168.1.1/udp/53/quic-v1"), ma.StringCast("/ip4/127.0.0.1/udp/1/quic-v1"),
		ma.StringCast("/ip4/9.9.9.9/tcp/25"), secret[0],
	}
	if got := a.FilterRemote(phone.id, told); len(got) != 1 || !got[0].Equal(secret[0]) {
		t.Errorf("the meter would knock at %v", got)
	}
}

func TestSeen(t *testing.T) {
	p := newPlace(t)
	between, phone := p.relay(RelayLimits{}), p.join("phone", nil)
	s, in := ask(t, phone, between, seenProtocol)
	line, err := readLine(in)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(phone.Addresses(), line) {
		t.Errorf("the relay sees %q, which is not among %q", line, phone.Addresses())
	}
	if _, err := io.WriteString(s, "call\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := readLine(in); err != nil || line != calledIn {
		t.Errorf("called back: %q, %v", line, err)
	}
	second, again := ask(t, phone, between, seenProtocol)
	if _, err := readLine(again); err == nil {
		t.Error("a second stream on the connection was served")
	}
	second.Reset()
	io.WriteString(s, "call\n")
	if line, err := readLine(in); err == nil {
		t.Errorf("called back twice: %q", line)
	}
}

// A relay that listens at two ports tells how the NAT in front of a host maps, whether the host listens or only calls.
func TestOneRelayTellsTheNAT(t *testing.T) {
	p := newPlace(t)
	between := p.relay(RelayLimits{}, "127.0.0.1:0", "/ip4/0.0.0.0/udp/0/quic-v1")
	at := slices.DeleteFunc(between.Addresses(), func(a string) bool { return !strings.HasPrefix(a, "/ip4/127.0.0.1/udp/") })
	if len(at) != 2 {
		t.Fatalf("the relay is at %q", at)
	}
	for _, a := range at {
		named, err := WithKey(a, between.public())
		if err != nil {
			t.Fatal(err)
		}
		for name, listen := range map[string][]string{"meter": {"127.0.0.1:0"}, "phone": {}} {
			m := p.join(name, nil, func(c *Config) { c.Listen = listen })
			r, err := m.Survey(t.Context(), []string{named})
			if err != nil || r.NAT != NATCone || len(r.Seen) != 1 {
				t.Errorf("%s at %s: %+v, %v", name, a, r, err)
			}
		}
	}
}

// Where a firewall keeps a relay's other port shut, or somebody else answers there, it tells no more than another.
func TestAlternatePortIsShut(t *testing.T) {
	p := newPlace(t)
	between := p.relay(RelayLimits{})
	meter := p.join("meter", nil)
	if _, err := meter.Survey(t.Context(), []string{between.at()}); err != nil {
		t.Fatal(err)
	}
	shut, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer shut.Close()
	at := func(m *member) uint16 {
		a, _ := udpOf(ma.StringCast(m.Addresses()[0]))
		return a.Port()
	}
	l := meter.link(meter.swarm.ConnsToPeer(between.id)[0])
	seen := meter.outlook.sightings()[0].addr
	for what, number := range map[string]uint16{
		"nobody":        uint16(shut.LocalAddr().(*net.UDPAddr).Port),
		"somebody else": at(p.join("other", nil)),
	} {
		meter.outlook.saw(between.id, l, seen, true)
		if meter.outlook.settled(between.id) {
			t.Error("settled before the relay was asked")
		}
		meter.lookAgain(t.Context(), l, seen, number)
		if r := meter.Reach(); !meter.outlook.settled(between.id) || r.NAT != NATUnknown {
			t.Errorf("%s answers: %+v", what, r)
		}
	}
}

// An address from which very many ask to be called back keeps others waiting for one of them, and not for all.
func TestCallBacksTakeTurns(t *testing.T) {
	p := newPlace(t)
	between, phone := p.relay(RelayLimits{}), p.join("phone", nil)
	raw(t, phone, between, nil).Close() // connects
	var l *link
	eventually(t, "the relay has the connection", func() bool { l = between.best(phone.id); return l != nil })
	for range maxCallBacks {
		if err := between.calling.take(t.Context(), "flood"); err != nil {
			t.Fatal(err)
		}
	}
	flood, phones := make(chan error, 2), make(chan error, 1)
	for range 2 {
		go func() { flood <- between.calling.take(t.Context(), "flood") }()
	}
	eventually(t, "the flood waits", func() bool { return between.calling.line() == 2 })
	go func() { phones <- l.callBack(ma.StringCast(phone.Addresses()[0])) }()
	eventually(t, "the phone waits", func() bool { return between.calling.line() == 3 })
	between.calling.give()
	<-flood
	between.calling.give()
	select {
	case err := <-phones:
		if err != nil {
			t.Error(err)
		}
	case <-flood: // when the phone was done
		if between.calling.line() > 0 {
			t.Error("the flood comes first")
		}
	}
}

// A relay that says again and again that it sees somebody elsewhere is not listened to any more.
func TestSeenEverywhere(t *testing.T) {
	p := newPlace(t)
	between, phone := p.join("relay", nil), p.join("phone", nil)
	between.setService(seenProtocol, func(s network.Stream) {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(s, "/ip4/9.9.9.%d/udp/4711/quic-v1\n%s\n", i%2, calledIn); err != nil {
				return
			}
		}
	})
	at, _, err := parseRelays([]string{between.at()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := phone.connectRelay(t.Context(), between.id, at[between.id])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var bad malformedError
	if err := phone.askSeen(ctx, l); !errors.As(err, &bad) {
		t.Errorf("listening ended with %v", err)
	}
}

// A relay that is called back at an address where nobody listens for strangers finds it shut.
func TestCallBackFindsNobody(t *testing.T) {
	p := newPlace(t)
	phone := p.join("phone", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := callAs(ctx, ma.StringCast("/ip4/127.0.0.1/udp/9/quic-v1"), phone.id); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func FuzzSeen(f *testing.F) {
	f.Add([]byte("/ip4/9.9.9.9/udp/4711/quic-v1\n"))
	f.Add([]byte("/ip6/2a00::1/tcp/443\n"))
	f.Add([]byte("/ip4/9.9.9.9/udp/4711/quic-v1 4713\n"))
	f.Add([]byte("/ip4/9.9.9.9/udp/4711/quic-v1 53\n"))
	f.Add([]byte("/ip4/9.9.9.9/udp/4711/quic-v1/p2p-circuit\n"))
	f.Add([]byte("/ip4/0.0.0.0/udp/1/quic-v1\n"))
	f.Add([]byte(strings.Repeat("x", 300)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := strings.NewReader(string(b))
		in := bufio.NewReaderSize(r, 16)
		line, err := readLine(in)
		if read := len(b) - r.Len() - in.Buffered(); read > maxSeen {
			t.Fatalf("read %d bytes", read)
		}
		if err != nil {
			return
		}
		addr, other, err := parseSeen(line)
		if err != nil {
			return
		}
		said := addr.String()
		if other != 0 {
			said += fmt.Sprintf(" %d", other)
		}
		if said != line || ipOf(addr).IsUnspecified() {
			t.Fatalf("%q was taken for %v and %d", line, addr, other)
		}
	})
}

func TestNAT(t *testing.T) {
	seen := func(addrs ...string) (all []sighting) {
		for _, a := range addrs {
			all = append(all, sighting{addr: ma.StringCast(a)})
		}
		return all
	}
	twice := func(first, other string) []sighting {
		return []sighting{{addr: ma.StringCast(first), other: ma.StringCast(other)}}
	}
	m := newPlace(t).join("meter", nil)
	own := m.nets.now()
	if len(own) == 0 {
		t.Log("this machine has no network: that a host is seen at an address of its own is not tested here")
	} else if own[0].Addr().Is4() {
		if got := natOf(seen("/ip4/"+own[0].Addr().String()+"/udp/1/quic-v1"), m.own); got != NATNone {
			t.Errorf("seen at its own address: %q", got)
		}
	}
	for _, tt := range []struct {
		seen []sighting
		want string
	}{
		{nil, NATUnknown},
		{seen("/ip4/9.9.9.9/udp/1/quic-v1"), NATUnknown},
		{seen("/ip4/9.9.9.9/udp/1/quic-v1", "/ip4/9.9.9.9/udp/1/quic-v1"), NATCone},
		{seen("/ip4/9.9.9.9/udp/1/quic-v1", "/ip4/9.9.9.9/udp/2/quic-v1"), NATSymmetric},
		{seen("/ip4/9.9.9.9/udp/1/quic-v1", "/ip6/2a00::1/udp/2/quic-v1"), NATUnknown},
		{seen("/ip4/9.9.9.9/udp/1/quic-v1", "/ip4/9.9.9.9/tcp/2"), NATUnknown},
		{seen("/ip4/9.9.9.9/tcp/2"), NATBlocked},
		{twice("/ip4/9.9.9.9/udp/1/quic-v1", "/ip4/9.9.9.9/udp/1/quic-v1"), NATCone},
		{twice("/ip4/9.9.9.9/udp/1/quic-v1", "/ip4/9.9.9.9/udp/2/quic-v1"), NATSymmetric},
	} {
		if got := natOf(tt.seen, m.own); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.seen, got, tt.want)
		}
	}
}

func TestChoose(t *testing.T) {
	var near []string
	for _, ip := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"} {
		near = append(near, "/ip4/"+ip+"/udp/1/quic-v1", "/ip4/"+ip+"/tcp/1")
	}
	near = append(near, "/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1")
	across := []string{"/ip4/9.9.9.9/udp/1/quic-v1", "/ip4/9.9.9.9/udp/1/quic-v1"}
	circuits := []string{"c1", "c2", "c3", "c4", "c5"}
	got := choose(near, across, circuits)
	if len(got) > maxPublished || !slices.IsSorted(got[:7]) || got[7] != across[0] || !slices.Contains(got, "c4") || slices.Contains(got, "c5") {
		t.Errorf("got %q", got)
	}
	if got := choose([]string{"/ip4/10.0.0.1/tcp/1"}, nil, []string{"c1"}); !slices.Equal(got, []string{"c1", "/ip4/10.0.0.1/tcp/1"}) {
		t.Errorf("got %q", got)
	}
}
