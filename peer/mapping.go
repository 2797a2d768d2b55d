package peer

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/p2p/net/nat"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	firstRouter = time.Minute      // until a router is looked for again that was not there
	lastRouter  = time.Hour        // likewise, at most
	lookRouter  = 10 * time.Second // between two looks at what the router forwards
)

// mapPorts has the router, where there is one that does as it is asked (UPnP), forward the ports that the
// host listens on, until the host is closed. It is looked for in the background, anew whenever the networks change.
func (h *Host) mapPorts() {
	wait := firstRouter
	for h.ctx.Err() == nil {
		epoch := h.nets.changes()
		if h.throughRouter(epoch) {
			wait = firstRouter
		}
		h.outlook.forwards(nil)
		for waited := time.Duration(0); waited < wait && h.nets.changes() == epoch; waited += lookRouter {
			if pause(h.ctx, lookRouter) != nil {
				return
			}
		}
		wait = min(2*wait, lastRouter)
	}
}

// throughRouter looks for a router, and keeps ports mapped there while the networks are those of epoch. It reports whether
// there was a router.
func (h *Host) throughRouter(epoch uint64) bool {
	ctx, cancel := context.WithTimeout(h.ctx, nat.DiscoveryTimeout)
	defer cancel()
	router, err := nat.DiscoverNAT(ctx)
	if err != nil {
		h.log.Debug("no router that maps ports", "error", err)
		return false
	}
	defer router.Close()
	for h.nets.changes() == epoch {
		ports := h.ports()
		for _, p := range ports {
			if err := router.AddMapping(h.ctx, p.protocol, p.port); err != nil {
				h.log.Debug("the router maps no port", "protocol", p.protocol, "port", p.port, "error", err)
			}
		}
		h.outlook.forwards(mapped(ports, router.GetMapping))
		if pause(h.ctx, lookRouter) != nil {
			break
		}
	}
	return true
}

// A port is one that the host listens on.
type port struct {
	protocol string // "udp" or "tcp"
	port     int
}

// ports returns those that the host listens on where a router could forward to them.
func (h *Host) ports() (all []port) {
	for _, a := range h.listening() {
		p := port{protocol: "udp"}
		if isTCP(a) {
			p.protocol = "tcp"
		}
		if pathKind(a) != LAN || !ipOf(a).Is4() {
			continue
		}
		_, hostport, err := manet.DialArgs(a)
		if err != nil {
			continue
		}
		at, err := netip.ParseAddrPort(hostport)
		if p.port = int(at.Port()); err == nil && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// mapped returns the addresses that lead to ports, as mapping tells. What is not public does not lead here from outside:
// there is another NAT in front of the router.
func mapped(ports []port, mapping func(protocol string, port int) (netip.AddrPort, bool)) (all []ma.Multiaddr) {
	for _, p := range ports {
		at, ok := mapping(p.protocol, p.port)
		if !ok {
			continue
		}
		s := quicAddress(at)
		if p.protocol == "tcp" {
			s = tcpAddress(at)
		}
		if a := ma.StringCast(s); isPublic(a) {
			all = append(all, a)
		}
	}
	return all
}
