package peer

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
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
			if !h.outlook.forwards(h.forwards(router)) {
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

// forwards has the router forward all ports, and returns those that it does.
func (h *Host) forwards(router *portmap.Router) (all []*forward) {
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

// A forward is a port that the router says it forwards, and what relays found who called there. What the router says of
// its own address is not believed where anybody can tell: a relay calls the port at the address where it sees the host.
// It is guarded by its outlook's mu.
type forward struct {
	port
	by     string         // how the router was asked
	claim  netip.AddrPort // where it says that it forwards
	knocks map[libp2ppeer.ID]knocked
	in     netip.Addr // where the last relay got in that did; the zero Addr if none does
}

// A knocked is what became of one relay's knocking.
type knocked struct {
	link  *link // over which it was asked
	at    netip.Addr
	door  string
	tries int // in vain
}

// maxKnocks is how often a relay knocks in vain, before it does so again when the mapping is renewed.
const maxKnocks = 3

// same reports whether two forward the same port in the same way.
func (f *forward) same(o *forward) bool {
	return f.port == o.port && f.by == o.by && f.claim == o.claim
}

// note takes a relay's answer. The newest that got in says where; when none does, nobody gets in.
func (f *forward) note(relay libp2ppeer.ID, k knocked) {
	f.knocks[relay] = k
	if k.door == DoorOpen {
		f.in = k.at
		return
	}
	f.in = netip.Addr{}
	for _, other := range f.knocks {
		if other.door == DoorOpen {
			f.in = other.at
		}
	}
}

// door says whether somebody got in.
func (f *forward) door() string {
	answer := DoorUnknown
	for _, k := range f.knocks {
		switch k.door {
		case DoorOpen:
			return DoorOpen
		case DoorShut:
			answer = DoorShut
		}
	}
	return answer
}

// at is where a forwarded port is at one of the router's addresses.
func (f *forward) at(ip netip.Addr) ma.Multiaddr {
	return addressOf(f.protocol, netip.AddrPortFrom(ip, f.claim.Port()))
}

func addressOf(protocol string, at netip.AddrPort) ma.Multiaddr {
	if protocol == portmap.TCP {
		return ma.StringCast(tcpAddress(at))
	}
	return ma.StringCast(quicAddress(at))
}

// forwards notes what the router forwards to the host, in place of what it did, and reports whether it is anything.
// Whoever got in at a port that is forwarded as before need not knock again.
func (o *outlook) forwards(now []*forward) bool {
	o.mu.Lock()
	same := slices.EqualFunc(o.forwarded, now, (*forward).same)
	for i, f := range now {
		if j := slices.IndexFunc(o.forwarded, f.same); j >= 0 {
			now[i] = o.forwarded[j]
			for relay, k := range now[i].knocks {
				k.tries = 0
				now[i].knocks[relay] = k
			}
		}
	}
	o.forwarded = now
	o.mu.Unlock()
	if !same {
		o.changed()
	}
	return len(now) > 0
}

// forwardedTo returns the addresses at which ports are forwarded to the host: those where a relay got in. The router's
// word has to do where there is no relay that could try (alone): it is an address to try, and no more.
func (o *outlook) forwardedTo(alone bool) (all []ma.Multiaddr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.forwarded {
		switch {
		case f.in.IsValid():
			all = append(all, f.at(f.in))
		case alone && len(o.seen) == 0 && f.claim.Addr().IsValid() && isPublic(f.at(f.claim.Addr())):
			all = append(all, f.at(f.claim.Addr()))
		}
	}
	return all
}

// forwarded returns the addresses at which the router forwards ports to the host, as far as others are told of them.
func (h *Host) forwarded() []ma.Multiaddr { return h.outlook.forwardedTo(len(h.relays.all()) == 0) }

// A Forward is a port that the router forwards to the host.
type Forward struct {
	Address string // a multiaddr: where somebody got in; or else where the router says, which may be wrong
	By      string // how the router was asked: portmap.PCP, …
	Door    string // whether relays got in there that tried: DoorOpen, …
}

// mapped tells what the router forwards. A router that names no address of its own is not told of until a relay got in.
func (o *outlook) mapped() (all []Forward) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.forwarded {
		ip := f.claim.Addr()
		if f.in.IsValid() {
			ip = f.in
		}
		if ip.IsValid() {
			all = append(all, Forward{Address: f.at(ip).String(), By: f.by, Door: f.door()})
		}
	}
	return all
}
