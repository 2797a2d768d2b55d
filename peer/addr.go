package peer

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// defaultListen is every interface, IPv4 and IPv6, on ports that the system chooses.
var defaultListen = []string{":0"}

// forms are what addresses look like.
const forms = "/ip4|ip6/IP/udp/PORT/quic-v1, /ip4|ip6/IP/tcp/PORT, or either of a relay with /p2p/RELAY/p2p-circuit"

// parseAddress reads an address: a multiaddr of one of the forms, with or without /p2p/ID at its end, or IP:PORT of a
// UDP socket. With an ID the address must be that of id, unless id is empty.
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
	if !isQUIC(addr) && !isTCP(addr) && !isCircuit(addr) {
		return nil, fmt.Errorf("address %q: not of the form %s", s, forms)
	}
	return addr, nil
}

// quicAddress returns the multiaddr of the QUIC endpoint at ap.
func quicAddress(ap netip.AddrPort) string {
	return fmt.Sprintf("/%s/udp/%d/quic-v1", ipAddress(ap.Addr()), ap.Port())
}

// tcpAddress returns the multiaddr of the TCP port at ap.
func tcpAddress(ap netip.AddrPort) string {
	return fmt.Sprintf("/%s/tcp/%d", ipAddress(ap.Addr()), ap.Port())
}

func ipAddress(ip netip.Addr) string {
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return "ip4/" + ip.String()
	}
	return "ip6/" + ip.String()
}

// isQUIC reports whether addr is exactly an IP address, a UDP port and quic-v1.
func isQUIC(addr ma.Multiaddr) bool { return hasForm(addr, ma.P_UDP, ma.P_QUIC_V1) }

// isTCP reports whether addr is exactly an IP address and a TCP port.
func isTCP(addr ma.Multiaddr) bool { return hasForm(addr, ma.P_TCP) }

// isCircuit reports whether addr is that of a relay, with its name, followed by p2p-circuit.
func isCircuit(addr ma.Multiaddr) bool {
	relay, ok := relayOf(addr)
	return ok && (isQUIC(relay[:len(relay)-1]) || isTCP(relay[:len(relay)-1]))
}

// IsRelayed reports whether an address leads through a relay.
func IsRelayed(addr string) bool {
	a, err := parseAddress(addr, "")
	return err == nil && isCircuit(a)
}

// relayOf returns the part of a circuit's address that is the relay's, its name at the end.
func relayOf(addr ma.Multiaddr) (ma.Multiaddr, bool) {
	for i := range addr {
		if addr[i].Protocol().Code == ma.P_CIRCUIT {
			return addr[:i], i > 1 && addr[i-1].Protocol().Code == ma.P_P2P && i == len(addr)-1
		}
	}
	return nil, false
}

// hasForm reports whether addr is an IP address and then exactly what codes say.
func hasForm(addr ma.Multiaddr, codes ...int) bool {
	if len(addr) != 1+len(codes) || addr[0].Protocol().Code != ma.P_IP4 && addr[0].Protocol().Code != ma.P_IP6 {
		return false
	}
	for i, code := range codes {
		if addr[1+i].Protocol().Code != code {
			return false
		}
	}
	return true
}

// parseListen reads addresses to listen on: multiaddrs, of which no relay's; IP:PORT, which is UDP and, as far as it is
// free, the same port of TCP; and ":PORT", which is that on every interface. What need not succeed is in maybe.
func parseListen(list []string) (must, maybe []ma.Multiaddr, err error) {
	for _, s := range list {
		if strings.HasPrefix(s, "/") {
			addr, err := parseAddress(s, "")
			if err != nil {
				return nil, nil, err
			}
			if isCircuit(addr) {
				return nil, nil, fmt.Errorf("address %q: a relay is not listened on", s)
			}
			must = append(must, addr)
			continue
		}
		hosts := []string{s}
		if port, ok := strings.CutPrefix(s, ":"); ok {
			hosts = []string{net.JoinHostPort("0.0.0.0", port), net.JoinHostPort("::", port)}
		}
		for _, host := range hosts {
			ap, err := netip.ParseAddrPort(host)
			if err != nil {
				return nil, nil, fmt.Errorf("address %q: neither a multiaddr nor IP:PORT", s)
			}
			must = append(must, ma.StringCast(quicAddress(ap)))
			maybe = append(maybe, ma.StringCast(tcpAddress(ap)))
		}
	}
	for i, a := range must {
		if slices.ContainsFunc(must[:i], a.Equal) {
			return nil, nil, fmt.Errorf("address %s: named twice", a)
		}
	}
	return must, maybe, nil
}

// publish returns the addresses at which others can reach a host that listens
// on addrs: LAN and public before loopback, none that is link-local (which
// need a zone), QUIC before TCP.
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
	byTransport := func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "/tcp/"), strings.Count(b, "/tcp/")), cmp.Compare(a, b))
	}
	slices.SortFunc(far, byTransport)
	slices.SortFunc(near, byTransport)
	return append(slices.Compact(far), slices.Compact(near)...)
}
