package peer

import (
	"net/netip"
	"testing"

	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// What is told of ports that the router forwards: what a relay found, and the router's word where there is none to try.
func TestForwarded(t *testing.T) {
	here, there := netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("8.8.8.8")
	for _, tt := range []struct {
		name   string
		claim  string // the router's
		knocks []knocked
		alone  bool
		want   string // what others are told
		door   string
	}{
		{"nobody tried", "9.9.9.9:4711", nil, false, "", DoorUnknown},
		{"nobody can try", "9.9.9.9:4711", nil, true, "/ip4/9.9.9.9/udp/4711/quic-v1", DoorUnknown},
		{"nobody can try, and another NAT is in front", "10.0.0.1:4711", nil, true, "", DoorUnknown},
		{"open", "9.9.9.9:4711", []knocked{{at: here, door: DoorOpen}}, false, "/ip4/9.9.9.9/udp/4711/quic-v1", DoorOpen},
		{"shut", "9.9.9.9:4711", []knocked{{at: here, door: DoorShut}}, false, "", DoorShut},
		{"a relay that cannot tell", "9.9.9.9:4711", []knocked{{at: here}}, false, "", DoorUnknown},
		{"one of two gets in", "9.9.9.9:4711", []knocked{{at: here, door: DoorOpen}, {at: here, door: DoorShut}}, false, "/ip4/9.9.9.9/udp/4711/quic-v1", DoorOpen},
		{"open elsewhere than the router says", "9.9.9.9:4711", []knocked{{at: there, door: DoorOpen}}, false, "/ip4/8.8.8.8/udp/4711/quic-v1", DoorOpen},
		{"behind another NAT that forwards too", "10.0.0.1:4711", []knocked{{at: there, door: DoorOpen}}, false, "/ip4/8.8.8.8/udp/4711/quic-v1", DoorOpen},
	} {
		f := &forward{port: port{"udp", 4711}, by: "PCP", claim: netip.MustParseAddrPort(tt.claim), knocks: make(map[libp2ppeer.ID]knocked)}
		for i, k := range tt.knocks {
			f.note(libp2ppeer.ID(rune('a'+i)), k)
		}
		o := outlook{forwarded: map[family][]*forward{ip4: {f}}}
		got := ""
		for _, a := range o.forwardedTo(tt.alone) {
			got += a.String()
		}
		if got != tt.want {
			t.Errorf("%s: told of %q", tt.name, got)
		}
		if m := o.mapped(); len(m) != 1 || m[0].Door != tt.door || m[0].By != "PCP" {
			t.Errorf("%s: %+v", tt.name, m)
		}
	}
}

// A relay that no longer gets in takes its word back.
func TestForwardedNoMore(t *testing.T) {
	f := &forward{port: port{"udp", 4711}, claim: netip.MustParseAddrPort("9.9.9.9:4711"), knocks: make(map[libp2ppeer.ID]knocked)}
	f.note("a", knocked{at: netip.MustParseAddr("9.9.9.9"), door: DoorOpen})
	f.note("a", knocked{at: netip.MustParseAddr("9.9.9.9"), door: DoorShut})
	if f.in.IsValid() || f.door() != DoorShut {
		t.Errorf("%+v", f)
	}
}

// A relay is asked until it got in, three times at most while nothing changes, and again when the mapping is renewed, the
// host has moved, or the relay is reached anew.
func TestUnasked(t *testing.T) {
	first, again := &link{}, &link{}
	o := outlook{host: newPlace(t).join("meter", nil).Host, seen: make(map[libp2ppeer.ID]sighting), tell: make(chan struct{}, 1)}
	forwards := func() {
		o.forwards(ip4, []*forward{{port: port{"udp", 4711}, claim: netip.MustParseAddrPort("9.9.9.9:5000"), knocks: make(map[libp2ppeer.ID]knocked)}})
	}
	seen := func(l *link, at string) { o.seen["relay"] = sighting{link: l, addr: ma.StringCast(at)} }
	for _, step := range []struct {
		name string
		do   func()
		door string // what the relay answers, if it is asked
		asks int
	}{
		{"nothing is forwarded", func() { seen(first, "/ip4/9.9.9.9/udp/1/quic-v1") }, "", 0},
		{"at first", forwards, DoorShut, 3},
		{"the mapping is renewed", forwards, DoorShut, 3},
		{"the host has moved", func() { seen(first, "/ip4/8.8.8.8/udp/1/quic-v1") }, DoorOpen, 1},
		{"the mapping is renewed, and open", forwards, DoorShut, 0},
		{"the relay is reached anew", func() { seen(again, "/ip4/8.8.8.8/udp/1/quic-v1") }, DoorOpen, 1},
		{"it is on this network", func() { seen(again, "/ip4/10.0.0.1/udp/1/quic-v1") }, DoorOpen, 0},
		{"it is reached by IPv6", func() { seen(again, "/ip6/2a00::1/udp/1/quic-v1") }, DoorOpen, 0},
	} {
		step.do()
		asks := 0
		for asks < 10 {
			all := o.unasked()
			if len(all) == 0 {
				break
			}
			asks++
			o.answered(all[0], knocked{link: all[0].link, at: all[0].ip, tries: all[0].tries + 1, door: step.door})
		}
		if asks != step.asks {
			t.Errorf("%s: asked %d times", step.name, asks)
		}
	}
}

// portOf returns the port at which a host listens on loopback.
func portOf(t *testing.T, m *member, protocol string) port {
	t.Helper()
	for _, s := range m.Addresses() {
		a := ma.StringCast(s)
		if isTCP(a) != (protocol == "tcp") || !ipOf(a).Is4() || isCircuit(a) {
			continue
		}
		_, hostport, err := manet.DialArgs(a)
		if err != nil {
			t.Fatal(err)
		}
		return port{protocol, netip.MustParseAddrPort(hostport).Port()}
	}
	t.Fatalf("no port of %s among %q", protocol, m.Addresses())
	return port{}
}

// A relay knocks at the ports of whoever asks, and says whether it is them who answers.
func TestDoor(t *testing.T) {
	p := newPlace(t)
	between, phone, other := p.relay(RelayLimits{}), p.join("phone", nil), p.join("other", nil)
	at, _, err := parseRelays([]string{between.at()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := phone.connectRelay(t.Context(), between.id, at[between.id])
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		port port
		in   bool
	}{
		{"its own, of QUIC", portOf(t, phone, "udp"), true},
		{"its own, of TCP", portOf(t, phone, "tcp"), true},
		{"another's, of QUIC", portOf(t, other, "udp"), false},
		{"another's, of TCP", portOf(t, other, "tcp"), false},
	} {
		if in, err := phone.askDoor(t.Context(), l, tt.port); err != nil || in != tt.in {
			t.Errorf("%s: %v, %v", tt.name, in, err)
		}
	}
	if in, err := phone.askDoor(t.Context(), l, port{"tcp", 25}); err == nil {
		t.Errorf("a port that is surely another's: %v", in)
	}
	refused := 0
	for range knockBurst {
		if _, err := phone.askDoor(t.Context(), l, portOf(t, phone, "tcp")); err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("the relay knocks as often as it is asked")
	}
}

func FuzzDoor(f *testing.F) {
	f.Add("udp 4711")
	f.Add("tcp 65536")
	f.Add("udp 04711")
	f.Add("tcp 25")
	f.Fuzz(func(t *testing.T, line string) {
		if p, err := parseDoor(line); err == nil && (p.String() != line || p.number < firstDoor) {
			t.Fatalf("%q was taken for %v", line, p)
		}
	})
}

func FuzzForward(f *testing.F) {
	for _, text := range []string{
		"/ip4/9.9.9.9/udp/4711/quic-v1 PCP", "/ip4/9.9.9.9/tcp/4711 UPnP", "/ip6/2a00::1/tcp/4711 NAT-PMP", "9.9.9.9:4711 PCP",
		"/ip4/9.9.9.9/tcp/4711", "/ip4/9.9.9.9/tcp/4711 \x1b[2J", "/dns4/birch.example/tcp/4711 PCP",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := ParseForward(text); err == nil && (got.String() != text || pathKind(ma.StringCast(got.Address)) == Relayed) {
			t.Fatalf("%q was taken for %+v", text, got)
		}
	})
}
