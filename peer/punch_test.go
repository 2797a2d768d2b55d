package peer

import (
	"errors"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
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
