package portmap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/libp2p/go-netroute"
)

// A gateway is where packets for everywhere else go, and where they come from.
type gateway struct {
	router, self netip.Addr
	device       string // the name of the interface on which the router is
}

// elsewhere and elsewhere6 are nobody's addresses (RFC 5737, RFC 3849): the way there is the way to everywhere that there
// is no other way to.
var (
	elsewhere  = netip.MustParseAddr("192.0.2.1")
	elsewhere6 = netip.MustParseAddr("2001:db8::1")
)

// findGateway asks the system for the default gateway on the way elsewhere.
func findGateway(ctx context.Context, elsewhere netip.Addr) (gateway, error) {
	routes, err := netroute.New()
	if err != nil {
		return gateway{}, err
	}
	on, ip, _, err := routes.Route(elsewhere.AsSlice())
	if err != nil {
		return gateway{}, err
	}
	router, ok := netip.AddrFromSlice(ip)
	if router = router.Unmap(); !ok || router.Is4() != elsewhere.Is4() || router.IsUnspecified() {
		return gateway{}, errors.New("no gateway")
	}
	towards := router
	if router.IsLinkLocalUnicast() && router.Is6() {
		router, towards = router.WithZone(on.Name), elsewhere // from an address that others know
	}
	conn, err := new(net.Dialer).DialContext(ctx, "udp", netip.AddrPortFrom(towards, pcpPort).String()) // nothing is sent
	if err != nil {
		return gateway{}, err
	}
	defer conn.Close()
	return gateway{router, conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), on.Name}, nil
}

// from is the gateway as it is asked from another address of this machine; the zero Addr: from the same.
func (g gateway) from(ip netip.Addr) gateway {
	if ip.IsValid() {
		g.self = ip
	}
	return g
}

// pcpPort is where routers take requests of PCP and of NAT-PMP.
const pcpPort = 5351

// maxDatagram is the longest answer of PCP (RFC 6887 §7).
const maxDatagram = 1100

// resend is how long an answer is awaited before the request is sent again; each further time twice as long.
const resend = 250 * time.Millisecond

// exchange sends a request until an answer comes that take takes, or ctx ends.
func (g gateway) exchange(ctx context.Context, request []byte, take func(answer []byte) (mine bool, err error)) error {
	from := &net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(g.self, 0))}
	conn, err := from.DialContext(ctx, "udp", netip.AddrPortFrom(g.router, pcpPort).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	answer := make([]byte, maxDatagram+1)
	for wait := resend; ; wait *= 2 {
		_, err := conn.Write(request)
		for over := time.Now().Add(wait); err == nil; {
			var n int
			conn.SetReadDeadline(over)
			if n, err = conn.Read(answer); err == nil {
				if mine, err := take(answer[:n]); mine {
					return err
				}
			}
		}
		if ctx.Err() != nil {
			return errors.New("no answer")
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) { // an ICMP error: nobody is there
			return err
		}
	}
}

// A refusal is a router's result code that is not success.
type refusal struct {
	by   string
	code int
	name string
}

func (r refusal) Error() string {
	return fmt.Sprintf("the router refuses: %s (%s %d)", r.name, r.by, r.code)
}

func refused(by string, code int, names []string) error {
	name := "it does not say why"
	if code < len(names) {
		name = names[code]
	}
	return refusal{by, code, name}
}

// seconds is a lease on the wire.
func seconds(lease time.Duration) uint32 { return uint32(lease / time.Second) }

// maxLease bounds what is believed of a lease.
const maxLease = 24 * time.Hour

func leaseOf(seconds uint32) time.Duration {
	return min(time.Duration(seconds)*time.Second, maxLease)
}

// told is where a router says that it fulfils a wish: no address is none that could be meant.
func told(at netip.AddrPort, w wish) netip.AddrPort {
	if at.Addr().Is4() == w.ip.Is6() || at.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.Addr{}, at.Port())
	}
	return at
}
