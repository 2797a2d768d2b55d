package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/kindred-iot/kindred/portmap"
)

// A forward is a port that the router says it forwards, or lets callers in at, and what relays found who called there. What
// the router says of its own address is not believed where anybody can tell: a relay calls the port at the address where it
// sees the host. It is guarded by its outlook's mu.
type forward struct {
	port
	ip     netip.Addr     // of IPv6: this host's own, which the router's firewall lets callers in to
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
	return f.port == o.port && f.ip == o.ip && f.by == o.by && f.claim == o.claim
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

// mayBeAt reports whether a relay that sees the host at an address can knock at the port: of IPv4 anywhere, of IPv6, which
// is not translated, where the router lets callers in.
func (f *forward) mayBeAt(ip netip.Addr) bool {
	if f.ip.IsValid() {
		return ip == f.claim.Addr()
	}
	return ip.Is4()
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

// forwards notes where the router lets callers of one family in, in place of what it did, and reports whether it is
// anywhere. Whoever got in at a port that is forwarded as before need not knock again.
func (o *outlook) forwards(of family, now []*forward) bool {
	o.mu.Lock()
	was := o.forwarded[of]
	same := slices.EqualFunc(was, now, (*forward).same)
	for i, f := range now {
		if j := slices.IndexFunc(was, f.same); j >= 0 {
			now[i] = was[j]
			for relay, k := range now[i].knocks {
				k.tries = 0
				now[i].knocks[relay] = k
			}
		}
	}
	if o.forwarded == nil {
		o.forwarded = make(map[family][]*forward)
	}
	o.forwarded[of] = now
	o.mu.Unlock()
	if !same {
		o.changed()
	}
	o.knockSoon()
	return len(now) > 0
}

// knockSoon has relays try what is new.
func (o *outlook) knockSoon() {
	select {
	case o.knock <- struct{}{}:
	default:
	}
}

// allForwarded returns where the router lets callers in, IPv4 first. o.mu is held.
func (o *outlook) allForwarded() []*forward { return slices.Concat(o.forwarded[ip4], o.forwarded[ip6]) }

// forwardedTo returns the addresses at which ports are forwarded to the host: those where a relay got in. The router's
// word has to do where there is no relay that could try (alone): it is an address to try, and no more.
func (o *outlook) forwardedTo(alone bool) (all []ma.Multiaddr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.allForwarded() {
		switch {
		case f.ip.IsValid() && f.ip == f.claim.Addr(): // the host's own, which is told of anyway
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

// A Forward is a port that the router forwards to the host, or one of the host's own addresses of IPv6 to which the router's
// firewall lets callers in.
type Forward struct {
	Address string // a multiaddr: where somebody got in; or else where the router says, which may be wrong
	By      string // how the router was asked: portmap.PCP, …
	Door    string // whether relays got in there that tried: DoorOpen, …
}

// String returns what the other end of a call is told of f: its address, and how the router was asked.
func (f Forward) String() string { return f.Address + " " + f.By }

// ParseForward reads what String returns. What relays found is not in it.
func ParseForward(text string) (Forward, error) {
	address, by, _ := strings.Cut(text, " ")
	if a, err := parseAddress(address, ""); err != nil || isCircuit(a) || a.String() != address ||
		!slices.Contains([]string{portmap.PCP, portmap.NATPMP, portmap.UPnP}, by) {
		return Forward{}, fmt.Errorf("peer: %.80q is no port that a router forwards", text)
	}
	return Forward{Address: address, By: by}, nil
}

// mapped tells what the router forwards. A router that names no address of its own is not told of until a relay got in.
func (o *outlook) mapped() (all []Forward) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.allForwarded() {
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
