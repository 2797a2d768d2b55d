package peer

import (
	"bufio"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

// A Target is whom to call, and how.
type Target struct {
	// Key is the callee's: an ed25519.PublicKey or *ecdsa.PublicKey. Nobody
	// else is talked to.
	Key crypto.PublicKey

	// Addresses are the only ones tried, LAN first: multiaddrs or IP:PORT. A
	// connection with the callee that exists already, whoever made it and
	// wherever it leads, is used instead; so one that called can be called back
	// without any address.
	Addresses []string

	// Hello returns the hello to show, at most MaxHello bytes; nil shows none.
	// It is called for every request: a hello that changed is shown from the
	// next one on. A nil func shows none.
	Hello func() []byte

	// Check verifies the hello that the callee shows on each stream, nil if it
	// shows none, before any byte of a response is handed up. An error ends the
	// call with it. The same bytes come again with each new stream. A nil func
	// accepts everything: the key alone is relied upon.
	Check func(key crypto.PublicKey, hello []byte) error

	// Hold keeps the request back until Check has accepted the callee's hello,
	// at the cost of a round trip: for callees whose record is not fresh.
	Hold bool
}

// connect returns the link to the holder of id, dialing if there is none.
func (h *Host) connect(ctx context.Context, id libp2ppeer.ID, addrs []string) (*link, error) {
	if h.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if id == h.id {
		return nil, errors.New("that is this host's own key")
	}
	if len(addrs) == 0 && h.swarm.Connectedness(id) != network.Connected {
		return nil, fmt.Errorf("%w: no address is known", ErrUnreachable)
	}
	if err := h.addresses(id, addrs); err != nil {
		return nil, err
	}
	l := h.best(id)
	if l == nil {
		h.swarm.Backoff().Clear(id)
		conn, err := h.swarm.DialPeer(network.WithDialPeerTimeout(ctx, h.timing.dial), id)
		if err != nil {
			return nil, h.dialError(ctx, err, addrs)
		}
		if l = h.link(conn); l == nil {
			return nil, fmt.Errorf("%w: connection closed", ErrUnreachable)
		}
	}
	h.seek(l, addrs)
	return l, nil
}

// dialError says in one line why no connection came about.
func (h *Host) dialError(ctx context.Context, err error, addrs []string) error {
	if h.ctx.Err() != nil {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var all *swarm.DialError
	if !errors.As(err, &all) {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w: no answer at %s within %v", ErrUnreachable, strings.Join(addrs, ", "), h.timing.dial)
		}
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	var each []string
	for _, e := range all.DialErrors {
		var other sec.ErrPeerIDMismatch
		if errors.As(e.Cause, &other) {
			return fmt.Errorf("%w: %s is at %s", ErrWrongKey, other.Actual, e.Address)
		}
		if errors.Is(e.Cause, context.DeadlineExceeded) {
			e.Cause = fmt.Errorf("no answer within %v", h.timing.dial)
		}
		each = append(each, fmt.Sprintf("%s: %v", e.Address, e.Cause))
	}
	if len(each) == 0 {
		return fmt.Errorf("%w: %w", ErrUnreachable, all.Cause)
	}
	return fmt.Errorf("%w: %s", ErrUnreachable, strings.Join(each, "; "))
}

// A call is the caller's end of a stream: a net.Conn for HTTP requests that
// sends the opening frames with the first bytes written, and reads the callee's
// before the first bytes read.
type call struct {
	network.Stream
	link   *link
	target Target
	hello  frame // what target.Hello returned
	later  bool  // the connection had served before
	alone  bool  // the stream is a lane

	writing sync.Mutex
	began   bool          // the opening was written; guarded by writing
	started chan struct{} // closed when began
	ended   chan struct{} // closed by Close
	close   sync.Once
	pool    *pool // that counts it; nil: none

	held     frame // the callee's hello, as told in the opening; guarded by started
	greet    sync.Once
	greeted  error // of greet
	in       *bufio.Reader
	mid      atomic.Bool // bytes were written since the last were read: a request is under way
	answered atomic.Bool // the callee's frames were read
	switched atomic.Bool // to a protocol that is not HTTP
	showed   atomic.Bool // the callee showed a hello, and it was accepted

	// Of HTTP; whoever makes the request owns them.
	requests int       // so far
	head     []byte    // room to write in
	left     int64     // how much may be read before a header has to be over
	broke    error     // what a read ended with, if one did
	idle     time.Time // since when it is kept
	epoch    int       // of its pool
}

// open opens a stream to the target, for a pool or, if that is nil, by itself.
func (h *Host) open(ctx context.Context, t Target, p *pool) (*call, error) {
	id, err := peerID(t.Key)
	if err != nil {
		return nil, &CallError{Peer: "?", Doing: "dialing", Err: err}
	}
	var hello []byte
	if t.Hello != nil {
		hello = t.Hello()
	}
	if len(hello) > MaxHello {
		return nil, callError(id, "dialing", fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrHelloTooLong, len(hello), MaxHello))
	}
	if !h.begin() {
		return nil, callError(id, "dialing", ErrClosed)
	}
	c := h.overLane(ctx, id, t, fullFrame(hello))
	if c == nil {
		l, s, err := h.stream(ctx, id, t.Addresses)
		if err != nil {
			h.running.Done()
			return nil, callError(id, "dialing", err)
		}
		c = newCall(l, s, t, fullFrame(hello))
	}
	h.mu.Lock()
	h.calls[c] = true
	h.mu.Unlock()
	if h.ctx.Err() != nil { // Close may have missed it
		c.Close()
		return nil, callError(id, "dialing", ErrClosed)
	}
	if t.Hold {
		if err := c.hold(ctx); err != nil {
			c.bury(err)
			c.Close()
			return nil, callError(id, "greeting", err)
		}
	}
	c.pool = p
	return c, nil
}

func newCall(l *link, s network.Stream, t Target, hello frame) *call {
	c := &call{
		Stream: s, link: l, target: t, hello: hello, later: l.served(),
		started: make(chan struct{}), ended: make(chan struct{}), left: math.MaxInt64,
	}
	_, c.alone = s.(*lane)
	c.in = bufio.NewReader(incoming{c})
	return c
}

// stream opens a stream to the holder of id. A connection that turns out to be
// dead is replaced once.
func (h *Host) stream(ctx context.Context, id libp2ppeer.ID, addrs []string) (*link, network.Stream, error) {
	ctx, cancel := context.WithTimeout(network.WithAllowLimitedConn(ctx, Protocol), h.timing.dial+h.timing.hello)
	defer cancel()
	for again := false; ; again = true {
		l, err := h.connect(ctx, id, addrs)
		if err != nil {
			return nil, nil, err
		}
		var s network.Stream
		if err = l.opens(ctx); err == nil {
			s, err = l.conn.NewStream(ctx)
		}
		if err == nil {
			if err = s.SetProtocol(Protocol); err == nil {
				return l, s, nil
			}
			s.Reset()
		}
		if again || ctx.Err() != nil || errors.Is(err, network.ErrResourceLimitExceeded) {
			return nil, nil, fmt.Errorf("%w: opening a stream: %w", ErrUnreachable, err)
		}
		l.conn.Close() // dead, though it may not know yet
	}
}

// hold sends the opening and waits for the callee's hello.
func (c *call) hold(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.Stream.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(nil); err != nil {
		return err
	}
	err := c.greeting()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Write writes p; the first time, together with the opening.
func (c *call) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	var opening []byte
	if !c.began {
		var shown frame
		shown, c.held = c.link.frames(c.hello)
		held := frame{}
		if c.held.kind == frameFull {
			held = c.held.short()
		}
		if c.alone { // TLS has named the protocol, and there is no code for a digest that is not known
			shown = c.hello
		} else {
			opening = appendToken(appendToken(nil, multistream), Protocol)
		}
		opening = held.append(shown.append(opening))
		defer close(c.started)
		c.began = true
		p = append(opening, p...)
	}
	n, err := c.link.write(c.Stream, p)
	n = max(0, n-len(opening))
	if err != nil && byRemote(err) && c.mid.Load() && !c.switched.Load() {
		// The callee reads no further. Whether it answered, Read will tell.
		return len(p) - len(opening), nil
	}
	if err != nil {
		return n, callError(c.link.conn.RemotePeer(), "writing to", c.lost(err))
	}
	if n > 0 {
		c.mid.Store(true)
	}
	return n, nil
}

// byRemote reports whether the other end ended a stream.
func byRemote(err error) bool {
	var se *network.StreamError
	return errors.As(err, &se) && se.Remote
}

// Read reads what follows the callee's greeting.
func (c *call) Read(p []byte) (int, error) {
	if err := c.greeting(); err != nil {
		return 0, err
	}
	n, err := c.in.Read(p)
	if err != nil && err != io.EOF && !late(err) {
		err = callError(c.link.conn.RemotePeer(), "reading from", c.lost(err))
	}
	return n, err
}

// An incoming is what comes on a call's stream.
type incoming struct{ *call }

// Read reads from the stream, and not more than a header that has not ended may have.
func (c incoming) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errLongHeader
	}
	n, err := c.Stream.Read(p[:min(int64(len(p)), c.left)])
	if err != nil {
		c.broke = err
	}
	if n > 0 {
		c.left = headLeft(c.left, p[:n])
		c.mid.Store(false)
		c.link.hears()
	}
	return n, err
}

