package kindred

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// A limited listener closes at once what comes from an address that has many connections open, or when there are many
// in all. Whoever takes too long to read what it is sent loses its connection.
type limited struct {
	net.Listener

	mu  sync.Mutex
	all int
	of  map[netip.Addr]int
}

func newLimited(l net.Listener) *limited { return &limited{Listener: l, of: map[netip.Addr]int{}} }

// Accept returns the next connection that there is room for.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := neighbourhood(c.RemoteAddr())
		if l.enter(from) {
			return &counted{Conn: c, leave: sync.OnceFunc(func() { l.leave(from) })}, nil
		}
		_ = c.Close() // it was never used
	}
}

func (l *limited) enter(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxTLSConns || l.of[from] >= maxTLSConnsOf {
		return false
	}
	l.all++
	l.of[from]++
	return true
}

func (l *limited) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.of[from]--; l.of[from] == 0 {
		delete(l.of, from)
	}
}

// neighbourhood is what counts as one address: of IPv6, where a machine has as many as it likes, the network.
func neighbourhood(a net.Addr) netip.Addr {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

// counted is a connection of a limited listener.
type counted struct {
	net.Conn
	leave func()

	mu    sync.Mutex
	until time.Time // when writes are to end, by whoever uses the connection; zero: never
}

// Close closes the connection.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// Write writes p, or fails if that takes long.
func (c *counted) Write(p []byte) (int, error) {
	if err := c.arm(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// arm sets the deadline of the next write: the user's own, or sooner.
func (c *counted) arm() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := time.Now().Add(tlsWritePause)
	if !c.until.IsZero() && c.until.Before(at) {
		at = c.until
	}
	return c.Conn.SetWriteDeadline(at)
}

// SetWriteDeadline sets when writes are to end, also one in progress.
func (c *counted) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets when reads and writes are to end.
func (c *counted) SetDeadline(t time.Time) error {
	if err := c.Conn.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
