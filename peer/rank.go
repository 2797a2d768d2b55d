package peer

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	// attemptDelay is how long an address has for itself before the next of its kind is tried as well (RFC 8305 §5,
	// Connection Attempt Delay). On a LAN the first answers within it, and the others cost the callee nothing.
	attemptDelay = 100 * time.Millisecond

	// headStart is how long the better ways have before the next are tried too. They are tried side by side, so that a
	// call takes hardly longer than over the best of them; the head start is that of a handshake on a LAN.
	headStart = 25 * time.Millisecond
)

// order is how much a kind of way is to be preferred.
var order = map[string]int{LAN: 0, Loopback: 1, Direct: 2, Relayed: 3}

// rank tells when to try each of a callee's addresses: at once those on the networks that this machine is on; then all
// others but a relay's; then those. Who is better has a head start only if it is there: far from home nothing waits for
// addresses of the home's LAN. Within a kind TCP, which costs least, comes first where nothing is in between, and last
// where a NAT might be.
func (h *Host) rank(addrs []ma.Multiaddr) []network.AddrDelay {
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, func(a, b ma.Multiaddr) int {
		return cmp.Or(cmp.Compare(order[pathKind(a)], order[pathKind(b)]), cmp.Compare(preference(a), preference(b)), cmp.Compare(a.String(), b.String()))
	})
	const near, far, relayed = 0, 1, 2
	var there [3]bool
	stage := make([]int, len(addrs))
	for i, a := range addrs {
		ip := ipOf(a)
		switch {
		case pathKind(a) == Relayed:
			stage[i] = relayed
		case pathKind(a) == LAN && h.nets.near(ip):
			if h.own(ip) { // on this machine, or at a home that numbers its hosts alike; it answers at once or never
				continue
			}
		default:
			stage[i] = far
		}
		there[stage[i]] = true
	}
	var starts [3]time.Duration
	for s := far; s <= relayed; s++ {
		starts[s] = starts[s-1]
		if there[s-1] {
			starts[s] += headStart
		}
	}
	delays := make([]network.AddrDelay, len(addrs))
	type group struct {
		kind  string
		stage int
	}
	tried := make(map[group]time.Duration)
	for i, a := range addrs {
		g := group{pathKind(a), stage[i]}
		delays[i] = network.AddrDelay{Addr: a, Delay: starts[stage[i]] + tried[g]}
		tried[g] += attemptDelay
	}
	slices.SortStableFunc(delays, func(a, b network.AddrDelay) int { return cmp.Compare(a.Delay, b.Delay) })
	return delays
}

// preference orders the addresses of one kind. A relay's is what leads to the relay: one that is reached over TCP cannot
// say at which UDP port it sees the host, and no hole is punched.
func preference(a ma.Multiaddr) int {
	near := pathKind(a) == LAN || pathKind(a) == Loopback
	if relay, ok := relayOf(a); ok {
		a = relay[:len(relay)-1]
	}
	if isTCP(a) == near {
		return 0
	}
	return 1
}
