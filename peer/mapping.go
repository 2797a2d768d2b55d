package peer

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/kindred-iot/kindred/portmap"
)

const (
	firstRouter = time.Minute      // until a router is looked for again that was not there
	lastRouter  = time.Hour        // likewise, at most
	lookRouter  = 10 * time.Second // between two looks at whether the network is another

	mappingLease = 10 * time.Minute // a port stays forwarded so long when the host dies
	renewMapping = 3 * time.Minute  // a router that was restarted forwards again after so long
	forMapping   = 10 * time.Second // the router has for one request
	forRelease   = 2 * time.Second  // likewise for all that is to be ended; and for a request when the host is closed
)

// A family is of IP addresses. A router forwards ports of IPv4, and opens its firewall for those of IPv6.
type family bool

const (
	ip4 family = false
	ip6 family = true
)

// mapPorts has the router, where there is one that does as it is asked, let callers in to the ports that the host listens
// on, until the host is closed. For each family one is looked for in the background, anew whenever the networks change.
//
//	          found               lets callers in          a relay got in there
//	looking ────────▶ asking ────────────────────▶ forwarded ────────────────────▶ open: told to others
//	   ▲                 │ no                       │      ▲ every 3 minutes │
//	   └── a minute … ◀──┴──── other networks, no ──┘      └─────────────────┘
func (h *Host) mapPorts() {
	var both sync.WaitGroup
	both.Go(func() { h.keepMapped(ip4, portmap.Find) })
	both.Go(func() { h.keepMapped(ip6, portmap.FindFirewall) })
	h.keepKnocking()
	both.Wait()
}

func (h *Host) keepMapped(of family, find func(context.Context) (*portmap.Router, error)) {
	wait := firstRouter
	for h.ctx.Err() == nil {
		epoch := h.nets.changes()
		router, err := find(h.ctx)
		if err != nil {
			h.log.Debug("no router that lets callers in", "error", err)
		} else if h.throughRouter(epoch, router, of) {
			wait = firstRouter
		}
		for waited := time.Duration(0); waited < wait && h.nets.changes() == epoch; waited += lookRouter {
			if pause(h.ctx, lookRouter) != nil {
				return
			}
		}
		wait = min(2*wait, lastRouter)
	}
}

// throughRouter keeps ports mapped at a router while the networks are those of epoch. It reports whether any was.
func (h *Host) throughRouter(epoch uint64, router *portmap.Router, of family) (did bool) {
	defer h.release(router, of)
	for renew := time.Now(); h.nets.changes() == epoch; {
		if !time.Now().Before(renew) {
			if !h.outlook.forwards(of, h.mapAll(router, of)) {
				return did
			}
			did, renew = true, time.Now().Add(renewMapping)
		}
		if pause(h.ctx, lookRouter) != nil {
			return did
		}
	}
	return did
}

// release has the router end what it forwards.
func (h *Host) release(router *portmap.Router, of family) {
	h.outlook.forwards(of, nil)
	ctx, cancel := context.WithTimeout(context.Background(), forRelease) // the host is closing, maybe
	defer cancel()
	if err := router.Release(ctx); err != nil {
		h.log.Info("the router goes on letting callers in until their leases are over", "error", err)
	}
}

// keepKnocking has relays try the ports at which the router says that it lets callers in, whenever there is something new.
func (h *Host) keepKnocking() {
	for h.ctx.Err() == nil {
		h.knockEverywhere()
		select {
		case <-time.After(lookRouter):
		case <-h.outlook.knock:
		case <-h.ctx.Done():
		}
	}
}

// mapAll has the router let callers in to all ports, and returns those for which it does.
func (h *Host) mapAll(router *portmap.Router, of family) (all []*forward) {
	for _, at := range h.ports(of) {
		if h.ctx.Err() != nil {
			return all
		}
		m, err := h.mapAt(router, at)
		if err != nil {
			h.log.Info("the router lets nobody in", "protocol", at.protocol, "port", at.number, "error", err)
			continue
		}
		all = append(all, &forward{port: at.port, ip: at.ip, by: router.By(), claim: m.Outside, knocks: make(map[libp2ppeer.ID]knocked)})
	}
	return all
}

// mapAt has the router let callers in to one port. When the host is closed meanwhile the answer is still awaited for a
// while: what was not heard to be forwarded would not be ended.
func (h *Host) mapAt(router *portmap.Router, at inside) (portmap.Mapping, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), forMapping)
	defer cancel()
	defer context.AfterFunc(h.ctx, func() { time.AfterFunc(forRelease, cancel) })()
	if at.ip.IsValid() {
		return router.Open(ctx, at.protocol, netip.AddrPortFrom(at.ip, at.number), mappingLease)
	}
	return router.Map(ctx, at.protocol, at.number, mappingLease)
}

// A port is one that the host listens on.
type port struct {
	protocol string // portmap.UDP or portmap.TCP
	number   uint16
}

// An inside is a port that the router can let callers in to.
type inside struct {
	port
	ip netip.Addr // of IPv6; of IPv4 the router finds the host
}

// maxOpen is for how many addresses of IPv6 a firewall is opened: one that lasts, and temporary ones (RFC 8981).
const maxOpen = 4

// ports returns those that the host listens on where a router could let callers in, UDP's first: of IPv4 those on a LAN, of
// IPv6 those at addresses that the world knows.
func (h *Host) ports(of family) (all []inside) {
	var ips []netip.Addr
	for _, a := range h.listening() {
		at, ok := insideAt(a)
		if !ok || at.ip.IsValid() != bool(of) || slices.Contains(all, at) {
			continue
		}
		if !slices.Contains(ips, at.ip) {
			ips = append(ips, at.ip)
		}
		if slices.Index(ips, at.ip) < maxOpen {
			all = append(all, at)
		}
	}
	slices.SortFunc(all, func(a, b inside) int {
		return cmp.Or(strings.Compare(b.protocol, a.protocol), cmp.Compare(a.number, b.number), a.ip.Compare(b.ip))
	})
	return all
}

// insideAt says to which port the router lets callers in who are to come to an address that is listened on.
func insideAt(a ma.Multiaddr) (at inside, ok bool) {
	_, hostport, err := manet.DialArgs(a)
	if err != nil {
		return inside{}, false
	}
	listens, err := netip.ParseAddrPort(hostport)
	if err != nil {
		return inside{}, false
	}
	at.port = port{portmap.UDP, listens.Port()}
	if isTCP(a) {
		at.protocol = portmap.TCP
	}
	if listens.Addr().Is6() {
		at.ip = listens.Addr()
		return at, isPublic(a)
	}
	return at, pathKind(a) == LAN
}
