package peer

import (
	"crypto"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"
	"weak"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/time/rate"
)

// RelayLimits bound what a host carries for others (libp2p's circuit relay v2). Whoever holds a reservation can be
// called through the host by whoever knows its key. A field that is zero has its default.
type RelayLimits struct {
	Reservations int // in all: 1,024
	PerAddress   int // from one IPv4 address, or one IPv6 /56: 64
	PerHousehold int // of those who show the same tag, see Host.Tag: 64
	Circuits     int // of one member at a time, calling or called: 64

	// CallsPerAddress is how many circuits callers from one address have at a time: 32. Anyone may call a member; with
	// fewer than Circuits nobody keeps others from it who has but one address.
	CallsPerAddress int

	// HolderRate is how many bytes a second are carried for one holder of a reservation, both ways together: 8 MiB,
	// which is several videos. So one that is greedy delays itself alone.
	HolderRate int64

	// Rate is how many bytes a second are carried in all. Where that is not enough, it is shared: among the addresses from
	// which reservations are held (as PerAddress counts them) equally, what falls to one among its households (the tags
	// shown) equally, and then among the holders of each. Behind one address the first eight tags have a share each; those
	// who show none or another have one together. So nobody gets more by making up tags. 0: as many as the machine can.
	Rate int64
}

// The defaults. A home has dozens of members behind one address.
const (
	defaultReservations = 1024
	defaultPerAddress   = 64
	defaultPerHousehold = 64
	defaultCircuits     = 64
	defaultCalls        = 32
	defaultHolderRate   = 8 << 20

	tagsPerAddress = 8 // with a share each of what falls to their address

	reservationLife = time.Hour
	relayBuffer     = 64 << 10 // half of it costs a third of the throughput
)

func (l RelayLimits) withDefaults() RelayLimits {
	orDefault := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	orDefault(&l.Reservations, defaultReservations)
	orDefault(&l.PerAddress, defaultPerAddress)
	orDefault(&l.PerHousehold, defaultPerHousehold)
	orDefault(&l.Circuits, defaultCircuits)
	orDefault(&l.CallsPerAddress, defaultCalls)
	if l.HolderRate == 0 {
		l.HolderRate = defaultHolderRate
	}
	return l
}

// conns is how many connections of one address there are: for all that it may hold and call, once more for those that ended
// and are not seen to have yet, and for strangers. Nobody has to show anything to be known at a relay, so that without a
// bound of its own a few addresses would have all there are.
func (l RelayLimits) conns() int { return 2*(l.PerAddress+l.CallsPerAddress) + maxHandshakes }

// A Tag stands for the household that holders of reservations belong to. It tells nothing else.
type Tag [32]byte

// RelayStats count what a relay does. Nothing in them tells of whom.
type RelayStats struct {
	Reservations int               // held now
	Circuits     int               // open now
	Reserved     uint64            // reservations since the start, renewals among them
	Opened       uint64            // circuits since the start
	Bytes        uint64            // carried since the start, both ways
	Refused      map[string]uint64 // by one of the Refused reasons
}

// Why a relay refuses.
const (
	RefusedFull        = "full"           // too many reservations in all
	RefusedAddress     = "address"        // too many from one address
	RefusedHousehold   = "household"      // too many with one tag
	RefusedCircuits    = "circuits"       // too many circuits of one member, or no memory for another
	RefusedCalls       = "calls"          // too many circuits of callers from one address
	RefusedNoHolder    = "no_reservation" // the callee holds no reservation
	RefusedUnreachable = "unreachable"    // the callee does not take the call
	RefusedMalformed   = "malformed"      // bytes not in the protocol's form
)

// A carrier is a host's relay: who holds reservations, and what is carried for them.
type carrier struct {
	host    *Host
	limits  RelayLimits
	line    *line // nil: as much is carried as can be
	service *relay.Relay
	asking  tally // streams on which reservations and circuits are asked for
	streams tally // all of those who have shown nothing

	mu      sync.Mutex
	holders map[libp2ppeer.ID]*holder
	tags    map[libp2ppeer.ID]Tag                // of those who are connected
	wholes  map[netip.Prefix]weak.Pointer[share] // what falls to an address, for as long as anybody has a part of it
	stats   RelayStats                           // all but Reservations
}

// A holder is a member that can be called through the relay.
type holder struct {
	until     time.Time
	household any // a Tag, or else the address
	address   netip.Prefix
	pace      *rate.Limiter
	sharing   any    // with whom behind its address: household, or the address for all who have no share apart
	share     *share // nil: nobody has to wait
}

