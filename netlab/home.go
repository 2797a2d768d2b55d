package netlab

import (
	"fmt"
	"net/netip"
)

// The public segment's addresses.
var (
	public4 = netip.MustParsePrefix("25.0.0.0/16")
	public6 = netip.MustParsePrefix("2a10:25::/64")
)

// numbered returns the address of a network whose last two bytes are a and b.
func numbered(network netip.Prefix, a, b int) netip.Prefix {
	bytes := network.Addr().AsSlice()
	bytes[len(bytes)-2], bytes[len(bytes)-1] = byte(a), byte(b)
	addr, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(addr, network.Bits())
}

// The last two bytes of addresses on the public segment.
const (
	ofInternet = 0 // then 1: the router between all
	ofHosts    = 1 // then the host's number
	ofHomes    = 2 // then the home's number
	ofMoved    = 3 // and up, then the home's number: those it gets later
)

// segment returns the public one, made when it is first used. l.mu is held.
func (l *Lab) segment() (*segment, error) {
	if l.internet != nil {
		return l.internet, nil
	}
	space, err := l.space("internet")
	if err != nil {
		return nil, err
	}
	if err := forward(space); err != nil {
		return nil, err
	}
	l.internet, err = l.newSegment(space, "public", numbered(public4, ofInternet, 1).String(), numbered(public6, ofInternet, 1).String())
	return l.internet, err
}

// forward makes a namespace a router. Nobody is sent a shorter way round it (RFC 792, Redirect).
func forward(space string) error {
	return tune(space, "net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1", "net/ipv4/conf/all/send_redirects=0", "net/ipv4/conf/default/send_redirects=0")
}

// internet are the addresses of the router between all.
func internet() []netip.Addr {
	return []netip.Addr{numbered(public4, ofInternet, 1).Addr(), numbered(public6, ofInternet, 1).Addr()}
}

// Public makes a host on the public segment, with an IPv4 and an IPv6 address.
func (l *Lab) Public(name string) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.segment()
	if err == nil {
		l.public++
		var h *Host
		h, err = s.newHost(name, internet(), numbered(public4, ofHosts, l.public), numbered(public6, ofHosts, l.public))
		if err == nil {
			return h, nil
		}
	}
	return nil, fmt.Errorf("netlab: making the public host %s: %w", name, err)
}

// Internet is where all packets between homes and public hosts come by. It is for watching them.
func (l *Lab) Internet() (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.segment()
	if err != nil {
		return nil, fmt.Errorf("netlab: %w", err)
	}
	return &Host{Name: "internet", space: s.space, addrs: internet()}, nil
}

// A LAN is a network of hosts that reach each other.
type LAN struct {
	segment *segment
	network netip.Prefix
	routers []netip.Addr
	hosts   int
}

// LAN makes a network that leads nowhere: its hosts have no default route.
func (l *Lab) LAN(name string) (*LAN, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lan, err := l.lan(name)
	if err != nil {
		return nil, fmt.Errorf("netlab: making the LAN %s: %w", name, err)
	}
	return lan, nil
}

func (l *Lab) lan(name string) (*LAN, error) {
	space, err := l.space(name)
	if err != nil {
		return nil, err
	}
	s, err := l.newSegment(space, "lan")
	return &LAN{segment: s, network: private}, err
}

// private is what every home numbers its hosts by.
var private = netip.MustParsePrefix("192.168.1.0/24")

// Host makes a host on the LAN.
func (lan *LAN) Host(name string) (*Host, error) {
	l := lan.segment.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	lan.hosts++
	bytes := lan.network.Addr().AsSlice()
	bytes[len(bytes)-1] = byte(1 + lan.hosts)
	addr, _ := netip.AddrFromSlice(bytes)
	h, err := lan.segment.newHost(name, lan.routers, netip.PrefixFrom(addr, lan.network.Bits()))
	if err != nil {
		return nil, fmt.Errorf("netlab: making the host %s: %w", name, err)
	}
	return h, nil
}

// NAT is how a home's router lets its hosts out. All kinds let in only what a host inside asked for: packets from the
// very address and port that it sent some to (RFC 4787 §5, address and port-dependent filtering).
type NAT int

const (
	// Cone translates a host's address and port to the same, whomever it talks to (RFC 4787 §4.1,
	// endpoint-independent mapping). Holes can be punched.
	Cone NAT = iota
	// Symmetric chooses another port for each address and port that a host talks to. Holes can be punched towards
	// somebody whose address is known only.
	Symmetric
	// IPv6Only translates nothing: the home has no IPv4 at all.
	IPv6Only
)

// A Home is a LAN behind a router.
type Home struct {
	*LAN
	nat    NAT
	number int
	moves  int
	public netip.Prefix // of the router
}

