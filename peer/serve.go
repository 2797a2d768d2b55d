package peer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// A served is the callee's end of a stream whose caller was examined: a
// net.Conn for the HTTP server.
type served struct {
	network.Stream
	link      *link
	in        *bufio.Reader
	alone     bool   // the stream is a lane
	leave     func() // counts it out, see enter
	since     time.Time
	admission Admission
	refused   error
	shown     frame  // what the caller showed
	hello     []byte // what was shown to the caller

	patience patience // from the opening on
	writing  sync.Mutex
	close    sync.Once
	cramped  atomic.Bool // its window may have become smaller for good
}

// accept takes a stream that a peer opened: it examines the caller, shows the
// host's hello, and hands the stream to the HTTP server.
func (h *Host) accept(s network.Stream) {
	l := h.link(s.Conn())
	if l == nil || !h.begin() {
		s.ResetWithError(codeBusy)
		return
	}
	c := newServed(s, l)
	if l.crowded() || !c.enter() {
		h.offences.count(Crowding)
		s.ResetWithError(codeBusy)
		h.running.Done()
		return
	}
	if l.kind() == Relayed {
		h.doubtDirect(s.Conn().RemotePeer())
	}
	h.take(c)
}

func newServed(s network.Stream, l *link) *served {
	c := &served{Stream: s, link: l, since: time.Now(), leave: func() {}}
	_, c.alone = s.(*lane)
	c.patience.set = s.SetReadDeadline
	c.in = bufio.NewReaderSize(arriving{c}, openingBuffer)
	return c
}

// enter counts a stream in that was opened by somebody who has shown nothing, at a relay, where that is enough to be known;
// false if there are too many of one address. leave counts it out.
func (c *served) enter() bool {
	r, from := c.link.host.carrier, c.link.from
	if r == nil || c.link.someone() {
		return true
	}
	if !r.streams.enter(from) {
		return false
	}
	c.leave = sync.OnceFunc(func() { r.streams.leave(from) })
	return true
}

// take examines a stream's caller, and hands it to who serves it.
func (h *Host) take(c *served) {
	s := c.Stream
	service, err := c.examine()
	if !errors.Is(err, errForgotten) {
		c.link.ill(err)
	}
	if err != nil {
		h.log.Debug("refusing a stream", "peer", s.Conn().RemotePeer(), "address", s.Conn().RemoteMultiaddr(), "error", err)
		s.ResetWithError(resetCode(err)) // counts as Close: what was written is of no use
		c.Close()
		return
	}
	if service != nil {
		defer h.running.Done()
		service(buffered{s, c.in, c.leave})
		return
	}
	if c.refused != nil {
		h.log.Debug("refusing a caller", "peer", s.Conn().RemotePeer(), "address", s.Conn().RemoteMultiaddr(), "error", c.refused)
	}
	go h.converse(c)
}

// A buffered is a stream of which more than its protocol's name was read.
type buffered struct {
	network.Stream
	in    *bufio.Reader
	leave func()
}

// Read reads what follows the protocol's name.
func (s buffered) Read(p []byte) (int, error) { return s.in.Read(p) }

// Close ends the stream.
func (s buffered) Close() error {
	s.leave()
	return s.Stream.Close()
}

// Reset cuts the stream.
func (s buffered) Reset() error {
	s.leave()
	return s.Stream.Reset()
}

// ResetWithError cuts the stream and says why.
func (s buffered) ResetWithError(code network.StreamErrorCode) error {
	s.leave()
	return s.Stream.ResetWithError(code)
}

// resetCode returns the code that tells a caller about err.
func resetCode(err error) network.StreamErrorCode {
	var bad malformedError
	switch {
	case errors.Is(err, errForgotten):
		return codeForgotten
	case errors.As(err, &bad):
		return codeMalformed
	}
	return codeBusy
}

