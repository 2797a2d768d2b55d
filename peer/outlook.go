package peer

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"

	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// How the NAT in front of a host maps its addresses (RFC 4787 §4.1), as far as is known.
const (
	NATUnknown   = ""          // nobody has said how it sees the host, or only one relay that is reached at one port alone
	NATNone      = "none"      // others see the host at an address of its own
	NATCone      = "cone"      // endpoint-independent: all others see it at the same address, so that a hole can be punched
	NATSymmetric = "symmetric" // address-dependent: each sees it at another
	NATBlocked   = "no UDP"    // relays are reached over TCP alone
)

// Whether somebody whom a host does not expect gets in at an address: a relay tried it, with another key.
const (
	DoorUnknown = ""
	DoorOpen    = "open"
	DoorShut    = "shut"
)

// A Reach is what a host knows of how it is reached from elsewhere.
type Reach struct {
	NAT    string      // how the NAT in front of it maps: NATNone, …
	Door   string      // whether the unexpected are let in, where relays see it or at a port that is forwarded: DoorOpen, …
	Seen   []string    // where relays see it: multiaddrs
	Mapped []Forward   // what its router forwards to it
	Relays []RelayedAt // where it keeps reservations
}

// A RelayedAt is how a host stands with one relay.
type RelayedAt struct {
	Address string // the relay's, with its name
	Held    bool   // a reservation is held
	Problem string // why not
}

// An outlook is what a host finds out about itself.
type outlook struct {
	host *Host

	mu        sync.Mutex
	seen      map[libp2ppeer.ID]sighting
	forwarded map[family][]*forward
	nat       string        // what follows from seen
	tell      chan struct{} // something changed
	knock     chan struct{} // there may be something new that relays can try
}

// A sighting is what one relay says.
type sighting struct {
	link  *link // over which it said so
	addr  ma.Multiaddr
	again bool         // it is asked at another port of its own as well
	other ma.Multiaddr // what it said there; nil: nothing
	door  string
}

const maxSightings = 16 // relays remembered that have said how they see the host

// saw notes where a relay at the other end of l sees the host, until l ends; again says that it is asked at another port, too.
func (o *outlook) saw(relay libp2ppeer.ID, l *link, addr ma.Multiaddr, again bool) {
	o.mu.Lock()
	if _, known := o.seen[relay]; !known && len(o.seen) >= maxSightings {
		o.mu.Unlock()
		return
	}
	o.seen[relay] = sighting{link: l, addr: addr, again: again}
	o.mu.Unlock()
	if l.ctx.Err() != nil { // forget may have missed it
		o.forget(l)
	}
	o.host.puncher.ready() // at once: whoever is called through the relay tries soon
	o.knockSoon()
	o.changed()
}

// sawAgain notes where a relay sees the host at another port of its own, nil if it does not say, beside what it said at the
// first.
func (o *outlook) sawAgain(relay libp2ppeer.ID, l *link, first, other ma.Multiaddr) {
	o.mu.Lock()
	if s := o.seen[relay]; s.link == l && s.addr.Equal(first) {
		s.again, s.other = false, other
		o.seen[relay] = s
	}
	o.mu.Unlock()
	o.changed()
}

// called notes what came of a relay's calling back.
func (o *outlook) called(relay libp2ppeer.ID, l *link, in bool) {
	o.mu.Lock()
	s, ok := o.seen[relay]
	if ok && s.link == l {
		s.door = DoorShut
		if in {
			s.door = DoorOpen
		}
		o.seen[relay] = s
	}
	o.mu.Unlock()
	o.changed()
}

// settled reports whether a relay has said how it sees the host, and is asked no more.
func (o *outlook) settled(relay libp2ppeer.ID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	s, ok := o.seen[relay]
	return ok && !s.again
}

// forget drops what was said over a link that has ended.
func (o *outlook) forget(l *link) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for relay, s := range o.seen {
		if s.link == l {
			delete(o.seen, relay)
		}
	}
}

// kind says how the NAT in front of the host maps, as was found out last.
func (o *outlook) kind() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.nat
}

// changed says that something did. What follows from it for others is worked out by Host.watch.
func (o *outlook) changed() {
	kind := natOf(o.sightings(), o.host.own)
	o.mu.Lock()
	o.nat = kind
	o.mu.Unlock()
	select {
	case o.tell <- struct{}{}:
	default:
	}
}

// sightings returns what relays say, in a fixed order.
func (o *outlook) sightings() []sighting {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]sighting, 0, len(o.seen))
	for _, s := range o.seen {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b sighting) int { return cmp.Compare(a.addr.String(), b.addr.String()) })
	return all
}

// natOf concludes from sightings how the NAT in front of a host with these addresses of its own maps.
func natOf(seen []sighting, own func(netip.Addr) bool) string {
	var ports []ma.Multiaddr // where UDP is seen, of one family at a time
	tcp := false
	for _, s := range seen {
		switch {
		case isTCP(s.addr):
			tcp = true
		case own(ipOf(s.addr)):
			return NATNone
		case ipOf(s.addr).Is4():
			ports = append(ports, s.addr)
			if s.other != nil {
				ports = append(ports, s.other)
			}
		}
	}
	switch {
	case len(ports) == 0 && tcp:
		return NATBlocked
	case len(ports) < 2:
		return NATUnknown
	case slices.ContainsFunc(ports[1:], func(a ma.Multiaddr) bool { return !a.Equal(ports[0]) }):
		return NATSymmetric
	}
	return NATCone
}

