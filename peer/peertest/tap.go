// Package peertest puts something between peers, for tests.
package peertest

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A Tap forwards UDP packets between callers and one callee, unless it is cut.
type Tap struct {
	Cut     atomic.Bool                         // nothing goes through
	Packets atomic.Int64                        // from callers, forwarded or not
	Keep    atomic.Pointer[func(packet []byte)] // is given what callers send
	front   *net.UDPConn
	back    *net.UDPAddr
	running sync.WaitGroup

	mu    sync.Mutex
	backs map[netip.AddrPort]*net.UDPConn
}

// NewTap forwards, until the test ends, to the first of a callee's addresses that is UDP's over IPv4.
func NewTap(t testing.TB, addresses []string) *Tap {
	t.Helper()
	var hostport string
	for _, a := range addresses {
		if f := strings.Split(a, "/"); len(f) > 4 && f[1] == "ip4" && f[3] == "udp" {
			hostport = net.JoinHostPort(f[2], f[4])
			break
		}
	}
	back, err := net.ResolveUDPAddr("udp4", hostport)
	if err != nil {
		t.Fatalf("of %q: %v", addresses, err)
	}
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := &Tap{front: front, back: back, backs: make(map[netip.AddrPort]*net.UDPConn)}
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

// Address is where to call: IP:PORT.
func (p *Tap) Address() string { return p.front.LocalAddr().String() }

// forth forwards what callers send.
func (p *Tap) forth() {
	b := make([]byte, 2048)
	for {
		n, from, err := p.front.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		p.Packets.Add(1)
		if keep := p.Keep.Load(); keep != nil {
			(*keep)(b[:n])
		}
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
		if !p.Cut.Load() {
			c.Write(b[:n])
		}
	}
}

// answers forwards what the callee sends to a caller.
func (p *Tap) answers(c *net.UDPConn, to netip.AddrPort) {
	b := make([]byte, 2048)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if !p.Cut.Load() {
			p.front.WriteToUDPAddrPort(b[:n], to)
		}
	}
}