// examine reads the opening of a stream and answers it, within the time for
// hellos and with at most maxExamined streams of a connection at once. If the
// stream is not for Protocol, it returns who takes it.
func (c *served) examine() (network.StreamHandler, error) {
	timeout := c.link.host.timing.hello
	if err := c.begins(timeout); err != nil {
		return nil, err
	}
	began := time.Now()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case c.link.examine <- struct{}{}:
		defer func() { <-c.link.examine }()
	case <-timer.C:
		return nil, fmt.Errorf("%d other streams are being examined", maxExamined)
	case <-c.link.ctx.Done():
		return nil, context.Cause(c.link.ctx)
	}
	c.Stream.SetDeadline(began.Add(timeout))
	var answer []byte
	var service network.StreamHandler
	var err error
	if !c.alone { // else TLS has named the protocol
		answer, service, err = c.negotiate()
	}
	if service != nil {
		return service, c.Stream.SetDeadline(time.Time{})
	}
	if err == nil {
		c.shown, err = readFrame(c.in)
	}
	var held frame
	if err == nil {
		held, err = readFrame(c.in)
	}
	if late(err) {
		return nil, fmt.Errorf("no complete hello within %v", timeout)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the opening: %w", err)
	}
	if held.kind == frameFull {
		return nil, malformed("a full hello where the digest of the one held was due")
	}
	c.admission, c.refused = c.link.admit(c.shown)
	c.shown.hello = nil // a stream that stays open needs it no more
	if errors.Is(c.refused, errForgotten) {
		return nil, c.refused
	}
	c.Stream.SetDeadline(time.Now().Add(timeout))
	if err := c.greet(answer, held); err != nil {
		return nil, err
	}
	return nil, c.Stream.SetDeadline(time.Time{})
}

// begins waits for a stream's first byte. net/http opens streams that it may use later, and yamux tells of them at once:
// those of a caller that is known by then may stay as long as any that is idle.
func (c *served) begins(timeout time.Duration) error {
	c.Stream.SetReadDeadline(c.since.Add(timeout))
	_, err := c.in.Peek(1)
	if late(err) && !c.link.strange() {
		c.Stream.SetReadDeadline(c.since.Add(calleeIdle))
		_, err = c.in.Peek(1)
	}
	if late(err) {
		return fmt.Errorf("no byte within %v", timeout)
	}
	if err != nil {
		return fmt.Errorf("waiting for the opening: %w", err)
	}
	return nil
}

// greet writes answer and the host's hello, as digest if the caller holds it.
func (c *served) greet(answer []byte, held frame) error {
	if c.refused == nil {
		c.hello = c.admission.hello()
	}
	if len(c.hello) > MaxHello {
		c.link.host.log.Error("the host's own hello is too long", "bytes", len(c.hello), "limit", MaxHello)
		return ErrHelloTooLong
	}
	f := fullFrame(c.hello)
	if f.kind == frameFull && held.kind == frameDigest && held.digest == f.digest {
		f = f.short()
	}
	_, err := c.Write(f.append(answer))
	return err
}

// hello returns what to show to the caller now; nil for nothing.
func (a Admission) hello() []byte {
	if a.Hello == nil {
		return nil
	}
	return a.Hello()
}

// negotiate agrees on Protocol by multistream-select. It returns what remains
// to be written: a caller whose opening is here already gets the answer
// together with the hello; one that waits for the answer gets it at once. For
// another protocol that the host serves it returns who takes the stream.
func (c *served) negotiate() ([]byte, network.StreamHandler, error) {
	token, err := readToken(c.in)
	if err != nil {
		return nil, nil, err
	}
	if token != multistream {
		return nil, nil, malformed("the caller began with %q, not %q", token, multistream)
	}
	answer := appendToken(nil, multistream)
	for range maxAsked {
		if token, err = readToken(c.in); err != nil {
			return nil, nil, err
		}
		service := c.link.host.service(protocol.ID(token), c.link)
		if token == Protocol || service != nil {
			answer = appendToken(answer, token)
			if c.in.Buffered() == 0 || service != nil {
				_, err = c.Write(answer)
				answer = nil
			}
			return answer, service, errors.Join(err, c.SetProtocol(protocol.ID(token)))
		}
		if _, err := c.Write(appendToken(answer, noSuch)); err != nil {
			return nil, nil, err
		}
		answer = nil
	}
	return nil, nil, malformed("the caller asked for %d other protocols, the last %q", maxAsked, token)
}