// Home makes a home with no hosts.
func (l *Lab) Home(name string, nat NAT) (*Home, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := l.home(name, nat)
	if err != nil {
		return nil, fmt.Errorf("netlab: making the home %s: %w", name, err)
	}
	return h, nil
}

func (l *Lab) home(name string, nat NAT) (*Home, error) {
	internet, err := l.segment()
	if err != nil {
		return nil, err
	}
	lan, err := l.lan(name)
	if err != nil {
		return nil, err
	}
	l.homes++
	h := &Home{LAN: lan, nat: nat, number: l.homes}
	if err := forward(lan.segment.space); err != nil {
		return nil, err
	}
	if nat == IPv6Only {
		h.network = netip.MustParsePrefix(fmt.Sprintf("2a10:25:0:%x::/64", h.number))
	}
	inside := h.network.Addr().Next()
	h.routers = []netip.Addr{inside}
	if err := ip(lan.segment.space, fmt.Sprintf("addr add %s dev lan", netip.PrefixFrom(inside, h.network.Bits()))); err != nil {
		return nil, err
	}
	h.public = h.outside(ofHomes)
	if err := internet.plug(lan.segment.space, wan, h.public); err != nil {
		return nil, err
	}
	if err := h.route(); err != nil {
		return nil, err
	}
	return h, nft(lan.segment.space, rules(nat))
}

// outside returns an address of the router on the public segment.
func (h *Home) outside(of int) netip.Prefix {
	if h.nat == IPv6Only {
		return numbered(public6, of, h.number)
	}
	return numbered(public4, of, h.number)
}

// route makes the home and the public segment find each other.
func (h *Home) route() error {
	via := internet()[0]
	if h.nat == IPv6Only {
		via = internet()[1]
		back := fmt.Sprintf("route replace %s via %s", h.network, h.public.Addr())
		if err := ip(h.segment.lab.internet.space, back); err != nil {
			return err
		}
	}
	return ip(h.segment.space, fmt.Sprintf("route replace default via %s", via))
}

// rules are those of a router. What is dropped on its way in leaves no trace in the router's table of connections, which
// would take the port that a host inside is about to punch a hole with.
func rules(nat NAT) string {
	translate := map[NAT]string{Cone: "masquerade", Symmetric: "masquerade fully-random", IPv6Only: "return"}[nat]
	return `
table inet home {
	chain input {
		type filter hook input priority 0; policy drop
		iifname != "wan" accept
		meta l4proto { icmp, ipv6-icmp } accept
		ct state established,related accept
	}
	chain restrict {
		type filter hook forward priority -10; policy accept
	}
	chain forward {
		type filter hook forward priority 0; policy drop
		iifname "lan" accept
		ct state established,related accept
	}
	chain translate {
		type nat hook postrouting priority srcnat
		oifname "wan" meta nfproto ipv4 ` + translate + `
	}
}
`
}

// wan is the interface of a router on the public segment.
const wan = "wan"

// Router is the home's router, seen from outside: what a capture there keeps is what the provider can see.
func (h *Home) Router() *Host {
	return &Host{Name: "router", space: h.segment.space, iface: wan, addrs: []netip.Addr{h.public.Addr()}}
}

// PublicAddr returns the address that the home's router has on the public segment.
func (h *Home) PublicAddr() netip.Addr { return h.public.Addr() }

// ChangePublicAddress gives the router another address on the public segment, as providers do at night. Whatever was
// translated to the old one is cut off without a word.
func (h *Home) ChangePublicAddress() error {
	l := h.segment.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	old := h.public
	h.public = h.outside(ofMoved + h.moves)
	h.moves++
	err := ip(h.segment.space, fmt.Sprintf("addr del %s dev %s", old, wan), fmt.Sprintf("addr add %s dev %s", h.public, wan))
	if err == nil {
		err = h.route()
	}
	if err == nil {
		err = h.Router().forget()
	}
	if err != nil {
		return fmt.Errorf("netlab: giving a home another address: %w", err)
	}
	return nil
}

// DropUDP makes the router drop all UDP, silently, as hotels do.
func (h *Home) DropUDP() error { return h.restrict("meta l4proto udp drop") }

// OnlyTCP makes the router drop all that does not go to a port of TCP, or come from there.
func (h *Home) OnlyTCP(port int) error {
	return h.restrict(fmt.Sprintf("tcp dport %d accept", port), fmt.Sprintf("tcp sport %d accept", port), "drop")
}

// Unrestrict undoes DropUDP and OnlyTCP.
func (h *Home) Unrestrict() error { return h.restrict() }

func (h *Home) restrict(rules ...string) error {
	script := "flush chain inet home restrict\n"
	for _, r := range rules {
		script += "add rule inet home restrict " + r + "\n"
	}
	if err := nft(h.segment.space, script); err != nil {
		return fmt.Errorf("netlab: restricting a home: %w", err)
	}
	return nil
}
