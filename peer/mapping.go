package peer

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
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

// mapPorts has the router, where there is one that does as it is asked, forward the ports that the host listens on, until
// the host is closed. It is looked for in the background, anew whenever the networks change.
//
//	          found               forwards a port           a relay got in there
//	looking ────────▶ asking ────────────────────▶ forwarded ────────────────────▶ open: told to others
//	   ▲                 │ no                       │      ▲ every 3 minutes │
//	   └── a minute … ◀──┴──── other networks, no ──┘      └─────────────────┘
func (h *Host) mapPorts() {
	wait := firstRouter
	for h.ctx.Err() == nil {
		epoch := h.nets.changes()
		router, err := portmap.Find(h.ctx)
		if err != nil {
			h.log.Debug("no router that forwards ports", "error", err)
		} else if h.throughRouter(epoch, router) {
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

// throughRouter keeps ports mapped at a router while the networks are those of epoch, and finds out whether they lead
// here. It reports whether any was.
func (h *Host) throughRouter(epoch uint64, router *portmap.Router) (did bool) {
	defer h.release(router)
	for renew := time.Now(); h.nets.changes() == epoch; {
		if !time.Now().Before(renew) {
			if !h.outlook.forwards(h.mapAll(router)) {
				return did
			}
			did, renew = true, time.Now().Add(renewMapping)
		}
		h.knockEverywhere()
		select {
		case <-time.After(lookRouter):
		case <-h.outlook.sighted:
		case <-h.ctx.Done():
			return did
		}
	}
	return did
}

// release has the router end what it forwards.
func (h *Host) release(router *portmap.Router) {
	h.outlook.forwards(nil)
	ctx, cancel := context.WithTimeout(context.Background(), forRelease) // the host is closing, maybe
	defer cancel()
	if err := router.Release(ctx); err != nil {
		h.log.Info("the router goes on forwarding ports until their leases are over", "error", err)
	}
}

// mapAll has the router forward all ports, and returns those that it does.
func (h *Host) mapAll(router *portmap.Router) (all []*forward) {
	for _, p := range h.ports() {
		if h.ctx.Err() != nil {
			return all
		}
		m, err := h.mapAt(router, p)
		if err != nil {
			h.log.Info("the router forwards no port", "protocol", p.protocol, "port", p.number, "error", err)
			continue
		}
		all = append(all, &forward{port: p, by: router.By(), claim: m.Outside, knocks: make(map[libp2ppeer.ID]knocked)})
	}
	return all
}

// mapAt has the router forward one port. When the host is closed meanwhile the answer is still awaited for a while: what
// was not heard to be forwarded would not be ended.
func (h *Host) mapAt(router *portmap.Router, p port) (portmap.Mapping, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), forMapping)
	defer cancel()
	defer context.AfterFunc(h.ctx, func() { time.AfterFunc(forRelease, cancel) })()
	return router.Map(ctx, p.protocol, p.number, mappingLease)
}

// A port is one that the host listens on.
type port struct {
	protocol string // portmap.UDP or portmap.TCP
	number   uint16
}

// ports returns those that the host listens on where a router could forward to them, UDP's first.
func (h *Host) ports() (all []port) {
	for _, a := range h.listening() {
		p := port{protocol: portmap.UDP}
		if isTCP(a) {
			p.protocol = portmap.TCP
		}
		if pathKind(a) != LAN || !ipOf(a).Is4() {
			continue
		}
		_, hostport, err := manet.DialArgs(a)
		if err != nil {
			continue
		}
		at, err := netip.ParseAddrPort(hostport)
		if p.number = at.Port(); err == nil && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b port) int {
		return cmp.Or(strings.Compare(b.protocol, a.protocol), cmp.Compare(a.number, b.number))
	})
	return all
}
