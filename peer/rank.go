package peer

import (
	"cmp"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"
)

// attemptDelay is how long an address has for itself before the next is tried as well (RFC 8305 §5, Connection Attempt
// Delay). On a LAN the first answers within it, and the others cost the callee nothing.
const attemptDelay = 100 * time.Millisecond

// rank orders the addresses of a callee: those on the LAN, then loopback, then others, and tells when to try each.
func rank(addrs []ma.Multiaddr) []network.AddrDelay {
	order := map[string]int{"LAN": 0, "loopback": 1, "direct": 2}
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, func(a, b ma.Multiaddr) int {
		return cmp.Or(cmp.Compare(order[pathKind(a)], order[pathKind(b)]), cmp.Compare(a.String(), b.String()))
	})
	delays := make([]network.AddrDelay, len(addrs))
	for i, a := range addrs {
		delays[i] = network.AddrDelay{Addr: a, Delay: time.Duration(i) * attemptDelay}
	}
	return delays
}
