package demo

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// A tap stands between callers and one callee, and forwards UDP datagrams in both directions: whoever calls the tap
// reaches the callee. It keeps a copy of each datagram, as anybody on the network between them could.
//
//	caller ──▶ front │ tap │ one socket a caller ──▶ callee
type tap struct {
	front   *net.UDPConn
	to      netip.AddrPort
	running sync.WaitGroup

	mu     sync.Mutex
	backs  map[netip.AddrPort]*net.UDPConn // by caller
	seen   []datagram
	size   int
	closed bool
}

// A datagram is one that the tap forwarded.
type datagram struct {
	fromCaller bool
	data       []byte
	to         netip.AddrPort // where it went, if it is from the caller
}

// maxSeen bounds what a tap keeps, in bytes. What comes after is forwarded, and counted as lost.
const maxSeen = 64 << 20

// maxDatagram is the longest that UDP over IPv4 carries.
const maxDatagram = 65507

// newTap listens on a port of this machine's loopback interface and forwards to a callee there.
func newTap(to netip.AddrPort) (*tap, error) {
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("tap: %w", err)
	}
	t := &tap{front: front, to: to, backs: map[netip.AddrPort]*net.UDPConn{}}
	t.running.Go(t.forth)
	return t, nil
}

// address is where to call the tap.
func (t *tap) address() netip.AddrPort {
	return t.front.LocalAddr().(*net.UDPAddr).AddrPort()
}

// close ends the forwarding. What was seen stays.
func (t *tap) close() error {
	t.mu.Lock()
	t.closed = true
	errs := []error{t.front.Close()}
	for _, c := range t.backs {
		errs = append(errs, c.Close())
	}
	t.mu.Unlock()
	t.running.Wait()
	return errors.Join(errs...)
}

// forth forwards what callers send.
func (t *tap) forth() {
	b := make([]byte, maxDatagram)
	for {
		n, from, err := t.front.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a datagram that could not be delivered, told later by ICMP
		}
		if back := t.back(from); back != nil {
			t.keep(true, b[:n])
			back.Write(b[:n]) // as the network does: delivered or not
		}
	}
}

// back returns the socket that stands for a caller; nil if there can be none.
func (t *tap) back(caller netip.AddrPort) *net.UDPConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.backs[caller]; c != nil || t.closed {
		return c
	}
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(t.to))
	if err != nil {
		return nil
	}
	t.backs[caller] = c
	t.running.Go(func() { t.answers(c, caller) })
	return c
}

// answers forwards what the callee sends to a caller.
func (t *tap) answers(c *net.UDPConn, caller netip.AddrPort) {
	b := make([]byte, maxDatagram)
	for {
		n, err := c.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		t.keep(false, b[:n])
		t.front.WriteToUDPAddrPort(b[:n], caller)
	}
}

func (t *tap) keep(fromCaller bool, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size += len(data); t.size <= maxSeen {
		t.seen = append(t.seen, datagram{fromCaller, bytes.Clone(data), t.to})
	}
}

// recording returns the datagrams seen so far, in order. It fails where there were more than a tap keeps.
func (t *tap) recording() ([]datagram, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size > maxSeen {
		return nil, fmt.Errorf("tap: more than %d bytes went through", maxSeen)
	}
	return append([]datagram(nil), t.seen...), nil
}

// flows joins the recording into one text for each direction, so that what is spread over datagrams is found too.
func flows(seen []datagram) (toCallee, toCaller []byte) {
	for _, d := range seen {
		if d.fromCaller {
			toCallee = append(toCallee, d.data...)
		} else {
			toCaller = append(toCaller, d.data...)
		}
	}
	return toCallee, toCaller
}

// window is how many bytes in a row two texts must share for one to hold a part of the other. That random bytes share
// as many by chance is out of the question.
const window = 16

// contains reports whether a text holds any window of a secret that is longer than that, or the whole of a shorter one.
func contains(text, secret []byte) bool {
	if len(secret) <= window {
		return len(secret) > 0 && bytes.Contains(text, secret)
	}
	parts := make(map[[window]byte]struct{}, len(secret))
	for i := 0; i+window <= len(secret); i++ {
		parts[[window]byte(secret[i:])] = struct{}{}
	}
	for i := 0; i+window <= len(text); i++ {
		if _, ok := parts[[window]byte(text[i:])]; ok {
			return true
		}
	}
	return false
}
