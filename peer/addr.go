package peer

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// defaultListen is every interface, IPv4 and IPv6, on ports that the system chooses.
var defaultListen = []string{"/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/udp/0/quic-v1"}

// The kinds of paths.
const (
	Loopback = "loopback" // within one machine
	LAN      = "LAN"      // between private or link-local addresses
	Direct   = "direct"   // between any others
)

// A Path is how two peers are connected.
type Path struct {
	Kind    string        // Loopback, LAN or Direct
	Address string        // the other end's, as a multiaddr
	Since   time.Time     // when the connection was made
	RTT     time.Duration // smoothed round-trip time; 0 before it was measured
}

// pathKind says what kind of path leads to addr.
func pathKind(addr ma.Multiaddr) string {
	ip, err := manet.ToIP(addr)
	switch {
	case err != nil:
		return Direct
	case ip.IsLoopback():
		return Loopback
	case ip.IsPrivate(), ip.IsLinkLocalUnicast():
		return LAN
	}
	return Direct
}

// parseAddress reads an address: a multiaddr /ip4|ip6/…/udp/PORT/quic-v1 with or
// without /p2p/ID at its end, or IP:PORT of a UDP socket. With an ID the
// address must be that of id, unless id is empty.
func parseAddress(s string, id libp2ppeer.ID) (ma.Multiaddr, error) {
	if !strings.HasPrefix(s, "/") {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, fmt.Errorf("address %q: neither a multiaddr nor IP:PORT", s)
		}
		s = quicAddress(ap)
	}
	addr, err := ma.NewMultiaddr(s)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", s, err)
	}
	addr, named := libp2ppeer.SplitAddr(addr)
	if named != "" && id != "" && named != id {
		return nil, fmt.Errorf("address %q: of another key than %s", s, id)
	}
	if !isQUIC(addr) {
		return nil, fmt.Errorf("address %q: not of the form /ip4|ip6/IP/udp/PORT/quic-v1", s)
	}
	return addr, nil
}

// quicAddress returns the multiaddr of the QUIC endpoint at ap.
func quicAddress(ap netip.AddrPort) string {
	version := "ip6"
	if ap.Addr().Unmap().Is4() {
		version = "ip4"
	}
	return fmt.Sprintf("/%s/%s/udp/%d/quic-v1", version, ap.Addr().Unmap().WithZone(""), ap.Port())
}

// isQUIC reports whether addr is exactly an IP address, a UDP port and quic-v1.
func isQUIC(addr ma.Multiaddr) bool {
	if len(addr) != 3 {
		return false
	}
	ip := addr[0].Protocol().Code
	return (ip == ma.P_IP4 || ip == ma.P_IP6) && addr[1].Protocol().Code == ma.P_UDP && addr[2].Protocol().Code == ma.P_QUIC_V1
}

// parseListen reads addresses to listen on; in addition to what parseAddress
// takes, ":PORT" is every interface.
func parseListen(list []string) ([]ma.Multiaddr, error) {
	var addrs []ma.Multiaddr
	for _, s := range list {
		both := []string{s}
		if port, ok := strings.CutPrefix(s, ":"); ok {
			both = []string{net.JoinHostPort("0.0.0.0", port), net.JoinHostPort("::", port)}
		}
		for _, s := range both {
			addr, err := parseAddress(s, "")
			if err != nil {
				return nil, err
			}
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

// publish returns the addresses at which others can reach a host that listens
// on addrs: LAN and public before loopback, none that is link-local (which
// need a zone), sorted.
func publish(addrs []ma.Multiaddr) []string {
	var far, near []string
	for _, a := range addrs {
		ip, err := manet.ToIP(a)
		switch {
		case err != nil, ip.IsLinkLocalUnicast(), ip.IsUnspecified():
		case ip.IsLoopback():
			near = append(near, a.String())
		default:
			far = append(far, a.String())
		}
	}
	slices.Sort(far)
	slices.Sort(near)
	return append(slices.Compact(far), slices.Compact(near)...)
}
