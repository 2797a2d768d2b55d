package thing

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"time"
)

const (
	framesType = "multipart/x-mixed-replace"
	// maxViewers bounds the streams of frames that a thing serves at a time.
	maxViewers = 32
	// maxChunk is what a reader of frames has to take within the time for a write.
	maxChunk = 64 << 10
)

// Live lets the property be observed as a stream of its values, so many a second at most, from more than 0 to 100. Each
// reader is sent the value that there is when it is ready for the next one: whoever is slow misses some, and neither
// holds up others nor makes the thing keep anything. Read is called for every frame and every reader, so it should give
// the same bytes as long as nothing changes. It panics on any other rate, which is a mistake in the program.
func (m MediaProp) Live(perSecond float64) MediaProp {
	if !(perSecond > 0 && perSecond <= 100) {
		panic(fmt.Sprintf("thing: %v frames a second, want more than 0 and at most 100", perSecond))
	}
	m.p.every = time.Duration(float64(time.Second) / perSecond)
	return m
}

// film serves the values of a property as parts that replace each other, until the request's context ends or the reader
// stops reading.
func (s *servient) film(w http.ResponseWriter, r *http.Request, name string, p *property) {
	defer s.viewers.Add(-1)
	if s.viewers.Add(1) > maxViewers {
		refuse(w, fmt.Errorf("%d others are watching, no more are served", maxViewers), http.StatusServiceUnavailable)
		return
	}
	value, err := p.shown(r.Context(), name, viewOf(r.Context()))
	if err != nil {
		refuse(w, err, http.StatusInternalServerError)
		return
	}
	f := &film{stream: stream{w: w, rc: http.NewResponseController(w), ctx: r.Context(), sent: CallerOf(r.Context()).Sent}, boundary: rand.Text()}
	unhook := context.AfterFunc(f.ctx, func() { f.deadline(endLimit) })
	defer f.close(unhook)
	h := w.Header()
	h.Set("Content-Type", framesType+"; boundary="+f.boundary)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Connection", "close") // its deadline must not outlive the stream
	w.WriteHeader(http.StatusOK)
	f.end(f.run(name, p, value))
}

// A film is a stream of frames to one reader.
type film struct {
	stream
	boundary string
	torn     bool // within a part, which is no more to be completed
}

// run sends one value after the other. A value that cannot be read is passed over, unless there is none for long. The
// film ends when it is not to be seen any more.
func (f *film) run(name string, p *property, value []byte) error {
	if err := f.write([]byte("--" + f.boundary + "\r\n")); err != nil {
		return err
	}
	ticks := time.NewTicker(p.every) // which drops ticks for the slow
	defer ticks.Stop()
	for good := time.Now(); ; {
		if f.ctx.Err() != nil {
			return context.Cause(f.ctx)
		}
		if value != nil {
			if err := f.part(p.contentType, value, ""); err != nil {
				return err
			}
			f.sent.event(len(value))
			good = time.Now()
		}
		select {
		case <-ticks.C:
		case <-f.ctx.Done():
			return context.Cause(f.ctx)
		}
		var err error
		if value, err = p.shown(f.ctx, name, viewOf(f.ctx)); isUnseen(err) {
			return err
		}
		if err != nil {
			value = nil
			if time.Since(good) > heartbeat {
				return problemOf(err, http.StatusInternalServerError)
			}
		}
	}
}

// part writes one part and the delimiter after it, so that the reader need not wait for the next one to know its end.
func (f *film) part(contentType string, body []byte, last string) error {
	head := fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, len(body))
	if err := f.write([]byte(head)); err != nil {
		return err
	}
	if err := f.write(body); err != nil {
		return err
	}
	if err := f.write([]byte("\r\n--" + f.boundary + last + "\r\n")); err != nil {
		return err
	}
	return f.flush()
}

// write writes piece by piece, each within the time for a write.
func (f *film) write(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), maxChunk)
		f.deadline(writeLimit)
		if _, err := f.w.Write(b[:n]); err != nil {
			f.torn = true
			return err
		}
		if b = b[n:]; f.ctx.Err() != nil && len(b) > 0 {
			f.torn = true
			return context.Cause(f.ctx)
		}
	}
	return nil
}

// end says why the stream ends, where that is worth saying, in a part of its own: what a viewer sees then is no picture
// any more, rather than the last one for ever. A reader that was left within a part asks again, and is told then.
func (f *film) end(err error) {
	if p := (*Problem)(nil); errors.As(err, &p) && !f.torn {
		body, _ := json.Marshal(problemOf(err, http.StatusForbidden)) // always has a JSON form
		_ = f.part(problemType, body, "--")                           // the reader may be gone
	}
}

// Frames opens the stream of a property's values where these are media, such as pictures: the current one first, and
// whatever is missed is gone. It is open when it returns, ends with ctx, and heals, see [Frames.Next].
func (c *Client) Frames(ctx context.Context, property string) (*Frames, error) {
	f := &Frames{name: property}
	var err error
	f.line, err = begin(ctx, c.Healing, func(ctx context.Context) (*http.Response, error) {
		resp, err := c.send(ctx, http.MethodGet, nil, http.Header{"Accept": {framesType}}, []string{"properties", property, "observe"})
		if err != nil {
			return nil, err
		}
		media, params, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if media != framesType || params["boundary"] == "" {
			resp.Body.Close()
			return nil, fmt.Errorf("answer is %.60q, want %s", media, framesType)
		}
		f.parts = multipart.NewReader(resp.Body, params["boundary"])
		return resp, nil
	})
	if err != nil {
		return nil, wrap(OpObserveProperty, property, err)
	}
	return f, nil
}

// Frames is an open stream of values. One goroutine may read it.
type Frames struct {
	name  string
	line  *line
	parts *multipart.Reader
}

// Next waits for the next value. A connection that is lost it makes again, as [Client.Healing] says, and goes on with
// what there is then. It returns a [Problem] where the thing said why the stream ended, and [ErrLost] where the
// connection did not come back.
func (f *Frames) Next() (Value, error) {
	f.line.move()
	for {
		v, err := readFrame(f.parts)
		if err == nil {
			f.line.came()
			return v, nil
		}
		if err = f.line.again(err); err != nil {
			return Value{}, wrap(OpObserveProperty, f.name, err)
		}
	}
}

// Close ends the stream. It may be called at any time, to end a Next that waits.
func (f *Frames) Close() error { return f.line.close() }

// readFrame reads one part of at most MaxValue bytes.
func readFrame(parts *multipart.Reader) (Value, error) {
	part, err := parts.NextRawPart()
	if err != nil {
		return Value{}, err
	}
	v := Value{}
	v.ContentType, _, _ = mime.ParseMediaType(part.Header.Get("Content-Type"))
	if v.Body, err = io.ReadAll(io.LimitReader(part, MaxValue+1)); err != nil {
		return Value{}, err
	}
	if len(v.Body) > MaxValue {
		return Value{}, fmt.Errorf("frame of more than %d bytes", MaxValue)
	}
	if v.ContentType != problemType {
		return v, nil
	}
	p := &Problem{}
	if err := json.Unmarshal(v.Body, p); err != nil {
		return Value{}, fmt.Errorf("reading why the stream ended: %w", err)
	}
	return Value{}, p
}