// door says whether anybody gets in, by what the relays found that tried.
func door(seen []sighting) string {
	answer := DoorUnknown
	for _, s := range seen {
		switch s.door {
		case DoorOpen:
			return DoorOpen
		case DoorShut:
			answer = DoorShut
		}
	}
	return answer
}

// Reach tells what the host knows of how it is reached from elsewhere.
func (h *Host) Reach() Reach {
	seen := h.outlook.sightings()
	r := Reach{NAT: natOf(seen, h.own), Door: door(seen), Mapped: h.outlook.mapped()}
	if slices.ContainsFunc(r.Mapped, func(f Forward) bool { return f.Door == DoorOpen }) {
		r.Door = DoorOpen
	}
	for _, s := range seen {
		if a := s.addr.String(); !slices.Contains(r.Seen, a) {
			r.Seen = append(r.Seen, a)
		}
	}
	for _, b := range h.relays.all() {
		b.mu.Lock()
		at := RelayedAt{Address: b.addrs[0].String() + "/p2p/" + b.relay.String(), Held: !b.until.IsZero()}
		if !at.Held && b.err != nil {
			at.Problem = b.err.Error()
		}
		b.mu.Unlock()
		r.Relays = append(r.Relays, at)
	}
	return r
}

// own reports whether an IP address is that of one of this machine's interfaces.
func (h *Host) own(ip netip.Addr) bool {
	return slices.ContainsFunc(h.nets.now(), func(p netip.Prefix) bool { return p.Addr() == ip })
}

// ipOf returns an address's IP address; the zero Addr if it has none.
func ipOf(a ma.Multiaddr) netip.Addr {
	ip, err := manet.ToIP(a)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// isPublic reports whether an address can be reached from anywhere, as far as its form tells.
func isPublic(a ma.Multiaddr) bool { return !isCircuit(a) && manet.IsPublicAddr(a) }

// outside returns the host's addresses on the internet: those of its interfaces, those forwarded by its router, and
// those where relays see it. Holes are punched between these, QUIC's alone.
func (h *Host) outside() []ma.Multiaddr {
	var all []ma.Multiaddr
	for _, a := range h.listening() {
		if isQUIC(a) && isPublic(a) {
			all = append(all, a)
		}
	}
	all = append(all, h.forwarded()...)
	for _, s := range h.outlook.sightings() {
		if isQUIC(s.addr) && isPublic(s.addr) {
			all = append(all, s.addr)
		}
	}
	all = slices.DeleteFunc(ma.Unique(all), func(a ma.Multiaddr) bool { return !isQUIC(a) })
	return all[:min(len(all), maxOutside)]
}

const maxOutside = 8 // addresses of one end between which holes are punched

// listening returns where the host listens, on each interface.
func (h *Host) listening() []ma.Multiaddr {
	var direct []ma.Multiaddr
	for _, a := range h.swarm.ListenAddresses() {
		if isQUIC(a) || isTCP(a) {
			direct = append(direct, a)
		}
	}
	if len(direct) == 0 {
		return nil
	}
	addrs, err := manet.ResolveUnspecifiedAddresses(direct, nil)
	if err != nil {
		h.log.Warn("finding the host's addresses", "error", err)
	}
	return addrs
}

// maxPublished is how many addresses a host publishes.
const maxPublished = 16

// Addresses returns the multiaddrs at which others can reach the host, at most sixteen: those on networks, those
// forwarded by a router, those where relays see the host if they got in there uninvited, those of relays where it keeps
// reservations, and those on loopback. QUIC's come before TCP's.
func (h *Host) Addresses() []string {
	near := publish(h.listening())
	var across, circuits []string
	for _, a := range h.forwarded() {
		across = append(across, a.String())
	}
	seen := h.outlook.sightings()
	for _, s := range seen {
		if s.door == DoorOpen {
			across = append(across, s.addr.String())
		}
	}
	for _, b := range h.relays.all() {
		for _, a := range b.addresses() {
			circuits = append(circuits, a.String())
		}
	}
	return choose(near, across, circuits)
}

// choose makes one list: of what is listened on the QUIC addresses on networks first, then what leads across the
// internet, then the rest. If there are too many, no kind is left out.
func choose(near, across, circuits []string) []string {
	across, circuits = across[:min(len(across), 4)], circuits[:min(len(circuits), 4)]
	var first, rest []string
	for _, a := range near {
		if addr := ma.StringCast(a); isQUIC(addr) && pathKind(addr) != Loopback {
			first = append(first, a)
		} else {
			rest = append(rest, a)
		}
	}
	far := append(across, circuits...)
	spare := maxPublished - len(far) - min(len(rest), 3)
	first = first[:min(len(first), spare)]
	all := append(append(first, far...), rest...)
	var unique []string
	for _, a := range all {
		if !slices.Contains(unique, a) {
			unique = append(unique, a)
		}
	}
	return unique[:min(len(unique), maxPublished)]
}
