package thing

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// next reads one event and gives its data.
func next(t *testing.T, s *Stream) ServerSentEvent {
	t.Helper()
	e, err := s.Next()
	if err != nil {
		t.Fatalf("next event: %v", err)
	}
	return e
}

func wantData(t *testing.T, e ServerSentEvent, want string) {
	t.Helper()
	if string(e.Data) != want {
		t.Errorf("event is %s, want %s", e.Data, want)
	}
}

func ticker(t *testing.T) (*Thing, Source[int]) {
	t.Helper()
	thing := New("Ticker")
	return thing, Event[int](thing, "tick", "It ticked")
}

func emitAll(t *testing.T, s Source[int], from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := s.Emit(i); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSubscribe(t *testing.T) {
	thing, tick := ticker(t)
	c := serve(t, thing.Handler(permit))
	emitAll(t, tick, 1, 3) // before anyone listened
	a, err := c.Subscribe(t.Context(), "tick", "")
	if err != nil {
		t.Fatal(err)
	}
	emitAll(t, tick, 4, 5)
	wantData(t, next(t, a), "4")
	last := next(t, a)
	wantData(t, last, "5")
	a.Close()

	emitAll(t, tick, 6, 7) // while it was gone
	b, err := c.Subscribe(t.Context(), "tick", last.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	wantData(t, next(t, b), "6")
	wantData(t, next(t, b), "7")
	emitAll(t, tick, 8, 8)
	wantData(t, next(t, b), "8")
}

func TestResume(t *testing.T) {
	h := newHub()
	for i := range MaxHistory + 10 {
		h.emit(fmt.Append(nil, i))
	}
	for id, want := range map[string]uint64{
		"":                               MaxHistory + 11, // new: what comes next
		h.id(MaxHistory + 10):            MaxHistory + 11, // saw the last
		h.id(20):                         21,              // saw one that is held
		h.id(10):                         11,              // saw the last that is not
		h.id(1):                          11,              // missed some for good
		h.id(MaxHistory + 99):            MaxHistory + 11, // made up
		newHub().id(20):                  11,              // from before a restart
		h.epoch:                          11,              // no number
		h.epoch + "--1":                  11,
		h.epoch + "-9999999999999999999": 11,
	} {
		if got, knows := h.resume(id); got != want || knows != strings.HasPrefix(id, h.epoch+"-") && !strings.Contains(id, "--") && !strings.HasSuffix(id, "9999999999999") {
			t.Errorf("after %q goes on from %d, want %d", id, got, want)
		}
	}
}

// Who is shown some events alone learns from their ids neither how many others there were, nor whether there was any.
func TestIDsCountNothing(t *testing.T) {
	h := newHub()
	for i := range 7 {
		h.emit(fmt.Append(nil, i))
	}
	first, again := h.id(7), h.id(7)
	if strings.HasSuffix(first, "-7") || first == again {
		t.Errorf("the seventh event is %s, and again %s", first, again)
	}
	for _, id := range []string{first, again} {
		if next, knows := h.resume(id); next != 8 || !knows {
			t.Errorf("after %s goes on from %d", id, next)
		}
	}
	for range 100 { // somebody makes ids up
		id := h.epoch + "-" + hex.EncodeToString([]byte(rand.Text()[:16]))
		if next, _ := h.resume(id); next < h.oldest() || next > h.next {
			t.Errorf("after %s goes on from %d, of %d to %d", id, next, h.oldest(), h.next)
		}
	}
}

// A hub holds what a plain list of everything would, cut to its bounds.
func TestHubAgainstList(t *testing.T) {
	h := newHub()
	var all []int // sizes
	for i := range 2000 {
		size := (i * i * 31) % 20_000
		h.emit(make([]byte, size))
		all = append(all, size)
		first, sum := len(all), 0
		for first > 0 && len(all)-first < MaxHistory && sum+all[first-1] <= maxHeld {
			first--
			sum += all[first]
		}
		if got := h.oldest(); got != uint64(first+1) {
			t.Fatalf("after %d events the oldest is %d, want %d", i+1, got, first+1)
		}
		records, _, held := h.from(uint64(first + 1))
		if !held || records[0].number != uint64(first+1) || len(records[0].data) != all[first] {
			t.Fatalf("after %d events: %d records, held %t", i+1, len(records), held)
		}
		if _, _, held := h.from(uint64(first)); held {
			t.Fatalf("after %d events %d is still held", i+1, first)
		}
	}
}

// Whoever comes back gets nothing from before the time that its right begins.
func TestResumeSeesWhatMayBeSeen(t *testing.T) {
	thing, tick := ticker(t)
	emitAll(t, tick, 1, 2)
	since := time.Now()
	emitAll(t, tick, 3, 3)
	h := thing.Handler(func(r *http.Request, _ Op, _ string) error {
		callerIn(r.Context()).View = func() View {
			return View{Sees: func(from, _ time.Time) bool { return !from.Before(since) }}
		}
		return nil
	})
	c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), &Caller{Name: "guest"})))
	}))
	s, err := c.Subscribe(t.Context(), "tick", "anotherepoch-0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantData(t, next(t, s), "3")
}

