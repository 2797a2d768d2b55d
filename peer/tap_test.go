package peer

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// A tap forwards UDP packets between callers and one callee, unless it is cut.
type tap struct {
	cut     atomic.Bool
	packets atomic.Int64
	front   *net.UDPConn
	back    *net.UDPAddr
	running sync.WaitGroup

	mu    sync.Mutex
	backs map[netip.AddrPort]*net.UDPConn
}

// newTap forwards to the address of a callee.
func newTap(t *testing.T, to string) *tap {
	t.Helper()
	_, hostport, err := manet.DialArgs(ma.StringCast(to))
	if err != nil {
		t.Fatal(err)
	}
	back, err := net.ResolveUDPAddr("udp4", hostport)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{front: front, back: back, backs: make(map[netip.AddrPort]*net.UDPConn)}
	p.running.Go(p.forth)
	t.Cleanup(func() {
		front.Close()
		p.mu.Lock()
		for _, c := range p.backs {
			c.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

// address is where to call.
func (p *tap) address() string { return p.front.LocalAddr().String() }

// forth forwards what callers send.
func (p *tap) forth() {
	b := make([]byte, 2048)
	for {
		n, from, err := p.front.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		p.packets.Add(1)
		p.mu.Lock()
		c := p.backs[from]
		if c == nil {
			if c, err = net.DialUDP("udp4", nil, p.back); err != nil {
				p.mu.Unlock()
				return
			}
			p.backs[from] = c
			p.running.Go(func() { p.answers(c, from) })
		}
		p.mu.Unlock()
		if !p.cut.Load() {
			c.Write(b[:n])
		}
	}
}

// answers forwards what the callee sends to a caller.
func (p *tap) answers(c *net.UDPConn, to netip.AddrPort) {
	b := make([]byte, 2048)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if !p.cut.Load() {
			p.front.WriteToUDPAddrPort(b[:n], to)
		}
	}
}
