package kindred

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kindred-iot/kindred/journal"
)

// lasting is the state of an outgoing stream.
type lasting struct {
	bytes atomic.Uint64
	once  sync.Once
	began time.Time
	ended atomic.Pointer[time.Time]
}

// Bytes returns how much was carried so far.
func (l *lasting) Bytes() uint64 { return l.bytes.Load() }

// lasts reports whether there may be receipts to be had: the stream lasts, or has ended just now.
func (o *outgoing) lasts() bool {
	if o.received.began.IsZero() {
		return false
	}
	ended := o.received.ended.Load()
	return ended == nil || time.Since(*ended) < 2*receiptEvery
}

// over notes that a stream has ended.
func (o *outgoing) over() {
	o.received.once.Do(func() {
		now := time.Now()
		o.received.ended.Store(&now)
		o.tell(journal.Ended, "", nil)
	})
}

// A whole body was read before it is passed on.
type whole struct {
	*bytes.Reader
	io.Closer
}

// A counting body is a stream's.
type counting struct {
	io.ReadCloser
	of *outgoing
}

// Read counts what it reads.
func (c *counting) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.of.received.bytes.Add(uint64(n))
	return n, err
}

// Close ends the stream.
func (c *counting) Close() error {
	defer c.of.over()
	return c.ReadCloser.Close()
}

// A carried connection is one that carries what a service and its user say.
type carried struct {
	net.Conn
	of *outgoing
}

// Read counts what it reads.
func (c *carried) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.of.received.bytes.Add(uint64(n))
	return n, err
}

// Write counts what it writes.
func (c *carried) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.of.received.bytes.Add(uint64(n))
	return n, err
}

// Close ends the connection.
func (c *carried) Close() error {
	defer c.of.over()
	return c.Conn.Close()
}

// CloseWrite says that all was written.
func (c *carried) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Conn.Close()
}

// Reset breaks the connection off.
func (c *carried) Reset() error {
	if s, ok := c.Conn.(interface{ Reset() error }); ok {
		return s.Reset()
	}
	return c.Conn.Close()
}
