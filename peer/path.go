package peer

import (
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// The kinds of paths.
const (
	Loopback = "loopback" // within one machine
	LAN      = "LAN"      // between private or link-local addresses
	Direct   = "direct"   // between any others
	Relayed  = "relayed"  // through a relay, which sees ciphertext
)

// What a path runs over; of a relayed one, its first part.
const (
	QUIC = "QUIC"
	TCP  = "TCP"
)

// A Path is how two peers are connected.
type Path struct {
	Kind      string        // Loopback, LAN, Direct or Relayed
	Transport string        // QUIC or TCP
	Address   string        // the other end's, as a multiaddr; of a relayed path the relay's, and p2p-circuit
	Relay     string        // of a relayed path: the relay's address, with its name
	Since     time.Time     // when the connection was made
	RTT       time.Duration // smoothed round-trip time; 0 before it was measured
	Punch     string        // of a relayed path: what came of looking for a direct one, PunchNever, …
	NAT       string        // how the NAT in front of this host maps, NATCone, …
	Near      bool          // Address is on a network that this machine is on; of IPv6 that may be one that is Direct

	// Forwarded is how the other end's router was asked to let callers in at Address, portmap.PCP, …; "" if it was not, or
	// the other end was not asked or does not say. A Host does not ask.
	Forwarded string
}

// KindOf says what kind of path leads to an address; "" if it is none.
func KindOf(address string) string {
	a, err := parseAddress(address, "")
	if err != nil {
		return ""
	}
	return pathKind(a)
}

// pathKind says what kind of path leads to addr.
func pathKind(addr ma.Multiaddr) string {
	if isCircuit(addr) {
		return Relayed
	}
	ip, err := manet.ToIP(addr)
	switch {
	case err != nil:
		return Direct
	case ip.IsLoopback():
		return Loopback
	case ip.IsPrivate(), ip.IsLinkLocalUnicast():
		return LAN
	}
	return Direct
}

// wayOf tells how a connection runs that was made at some time, with an end at addr.
func wayOf(addr ma.Multiaddr, since time.Time) Path {
	p := Path{Kind: pathKind(addr), Transport: QUIC, Address: addr.String(), Since: since}
	at := addr
	if relay, ok := relayOf(addr); ok {
		at, p.Relay = relay[:len(relay)-1], relay.String()
	}
	if isTCP(at) {
		p.Transport = TCP
	}
	return p
}

// path tells how the link runs, with the other end where it is by now.
func (l *link) path() Path {
	p, addr := l.way, l.conn.RemoteMultiaddr()
	if l.wire.at() != l.at {
		addr = l.seenAt()
		p = wayOf(addr, p.Since)
	}
	p.RTT, p.NAT = l.wire.rtt(), l.host.outlook.kind()
	p.Near = p.Kind != Relayed && l.host.nets.near(ipOf(addr))
	if p.Kind == Relayed {
		p.Punch = l.host.puncher.outcome(l.conn.RemotePeer())
	}
	return p
}

// best returns the best link with the holder of id; nil if there is none.
func (h *Host) best(id libp2ppeer.ID) (best *link) {
	for _, c := range h.swarm.ConnsToPeer(id) {
		if c.IsClosed() {
			continue
		}
		if l := h.link(c); l != nil && (best == nil || order[l.kind()] < order[best.kind()]) {
			best = l
		}
	}
	return best
}

// direct returns a connection with the holder of id that no relay carries; nil if there is none.
func (h *Host) direct(id libp2ppeer.ID) network.Conn {
	for _, c := range h.swarm.ConnsToPeer(id) {
		if !c.IsClosed() && !isCircuit(c.RemoteMultiaddr()) {
			return c
		}
	}
	return nil
}
