package kindred

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
)

// neighbours are the networks that this machine is on itself. Who calls from there, and is carried by nobody, is at
// home. What is reached through a router or a tunnel, however private its addresses, is not.
type neighbours struct {
	found atomic.Pointer[foundNetworks]
	look  func() []ownNetwork // nil: ownNetworks
}

// An ownNetwork is one that this machine has an address in, and by which interface.
type ownNetwork struct {
	netip.Prefix
	link string
}

// has reports whether an address is in the network. All links have the same link-local addresses (RFC 4291 §2.5.6), and an
// address says in its zone of which link it is.
func (n ownNetwork) has(a netip.Addr) bool {
	return n.Contains(a.WithZone("")) && (a.Is4() || !a.IsLinkLocalUnicast() || a.Zone() == n.link)
}

type foundNetworks struct {
	networks []ownNetwork
	at       time.Time
}

// lookAgain is how long networks that were found are taken for those that there are.
const lookAgain = 5 * time.Second

func (ns *neighbours) has(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsLoopback() || slices.ContainsFunc(ns.networks(), func(n ownNetwork) bool { return n.has(a) })
}

func (ns *neighbours) networks() []ownNetwork {
	f := ns.found.Load()
	if f == nil || time.Since(f.at) > lookAgain {
		look := ns.look
		if look == nil {
			look = ownNetworks
		}
		f = &foundNetworks{look(), time.Now()}
		ns.found.Store(f)
	}
	return f.networks
}

// ownNetworks returns the private networks that this machine has an address in, and its links. On a network of public
// addresses the neighbours are anybody, and at the far end of a point-to-point link, such as a tunnel, is another place.
func ownNetworks() []ownNetwork {
	var own []ownNetwork
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil // and so nobody is at home
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagPointToPoint != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && (p.Addr().IsPrivate() || p.Addr().IsLinkLocalUnicast()) {
				own = append(own, ownNetwork{p.Masked(), i.Name})
			}
		}
	}
	return own
}

// wayOf tells which way a request came.
func (n *Node) wayOf(a arrival) grant.Way {
	if a.at == "" {
		return n.wayBy(a.path)
	}
	at, err := netip.ParseAddrPort(a.at)
	if err == nil && n.neighbours.has(at.Addr()) {
		return grant.AtHome
	}
	return grant.Direct // TLS from end to end: nobody who could be told apart carried it
}

func (n *Node) wayBy(p peer.Path) grant.Way {
	switch p.Kind {
	case peer.Loopback, peer.LAN:
		if a, ok := addressIn(p.Address); ok && n.neighbours.has(a) {
			return grant.AtHome
		}
		return grant.Direct
	case peer.Direct:
		return grant.Direct
	case peer.Relayed:
		if n.isGateway(p.Relay) {
			return grant.ByGateway
		}
	}
	return grant.Relayed
}

// addressIn returns the IP address that a multiaddr begins with, with its zone.
func addressIn(multiaddr string) (netip.Addr, bool) {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(multiaddr, "/"), "/")
	value, rest, _ := strings.Cut(rest, "/")
	zone := ""
	if kind == "ip6zone" {
		zone = value
		kind, rest, _ = strings.Cut(rest, "/")
		value, _, _ = strings.Cut(rest, "/")
	}
	if kind != "ip4" && kind != "ip6" {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(value)
	return a.WithZone(zone), err == nil
}

// isGateway reports whether a relay, by its address with its name, is the home's own gateway.
func (n *Node) isGateway(relay string) bool {
	key, err := peer.KeyOf(relay)
	if err != nil {
		return false
	}
	c, err := n.remembered(context.Background(), n.gateway.Member)
	return err == nil && identity.SameKey(c.Key, key)
}

// maxPurpose is how long the name of a purpose may be, in bytes. A longer one is none.
const maxPurpose = 63

// purposeOf tells what a caller says that a request is for.
func purposeOf(r *http.Request) string {
	purpose := r.Header.Get(thing.PurposeHeader)
	if len(purpose) > maxPurpose {
		return ""
	}
	return purpose
}