// Read reads what follows the opening.
func (c *served) Read(p []byte) (int, error) {
	n, err := c.patience.read(p, c.in)
	if n > 0 {
		c.link.hears()
	}
	return n, err
}

// SetReadDeadline sets when Reads are to end.
func (c *served) SetReadDeadline(t time.Time) error { return c.patience.SetReadDeadline(t) }

// SetDeadline sets when Reads and Writes are to end.
func (c *served) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.Stream.SetWriteDeadline(t))
}

// An arriving is what comes on a served stream.
type arriving struct{ *served }

// Read reads from the stream. Where a deadline passes while something has come, yamux returns both, and may not have told
// the caller how much more it may send: what came counts, and the stream is not used for long.
func (c arriving) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	if n > 0 && late(err) {
		c.cramped.Store(true)
		err = nil
	}
	return n, err
}

// Write writes p.
func (c *served) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.link.write(c.Stream, p)
}

// Close ends the stream. What was written is still delivered, unless a Write is
// in progress.
func (c *served) Close() error {
	err := net.ErrClosed
	c.close.Do(func() {
		c.patience.stop()
		c.leave()
		err = closeStream(c.link.wire, c.Stream, &c.writing)
		c.link.host.running.Done()
	})
	return err
}

// closeStream closes s and delivers what was written. A Write in progress, which
// holds writing, is interrupted, and then s is reset: QUIC cannot do both.
func closeStream(w wire, s network.Stream, writing *sync.Mutex) error {
	if l, ok := s.(*lane); ok {
		return l.Close()
	}
	if !writing.TryLock() {
		return s.Reset()
	}
	defer writing.Unlock()
	_ = w.close(s) // fails where the other end reads no more, or the stream was reset, and it is closed all the same
	return nil
}

// LocalAddr returns this end's multiaddr.
func (c *served) LocalAddr() net.Addr { return address(c.link.conn.LocalMultiaddr().String()) }

// RemoteAddr returns the other end's multiaddr.
func (c *served) RemoteAddr() net.Addr { return address(c.link.conn.RemoteMultiaddr().String()) }

// old reports whether the caller should open a new stream for its next request.
func (c *served) old() bool {
	return c.refused != nil || c.cramped.Load() || after(c.since, streamLife) || !bytes.Equal(c.hello, c.admission.hello())
}

// Caller tells who sent a request that Config.Handler or Config.Refused serves.
func Caller(ctx context.Context) (Remote, bool) {
	c, ok := ctx.Value(callerKey).(*served)
	if !ok {
		return Remote{}, false
	}
	return Remote{
		Key:     c.link.key,
		Showed:  c.refused == nil && c.shown.kind != frameNone,
		Value:   c.admission.Value,
		Refused: c.refused,
		Path:    c.link.path(),
	}, true
}

// converse serves HTTP on a stream, until it ends or its link does.
func (h *Host) converse(c *served) {
	defer c.Close()
	ctx, cancel := context.WithCancel(context.WithValue(h.ctx, callerKey, c))
	defer cancel()
	defer context.AfterFunc(c.link.ctx, cancel)()
	serveHTTP(ctx, c, h.serve, calleeIdle, h.timing.hello, h.log)
}

// serve serves one request.
func (h *Host) serve(w http.ResponseWriter, r *http.Request) {
	if !h.begin() {
		panic(http.ErrAbortHandler) // the host is closing
	}
	defer h.running.Done()
	c := r.Context().Value(callerKey).(*served)
	if c.old() {
		w.Header().Set("Connection", "close")
	}
	switch {
	case c.refused != nil && h.cfg.Refused != nil:
		h.cfg.Refused.ServeHTTP(w, r)
	case c.refused != nil:
		http.Error(w, "refused", http.StatusForbidden)
	case h.cfg.Handler != nil:
		h.cfg.Handler.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}
