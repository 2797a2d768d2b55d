package peer

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// nets are the networks that this machine is on: the addresses of its interfaces, with the length of their prefixes.
type nets struct {
	mu    sync.Mutex
	list  []netip.Prefix
	epoch uint64 // counts the changes
}

func (n *nets) now() []netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.list
}

func (n *nets) changes() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.epoch
}

// look reads the interfaces and reports whether something changed. An error leaves what is known.
func (n *nets) look() (changed bool, err error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false, err
	}
	var list []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Equal(list, n.list) {
		return false, nil
	}
	n.list = list
	n.epoch++
	return true, nil
}

// moved counts a change that the addresses do not show.
func (n *nets) moved() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.epoch++
}

// near reports whether an address is on a network that this machine is on.
func (n *nets) near(ip netip.Addr) bool {
	return slices.ContainsFunc(n.now(), func(p netip.Prefix) bool { return p.Contains(ip) })
}

// A clock notices that the machine slept: the time of day went on, and the time that Go measures by did not.
type clock struct{ last time.Time }

// slept reports whether the machine slept for some seconds since the last call. It may be that somebody set the clock.
func (c *clock) slept(now time.Time) bool {
	last := c.last
	c.last = now
	if last.IsZero() {
		return false
	}
	return now.Round(0).Sub(last.Round(0))-now.Sub(last) > 2*time.Second
}
