package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// A response is what a handler answers to a request: an http.ResponseWriter that does all that http.ResponseController
// asks for. One that is short is written at once, with its length; a longer one in chunks, as it comes.
//
//	begun ──WriteHeader, Write──▶ status set ──Flush, more than holdBody──▶ head sent ──finish──▶ over
//	  │                              │ finish: the length is known                                 ▲
//	  └──Hijack──▶ hijacked          └─────────────────────────────────────────────────────────────┘
type response struct {
	conn   *httpConn
	req    *http.Request
	body   *requestBody
	cancel context.CancelFunc

	inviting sync.Mutex  // the body may be read beside what is answered
	unasked  bool        // the caller waits to be told that its body is wanted; guarded by inviting
	limited  atomic.Bool // the handler said until when the response is written
	header   http.Header
	status   int      // 0: not set
	declared int64    // length of the body by the handler's word, -1: none
	written  int64    // bytes of the body, with those of a Write that was one too many
	trailers []string // announced
	typed    bool     // the handler said what the body is
	last     bool     // the stream is closed after it
	headed   bool     // the head is in out, or sent
	chunked  bool
	hijacked bool
	out      []byte // to be written
	held     []byte // of the body, before the head is sent
	err      error  // why no more can be written
}

const (
	holdBody = 2 << 10  // bytes of a body that are held until it is known how long it is
	fullOut  = 4 << 10  // bytes to be written before more are waited for
	keepOut  = 16 << 10 // most bytes of a buffer that is used again
)

// errAnswered is for handlers that write on after they have returned.
var errAnswered = errors.New("peer: the request was answered")

// newResponse is for a request as net/http parsed it, in a context that cancel ends.
func newResponse(c *httpConn, r *http.Request, cancel context.CancelFunc) *response {
	w := &response{conn: c, req: r, cancel: cancel, header: http.Header{}, declared: -1, last: r.Close, out: c.out[:0], held: c.held[:0]}
	c.out, c.held = nil, nil
	w.body = newBody(w)
	w.unasked = w.body != nil && w.body.waits
	return w
}

// Header returns what becomes the head with WriteHeader, and the trailer with the response's end.
func (w *response) Header() http.Header { return w.header }

// WriteHeader begins the response, or (1xx) says something before it.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("peer: %d is no HTTP status", status))
	}
	if w.hijacked || w.status != 0 {
		return // it was said
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.interim(status)
		return
	}
	w.inviting.Lock()
	w.status = status
	w.last = w.last || w.unasked // nobody knows whether the body comes all the same
	w.inviting.Unlock()
	w.declared = declaredLength(w.header)
	_, w.typed = w.header["Content-Type"] // nil: as nothing
	w.typed = w.typed || w.header["Content-Encoding"] != nil
	w.trailers = announced(w.header)
	w.last = w.last || httpguts.HeaderValuesContainsToken(w.header["Connection"], "close")
	w.out = appendStatus(w.out, status)
	if _, dated := w.header["Date"]; !dated {
		w.out = append(w.out, dateField(time.Now())...)
	}
	w.out = appendFields(w.out, w.header)
}

// A stamp is the field Date of a second.
type stamp struct {
	second int64
	field  string
}

var stamped atomic.Pointer[stamp] // the last that was asked for

// dateField returns the field Date, which is written out once a second.
func dateField(now time.Time) string {
	s := stamped.Load()
	if s == nil || s.second != now.Unix() {
		s = &stamp{now.Unix(), now.UTC().Format("Date: " + http.TimeFormat + "\r\n")}
		stamped.Store(s)
	}
	return s.field
}

// interim says something that is not the response yet.
func (w *response) interim(status int) {
	w.out = append(appendFields(appendStatus(w.out, status), w.header), "\r\n"...)
	w.flush()
}

// invite tells the caller that its body is wanted.
func (w *response) invite() error {
	w.inviting.Lock()
	defer w.inviting.Unlock()
	if w.status != 0 {
		return nil // it knows what came of it
	}
	w.unasked = false
	_, err := w.conn.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	return err
}