func TestObserve(t *testing.T) {
	l := newLamp()
	l.level.Store(10)
	c := serve(t, l.thing.Handler(permit))
	s, err := c.Observe(t.Context(), "level", "")
	if err != nil {
		t.Fatal(err)
	}
	first := next(t, s)
	wantData(t, first, "10")
	if err := c.Write(t.Context(), "level", json.RawMessage("20")); err != nil {
		t.Fatal(err)
	}
	wantData(t, next(t, s), "20")
	s.Close()
	again, err := c.Observe(t.Context(), "level", first.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	wantData(t, next(t, again), "20")
}

// cancellable serves h under contexts that the test can cancel with a cause.
func cancellable(t *testing.T, h http.Handler) (c *Client, cancel chan context.CancelCauseFunc, done chan struct{}) {
	cancel, done = make(chan context.CancelCauseFunc, 1), make(chan struct{})
	c = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, stop := context.WithCancelCause(r.Context())
		defer stop(nil)
		cancel <- stop
		h.ServeHTTP(w, r.WithContext(ctx))
		close(done)
	}))
	return c, cancel, done
}

func TestStreamEndsWithItsContext(t *testing.T) {
	for name, c := range map[string]struct{ cause, want error }{
		"with a reason": {&Problem{Status: 403, Code: "revoked", Detail: "taken back by sam"}, &Problem{}},
		"silently":      {errors.New("internal"), io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			thing, tick := ticker(t)
			client, cancel, done := cancellable(t, thing.Handler(permit))
			client.Healing.For = -1
			s, err := client.Subscribe(t.Context(), "tick", "")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			emitAll(t, tick, 1, 1)
			wantData(t, next(t, s), "1")
			(<-cancel)(c.cause)
			<-done
			emitAll(t, tick, 2, 2)
			_, err = s.Next()
			var p *Problem
			if errors.As(c.want, &p) {
				if !errors.As(err, &p) || p.Code != "revoked" || p.Status != 403 || err.Error() != `thing: subscribeevent "tick": taken back by sam` {
					t.Errorf("ended with %v", err)
				}
			} else if err != c.want {
				t.Errorf("ended with %v, want %v", err, c.want)
			}
		})
	}
}

// A reader that does not read is cut off although a write to it blocks.
func TestStalledReaderIsCutOff(t *testing.T) {
	thing := New("Flood")
	flood := Event[string](thing, "flood", "Much")
	client, cancel, done := cancellable(t, thing.Handler(permit))
	s, err := client.Subscribe(t.Context(), "flood", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	emitFlood(t, flood, 400)
	(<-cancel)(nil)
	<-done
}

// A reader that falls behind by more than is held gets an end with the reason,
// however slowly it reads that, and others get everything.
func TestSlowReaderIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		thing := New("Flood")
		flood := Event[string](thing, "flood", "Much")
		dial := servePipes(t, thing.Handler(permit))
		subscribe := func(pause time.Duration) *Stream {
			client := dial(pause)
			client.Healing.For = -1
			s, err := client.Subscribe(t.Context(), "flood", "")
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		slow, quick := subscribe(2*endLimit), subscribe(0)
		defer slow.Close()
		defer quick.Close()
		const all = 40
		for range all {
			emitFlood(t, flood, 1)
			next(t, quick)
		}
		got := 0
		var err error
		for ; err == nil; got++ {
			_, err = slow.Next()
		}
		var p *Problem
		if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "fell behind") || got > all {
			t.Errorf("after %d events: %v", got-1, err)
		}
	})
}

// servePipes serves a handler in a bubble of synctest, over connections that hold nothing. What it returns makes clients
// whose every read of a connection takes as long as they are told.
func servePipes(t *testing.T, h http.Handler) (dial func(pause time.Duration) *Client) {
	conns := pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: h}
	served := make(chan error, 1)
	go func() { served <- server.Serve(conns) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return func(pause time.Duration) *Client {
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			conns.dialed <- far
			return pausing{near, pause}, nil
		}}
		t.Cleanup(transport.CloseIdleConnections)
		return &Client{HTTP: &http.Client{Transport: transport}, Base: &url.URL{Scheme: "http", Host: "thing"}}
	}
}

// pipes is a listener whose connections come from a channel.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error { close(p.closed); return nil }
func (pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// pausing is a connection whose every read takes a while.
type pausing struct {
	net.Conn
	pause time.Duration
}

func (p pausing) Read(b []byte) (int, error) {
	time.Sleep(p.pause)
	return p.Conn.Read(b)
}

// emitFlood emits more than the sockets between two ends take.
func emitFlood(t *testing.T, s Source[string], n int) {
	t.Helper()
	for range n {
		if err := s.Emit(strings.Repeat("x", MaxInput-2)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStreamShowsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		thing, _ := ticker(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*heartbeat+time.Second)
		defer cancel()
		w := httptest.NewRecorder()
		thing.Handler(permit).ServeHTTP(w, httptest.NewRequest("GET", "/events/tick", nil).WithContext(ctx))
		if _, got, _ := strings.Cut(w.Body.String(), "\n\n"); got != ":\n\n:\n\n" {
			t.Errorf("got %q, want two comments after the first ID", got)
		}
	})
}

func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		thing, _ := ticker(t)
		h := thing.Handler(permit)
		ctx, cancel := context.WithCancel(t.Context())
		get := func() int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/events/tick", nil).WithContext(ctx))
			return w.Code
		}
		for range maxStreams {
			go get()
		}
		synctest.Wait()
		if code := get(); code != http.StatusServiceUnavailable {
			t.Errorf("one stream too many: %d, want 503", code)
		}
		cancel()
		synctest.Wait()
		if code := get(); code != http.StatusOK {
			t.Errorf("after the others ended: %d, want 200", code)
		}
	})
}
