package peer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-yamux/v5"
)

// As many calls as may be: whoever comes next waits for one of them, or until it gives up.
func TestPoolWaits(t *testing.T) {
	var p pool
	for range maxStreams {
		if c, err := p.take(t.Context(), false); c != nil || err != nil {
			t.Fatal(c, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp, took := make(chan error), make(chan error)
	take := func(ctx context.Context, told chan error) {
		_, err := p.take(ctx, false)
		told <- err
	}
	waiting := func(n int) {
		waitFor(t, func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.line) == n
		})
	}
	go take(ctx, gaveUp)
	waiting(1)
	go take(t.Context(), took)
	waiting(2)
	cancel()
	if err := <-gaveUp; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	p.leave(nil)
	if err := <-took; err != nil {
		t.Error(err)
	}
	if p.open != maxStreams {
		t.Errorf("%d are open, want %d", p.open, maxStreams)
	}
}

// Whoever gives up just when its turn has come hands it on.
func TestPoolHandsOn(t *testing.T) {
	p := pool{open: maxStreams}
	_, first := p.try(nil)
	_, second := p.try(nil)
	p.leave(nil)
	<-first
	p.giveUp(first)
	<-second
}

// A stream that the callee closed while it was kept is noticed by the next request, which goes over another if it may.
func TestKeptStreamLost(t *testing.T) {
	eachWay(t, func(t *testing.T, join func(string, http.Handler) *member) {
		var last atomic.Pointer[served]
		var requests atomic.Int64
		meter := join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			last.Store(r.Context().Value(callerKey).(*served))
			requests.Add(1)
			io.Copy(w, r.Body)
		}))
		client := join("phone", nil).client(nil, meter)
		for _, tt := range []struct {
			method, key string
			again       bool
		}{{"GET", "", true}, {"POST", "1", true}, {"POST", "", false}} {
			get(t, client, "kindred://meter/")
			before := requests.Load()
			last.Load().Close()
			req, _ := http.NewRequest(tt.method, "kindred://meter/", strings.NewReader("x"))
			if tt.key != "" {
				req.Header.Set("Idempotency-Key", tt.key)
			}
			resp, err := client.Do(req)
			if err == nil {
				body(t, resp)
			}
			if tt.again && (err != nil || requests.Load() != before+1) {
				t.Errorf("%s %q: %v, served %d times", tt.method, tt.key, err, requests.Load()-before)
			}
			if err != nil && !errors.Is(err, ErrUnreachable) {
				t.Errorf("%s %q: %v", tt.method, tt.key, err)
			}
		}
	})
}

// Requests whose connection is lost go over another if they may, on whatever streams of it they were.
func TestKeptConnectionLost(t *testing.T) {
	eachWay(t, func(t *testing.T, join func(string, http.Handler) *member) {
		var waiting atomic.Int64
		lost := make(chan struct{})
		answer := sync.OnceFunc(func() { close(lost) })
		defer answer()
		meter := join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				waiting.Add(1)
				<-lost
			}
		}))
		phone := join("phone", nil)
		client := phone.client(nil, meter)
		get(t, client, "kindred://meter/")
		var wait sync.WaitGroup
		for key, again := range map[string]bool{"1": true, "2": true, "": false} {
			wait.Go(func() {
				req, _ := http.NewRequest(http.MethodPost, "kindred://meter/", strings.NewReader("x"))
				if key != "" {
					req.Header.Set("Idempotency-Key", key)
				}
				resp, err := client.Do(req)
				if err == nil {
					body(t, resp)
				}
				if again && err != nil || !again && !errors.Is(err, ErrUnreachable) {
					t.Errorf("key %q: %v", key, err)
				}
			})
		}
		waitFor(t, func() bool { return waiting.Load() == 3 })
		phone.Disconnect(meter.public())
		waitFor(t, func() bool { return waiting.Load() == 5 })
		answer()
		wait.Wait()
	})
}

// What is read of a callee's header, and of what comes before its answer, has bounds.
func TestAnswersOutOfBounds(t *testing.T) {
	p := newPlace(t)
	meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		switch r.URL.Path {
		case "/header":
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: ")
			for {
				if _, err := conn.Write(make([]byte, 1<<10)); err != nil {
					return
				}
			}
		case "/lines":
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X:\r\n", maxHeader/5-10)+"\r\n")
		case "/interim":
			for range maxInterim + 1 {
				io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n\r\n")
			}
		case "/garbage":
			io.WriteString(conn, "good day\r\n\r\n")
		case "/short":
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour")
		case "/more":
			io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}))
	phone := p.join("phone", nil)
	client := phone.client(nil, meter)
	for path, want := range map[string]string{
		"header": "the answer's header is longer than 32768 bytes", "lines": "the answer's header is longer than 32768 bytes",
		"interim": "more than 5 interim answers",
		"garbage": "the answer is malformed", "short": "unexpected EOF", "more": "",
	} {
		resp, err := client.Get("kindred://meter/" + path)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %.300v, want %q", path, err, want)
		}
	}
	waitFor(t, func() bool { // none of them is kept
		phone.Host.mu.Lock()
		defer phone.Host.mu.Unlock()
		return len(phone.calls) == 0
	})
}

// A body that fails ends the request with why, though the callee has not answered.
func TestBodyFails(t *testing.T) {
	eachWay(t, func(t *testing.T, join func(string, http.Handler) *member) {
		meter := join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
		client := join("phone", nil).client(nil, meter)
		failing := io.MultiReader(strings.NewReader("a part"), broken{errors.New("the disk is broken")})
		if _, err := client.Post("kindred://meter/", "", failing); err == nil || !strings.Contains(err.Error(), "sending the body: the disk is broken") {
			t.Errorf("got %v", err)
		}
	})
}

type broken struct{ error }

func (b broken) Read([]byte) (int, error) { return 0, b.error }

// Streams that are kept are closed when nobody asked anything on them for long.
func TestKeptStreamsExpire(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	client := phone.client(nil, meter)
	var wait sync.WaitGroup
	for range 2 * maxIdle {
		wait.Go(func() { get(t, client, "kindred://meter/") })
	}
	wait.Wait()
	of := phone.transports[0].pool("meter")
	count := func() (idle, open int) {
		of.mu.Lock()
		defer of.mu.Unlock()
		return len(of.idle), of.open
	}
	if idle, open := count(); idle == 0 || idle > maxIdle || open != idle {
		t.Errorf("%d streams are kept, %d open; want at most %d", idle, open, maxIdle)
	}
	of.expire(time.Now().Add(-callerIdle))
	if idle, _ := count(); idle == 0 {
		t.Error("they are closed too early")
	}
	of.expire(time.Now())
	if idle, open := count(); idle != 0 || open != 0 {
		t.Errorf("%d are kept, %d open", idle, open)
	}
}

// A laggard is a stream on which something comes just when its deadline passes.
type laggard struct{ network.Stream }

func (laggard) Read(p []byte) (int, error) { return copy(p, "something"), yamux.ErrTimeout }

func TestArrivesWithItsDeadline(t *testing.T) {
	c := &served{Stream: laggard{}}
	b := make([]byte, 20)
	if n, err := (arriving{c}).Read(b); string(b[:n]) != "something" || err != nil || !c.old() {
		t.Errorf("read %q, %v; a further stream is asked for: %t", b[:n], err, c.old())
	}
}
