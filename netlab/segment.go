package netlab

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
)

// A segment is a switch: a bridge in some namespace.
type segment struct {
	lab    *Lab
	space  string
	bridge string
	ports  int
}

// newSegment makes the bridge of a segment. l.mu is held.
func (l *Lab) newSegment(space, bridge string, addresses ...string) (*segment, error) {
	lines := []string{"link set lo up", "link add " + bridge + " type bridge mcast_snooping 0", "link set " + bridge + " up"}
	for _, a := range addresses {
		lines = append(lines, "addr add "+a+" dev "+bridge)
	}
	if err := ip(space, lines...); err != nil {
		return nil, err
	}
	return &segment{lab: l, space: space, bridge: bridge}, ask(space, bridge)
}

// plug connects an interface of another namespace, which it makes, with the segment. l.mu is held.
func (s *segment) plug(space, name string, addresses ...netip.Prefix) error {
	s.ports++
	port := fmt.Sprintf("port%d", s.ports)
	if _, err := run("", "ip", "link", "add", name, "netns", space, "type", "veth", "peer", "name", port, "netns", s.space); err != nil {
		return err
	}
	if err := ask(space, name); err != nil {
		return err
	}
	if err := ip(s.space, "link set "+port+" master "+s.bridge, "link set "+port+" up"); err != nil {
		return err
	}
	lines := []string{"link set lo up", "link set " + name + " up"}
	for _, a := range addresses {
		lines = append(lines, "addr add "+a.String()+" dev "+name)
	}
	return ip(space, lines...)
}

// A Host is a machine on a network.
type Host struct {
	Name  string
	space string
	iface string // what is watched by a capture; "" is all interfaces
	addrs []netip.Addr
}

// eth0 is the interface of a host that is no router.
const eth0 = "eth0"

// newHost makes a host on a segment, with a default route for each router given. l.mu is held.
func (s *segment) newHost(name string, routers []netip.Addr, addresses ...netip.Prefix) (*Host, error) {
	space, err := s.lab.space(name)
	if err != nil {
		return nil, err
	}
	h := &Host{Name: name, space: space, iface: eth0}
	if err := s.plug(space, eth0, addresses...); err != nil {
		return nil, err
	}
	for _, a := range addresses {
		h.addrs = append(h.addrs, a.Addr())
	}
	var lines []string
	for _, r := range routers {
		lines = append(lines, fmt.Sprintf("route add default via %s", r))
	}
	return h, ip(space, lines...)
}

// Addr returns the host's first address.
func (h *Host) Addr() netip.Addr { return h.addrs[0] }

// Addrs returns all addresses of the host but those of its loopback interface and those that are link-local.
func (h *Host) Addrs() []netip.Addr { return h.addrs }

// Command is a program to run on the host. The process started is the program's own.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.space, name}, args...)...)
}

// Unplug takes the host off its network, and Plug puts it back.
func (h *Host) Unplug() error { return ip(h.space, "link set "+eth0+" down") }

// Plug puts the host back on its network. Its routes are gone: it reaches what is on its LAN.
func (h *Host) Plug() error { return ip(h.space, "link set "+eth0+" up") }
