package peer

import (
	"slices"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
)

func TestParseAddress(t *testing.T) {
	const id = "12D3KooWHkRc9ub5sn9fLx3bv2xyY3DmXYU6CsAHmX7KtBFoEiyP"
	for _, tt := range []struct{ in, want, err string }{
		{"127.0.0.1:4001", "/ip4/127.0.0.1/udp/4001/quic-v1", ""},
		{"[::1]:4001", "/ip6/::1/udp/4001/quic-v1", ""},
		{"[::ffff:192.0.2.1]:4001", "/ip4/192.0.2.1/udp/4001/quic-v1", ""},
		{"/ip4/192.0.2.1/udp/1/quic-v1", "/ip4/192.0.2.1/udp/1/quic-v1", ""},
		{"/ip4/192.0.2.1/udp/1/quic-v1/p2p/" + id, "/ip4/192.0.2.1/udp/1/quic-v1", ""},
		{"", "", `address "": neither a multiaddr nor IP:PORT`},
		{"example.org:80", "", `address "example.org:80": neither a multiaddr nor IP:PORT`},
		{"/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/1", ""},
		{"/ip4/192.0.2.1/udp/1/quic-v1/p2p/" + id + "/p2p-circuit", "/ip4/192.0.2.1/udp/1/quic-v1/p2p/" + id + "/p2p-circuit", ""},
		{"/ip4/192.0.2.1/tcp/443/p2p/" + id + "/p2p-circuit/p2p/" + id, "/ip4/192.0.2.1/tcp/443/p2p/" + id + "/p2p-circuit", ""},
		{"/dns/example.org/udp/1/quic-v1", "", `address "/dns/example.org/udp/1/quic-v1": not of the form ` + forms},
		{"/ip4/192.0.2.1/tcp/1/ws", "", `address "/ip4/192.0.2.1/tcp/1/ws": not of the form ` + forms},
		{"/ip4/192.0.2.1/udp/1/quic-v1/p2p-circuit", "", `address "/ip4/192.0.2.1/udp/1/quic-v1/p2p-circuit": not of the form ` + forms},
		{"/p2p/" + id + "/p2p-circuit", "", `address "/p2p/` + id + `/p2p-circuit": not of the form ` + forms},
	} {
		got, err := parseAddress(tt.in, "")
		switch {
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%q: got %v, want %q", tt.in, err, tt.err)
		case tt.err == "" && (err != nil || got.String() != tt.want):
			t.Errorf("%q: got %v, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestParseListen(t *testing.T) {
	must, maybe, err := parseListen([]string{":4001", "127.0.0.1:0", "/ip4/127.0.0.1/tcp/443"})
	if err != nil {
		t.Fatal(err)
	}
	same := func(a ma.Multiaddr, s string) bool { return a.String() == s }
	want := []string{"/ip4/0.0.0.0/udp/4001/quic-v1", "/ip6/::/udp/4001/quic-v1", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/443"}
	if !slices.EqualFunc(must, want, same) {
		t.Errorf("got %v, want %v", must, want)
	}
	if want := []string{"/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001", "/ip4/127.0.0.1/tcp/0"}; !slices.EqualFunc(maybe, want, same) {
		t.Errorf("where it is free: got %v, want %v", maybe, want)
	}
}

func TestParseListenTwice(t *testing.T) {
	_, _, err := parseListen([]string{"127.0.0.1:0", "/ip4/127.0.0.1/udp/0/quic-v1"})
	if want := "address /ip4/127.0.0.1/udp/0/quic-v1: named twice"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestPublish(t *testing.T) {
	var in []ma.Multiaddr
	for _, s := range []string{
		"/ip4/127.0.0.1/udp/1/quic-v1", "/ip6/fe80::1/udp/1/quic-v1", "/ip4/192.168.1.2/udp/1/quic-v1",
		"/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/1",
		"/ip4/192.168.1.2/udp/1/quic-v1", "/ip4/0.0.0.0/udp/1/quic-v1", "/ip4/10.0.0.1/udp/1/quic-v1",
	} {
		in = append(in, ma.StringCast(s))
	}
	want := []string{
		"/ip4/10.0.0.1/udp/1/quic-v1", "/ip4/192.168.1.2/udp/1/quic-v1", "/ip4/10.0.0.1/tcp/1",
		"/ip4/127.0.0.1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1",
	}
	if got := publish(in); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPathKind(t *testing.T) {
	for addr, want := range map[string]string{
		"/ip4/127.0.0.1/udp/1/quic-v1": "loopback", "/ip6/::1/udp/1/quic-v1": "loopback",
		"/ip4/192.168.1.2/udp/1/quic-v1": "LAN", "/ip6/fe80::1/udp/1/quic-v1": "LAN", "/ip6/fd00::1/udp/1/quic-v1": "LAN",
		"/ip4/203.0.113.9/udp/1/quic-v1": "direct", "/ip6/2001:db8::1/udp/1/quic-v1": "direct",
	} {
		if got := pathKind(ma.StringCast(addr)); got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
}

func TestDefaultListen(t *testing.T) {
	p := newPlace(t)
	meter := p.join("meter", greet, func(c *Config) { c.Listen = nil })
	addrs := meter.Addresses()
	if !slices.ContainsFunc(addrs, func(a string) bool { return pathKind(ma.StringCast(a)) == "loopback" }) {
		t.Errorf("no loopback address in %q", addrs)
	}
	phone := p.join("phone", nil, func(c *Config) { c.Listen = []string{} })
	if len(phone.Addresses()) != 0 {
		t.Errorf("a host that only calls has addresses %q", phone.Addresses())
	}
	if _, got := get(t, phone.client(nil, meter), "kindred://meter/"); got != "good day, phone" {
		t.Errorf("got %q", got)
	}
}