// startRelay makes the host carry others' calls.
func (h *Host) startRelay(limits RelayLimits) error {
	c := &carrier{
		host: h, limits: limits.withDefaults(),
		holders: make(map[libp2ppeer.ID]*holder), tags: make(map[libp2ppeer.ID]Tag),
		wholes: make(map[netip.Prefix]weak.Pointer[share]),
		stats:  RelayStats{Refused: make(map[string]uint64)},
	}
	c.asking.most, c.streams.most = c.limits.CallsPerAddress+spareAsking, 2*c.limits.conns()
	if limits.Rate > 0 {
		c.line = newLine(limits.Rate)
		h.running.Go(func() { c.line.run(h.ctx) })
	}
	var err error
	c.service, err = relay.New(carrying{bare{h}, c}, relay.WithACL(c), relay.WithMetricsTracer(c), relay.WithResources(relay.Resources{
		ReservationTTL: reservationLife, BufferSize: relayBuffer, MaxCircuits: c.limits.Circuits,
		// Which reservations are to be had, the carrier says.
		MaxReservations: c.limits.Reservations, MaxReservationsPerIP: c.limits.Reservations, MaxReservationsPerASN: c.limits.Reservations,
	}))
	if err != nil {
		return err
	}
	h.closers = append(h.closers, c.service.Close)
	h.swarm.Notify(&network.NotifyBundle{DisconnectedF: func(_ network.Network, conn network.Conn) { c.gone(conn.RemotePeer()) }})
	h.carrier = c
	h.serveSeen()
	return nil
}

// RelayStats returns what the host's relay did so far; the zero value if it is none.
func (h *Host) RelayStats() RelayStats {
	if h.carrier == nil {
		return RelayStats{}
	}
	c := h.carrier
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep()
	s := c.stats
	s.Reservations = len(c.holders)
	s.Refused = make(map[string]uint64)
	for reason, n := range c.stats.Refused {
		s.Refused[reason] = n
	}
	return s
}

// ErrHouseholdFull says that a household holds as many reservations as it may.
var ErrHouseholdFull = errors.New("too many reservations of one household")

