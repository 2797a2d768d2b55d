package peer

import (
	"net/netip"
	"time"

	ma "github.com/multiformats/go-multiaddr"
	"testing"
)

// A command line opens and closes a host for every command, of one key and to a callee on every interface it has. None
// of them may find the way blocked by what those before left behind.
func TestManyShortCallers(t *testing.T) {
	p := newPlace(t)
	callee := p.join("gateway", greet, func(c *Config) { c.Listen = nil })
	caller := p.join("laptop", nil)
	for i := range 120 {
		if err := caller.Close(); err != nil {
			t.Fatal(err)
		}
		caller.Host = p.start(caller, nil, func(c *Config) { c.Listen = []string{} })
		resp, err := caller.client(nil, callee).Get("kindred://gateway/")
		if err != nil {
			t.Fatalf("caller %d: %v", i, err)
		}
		resp.Body.Close()
	}
}

func TestRank(t *testing.T) {
	h := &Host{}
	h.nets.list = []netip.Prefix{netip.MustParsePrefix("192.168.1.7/24")}
	const relayTCP = "/ip4/9.9.9.9/tcp/1/p2p/12D3KooWHkRc9ub5sn9fLx3bv2xyY3DmXYU6CsAHmX7KtBFoEiyP/p2p-circuit"
	const relay = "/ip4/9.9.9.9/udp/1/quic-v1/p2p/12D3KooWHkRc9ub5sn9fLx3bv2xyY3DmXYU6CsAHmX7KtBFoEiyP/p2p-circuit"
	for _, tt := range []struct {
		name  string
		delay map[string]time.Duration
	}{
		{"at home", map[string]time.Duration{
			"/ip4/192.168.1.2/tcp/1": 0, "/ip4/192.168.1.2/udp/1/quic-v1": attemptDelay,
			"/ip4/127.0.0.1/tcp/1": headStart, "/ip4/8.8.8.8/udp/1/quic-v1": headStart, relay: 2 * headStart,
		}},
		{"elsewhere", map[string]time.Duration{
			"/ip4/10.0.0.2/tcp/1": 0, "/ip4/10.0.0.2/udp/1/quic-v1": attemptDelay, "/ip4/8.8.8.8/udp/1/quic-v1": 0,
			"/ip4/8.8.8.8/tcp/1": attemptDelay, relay: headStart,
		}},
		{"at a home that numbers its hosts alike", map[string]time.Duration{
			"/ip4/192.168.1.7/udp/1/quic-v1": 0, "/ip4/8.8.8.8/udp/1/quic-v1": 0, relay: headStart,
		}},
		{"through a relay alone", map[string]time.Duration{relay: 0, relayTCP: attemptDelay}},
	} {
		var addrs []ma.Multiaddr
		for a := range tt.delay {
			addrs = append(addrs, ma.StringCast(a))
		}
		for _, d := range h.rank(addrs) {
			if want := tt.delay[d.Addr.String()]; d.Delay != want {
				t.Errorf("%s: %s after %v, want %v", tt.name, d.Addr, d.Delay, want)
			}
		}
	}
}
