package peer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// An httpConn serves HTTP/1.1 on a stream, one request after the other. net/http parses them; its server is not used, since
// it starts a goroutine with each that watches for its caller to hang up, and waking one costs more than a small read
// does. Here whoever reads a request answers it, and a watch is set up only for what takes longer.
//
//	      first byte            head             handler returns, the body is read
//	idle ───────────▶ reading ───────▶ serving ─────────────────────────────────────▶ idle
//	  │ too late, end     │ too late, too long, │ taken over, broken off,
//	  │                   │ malformed           │ the last of the stream
//	  └───────────────────┴─────────────────────┴────────▶ closed by whoever called serve
type httpConn struct {
	net.Conn
	from    string // the other end's address
	handler http.HandlerFunc
	log     *slog.Logger
	idle    time.Duration // how long there may be no request
	reading time.Duration // how long one's head may take, and what of its body the handler left

	in   *bufio.Reader
	left int64 // bytes of a head that may come yet
	lost error // why a head did not come to its end; nil: it came

	out, held []byte // buffers of responses, to be used again for the next

	watcher *time.Timer
	mu      sync.Mutex
	serving *response // nil: none
	watched bool      // somebody reads to see if its caller hangs up
	calm    sync.Cond // nobody does any more
}

const (
	// watchAfter is how long a request is served before its caller's hanging up ends it.
	watchAfter = 20 * time.Millisecond
	// maxUnread is how much of a body is read that the handler left, so that the stream can take another request.
	maxUnread = 256 << 10
	// partingTime is how long a caller who is sending still has to read that it may stop.
	partingTime = 500 * time.Millisecond
	// inBuffer is how much of a stream is read at a time.
	inBuffer = 4 << 10
)

// serveHTTP answers the requests on conn until there are no more, in contexts below ctx. Closing conn is the caller's.
func serveHTTP(ctx context.Context, conn net.Conn, handler http.HandlerFunc, idle, reading time.Duration, log *slog.Logger) {
	c := &httpConn{
		Conn: conn, from: conn.RemoteAddr().String(), handler: handler, log: log, idle: idle, reading: reading, left: math.MaxInt64,
	}
	c.in = bufio.NewReaderSize(inbound{c}, inBuffer)
	c.calm.L = &c.mu
	c.watcher = time.AfterFunc(math.MaxInt64, c.watch)
	defer c.watcher.Stop()
	ctx = context.WithValue(context.WithValue(ctx, http.ServerContextKey, server), http.LocalAddrContextKey, conn.LocalAddr())
	for c.next(ctx) {
	}
}

// server is found by handlers where they would find net/http's. httputil.ReverseProxy breaks off, only where there is one,
// what its other end has broken off, and elsewhere passes a part off for the whole.
var server = new(http.Server)

// next serves one request, and reports whether there may be another.
func (c *httpConn) next(ctx context.Context) bool {
	c.SetReadDeadline(time.Now().Add(c.idle))
	if _, err := c.in.Peek(1); err != nil {
		return false
	}
	r, err := c.request()
	if err != nil {
		c.decline(err)
		return false
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	*r = *r.WithContext(ctx) // nobody has seen it yet: it needs no copy
	w := newResponse(c, r, cancel)
	c.begin(w)
	done := c.handle(w, r)
	cancel()
	c.end()
	return done && !w.hijacked && w.finish()
}

// handle has the handler answer, and reports whether it came to an end of that.
func (c *httpConn) handle(w *response, r *http.Request) (done bool) {
	defer func() {
		if !done {
			if why := recover(); why != http.ErrAbortHandler {
				c.log.Error("a handler panicked", "panic", why, "stack", string(debug.Stack()))
			}
		}
	}()
	c.handler(w, r)
	return true
}

// A statusError says with which status a request is declined.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("%d %s", int(e), http.StatusText(int(e))) }

// request reads a request's head. Errors that are no statusError leave nobody to be answered.
func (c *httpConn) request() (*http.Request, error) {
	c.SetReadDeadline(time.Now().Add(c.reading))
	c.left, c.lost = maxHeader, nil
	r, err := http.ReadRequest(c.in)
	long := c.left <= 0
	c.left = math.MaxInt64
	switch {
	case err == nil:
	case long:
		return nil, statusError(http.StatusRequestHeaderFieldsTooLarge)
	case c.lost != nil:
		return nil, c.lost
	default:
		return nil, statusError(http.StatusBadRequest)
	}
	c.SetReadDeadline(time.Time{})
	r.RemoteAddr = c.from
	return r, check(r)
}

// check declines what net/http parses but does not serve.
func check(r *http.Request) error {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 {
		return statusError(http.StatusHTTPVersionNotSupported)
	}
	if r.Host == "" && r.Method != http.MethodConnect || !httpguts.ValidHostHeader(r.Host) {
		return statusError(http.StatusBadRequest)
	}
	for name, values := range r.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return statusError(http.StatusBadRequest)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return statusError(http.StatusBadRequest)
			}
		}
	}
	if expects := r.Header["Expect"]; expects != nil && !expectsContinue(r) {
		return statusError(http.StatusExpectationFailed)
	}
	return nil
}

