package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
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
	return b.listening()
}

// Connect connects with a peer, unless it is connected in the way that ctx asks for. The addresses at which a hole was
// punched are not kept: without punching nobody gets in there, and to try takes time.
func (b bare) Connect(ctx context.Context, to libp2ppeer.AddrInfo) error {
	b.Peerstore().AddAddrs(to.ID, to.Addrs, peerstore.TempAddrTTL)
	if punching, _, _ := network.GetSimultaneousConnect(ctx); punching {
		defer b.Peerstore().SetAddrs(to.ID, to.Addrs, 0)
		if c := b.direct(to.ID); c != nil {
			if l := b.link(c); l != nil {
				l.drop() // the other end would not punch if it still had it
			}
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		stop, relayed := b.whileRelayed(to.ID, cancel)
		defer stop()
		if !relayed {
			return fmt.Errorf("%w: it has gone while the hole was prepared", ErrUnreachable)
		}
	}
	_, err := b.swarm.DialPeer(ctx, to.ID)
	return err
}

// whileRelayed calls cancel when a relayed way to a peer ends: a hole that is punched then leads to somebody who has gone,
// and until that try is over there is none for the same peer's next command. It returns what calls that off, and whether
// there is such a way at all.
func (b bare) whileRelayed(id libp2ppeer.ID, cancel func()) (stop func(), relayed bool) {
	var stops []func() bool
	for _, c := range b.swarm.ConnsToPeer(id) {
		if l := b.link(c); l != nil && l.kind() == Relayed {
			stops = append(stops, context.AfterFunc(l.ctx, cancel))
		}
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}, len(stops) > 0
}

// NewStream opens a stream for the first of ps that the peer serves. If there is one alone, what is said first goes out
// with its name, and that it is not served is known from what is read first.
func (b bare) NewStream(ctx context.Context, to libp2ppeer.ID, ps ...protocol.ID) (network.Stream, error) {
	s, err := b.swarm.NewStream(ctx, to)
	if err != nil {
		return nil, err
	}
	if len(ps) == 1 {
		if err := s.SetProtocol(ps[0]); err != nil {
			return nil, errors.Join(err, s.Reset())
		}
		return lazily(s, ps[0]), nil
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

// A lazy is a stream whose protocol is named with the first bytes written.
type lazy struct {
	network.Stream
	named mss.LazyConn
}

func lazily(s network.Stream, p protocol.ID) lazy { return lazy{s, mss.NewMSSelect(s, p)} }

// Read reads what follows the peer's agreement.
func (s lazy) Read(p []byte) (int, error) { return s.named.Read(p) }

// Write writes what follows the protocol's name.
func (s lazy) Write(p []byte) (int, error) { return s.named.Write(p) }

// Close ends the stream. What was written is still delivered.
func (s lazy) Close() error {
	s.SetReadDeadline(time.Now().Add(time.Second)) // for the peer's agreement
	return s.named.Close()
}

// CloseWrite ends what is written. Naming the protocol comes before that.
func (s lazy) CloseWrite() error {
	_ = s.named.Flush() // if it failed, reading will tell
	return s.Stream.CloseWrite()
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

// service returns who takes the streams of a protocol that the other end of l opens; nil: nobody. A relay's services
// are for strangers, circuits come from the relays that were chosen, and all others are for those who are known.
func (h *Host) service(p protocol.ID, l *link) network.StreamHandler {
	h.mu.Lock()
	serve := h.services[p]
	h.mu.Unlock()
	switch {
	case serve == nil, p == proto.ProtoIDv2Hop, p == seenProtocol, p == doorProtocol:
	case p == proto.ProtoIDv2Stop:
		if !h.relays.chose(l.conn.RemotePeer()) {
			return nil
		}
	case !l.someone():
		return nil
	}
	return serve
}