// greeting reads what comes before HTTP, once.
func (c *call) greeting() error {
	c.greet.Do(func() { c.greeted = callError(c.link.conn.RemotePeer(), "greeting", c.readGreeting()) })
	return c.greeted
}

// readGreeting reads and checks the callee's frames once the opening is out.
func (c *call) readGreeting() error {
	select {
	case <-c.started:
	case <-c.ended:
		return net.ErrClosed
	}
	c.Stream.SetReadDeadline(time.Now().Add(c.link.host.timing.hello + c.link.host.timing.admit))
	theirs, err := c.readFrames()
	if err != nil {
		return err
	}
	c.Stream.SetReadDeadline(time.Time{})
	c.answered.Store(true)
	c.link.serves()
	if c.target.Check != nil {
		if err := c.target.Check(c.link.key, theirs.hello); err != nil {
			if theirs.kind == frameNone {
				err = fmt.Errorf("%w: %w", ErrRefused, err)
			}
			return err
		}
	}
	if theirs.kind == frameFull {
		c.showed.Store(true)
		c.link.accepted(c.hello.digest, theirs)
	}
	return nil
}

// readFrames reads what comes before HTTP and returns the callee's hello in
// full, or none.
func (c *call) readFrames() (frame, error) {
	var err error
	if !c.alone {
		err = readSelected(c.in)
	}
	var theirs frame
	if err == nil {
		theirs, err = readFrame(c.in)
	}
	var bad malformedError
	switch {
	case errors.As(err, &bad):
		return frame{}, err
	case late(err):
		return frame{}, fmt.Errorf("%w: no hello in time", ErrUnreachable)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return frame{}, fmt.Errorf("%w: the peer closed the stream before its hello", ErrUnreachable)
	case err != nil:
		if err = c.lost(err); errors.Is(err, errForgotten) {
			c.link.startOver()
		}
		return frame{}, err
	case theirs.kind == frameDigest && (c.held.kind != frameFull || theirs.digest != c.held.digest):
		return frame{}, malformed("the peer named a hello that it did not show: %x", theirs.digest)
	case theirs.kind == frameDigest:
		return c.held, nil
	}
	return theirs, nil
}

