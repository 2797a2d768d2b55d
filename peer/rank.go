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

	// kindDelay is how long each kind of way has before the next is tried too. They are tried side by side, so that a
	// call takes hardly longer than over the best of them; the head start is that of a handshake on a LAN.
	kindDelay = 25 * time.Millisecond
)

// order is how much a kind of way is to be preferred.
var order = map[string]int{LAN: 0, Loopback: 1, Direct: 2, Relayed: 3}

// rank tells when to try each of a callee's addresses: those on the LAN, then loopback, then others, then relays. Within
// a kind TCP, which costs least, comes first where nothing is in between, and last where a NAT might be.
func rank(addrs []ma.Multiaddr) []network.AddrDelay {
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, func(a, b ma.Multiaddr) int {
		return cmp.Or(cmp.Compare(order[pathKind(a)], order[pathKind(b)]), cmp.Compare(preference(a), preference(b)), cmp.Compare(a.String(), b.String()))
	})
	delays := make([]network.AddrDelay, len(addrs))
	var kind string
	var began, next time.Duration
	for i, a := range addrs {
		if k := pathKind(a); k != kind {
			if i > 0 {
				began += kindDelay
			}
			kind, next = k, began
		}
		delays[i] = network.AddrDelay{Addr: a, Delay: next}
		next += attemptDelay
	}
	return delays
}

// preference orders the addresses of one kind.
func preference(a ma.Multiaddr) int {
	near := pathKind(a) == LAN || pathKind(a) == Loopback
	if isTCP(a) == near {
		return 0
	}
	return 1
}