func expectsContinue(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Expect"], "100-continue")
}

// decline answers what is no request that could be served, and is the last of the stream.
func (c *httpConn) decline(err error) {
	var status statusError
	if !errors.As(err, &status) {
		return
	}
	_, err = fmt.Fprintf(c, "HTTP/1.1 %v\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%v", status, status)
	if err == nil {
		c.part()
	}
}

// part says that no more will be said, and lets a caller who is sending still read that: TCP takes back what was said
// where bytes come that nobody reads.
func (c *httpConn) part() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	c.SetReadDeadline(time.Now().Add(partingTime))
	_, _ = io.CopyN(io.Discard, c.in, maxUnread)
}

// begin notes what is being served, and has it watched once that takes long, from the end of its body on.
func (c *httpConn) begin(w *response) {
	c.mu.Lock()
	c.serving = w
	c.mu.Unlock()
	if w.body.ended() {
		c.watcher.Reset(watchAfter)
	}
}

// end notes that nothing is being served, after which nobody reads but who asks for it.
func (c *httpConn) end() {
	c.watcher.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = nil
	if !c.watched {
		return
	}
	c.SetReadDeadline(time.Unix(1, 0))
	for c.watched {
		c.calm.Wait()
	}
	c.SetReadDeadline(time.Time{})
}

// watch ends the context of what is being served if its caller hangs up. A body that is being read tells that itself.
func (c *httpConn) watch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.serving; w == nil || c.watched || !w.body.ended() {
		return
	}
	c.watched = true
	c.mu.Unlock()
	_, _ = c.in.Peek(1) // what comes belongs to the next request; if nothing can, Read ends this one
	c.mu.Lock()
	c.watched = false
	c.calm.Broadcast()
}

// An inbound is what comes on an httpConn: not more than a head may have, while one is read.
type inbound struct{ *httpConn }

// Read reads from the stream. Where it fails, so does what is being served.
func (c inbound) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errLongHeader
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left = headLeft(c.left, p[:n])
	if err == nil {
		return n, nil
	}
	c.lost = err
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serving != nil {
		c.serving.cancel()
	}
	return n, err
}

// headLeft returns how much of a head may come yet, of so many bytes, after some have come.
func headLeft(left int64, came []byte) int64 {
	if left > maxHeader {
		return left // of a body
	}
	return left - int64(len(came)) - headLine*int64(bytes.Count(came, []byte{'\n'}))
}

// A requestBody is what comes after a request's head. A nil one is empty.
type requestBody struct {
	mu     sync.Mutex // one reads at a time
	parsed io.Reader
	answer *response
	waits  bool        // its caller, to be told that it is wanted (Expect: 100-continue)
	whole  atomic.Bool // all of it was read
	closed bool
}

// newBody puts another in the place of a request's body as net/http parsed it, and returns it; nil for nothing.
func newBody(answer *response) *requestBody {
	if answer.req.Body == http.NoBody {
		return nil
	}
	b := &requestBody{parsed: answer.req.Body, answer: answer, waits: expectsContinue(answer.req)}
	answer.req.Body = b
	return b
}

// ended reports whether all of it was read, and what comes is of the next request. After a failure, as when a deadline has
// passed, more of it may be read.
func (b *requestBody) ended() bool { return b == nil || b.whole.Load() }

// Read reads the body.
func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.read(p)
}

func (b *requestBody) read(p []byte) (int, error) {
	if b.waits {
		b.waits = false
		if err := b.answer.invite(); err != nil {
			return 0, err
		}
	}
	n, err := b.parsed.Read(p)
	if err == io.EOF && !b.ended() {
		b.whole.Store(true)
		b.answer.conn.watcher.Reset(watchAfter)
	}
	return n, err
}

// Close is for whoever wants no more of it.
func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// drain reads what nobody wanted, unless that is much or was not asked for. It reports whether that is all.
func (b *requestBody) drain() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if !b.waits && !b.ended() {
		_, _ = io.CopyN(io.Discard, readerFunc(b.read), maxUnread) // its end, if there is one, is noted
	}
	return b.ended()
}

// A readerFunc reads as a function does.
type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
