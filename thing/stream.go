package thing

import (
	"bytes"
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
	w    http.ResponseWriter
	rc   *http.ResponseController
	ctx  context.Context
	sent *Sent // nil: nobody counts

	told []byte // the value that a reader with a coarse view was sent last

	mu     sync.Mutex
	closed bool // nothing may touch the connection's deadline any more
}

// source is what a stream tells of: an event, or the values of a property.
type source struct {
	name     string
	hub      *hub
	property *property // nil: an event
}

// now gives the property's value as a view shows it.
func (from source) now(ctx context.Context, v View) ([]byte, error) {
	return from.property.shown(ctx, from.name, v)
}

// shown gives what a view shows of an event, or of a value that the property had; nil if it is not to be seen.
func (from source) shown(e record, v View) ([]byte, error) {
	switch {
	case !v.at(e.at):
		return nil, nil
	case v.coarse():
		return nil, errDetail(from.name)
	}
	return v.fields(from.name, e.data)
}

// serveStream sends a source's events until the request's context ends, the reader falls behind, stops reading or may
// not see them any more. A property's value comes first for those who do not resume, or resume from another life of
// the thing.
//
// Those with a coarse view are told of a property what it is for them, whenever that is another than before. What they
// are sent has no id: how often a value changed is none of what they see.
func serveStream(w http.ResponseWriter, r *http.Request, from source) {
	h, view := from.hub, viewOf(r.Context())
	number, knows := h.resume(r.Header.Get("Last-Event-ID"))
	var begin []byte
	var err error
	switch {
	case from.property == nil && view.coarse():
		err = errDetail(from.name)
	case from.property != nil && (!knows || view.coarse()):
		number = h.latest() // what came before it is in the value
		begin, err = from.now(r.Context(), view)
	}
	if err != nil {
		refuse(w, err, http.StatusInternalServerError)
		return
	}
	s := &stream{w: w, rc: http.NewResponseController(w), ctx: r.Context(), sent: CallerOf(r.Context()).Sent}
	// While a write blocks, only a deadline can end it.
	unhook := context.AfterFunc(s.ctx, func() { s.deadline(endLimit) })
	defer s.close(unhook)

	w.Header().Set("Content-Type", streamType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Connection", "close") // its deadline must not outlive the stream
	w.WriteHeader(http.StatusOK)
	switch {
	case view.coarse():
		s.told = begin
		s.event("", begin)
	case begin != nil:
		s.event(h.id(number-1), begin)
	default: // no event, but whoever is cut off before the first one knows where to go on
		s.deadline(writeLimit)
		fmt.Fprintf(w, "id: %s\n\n", h.id(number-1))
	}
	err = s.flush()
	for err == nil {
		number, err = s.forward(from, number)
	}
	s.end(err)
}

// forward sends the events from a number on, or waits until there are some. It
// returns the number to go on from.
func (s *stream) forward(from source, number uint64) (uint64, error) {
	records, wake, held := from.hub.from(number)
	if !held {
		return 0, &Problem{Status: http.StatusServiceUnavailable, Detail: "fell behind: more events came than are held for slow readers"}
	}
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	if len(records) == 0 {
		return number, s.wait(wake)
	}
	view := viewOf(s.ctx)
	if from.property != nil && view.coarse() {
		return from.hub.latest(), s.again(from, view)
	}
	for _, e := range records {
		data, err := from.shown(e, view)
		if err != nil {
			return 0, err
		}
		if data != nil {
			s.event(from.hub.id(e.number), data)
		}
		number = e.number + 1
	}
	return number, s.flush()
}

// again tells a reader with a coarse view the property's value, if that is another than it was told.
func (s *stream) again(from source, view View) error {
	value, err := from.now(s.ctx, view)
	if err != nil || bytes.Equal(value, s.told) {
		return err
	}
	s.told = value
	s.event("", value)
	return s.flush()
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

// event writes one event, with an id unless that is empty. JSON as encoded here has no line breaks.
func (s *stream) event(id string, data []byte) {
	s.deadline(writeLimit)
	if id != "" {
		fmt.Fprintf(s.w, "id: %s\n", id)
	}
	fmt.Fprintf(s.w, "data: %s\n\n", data)
	s.sent.event(len(data))
}

func (s *stream) flush() error { return s.rc.Flush() }

// end says why the stream ends, where that is known to be worth saying.
func (s *stream) end(err error) {
	if p := (*Problem)(nil); !errors.As(err, &p) {
		return
	}
	body, _ := json.Marshal(problemOf(err, http.StatusForbidden)) // always has a JSON form
	s.deadline(writeLimit)                                        // a slow reader needs as long for this as for all else
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
