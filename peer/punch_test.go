package peer

import (
	"errors"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"
)

// TestNobodyIsPunchedFor has a caller go before the hole towards it is punched: nothing is dialed, which would stand in
// the way of its next command.
func TestNobodyIsPunchedFor(t *testing.T) {
	p := newPlace(t)
	lock, gone := p.join("lock", greet), p.join("phone", nil)
	ctx := network.WithSimultaneousConnect(t.Context(), true, "hole-punching")
	at := ma.StringCast("/ip4/192.0.2.1/udp/4712/quic-v1") // where nobody answers
	err := bare{lock.Host}.Connect(ctx, libp2ppeer.AddrInfo{ID: gone.id, Addrs: []ma.Multiaddr{at}})
	if !errors.Is(err, ErrUnreachable) || len(lock.swarm.Peerstore().Addrs(gone.id)) > 0 {
		t.Errorf("got %v, with %v kept", err, lock.swarm.Peerstore().Addrs(gone.id))
	}
}

// Who was not ready as often as is tried, and calls again on another connection, is tried anew.
func TestReadyOnAnotherConnection(t *testing.T) {
	p := newPlace(t)
	r := p.relay(RelayLimits{})
	keep, news := mooring(r.at())
	meter, phone := p.join("meter", greet, keep), p.join("phone", nil)
	until(t, news, "a reservation", meter.moored)
	for range maxEarly + 1 {
		meter.puncher.Trace(&holepunch.Event{Remote: phone.id, Evt: &holepunch.ProtocolErrorEvt{Error: "not ready"}})
	}
	early := func() int {
		meter.puncher.mu.Lock()
		defer meter.puncher.mu.Unlock()
		return meter.puncher.tries[phone.id].early
	}
	if n := early(); n <= maxEarly {
		t.Fatalf("it was not ready %d times", n)
	}
	if _, err := phone.client(byRelays, meter).Get("kindred://meter/"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return early() == 0 })
}
