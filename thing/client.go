package thing

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// Client uses a thing that a servient of this package serves. All its errors
// that the thing answered are a [Problem], to be found with [errors.As].
type Client struct {
	// HTTP does the requests; nil stands for http.DefaultClient.
	HTTP *http.Client
	// Base is the thing's URL, such as kindred://<member>.<tree>.
	Base *url.URL
	// Healing is for streams and downloads whose connection is lost.
	Healing Healing
	// Purpose says what everything is asked for, where that is agreed on: a word
	// such as "billing", sent as [PurposeHeader]. Empty says nothing.
	Purpose string

	query string // of the URL
}

// PurposeHeader is the header of a request that says what it is for.
const PurposeHeader = "Kindred-Purpose"

// Value is the value of a property or the output of an action.
type Value struct {
	ContentType string // without parameters; empty where there is no value
	Body        []byte // at most MaxValue bytes
}

// Decode reads a JSON value into v, like [json.Unmarshal].
func (v Value) Decode(into any) error {
	if v.ContentType != jsonType {
		return fmt.Errorf("thing: reading value: is %q, want %s", v.ContentType, jsonType)
	}
	if err := json.Unmarshal(v.Body, into); err != nil {
		return fmt.Errorf("thing: reading value: %w", err)
	}
	return nil
}

// Describe fetches the Thing Description, as it stands.
func (c *Client) Describe(ctx context.Context) (json.RawMessage, error) {
	v, err := c.do(ctx, OpDescribe, "", http.MethodGet, nil, nil)
	return v.Body, err
}

// Read fetches the value of a property.
func (c *Client) Read(ctx context.Context, property string) (Value, error) {
	return c.do(ctx, OpReadProperty, property, http.MethodGet, nil, nil, "properties", property)
}

// Write sets a property to a JSON value.
func (c *Client) Write(ctx context.Context, property string, value json.RawMessage) error {
	_, err := c.do(ctx, OpWriteProperty, property, http.MethodPut, value, nil, "properties", property)
	return err
}

// Invoke does an action with a JSON input, empty where it takes none, under a
// fresh key, and gives its output, the zero Value where it has none.
func (c *Client) Invoke(ctx context.Context, action string, input json.RawMessage) (Value, error) {
	return c.InvokeWithKey(ctx, action, rand.Text(), input)
}

// InvokeWithKey is [Client.Invoke] under an Idempotency-Key of the caller's, of
// at most 128 bytes: repeated with the same key and input, after an answer got
// lost, it gives the first answer and does nothing a second time.
func (c *Client) InvokeWithKey(ctx context.Context, action, key string, input json.RawMessage) (Value, error) {
	h := http.Header{"Idempotency-Key": {key}}
	return c.do(ctx, OpInvokeAction, action, http.MethodPost, input, h, "actions", action)
}

// Subscribe opens the stream of an event. With the id of the last event that
// was received it begins with what was missed since, with "" at now. The stream
// is open when it returns, ends with ctx, and heals, see [Stream.Next].
func (c *Client) Subscribe(ctx context.Context, event, after string) (*Stream, error) {
	return c.open(ctx, OpSubscribeEvent, event, after, "events", event)
}

// Observe opens the stream of a property's values, like [Client.Subscribe].
// With no id, or one of before the thing was started anew, it begins with the
// current value.
func (c *Client) Observe(ctx context.Context, property, after string) (*Stream, error) {
	return c.open(ctx, OpObserveProperty, property, after, "properties", property, "observe")
}

// do makes a request and reads the whole answer.
func (c *Client) do(ctx context.Context, op Op, name, method string, body []byte, h http.Header, path ...string) (Value, error) {
	resp, err := c.send(ctx, method, body, h, path)
	if err != nil {
		return Value{}, wrap(op, name, err)
	}
	defer resp.Body.Close()
	v := Value{}
	v.ContentType, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	v.Body, err = io.ReadAll(io.LimitReader(resp.Body, MaxValue+1))
	if err != nil {
		return Value{}, wrap(op, name, err)
	}
	if len(v.Body) > MaxValue {
		return Value{}, wrap(op, name, fmt.Errorf("answer of more than %d bytes", MaxValue))
	}
	return v, nil
}

// send makes a request and gives the answer if it is a success.
func (c *Client) send(ctx context.Context, method string, body []byte, h http.Header, path []string) (*http.Response, error) {
	if len(path) > 0 && !nameRE.MatchString(path[1]) {
		return nil, fmt.Errorf("not a name")
	}
	target := c.Base.JoinPath(append([]string{"/"}, path...)...)
	target.RawQuery = c.query
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.Purpose != "" {
		req.Header.Set(PurposeHeader, c.Purpose)
	}
	for k, v := range h {
		req.Header[k] = v
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", jsonType)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	return resp, nil
}

// open opens a stream of events, and again whenever its connection is lost.
func (c *Client) open(ctx context.Context, op Op, name, after string, path ...string) (*Stream, error) {
	s := &Stream{op: op, name: name, last: after}
	var err error
	s.line, err = begin(ctx, c.Healing, func(ctx context.Context) (*http.Response, error) {
		h := http.Header{"Accept": {streamType}}
		if s.last != "" {
			h.Set("Last-Event-ID", s.last)
		}
		resp, err := c.send(ctx, http.MethodGet, nil, h, path)
		if err != nil {
			return nil, err
		}
		if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != streamType {
			resp.Body.Close()
			return nil, fmt.Errorf("answer is %.60q, want %s", media, streamType)
		}
		s.events = newEventDecoder(resp.Body)
		s.events.id, s.events.lastID = s.last, s.last
		return resp, nil
	})
	if err != nil {
		return nil, wrap(op, name, err)
	}
	return s, nil
}

// Stream is an open stream of events. One goroutine may read it.
type Stream struct {
	op     Op
	name   string
	line   *line
	last   string // ID to go on after
	events *eventDecoder
}

// Next waits for the next event. A connection that is lost it makes again, as [Client.Healing] says, and goes on after
// the last event: it loses and repeats nothing that the thing still has. It returns a [Problem] where the thing said
// why the stream ended, [ErrLost] where the connection did not come back, and where it is not to be made again
// [io.EOF] if the thing ended the stream without a word.
func (s *Stream) Next() (ServerSentEvent, error) {
	s.move()
	for {
		e, err := s.next()
		s.last = s.events.lastID
		switch err {
		case nil:
			s.line.came()
			return e, nil
		case errQuiet: // between two events, however long it is until the next
			s.move()
			continue
		}
		if err = s.line.again(err); err == io.EOF {
			return ServerSentEvent{}, io.EOF
		}
		if err != nil {
			return ServerSentEvent{}, wrap(s.op, s.name, err)
		}
	}
}

// move moves to a better way, where it is known which event to go on after.
func (s *Stream) move() {
	if s.last != "" {
		s.line.move()
	}
}

// next reads an event or a sign of life, and turns one that says why the stream ends into that problem.
func (s *Stream) next() (ServerSentEvent, error) {
	e, err := s.events.eventOrSign()
	if err != nil || e.Name != problemEvent {
		return e, err
	}
	p := &Problem{}
	if err := json.Unmarshal(e.Data, p); err != nil {
		return e, fmt.Errorf("reading why the stream ended: %w", err)
	}
	return e, p
}

// Close ends the stream. It may be called at any time, to end a Next that waits.
func (s *Stream) Close() error { return s.line.close() }

func wrap(op Op, name string, err error) error {
	if name == "" {
		return fmt.Errorf("thing: %s: %w", op, err)
	}
	return fmt.Errorf("thing: %s %q: %w", op, name, err)
}
