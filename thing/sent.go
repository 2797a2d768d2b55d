package thing

import (
	"net"
	"sync/atomic"
)

// Sent counts what a stream or a connection carries, for whoever has to tell of it. It may be read at any time.
type Sent struct {
	events atomic.Uint64
	bytes  atomic.Uint64
}

// Events returns how many events, or frames, were sent so far.
func (s *Sent) Events() uint64 { return s.events.Load() }

// Bytes returns how many bytes those had; of a connection to a service what was carried both ways.
func (s *Sent) Bytes() uint64 { return s.bytes.Load() }

// event counts one; on nil nobody counts.
func (s *Sent) event(size int) {
	if s != nil {
		s.events.Add(1)
		s.bytes.Add(uint64(size))
	}
}

// counting makes a connection count what it carries.
func (s *Sent) counting(c net.Conn) net.Conn {
	if s == nil {
		return c
	}
	counted := countedConn{c, s}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return &countedHalf{counted, half.CloseWrite}
	}
	return &counted
}

type countedConn struct {
	net.Conn
	sent *Sent
}

// Read counts what was read.
func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.sent.bytes.Add(uint64(n))
	return n, err
}

// Write counts what was written.
func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.bytes.Add(uint64(n))
	return n, err
}

// SetLinger passes on to TCP that it is to break off.
func (c *countedConn) SetLinger(seconds int) error {
	if tcp, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// countedHalf is one that can be closed in one direction.
type countedHalf struct {
	countedConn
	closeWrite func() error
}

// CloseWrite says that all was written.
func (c *countedHalf) CloseWrite() error { return c.closeWrite() }
