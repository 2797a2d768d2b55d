package peer

import (
	"context"
	"errors"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"
)

// A bare is a Host as libp2p's own services want one: relays, circuits, hole punching. What they serve, they serve
// beside [Protocol], and no service that talks of the host itself is among them.
type bare struct{ *Host }

var _ host.Host = bare{}

func (b bare) ID() libp2ppeer.ID                 { return b.id }
func (b bare) Peerstore() peerstore.Peerstore    { return b.swarm.Peerstore() }
func (b bare) Network() network.Network          { return b.swarm }
func (b bare) ConnManager() connmgr.ConnManager  { return connmgr.NullConnMgr{} }
func (b bare) EventBus() event.Bus               { return b.bus }
func (b bare) Mux() protocol.Switch              { return nil } // nobody who is given a bare asks
func (b bare) RemoveStreamHandler(p protocol.ID) { b.setService(p, nil) }

func (b bare) SetStreamHandler(p protocol.ID, serve network.StreamHandler) { b.setService(p, serve) }

// SetStreamHandlerMatch serves p alone: names are compared, not matched.
func (b bare) SetStreamHandlerMatch(p protocol.ID, _ func(protocol.ID) bool, serve network.StreamHandler) {
	b.setService(p, serve)
}

// Addrs are where the host listens.
func (b bare) Addrs() []ma.Multiaddr {
	addrs, err := b.swarm.InterfaceListenAddresses()
	if err != nil {
		b.log.Warn("finding the host's addresses", "error", err)
	}
	return addrs
}

// Connect connects with a peer, unless it is connected in the way that ctx asks for.
func (b bare) Connect(ctx context.Context, to libp2ppeer.AddrInfo) error {
	b.Peerstore().AddAddrs(to.ID, to.Addrs, peerstore.TempAddrTTL)
	_, err := b.swarm.DialPeer(ctx, to.ID)
	return err
}

// NewStream opens a stream for the first of ps that the peer serves.
func (b bare) NewStream(ctx context.Context, to libp2ppeer.ID, ps ...protocol.ID) (network.Stream, error) {
	s, err := b.swarm.NewStream(ctx, to)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	p, err := mss.SelectOneOf(ps, s)
	if err == nil {
		err = s.SetProtocol(p)
	}
	if err != nil {
		return nil, errors.Join(err, s.Reset())
	}
	return s, nil
}

// Close does nothing: whoever is given a bare does not own the host.
func (bare) Close() error { return nil }

// setService makes serve take the streams of a protocol; nil: nobody takes them.
func (h *Host) setService(p protocol.ID, serve network.StreamHandler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if serve == nil {
		delete(h.services, p)
		return
	}
	h.services[p] = serve
}

// service returns who takes the streams of a protocol; nil: nobody.
func (h *Host) service(p protocol.ID) network.StreamHandler {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.services[p]
}