// lost says why the stream died, with what the host itself did about it.
func (c *call) lost(err error) error {
	if c.link.host.ctx.Err() != nil {
		return ErrClosed
	}
	stale := c.later && !c.answered.Load() && !byRemote(err)
	if why := context.Cause(c.link.ctx); errors.Is(why, ErrUnreachable) {
		err = why
	} else {
		err = lost(err)
	}
	if stale {
		return staleError{err}
	}
	return err
}

// gone reports whether the connection has ended. An error of its stream may tell before it does: all that end one of QUIC
// are of the kind of [net.ErrClosed].
func (c *call) gone(err error) bool {
	return c.link.conn.IsClosed() || c.link.ctx.Err() != nil || errors.Is(err, net.ErrClosed)
}

// bury closes the connection on which a new stream died unanswered, by no doing of the callee: it is dead, though it may
// not know yet.
func (c *call) bury(err error) {
	var stale staleError
	if errors.As(err, &stale) {
		c.link.conn.Close()
	}
}

// Close ends the call. The callee sees an end of input and that nobody reads.
func (c *call) Close() error {
	err := net.ErrClosed
	c.close.Do(func() {
		close(c.ended)
		err = closeStream(c.link.wire, c.Stream, &c.writing)
		h := c.link.host
		h.mu.Lock()
		delete(h.calls, c)
		h.mu.Unlock()
		if c.pool != nil {
			c.pool.leave(c)
		}
		h.running.Done()
	})
	return err
}

// remote describes the callee.
func (c *call) remote() Remote {
	return Remote{Key: c.link.key, Showed: c.showed.Load(), Path: c.link.path()}
}

// LocalAddr returns this end's multiaddr.
func (c *call) LocalAddr() net.Addr { return address(c.link.conn.LocalMultiaddr().String()) }

// RemoteAddr returns the other end's multiaddr.
func (c *call) RemoteAddr() net.Addr { return address(c.link.conn.RemoteMultiaddr().String()) }

// An address is a multiaddr as a net.Addr.
type address string

func (address) Network() string  { return "quic" }
func (a address) String() string { return string(a) }
