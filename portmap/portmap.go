// Package portmap has the router of the network that this machine is on let callers in: forward ports of IPv4 to it, by PCP
// (RFC 6887), by NAT-PMP (RFC 6886) or by UPnP (Internet Gateway Device, versions 1 and 2), whichever the router speaks
// first, in this order; and open its firewall for ports of IPv6, which needs no translating, by PCP or by UPnP
// (WANIPv6FirewallControl, version 1).
//
//	router, err := portmap.Find(ctx)
//	mapping, err := router.Map(ctx, portmap.UDP, 4711, 10*time.Minute) // and again before the lease is over
//	err = router.Release(ctx)
//
//	firewall, err := portmap.FindFirewall(ctx)
//	mapping, err = firewall.Open(ctx, portmap.UDP, netip.MustParseAddrPort("[2001:db8::2]:4711"), 10*time.Minute)
//
// The default gateway is asked, and nobody else is listened to: what another device of the network says is dropped, and
// no address is followed that is not the gateway's. What is read is bounded.
//
// What the router says is its word. Many name an outside address that leads nowhere, since another NAT is in front of
// them or since they are wrong; who wants to know has somebody call there from outside.
package portmap

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Protocols whose ports are forwarded.
const (
	UDP = "udp"
	TCP = "tcp"
)

// What a router is asked by.
const (
	PCP    = "PCP"
	NATPMP = "NAT-PMP"
	UPnP   = "UPnP"
)

// A Mapping is what the router says that it forwards.
type Mapping struct {
	Outside netip.AddrPort // where it does; the address is the zero Addr if the router does not tell
	Lease   time.Duration  // for how long; 0: until it is told otherwise
}

// A Router forwards ports, or has a firewall and opens it. It is safe for concurrent use.
type Router struct {
	by      string
	dialect dialect

	mu   sync.Mutex // one request at a time: simple routers stumble over two
	held map[inside]wish
}

// An inside is a port of this machine.
type inside struct {
	protocol string
	port     uint16
	ip       netip.Addr // of IPv6; the zero Addr where the router translates, and knows it
}

// A wish is what a router is asked for.
type wish struct {
	inside
	outside uint16 // the port wished for; the router may choose another
	lease   time.Duration
	nonce   [12]byte // PCP's: who knows it may change the mapping
	renewal bool     // outside is ours already
}

// A dialect is one way to ask.
type dialect interface {
	forward(context.Context, wish) (Mapping, error)
	cancel(context.Context, wish) error
}

// How long a router has to show that it speaks a dialect. On a LAN it answers in milliseconds, or at UPnP within the
// second that it was given to choose a moment from; what was lost is sent again.
const (
	forDatagrams = 4 * time.Second
	forUPnP      = 8 * time.Second
)

// Find looks for a router that forwards ports. It takes up to a quarter of a minute to find that there is none.
func Find(ctx context.Context) (*Router, error) {
	r, err := find(ctx, elsewhere, greeting{PCP, forDatagrams, greetPCP}, greeting{NATPMP, forDatagrams, greetNATPMP},
		greeting{UPnP, forUPnP, greetUPnP})
	if err != nil {
		return nil, fmt.Errorf("portmap: looking for a router that forwards ports: %w", err)
	}
	return r, nil
}

// FindFirewall looks for a router with a firewall for IPv6 that can be opened. It takes up to an eighth of a minute to find
// that there is none.
func FindFirewall(ctx context.Context) (*Router, error) {
	r, err := find(ctx, elsewhere6, greeting{PCP, forDatagrams, greetPCP}, greeting{UPnP, forUPnP, greetPinholes})
	if err != nil {
		return nil, fmt.Errorf("portmap: looking for a firewall that can be opened: %w", err)
	}
	return r, nil
}

// A greeting finds out whether the router speaks a dialect.
type greeting struct {
	by     string
	within time.Duration
	greet  func(context.Context, gateway) (dialect, error)
}

func find(ctx context.Context, elsewhere netip.Addr, greetings ...greeting) (*Router, error) {
	g, err := findGateway(ctx, elsewhere)
	if err != nil {
		return nil, fmt.Errorf("finding the default gateway: %w", err)
	}
	var errs []error
	for _, d := range greetings {
		soon, cancel := context.WithTimeout(ctx, d.within)
		speaks, err := d.greet(soon, g)
		cancel()
		if err == nil {
			return &Router{by: d.by, dialect: speaks, held: make(map[inside]wish)}, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", d.by, err))
	}
	return nil, fmt.Errorf("the router at %s does not: %w", g.router, errors.Join(errs...))
}

// By tells how the router is asked: PCP, NATPMP or UPnP.
func (r *Router) By() string { return r.by }

// Map has the router forward a port of its outside to one of this machine, or go on doing so: the same port outside, if
// it can be had, and else another. A router without leases forwards until it is told otherwise. A request that is given
// up, since ctx ended, may have been heard.
func (r *Router) Map(ctx context.Context, protocol string, port uint16, lease time.Duration) (Mapping, error) {
	return r.ask(ctx, inside{protocol, port, netip.Addr{}}, lease)
}

// Open has a firewall that FindFirewall found let packets in that go to one of this machine's addresses of IPv6 and a port,
// or go on doing so.
func (r *Router) Open(ctx context.Context, protocol string, at netip.AddrPort, lease time.Duration) (Mapping, error) {
	return r.ask(ctx, inside{protocol, at.Port(), at.Addr().WithZone("")}, lease)
}

func (r *Router) ask(ctx context.Context, at inside, lease time.Duration) (Mapping, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, held := r.held[at]
	if !held {
		w = wish{inside: at, outside: at.port}
		rand.Read(w.nonce[:])
	}
	w.lease, w.renewal = lease, held
	m, err := r.dialect.forward(ctx, w)
	if err != nil {
		return Mapping{}, fmt.Errorf("portmap: asking by %s for %s port %d: %w", r.by, at.protocol, at.port, err)
	}
	w.outside = m.Outside.Port()
	r.held[at] = w
	return m, nil
}

// Release has the router end all that Map and Open began.
func (r *Router) Release(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for at, w := range r.held {
		if err := r.dialect.cancel(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("portmap: taking back by %s what was asked for %s port %d: %w", r.by, at.protocol, at.port, err))
			continue
		}
		delete(r.held, at)
	}
	return errors.Join(errs...)
}
