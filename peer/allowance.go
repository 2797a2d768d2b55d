package peer

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/network"
	libp2pyamux "github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-yamux/v5"
)

// yamuxConfig is how streams share a connection of bytes. yamux has windows of 256 KiB for each stream and none for the
// connection, so what an unknown caller may leave unread is bounded by its [allowance].
func yamuxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.MaxIncomingStreams = maxIncoming
	c.MaxStreamWindowSize = maxWindow
	c.ReadBufSize = 0 // TLS below has buffers of its own
	c.LogOutput = io.Discard
	return c
}

// A muxer runs yamux over TCP and circuits.
type muxer struct{ config *yamux.Config }

// NewConn starts yamux on conn. Whoever called is unknown; whoever was called is known by its key.
func (m muxer) NewConn(conn net.Conn, called bool, scope network.PeerScope) (network.MuxedConn, error) {
	a := &allowance{Conn: conn, scope: scope, lifted: make(chan struct{}), closed: make(chan struct{})}
	start := yamux.Server
	if !called {
		a.lift()
		start = yamux.Client
	}
	session, err := start(a, m.config, a.stream)
	if err != nil {
		return nil, err
	}
	return muxed{libp2pyamux.NewMuxedConn(session), a}, nil
}

// A muxed is a connection with its allowance.
type muxed struct {
	network.MuxedConn
	allowance *allowance
}

// As finds the allowance, and what yamux has.
func (m muxed) As(target any) bool {
	if a, ok := target.(**allowance); ok {
		*a = m.allowance
		return true
	}
	return m.MuxedConn.As(target)
}

// An allowance is what runs below yamux, and lets through what a caller may send before it is known: so many streams, so
// many bytes. Further bytes are left where they are until the caller is known or the connection closed.
type allowance struct {
	net.Conn
	scope network.PeerScope // nil: nobody counts

	known            atomic.Bool
	bytes            atomic.Int64 // read while not known
	streams          atomic.Int32 // open, of both directions
	lifting, closing sync.Once
	lifted, closed   chan struct{}
}

// lift lets everything through.
func (a *allowance) lift() {
	a.lifting.Do(func() {
		a.known.Store(true)
		close(a.lifted)
	})
}

// Read reads what is allowed, and waits where nothing is.
func (a *allowance) Read(p []byte) (int, error) {
	if a.known.Load() {
		return a.Conn.Read(p)
	}
	left := strangeBytes - a.bytes.Load()
	if left <= 0 && len(p) > 0 {
		select {
		case <-a.lifted:
			return a.Conn.Read(p)
		case <-a.closed:
			return 0, net.ErrClosed
		}
	}
	n, err := a.Conn.Read(p[:min(left, int64(len(p)))])
	a.bytes.Add(int64(n))
	return n, err
}

// Close closes the connection, and ends a Read that waits.
func (a *allowance) Close() error {
	a.closing.Do(func() { close(a.closed) })
	return a.Conn.Close()
}

var errManyStreams = errors.New("more streams at a time than an unknown caller may open")

// stream opens the account of a stream. An error closes the connection.
func (a *allowance) stream() (yamux.MemoryManager, error) {
	if n := a.streams.Add(1); n > strangeStreams && !a.known.Load() {
		a.streams.Add(-1)
		return nil, errManyStreams
	}
	return &window{allowance: a}, nil
}

// A window is the memory of one stream. The first that yamux asks for, 256 KiB that few streams ever fill, is bounded by
// the number of streams; what a window grows by is counted against what its peer, and all peers together, may have.
type window struct {
	allowance *allowance

	mu    sync.Mutex
	first bool                      // the first was asked for
	span  network.ResourceScopeSpan // nil until it grew
	done  bool
}

// ReserveMemory asks for more.
func (w *window) ReserveMemory(size int, priority uint8) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.done:
		return net.ErrClosed
	case !w.first, w.allowance.scope == nil:
		w.first = true
		return nil
	case w.span == nil:
		span, err := w.allowance.scope.BeginSpan()
		if err != nil {
			return err
		}
		w.span = span
	}
	return w.span.ReserveMemory(size, priority)
}

// ReleaseMemory gives some back, which yamux does not: it gives back all at once.
func (w *window) ReleaseMemory(size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.span != nil && !w.done {
		w.span.ReleaseMemory(size)
	}
}

// Done gives everything back. yamux may say so twice.
func (w *window) Done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return
	}
	w.done = true
	w.allowance.streams.Add(-1)
	if w.span != nil {
		w.span.Done()
	}
}
