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
	told  atomic.Uint64 // how many of them when the journal was told last
	once  sync.Once
	began atomic.Bool
	ended atomic.Pointer[time.Time]
}

// Bytes returns how much was carried so far.
func (l *lasting) Bytes() uint64 { return l.bytes.Load() }

// lasts reports whether there may be receipts to be had: the stream lasts, or has ended just now.
func (l *lasting) lasts() bool {
	ended := l.ended.Load()
	return l.began.Load() && (ended == nil || time.Since(*ended) < 2*receiptEvery)
}

// carries counts what a stream carries. Each time that it has doubled, from where it is more than may be on its way, the
// journal is told: a node that is killed knows how much it was by half.
func (o *outgoing) carries(n int) {
	l := &o.received
	now, told := l.bytes.Add(uint64(n)), l.told.Load()
	if now >= max(2*told, onItsWay) && l.told.CompareAndSwap(told, now) {
		o.tell(journal.Served, "", nil)
	}
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
	c.of.carries(n)
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
	c.of.carries(n)
	return n, err
}

// Write counts what it writes.
func (c *carried) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.of.carries(n)
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
