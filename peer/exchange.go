package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// An exchange is one request on a call, and its answer. A request without a body, or with a small one, is written and its
// answer read by whoever makes it: nothing is handed from one goroutine to another.
//
//	             answer's head                       answer's end
//	written ───────────────────▶ being read ───────────────────────▶ the call is kept for further requests
//	   │                              │ closed early, lost, given up
//	   └──────────────────────────────┴────────────────────────────▶ the call is closed
type exchange struct {
	call *call
	req  *http.Request
	stop func() bool // calls off that the request's context closes the call; nil: it never does

	uploading chan error            // what came of writing the body, once; nil: it was written with the head
	broken    atomic.Pointer[error] // why the body cannot be written
	verdict   chan bool             // whether the callee wants the body; nil: it is not asked
	ended     sync.Once
}

// expectWait is how long a body is held back that the callee is asked about (Expect: 100-continue).
const expectWait = time.Second

// uploadWait is how long an answer that has come to its end waits for its request's end, before the call is closed.
const uploadWait = 50 * time.Millisecond

// inlineBody is the most that is written together with a head.
const inlineBody = 32 << 10

// exchange makes a request. The call is closed with an error, and later if the answer cannot be read to its end; else it
// is kept. The request's body is closed.
func (c *call) exchange(req *http.Request) (*http.Response, error) {
	x := &exchange{call: c, req: req}
	if ctx := req.Context(); ctx.Done() != nil {
		x.stop = context.AfterFunc(ctx, func() { c.Close() })
	}
	fresh := c.requests == 0
	c.requests++
	c.link.requests.Add(1)
	taken, err := x.send()
	var resp *http.Response
	if err == nil {
		resp, err = x.answer()
	}
	if err == nil && x.broken.Load() == nil {
		return resp, nil
	}
	why, began := x.interrupted(), c.left < maxHeader // something of an answer came
	x.end(false)
	switch {
	case req.Context().Err() != nil:
		return nil, context.Cause(req.Context())
	case why != nil:
		err = why
	case fresh, began:
		if !began && c.later && c.gone(err) {
			err = staleError{err}
		}
		c.bury(err)
	case !taken:
		err = fmt.Errorf("%w: %w", errUnsent, err)
	default:
		err = staleError{err}
	}
	return nil, callError(c.link.conn.RemotePeer(), "calling", err)
}

// send writes the request, or begins to. It reports whether the stream took anything of it.
func (x *exchange) send() (taken bool, err error) {
	c, req := x.call, x.req
	length := bodyLength(req)
	c.head = appendHead(c.head[:0], req, length)
	inline := length == 0 || length > 0 && length <= inlineBody && req.GetBody != nil
	expects := httpguts.HeaderValuesContainsToken(req.Header["Expect"], "100-continue")
	if inline && !expects {
		if c.head, err = appendBody(c.head, req, length); err != nil {
			return false, err
		}
	}
	n, err := c.Write(c.head)
	if cap(c.head) > 4<<10 { // a large one is not kept
		c.head = nil
	}
	if inline && !expects || err != nil {
		closeBody(req)
		return n > 0, err
	}
	if expects {
		x.verdict = make(chan bool, 1)
	}
	x.uploading = make(chan error, 1)
	go func() { // ends with the body's Read, or when the call is closed
		err := x.upload(length)
		closeBody(req)
		x.uploading <- err
	}()
	return true, nil
}

var errUnwanted = errors.New("the callee did not want the body")

// upload writes the body, beside whatever comes of the answer meanwhile.
func (x *exchange) upload(length int64) error {
	if !x.wanted() {
		return errUnwanted
	}
	var err error
	if length > 0 {
		err = writeBody(x.call, x.req.Body, length)
	} else {
		err = writeChunks(x.call, x.req)
	}
	if err != nil && x.call.mid.Load() { // nothing came back, and whoever waits for it must not wait on
		x.broken.Store(&err)
		x.call.Close()
	}
	return err
}