// Write writes of the body.
func (w *response) Write(p []byte) (int, error) {
	if w.hijacked {
		return 0, http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case len(p) == 0:
		return 0, w.err
	case !mayHaveBody(w.status):
		return 0, http.ErrBodyNotAllowed
	}
	if w.written += int64(len(p)); w.declared >= 0 && w.written > w.declared {
		return 0, http.ErrContentLength
	}
	if !w.headed && len(w.held)+len(p) <= holdBody {
		w.held = append(w.held, p...)
		return len(p), nil
	}
	if !w.headed {
		w.sendHead(p, false)
	}
	w.append(p)
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// sendHead ends the head, now that it is known how the body's end is told: by its length, if whole. What was held of the body
// follows it; data is what comes next.
func (w *response) sendHead(data []byte, whole bool) {
	w.headed = true
	body := mayHaveBody(w.status)
	start := w.held
	if len(start) == 0 {
		start = data
	}
	if body && !w.typed && len(start) > 0 {
		w.out = append(append(append(w.out, "Content-Type: "...), http.DetectContentType(start)...), "\r\n"...)
	}
	length := w.declared
	if length < 0 && whole && len(w.trailers) == 0 && (w.req.Method != http.MethodHead || len(w.held) > 0) {
		length = int64(len(w.held))
	}
	switch {
	case !body:
	case length >= 0:
		w.out = append(strconv.AppendInt(append(w.out, "Content-Length: "...), length, 10), "\r\n"...)
	case w.req.Method != http.MethodHead:
		w.chunked = true
		w.out = append(w.out, "Transfer-Encoding: chunked\r\n"...)
		for _, name := range w.trailers {
			w.out = append(append(append(w.out, "Trailer: "...), name...), "\r\n"...)
		}
	}
	if w.last && !httpguts.HeaderValuesContainsToken(w.header["Connection"], "close") {
		w.out = append(w.out, "Connection: close\r\n"...)
	}
	w.out = append(w.out, "\r\n"...)
	w.append(w.held)
}

// append appends of the body, and writes what is enough to be written.
func (w *response) append(p []byte) {
	if w.req.Method == http.MethodHead {
		return
	}
	if !w.chunked && len(p) >= fullOut { // as it is
		if w.flush(); w.err == nil {
			w.keepErr(w.conn.Write(p))
		}
		return
	}
	for piece := range slices.Chunk(p, inlineBody) {
		if w.chunked {
			w.out = append(strconv.AppendInt(w.out, int64(len(piece)), 16), "\r\n"...)
		}
		w.out = append(w.out, piece...)
		if w.chunked {
			w.out = append(w.out, "\r\n"...)
		}
		if len(w.out) >= fullOut {
			w.flush()
		}
	}
}

// flush writes what is to be written.
func (w *response) flush() {
	if w.err == nil && len(w.out) > 0 {
		w.keepErr(w.conn.Write(w.out))
	}
	w.out = w.out[:0]
}

// keepErr keeps why no more can be written, which ends the request.
func (w *response) keepErr(_ int, err error) {
	if err != nil && w.err == nil {
		w.err = err
		w.cancel()
	}
}

// FlushError writes what there is by now.
func (w *response) FlushError() error {
	if w.hijacked {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.headed {
		w.sendHead(nil, false)
	}
	w.flush()
	return w.err
}

// Flush is FlushError for handlers that want an http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// SetReadDeadline sets until when the request's body is read.
func (w *response) SetReadDeadline(t time.Time) error { return w.conn.SetReadDeadline(t) }

// SetWriteDeadline sets until when the response is written. The next has a time of its own.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.limited.Store(true)
	return w.conn.SetWriteDeadline(t)
}

// EnableFullDuplex does nothing: a body may be read while it is answered.
func (w *response) EnableFullDuplex() error { return nil }

// Hijack hands the stream over to the handler, after what it has answered by then.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacked {
		return nil, nil, http.ErrHijacked
	}
	if w.status != 0 {
		if err := w.FlushError(); err != nil {
			return nil, nil, err
		}
	}
	w.conn.end()
	w.hijacked = true
	if err := w.conn.SetDeadline(time.Time{}); err != nil {
		return nil, nil, err
	}
	return w.conn.Conn, bufio.NewReadWriter(w.conn.in, bufio.NewWriter(w.conn.Conn)), nil
}

// finish writes what is left, and reads what is left of the request. It reports whether the stream can take another.
func (w *response) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.headed {
		w.sendHead(nil, true)
	}
	if w.chunked {
		w.out = append(appendFields(append(w.out, "0\r\n"...), w.trailer()), "\r\n"...)
	}
	w.flush()
	if w.limited.Load() {
		w.keepErr(0, w.conn.SetWriteDeadline(time.Time{}))
	}
	w.conn.SetReadDeadline(time.Now().Add(w.conn.reading))
	whole := w.body.drain()
	if w.err == nil && !whole {
		w.conn.part()
	}
	c := w.conn
	if cap(w.out) <= keepOut {
		c.out, c.held = w.out, w.held
	}
	asDeclared := w.declared < 0 || w.written == w.declared || !mayHaveBody(w.status) || w.req.Method == http.MethodHead
	another := w.err == nil && whole && !w.last && asDeclared
	w.out, w.held, w.err = nil, nil, errAnswered
	return another
}

// trailer returns what is said after the body.
func (w *response) trailer() http.Header {
	t := http.Header{}
	for _, name := range w.trailers {
		if values := w.header[name]; values != nil {
			t[name] = values
		}
	}
	for name, values := range w.header {
		if after, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			t[http.CanonicalHeaderKey(after)] = values
		}
	}
	return t
}

// mayHaveBody reports whether a response with the status may have a body (RFC 9110 §6.4.1).
func mayHaveBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// declaredLength returns the length that a head says its body has, -1 if none.
func declaredLength(header http.Header) int64 {
	if length, err := strconv.ParseUint(textproto.TrimString(header.Get("Content-Length")), 10, 63); err == nil {
		return int64(length)
	}
	return -1
}

// announced returns the names of a head's trailer.
func announced(header http.Header) (names []string) {
	for _, v := range header["Trailer"] {
		for name := range strings.SplitSeq(v, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if httpguts.ValidHeaderFieldName(name) && httpguts.ValidTrailerHeader(name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func appendStatus(b []byte, status int) []byte {
	b = append(strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(status), 10), ' ')
	return append(append(b, http.StatusText(status)...), "\r\n"...)
}