// Tag notes to which household a peer belongs that is connected with the host's relay, until it is connected no more.
// What the peer holds counts for that household from then on, in place of its address.
func (h *Host) Tag(key crypto.PublicKey, tag Tag) error {
	id, err := peerID(key)
	if err != nil {
		return fmt.Errorf("peer: tagging: %w", err)
	}
	c := h.carrier
	if c == nil {
		return errors.New("peer: tagging: the host is no relay")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.swarm.Connectedness(id) == network.NotConnected { // gone was called already, or will not be
		return fmt.Errorf("peer: tagging %s: %w: it is not connected", id, ErrUnreachable)
	}
	held := c.holders[id]
	if held != nil && held.household != tag {
		if c.count(func(o *holder) bool { return o.household == tag }) >= c.limits.PerHousehold {
			c.stats.Refused[RefusedHousehold]++
			return fmt.Errorf("peer: tagging %s: %w", id, ErrHouseholdFull)
		}
		held.household = tag
		c.allot(held)
	}
	c.tags[id] = tag
	return nil
}

// AllowReserve lets a peer have a reservation, or renew it, within the limits.
func (c *carrier) AllowReserve(p libp2ppeer.ID, at ma.Multiaddr) bool {
	address := neighbourhood(at)
	if !address.IsValid() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep()
	held, renewed := c.holders[p]
	if !renewed {
		held = &holder{address: address, household: address, pace: rate.NewLimiter(rate.Limit(c.limits.HolderRate), relayBuffer)}
		if tag, ok := c.tags[p]; ok {
			held.household = tag
		}
		if reason := c.full(held); reason != "" {
			c.stats.Refused[reason]++
			return false
		}
		c.holders[p] = held
	}
	if !renewed || held.sharing != held.household { // a place may have come free
		c.allot(held)
	}
	held.until = time.Now().Add(reservationLife)
	c.stats.Reserved++
	c.host.keepLinks(p, held.until)
	return true
}

// full says which limit a further holder would exceed; "": none. c.mu is held.
func (c *carrier) full(further *holder) string {
	_, tagged := further.household.(Tag)
	switch {
	case len(c.holders) >= c.limits.Reservations:
		return RefusedFull
	case c.count(func(o *holder) bool { return o.address == further.address }) >= c.limits.PerAddress:
		return RefusedAddress
	case tagged && c.count(func(o *holder) bool { return o.household == further.household }) >= c.limits.PerHousehold:
		return RefusedHousehold
	}
	return ""
}

// count counts the holders for which is holds. c.mu is held.
func (c *carrier) count(is func(*holder) bool) (n int) {
	for _, h := range c.holders {
		if is(h) {
			n++
		}
	}
	return n
}

// allot gives a holder its share of the line. c.mu is held.
func (c *carrier) allot(held *holder) {
	if c.line == nil {
		return
	}
	whole := c.wholes[held.address].Value()
	if whole == nil {
		whole = c.line.whole.part()
		c.wholes[held.address] = weak.Make(whole)
	}
	parts := make(map[any]*share)
	for _, o := range c.holders {
		if o != held && o.address == held.address {
			parts[o.sharing] = o.share.of
		}
	}
	tags := len(parts)
	if parts[held.address] != nil {
		tags--
	}
	held.sharing = held.household
	if parts[held.sharing] == nil && tags >= tagsPerAddress {
		held.sharing = held.address
	}
	part := parts[held.sharing]
	if part == nil {
		part = whole.part()
	}
	held.share = part.part()
}

// sweep forgets reservations that were not renewed, and addresses that have none. c.mu is held.
func (c *carrier) sweep() {
	maps.DeleteFunc(c.wholes, func(_ netip.Prefix, w weak.Pointer[share]) bool { return w.Value() == nil })
	for p, h := range c.holders {
		if time.Now().After(h.until) {
			delete(c.holders, p)
		}
	}
}

// gone forgets a peer whose last connection was closed.
func (c *carrier) gone(p libp2ppeer.ID) {
	if c.host.swarm.Connectedness(p) == network.Connected {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.holders, p)
	delete(c.tags, p)
}

// AllowConnect lets everyone call everyone who holds a reservation, unless there are too many calls from one address.
// Whoever calls is a stranger no more.
func (c *carrier) AllowConnect(caller libp2ppeer.ID, at ma.Multiaddr, callee libp2ppeer.ID) bool {
	address := neighbourhood(at)
	c.mu.Lock()
	_, held := c.holders[callee]
	many := !address.IsValid() || c.asking.of(address) > c.limits.CallsPerAddress // this call is among them
	if many {
		c.stats.Refused[RefusedCalls]++
	}
	c.mu.Unlock()
	if many {
		return false
	}
	if held {
		c.host.keepLinks(caller, time.Time{})
	}
	return true // libp2p's relay says better why not
}

// What follows is told by libp2p's relay.

func (c *carrier) note(f func(*RelayStats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.stats)
}

// RelayStatus does nothing.
func (c *carrier) RelayStatus(bool) {}

// ConnectionOpened counts a circuit.
func (c *carrier) ConnectionOpened() { c.note(func(s *RelayStats) { s.Circuits++; s.Opened++ }) }

// ConnectionClosed counts its end.
func (c *carrier) ConnectionClosed(time.Duration) { c.note(func(s *RelayStats) { s.Circuits-- }) }

// BytesTransferred counts what was carried.
func (c *carrier) BytesTransferred(n int) { c.note(func(s *RelayStats) { s.Bytes += uint64(n) }) }

// ReservationAllowed does nothing: AllowReserve counted it.
func (c *carrier) ReservationAllowed(bool) {}

// ReservationClosed does nothing: gone and sweep see to it.
func (c *carrier) ReservationClosed(int) {}

// ReservationRequestHandled counts what AllowReserve was not asked about.
func (c *carrier) ReservationRequestHandled(s pb.Status) { c.handled(s) }

// ConnectionRequestHandled counts why a circuit was not made.
func (c *carrier) ConnectionRequestHandled(s pb.Status) { c.handled(s) }

var refusedFor = map[pb.Status]string{
	pb.Status_MALFORMED_MESSAGE:       RefusedMalformed,
	pb.Status_RESERVATION_REFUSED:     RefusedFull,
	pb.Status_NO_RESERVATION:          RefusedNoHolder,
	pb.Status_RESOURCE_LIMIT_EXCEEDED: RefusedCircuits,
	pb.Status_CONNECTION_FAILED:       RefusedUnreachable,
}

func (c *carrier) handled(s pb.Status) {
	if reason, ok := refusedFor[s]; ok {
		c.note(func(s *RelayStats) { s.Refused[reason]++ })
	}
}

// keepLinks makes a peer's connections those of somebody, and until a time ones that need not be used.
func (h *Host) keepLinks(p libp2ppeer.ID, until time.Time) {
	for _, c := range h.swarm.ConnsToPeer(p) {
		if l := h.link(c); l != nil {
			l.keep(until)
		}
	}
}