// wanted waits for the callee's word on the body, if it is asked.
func (x *exchange) wanted() bool {
	if x.verdict == nil {
		return true
	}
	timer := time.NewTimer(expectWait)
	defer timer.Stop()
	select {
	case yes := <-x.verdict:
		return yes
	case <-timer.C:
		return true
	case <-x.call.ended:
		return false
	}
}

// tell hands on the callee's word on the body.
func (x *exchange) tell(wanted bool) {
	if x.verdict == nil {
		return
	}
	if trace := httptrace.ContextClientTrace(x.req.Context()); wanted && trace != nil && trace.Got100Continue != nil {
		trace.Got100Continue()
	}
	select {
	case x.verdict <- wanted:
	default: // it was told
	}
}

// maxInterim is how many interim answers (1xx) an answer may follow.
const maxInterim = 5

// answer reads the head of the answer.
func (x *exchange) answer() (*http.Response, error) {
	c := x.call
	if err := c.greeting(); err != nil {
		return nil, err
	}
	for range maxInterim + 1 {
		c.left = maxHeader
		resp, err := http.ReadResponse(c.in, x.req)
		switch {
		case err != nil:
			return nil, x.failed(err)
		case x.req.Context().Err() != nil: // what is answered to being broken off is no answer
			return nil, context.Cause(x.req.Context())
		case resp.StatusCode == http.StatusContinue:
			x.tell(true)
		case resp.StatusCode == http.StatusSwitchingProtocols && x.req.Header.Get("Upgrade") == "": // RFC 9110 §7.8
			return nil, malformed("the answer switches protocols, and nobody asked for that")
		case resp.StatusCode == http.StatusSwitchingProtocols:
			c.left = math.MaxInt64
			c.switched.Store(true)
			if x.stop != nil && !x.stop() {
				return nil, context.Cause(x.req.Context())
			}
			resp.Body = c
			return resp, nil
		case resp.StatusCode < 200:
		default:
			c.left = math.MaxInt64
			x.tell(false)
			if body := resp.Body; body == http.NoBody {
				x.end(!resp.Close)
			} else {
				resp.Body = &answerBody{ReadCloser: body, exchange: x, last: resp.Close}
			}
			return resp, nil
		}
	}
	return nil, fmt.Errorf("more than %d interim answers", maxInterim)
}

// interrupted says what ended the exchange from this side: its context, or a body that cannot be sent. nil: nothing did.
func (x *exchange) interrupted() error {
	if ctx := x.req.Context(); ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if broken := x.broken.Load(); broken != nil {
		return *broken
	}
	return nil
}

// failed says why an answer, or its rest, cannot be read.
func (x *exchange) failed(err error) error {
	c := x.call
	switch {
	case c.left <= 0:
		return errLongHeader
	case c.broke == nil: // all that came is no answer
		return malformed("the answer is malformed: %.200v", err)
	}
	return callError(c.link.conn.RemotePeer(), "reading from", c.lost(err))
}

// end ends the exchange: whole says that the answer was read to its end and is not the last on this call.
func (x *exchange) end(whole bool) {
	x.ended.Do(func() {
		if x.stop != nil && !x.stop() {
			whole = false // the call is closed
		}
		if whole && !x.req.Close && x.uploaded() && x.call.in.Buffered() == 0 {
			x.call.keep()
		} else {
			x.call.Close()
		}
	})
}

// uploaded reports whether all of the request was written.
func (x *exchange) uploaded() bool {
	if x.uploading == nil {
		return true
	}
	timer := time.NewTimer(uploadWait)
	defer timer.Stop()
	select {
	case err := <-x.uploading:
		return err == nil
	case <-timer.C:
		return false
	}
}

// An answerBody is the body of an answer, whose end ends the exchange.
type answerBody struct {
	io.ReadCloser
	exchange *exchange
	last     bool // the callee closes the stream after it
}

// Read reads the body.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		b.exchange.end(!b.last)
	case err != nil:
		why := b.exchange.interrupted()
		if why == nil {
			why = b.exchange.failed(err)
		}
		b.exchange.end(false)
		return n, why
	}
	return n, err
}

// Close ends the exchange. Of a body that was not read to its end the rest is not wanted.
func (b *answerBody) Close() error {
	b.exchange.end(false)
	return nil
}
