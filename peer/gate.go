package peer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/quic-go/quic-go"
)

// A gate is a resource manager that bounds what one address has under way: connections whose handshake is not done, of
// every transport. Whoever stalls can only stall its neighbours.
type gate struct {
	network.ResourceManager
	offended func(Offence)
	underWay tally
}

// OpenConnection counts a connection that comes in until its handshake is done.
func (g *gate) OpenConnection(dir network.Direction, usefd bool, addr ma.Multiaddr) (network.ConnManagementScope, error) {
	if dir != network.DirInbound {
		return g.ResourceManager.OpenConnection(dir, usefd, addr)
	}
	from := neighbourhood(addr)
	if !g.underWay.enter(from) {
		g.offended(Stalling)
		return nil, fmt.Errorf("%w: %d handshakes from %s are under way", network.ErrResourceLimitExceeded, maxHandshakes, from)
	}
	if isThroughRelay(addr) { // many who are far apart come from a relay's address
		addr = circuit
	}
	scope, err := g.ResourceManager.OpenConnection(dir, usefd, addr)
	if err != nil {
		g.underWay.leave(from)
		g.offended(Crowding)
		return nil, err
	}
	return &handshake{ConnManagementScope: scope, gate: g, from: from}, nil
}

// quic makes the gate see QUIC's connections from their first packet on.
func (g *gate) quic() []quicreuse.Option {
	return []quicreuse.Option{
		quicreuse.ConnContext(func(ctx context.Context, from *quic.ClientInfo) (context.Context, error) {
			addr, err := quicreuse.ToQuicMultiaddr(from.RemoteAddr, quic.Version1)
			if err != nil {
				return ctx, err
			}
			scope, err := g.OpenConnection(network.DirInbound, false, addr)
			if err != nil {
				return ctx, err
			}
			ctx = network.WithConnManagementScope(ctx, scope)
			context.AfterFunc(ctx, scope.Done)
			return ctx, nil
		}),
		quicreuse.VerifySourceAddress(func(from net.Addr) bool { return g.VerifySourceAddress(from) }),
	}
}

// A handshake is the scope of a connection, under way until it has a peer.
type handshake struct {
	network.ConnManagementScope
	gate *gate
	from netip.Prefix
	over atomic.Bool
}

// SetPeer ends the handshake.
func (h *handshake) SetPeer(id libp2ppeer.ID) error {
	err := h.ConnManagementScope.SetPeer(id)
	if err == nil {
		h.leave()
	}
	return err
}

// Done ends the connection. It may be called again.
func (h *handshake) Done() {
	h.leave()
	h.ConnManagementScope.Done()
}

func (h *handshake) leave() {
	if !h.over.Swap(true) {
		h.gate.underWay.leave(h.from)
	}
}

// circuit is an address without one.
var circuit = ma.StringCast("/p2p-circuit")

func isThroughRelay(addr ma.Multiaddr) bool {
	_, err := addr.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

// neighbourhood is what counts as one address, a relay's for those who come through it; the zero prefix for no address.
func neighbourhood(addr ma.Multiaddr) netip.Prefix {
	ip, err := manet.ToIP(addr)
	if err != nil {
		return netip.Prefix{}
	}
	a, _ := netip.AddrFromSlice(ip)
	return Origin(a)
}

// Origin is what counts as one address where limits are by address: a whole one of IPv4, and what a household is given of
// IPv6 (RFC 6177), a /56. It is the zero prefix for no address.
func Origin(a netip.Addr) netip.Prefix {
	if a = a.Unmap(); a.Is4() || a.IsLoopback() {
		return netip.PrefixFrom(a, a.BitLen())
	}
	p, err := a.WithZone("").Prefix(56)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
