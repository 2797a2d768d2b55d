package peer

import (
	"strings"
	"testing"

	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
)

func TestThroughARelay(t *testing.T) {
	p := newPlace(t)
	between, meter, phone := p.join("relay", nil), p.join("meter", greet), p.join("phone", nil)
	r, err := relay.New(bare{between.Host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	at, err := WithKey(between.Addresses()[0], between.public())
	if err != nil {
		t.Fatal(err)
	}
	info, err := libp2ppeer.AddrInfoFromP2pAddr(ma.StringCast(at))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Reserve(t.Context(), bare{meter.Host}, *info); err != nil {
		t.Fatal(err)
	}
	resp, err := phone.client(func(g *Target) { g.Addresses = []string{at + "/p2p-circuit"} }, meter).Get("kindred://meter/")
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); got != "good day, phone" {
		t.Errorf("got %q", got)
	}
	if who, _ := Callee(resp); who.Path.Kind != Relayed || !strings.HasPrefix(who.Path.Address, at) {
		t.Errorf("path is %+v", who.Path)
	}
}
