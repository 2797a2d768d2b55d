package thing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	writeLimit = 10 * time.Second       // for one write to a reader
	endLimit   = 250 * time.Millisecond // for the last words to one that is being cut off
	heartbeat  = 15 * time.Second       // between signs of life, to notice readers that are gone
)

// problemEvent is the name of the event that says why a stream ends.
const problemEvent = "problem"

// stream writes server-sent events to one reader.
type stream struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	ctx context.Context

	mu     sync.Mutex
	closed bool // nothing may touch the connection's deadline any more
}

// serveStream sends a hub's events until the request's context ends, the reader
// falls behind or stops reading. First, if not nil, gives an event to begin
// with for those who do not resume, or resume from another life of the thing.
func serveStream(w http.ResponseWriter, r *http.Request, h *hub, first func(context.Context) ([]byte, error)) {
	number, knows := h.resume(r.Header.Get("Last-Event-ID"))
	var begin []byte
	if first != nil && !knows {
		number = h.latest() // what came before it is in the value
		var err error
		if begin, err = first(r.Context()); err != nil {
			refuse(w, err, http.StatusInternalServerError)
			return
		}
	}
	s := &stream{w: w, rc: http.NewResponseController(w), ctx: r.Context()}
	// While a write blocks, only a deadline can end it.
	unhook := context.AfterFunc(s.ctx, func() { s.deadline(endLimit) })
	defer s.close(unhook)

	w.Header().Set("Content-Type", streamType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Connection", "close") // its deadline must not outlive the stream
	w.WriteHeader(http.StatusOK)
	if begin != nil {
		s.event(h.id(number-1), begin)
	} else { // no event, but whoever is cut off before the first one knows where to go on
		s.deadline(writeLimit)
		fmt.Fprintf(w, "id: %s\n\n", h.id(number-1))
	}
	err := s.flush()
	since := CallerOf(r.Context()).Since
	for err == nil {
		number, err = s.forward(h, number, since)
	}
	s.end(err)
}

// forward sends the events from a number on, or waits until there are some. It
// returns the number to go on from.
func (s *stream) forward(h *hub, number uint64, since time.Time) (uint64, error) {
	records, wake, held := h.from(number)
	if !held {
		return 0, &Problem{Status: http.StatusServiceUnavailable, Detail: "fell behind: more events came than are held for slow readers"}
	}
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	if len(records) == 0 {
		return number, s.wait(wake)
	}
	for _, e := range records {
		if !e.at.Before(since) {
			s.event(h.id(e.number), e.data)
		}
		number = e.number + 1
	}
	return number, s.flush()
}

// wait returns when wake closes or a heartbeat was sent.
func (s *stream) wait(wake <-chan struct{}) error {
	timer := time.NewTimer(heartbeat)
	defer timer.Stop()
	select {
	case <-wake:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-timer.C:
		s.deadline(writeLimit)
		fmt.Fprint(s.w, ":\n\n")
		return s.flush()
	}
}

// event writes one event. JSON as encoded here has no line breaks.
func (s *stream) event(id string, data []byte) {
	s.deadline(writeLimit)
	fmt.Fprintf(s.w, "id: %s\ndata: %s\n\n", id, data)
}

func (s *stream) flush() error { return s.rc.Flush() }

// end says why the stream ends, where that is known to be worth saying.
func (s *stream) end(err error) {
	if p := (*Problem)(nil); !errors.As(err, &p) {
		return
	}
	body, _ := json.Marshal(problemOf(err, http.StatusForbidden)) // always has a JSON form
	s.deadline(endLimit)
	fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", problemEvent, body)
	s.flush() // the reader may be gone
}

// deadline bounds the writes to come, shortly once the context has ended. What
// is served on something without deadlines has none.
func (s *stream) deadline(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if s.ctx.Err() != nil {
		limit = min(limit, endLimit)
	}
	s.rc.SetWriteDeadline(time.Now().Add(limit))
}

// close leaves the connection a moment to end the response.
func (s *stream) close(unhook func() bool) {
	unhook()
	s.deadline(endLimit)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}
