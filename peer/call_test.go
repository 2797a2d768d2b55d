package peer

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
)

// A countedStream counts what is done with a stream.
type countedStream struct {
	network.Stream
	writes int
}

func (s *countedStream) Write(p []byte) (int, error) {
	s.writes++
	return s.Stream.Write(p)
}

func TestFirstFlight(t *testing.T) {
	p := newPlace(t)
	ran := make(chan struct{})
	meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(ran)
		greet(w, r)
	}))
	phone := p.join("phone", nil)
	c, err := phone.open(t.Context(), phone.target(meter), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	counted := &countedStream{Stream: c.Stream}
	c.Stream = counted
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: meter\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-ran // the request was served before the caller read a byte
	if counted.writes != 1 || c.in.Buffered() != 0 {
		t.Errorf("%d writes, %d bytes read before the request was served; want 1, 0", counted.writes, c.in.Buffered())
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); got != "good day, phone" {
		t.Errorf("got %q", got)
	}
}

// TestHold records who did what: the request must not be served before the
// callee's hello was checked.
func TestHold(t *testing.T) {
	for _, tt := range []struct {
		name  string
		check error
		want  []string
	}{
		{"accepted", nil, []string{"check", "serve"}},
		{"not accepted", errors.New("the record is of another tree"), []string{"check"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			var mu sync.Mutex
			var done []string
			note := func(what string) {
				mu.Lock()
				defer mu.Unlock()
				done = append(done, what)
			}
			meter := p.join("meter", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { note("serve") }))
			phone := p.join("phone", nil)
			client := phone.client(func(g *Target) {
				g.Hold = true
				g.Check = func(_ crypto.PublicKey, hello []byte) error {
					if string(hello) != "hello of meter" {
						t.Errorf("checked %q", hello)
					}
					note("check")
					return tt.check
				}
			}, meter)
			resp, err := client.Get("kindred://meter/")
			if !errors.Is(err, tt.check) {
				t.Errorf("got error %v, want %v", err, tt.check)
			}
			if err == nil {
				resp.Body.Close()
			}
			phone.Disconnect(meter.public())
			meter.Close() // whatever was to be served is over
			if !slices.Equal(done, tt.want) {
				t.Errorf("got %q, want %q", done, tt.want)
			}
		})
	}
}

func TestCheckRefusesAnswer(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	meter.renew("hello of another")
	_, err := phone.client(nil, meter).Get("kindred://meter/")
	var ce *CallError
	if !errors.As(err, &ce) || !strings.Contains(err.Error(), `"hello of another" is not the hello of meter`) || strings.Contains(err.Error(), "net/http") {
		t.Errorf("got %v", err)
	}
	if errors.Is(err, ErrUnreachable) || errors.Is(err, ErrRefused) {
		t.Errorf("%v passes for unreachable or refused", err)
	}
}

func TestRefusalIsTold(t *testing.T) {
	p := newPlace(t)
	camera := p.join("camera", greet)
	stranger := p.join("stranger", nil)
	stranger.renew("hello of nobody")
	_, err := stranger.client(nil, camera).Get("kindred://camera/")
	if !errors.Is(err, ErrRefused) || errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want ErrRefused", err)
	}
}

func TestRefusedHandler(t *testing.T) {
	p := newPlace(t)
	camera := p.join("camera", greet, func(c *Config) {
		c.Refused = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, _ := Caller(r.Context())
			http.Error(w, fmt.Sprint(who.Refused, who.Showed, who.Value), http.StatusForbidden)
		})
	})
	stranger := p.join("stranger", nil)
	stranger.renew("")
	resp, err := stranger.client(func(g *Target) { g.Check = nil }, camera).Post("kindred://camera/", "", bytes.NewReader(make([]byte, 4<<20)))
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); resp.StatusCode != 403 || !resp.Close || got != "\"\" is not the hello of stranger false <nil>\n" {
		t.Errorf("got %d %q, close %v", resp.StatusCode, got, resp.Close)
	}
}

func TestNobodyIsAdmittedByDefault(t *testing.T) {
	p := newPlace(t)
	laptop := p.join("laptop", greet, func(c *Config) { c.Admit = nil })
	phone := p.join("phone", nil)
	code, _ := get(t, phone.client(func(g *Target) { g.Check = nil }, laptop), "kindred://laptop/")
	if code != 403 {
		t.Errorf("got %d", code)
	}
}

func TestAdmitPanicRefusesOneCaller(t *testing.T) {
	p := newPlace(t)
	meter := p.join("meter", greet, func(c *Config) {
		admit := c.Admit
		c.Admit = func(ctx context.Context, from crypto.PublicKey, hello []byte) (Admission, error) {
			if string(hello) == "hello of burglar" {
				panic("crafted")
			}
			return admit(ctx, from, hello)
		}
	})
	burglar, phone := p.join("burglar", nil), p.join("phone", nil)
	code, _ := get(t, burglar.client(func(g *Target) { g.Check = nil }, meter), "kindred://meter/")
	if code != 403 {
		t.Errorf("the burglar got %d", code)
	}
	if _, got := get(t, phone.client(nil, meter), "kindred://meter/"); got != "good day, phone" {
		t.Errorf("the phone got %q", got)
	}
}

// TestCalleeRenewsHello: on a kept stream the callee's new hello is shown from
// the request after the next.
func TestCalleeRenewsHello(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	var checked []string
	client := phone.client(func(g *Target) {
		check := g.Check
		g.Check = func(key crypto.PublicKey, hello []byte) error {
			checked = append(checked, string(hello))
			return check(key, hello)
		}
	}, meter)
	get(t, client, "kindred://meter/")
	get(t, client, "kindred://meter/")
	meter.renew("hello of meter, renewed")
	get(t, client, "kindred://meter/") // answered with Connection: close
	get(t, client, "kindred://meter/")
	if want := []string{"hello of meter", "hello of meter, renewed"}; !slices.Equal(checked, want) {
		t.Errorf("checked %q, want %q", checked, want)
	}
}

func TestForgottenHelloIsShownAgain(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	client := phone.client(nil, meter)
	get(t, client, "kindred://meter/")
	for _, l := range meter.all() {
		l.forget(fullFrame(phone.show()).digest)
	}
	client.CloseIdleConnections()
	resp, err := client.Post("kindred://meter/", "text/plain", strings.NewReader("once more"))
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); got != "good day, phone" {
		t.Errorf("got %q", got)
	}
	if got := len(meter.seen()); got != 2 {
		t.Errorf("the hello was verified %d times, want 2", got)
	}
}

// TestFrames checks what the opening of the second stream on a connection is.
func TestFrames(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	client := phone.client(nil, meter)
	get(t, client, "kindred://meter/")
	hello := fullFrame(phone.show())
	shown, held := phone.all()[0].frames(hello)
	if shown.kind != frameDigest || shown.digest != hello.digest || string(held.hello) != "hello of meter" {
		t.Errorf("the next stream shows %v and holds %v", shown, held)
	}
	shown, _ = phone.all()[0].frames(fullFrame([]byte("another")))
	if shown.kind != frameFull {
		t.Errorf("another hello is shown as %v", shown)
	}
}

// TestCallBack calls a peer that listens nowhere over the connection it made.
func TestCallBack(t *testing.T) {
	p := newPlace(t)
	gateway := p.join("gateway", greet)
	phone := p.join("phone", greet, func(c *Config) { c.Listen = []string{} })
	back := gateway.client(nil, phone)
	if _, err := back.Get("kindred://phone/"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("before it called, the phone was reached: %v", err)
	}
	get(t, phone.client(nil, gateway), "kindred://gateway/")
	if _, got := get(t, back, "kindred://phone/"); got != "good day, gateway" {
		t.Errorf("got %q", got)
	}
}

func TestConcurrentRequests(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	client := phone.client(nil, meter)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 5 {
				resp, err := client.Get("kindred://meter/")
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "good day, phone" {
					t.Errorf("got %q, %v", b, err)
				}
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	if got := len(meter.seen()); got != 1 {
		t.Errorf("one hello was verified %d times", got)
	}
	if got := len(phone.all()); got != 1 {
		t.Errorf("%d connections were made", got)
	}
}

func TestBigBodies(t *testing.T) {
	p := newPlace(t)
	camera := p.join("camera", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Write(all)
	}))
	phone := p.join("phone", nil)
	sent := make([]byte, 8<<20)
	rand.Read(sent)
	resp, err := phone.client(nil, camera).Post("kindred://camera/", "application/octet-stream", bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); got != string(sent) {
		t.Errorf("%d bytes came back of %d, or others", len(got), len(sent))
	}
}

// TestAnswerDuringUpload: a callee that answers and closes without reading the
// body is still heard.
func TestAnswerDuringUpload(t *testing.T) {
	p := newPlace(t)
	camera := p.join("camera", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		http.Error(w, "enough", http.StatusRequestEntityTooLarge)
	}))
	phone := p.join("phone", nil)
	resp, err := phone.client(nil, camera).Post("kindred://camera/", "", bytes.NewReader(make([]byte, 64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); resp.StatusCode != http.StatusRequestEntityTooLarge || got != "enough\n" {
		t.Errorf("got %d %q", resp.StatusCode, got)
	}
}

// events streams numbers until the request's context ends, then closes ended.
func events(t *testing.T, ended chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
	})
}

func TestStreamEndedByCaller(t *testing.T) {
	p := newPlace(t)
	ended := make(chan struct{})
	meter, phone := p.join("meter", events(t, ended)), p.join("phone", nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "kindred://meter/events/telegram", nil)
	resp, err := phone.client(nil, meter).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "data: 1\n" {
		t.Errorf("got %q, %v", line, err)
	}
	cancel()
	<-ended
}

func TestStreamEnded(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(meter, phone *member)
		want error // nil: any, for a handler that returns in time ends its response well
	}{
		{"callee disconnects", func(meter, phone *member) { meter.Disconnect(phone.public()) }, ErrUnreachable},
		{"callee closes", func(meter, phone *member) { meter.Close() }, nil},
		{"caller closes", func(meter, phone *member) { phone.Close() }, ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			ended := make(chan struct{})
			meter, phone := p.join("meter", events(t, ended)), p.join("phone", nil)
			resp, err := phone.client(nil, meter).Get("kindred://meter/events/telegram")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			r := bufio.NewReader(resp.Body)
			if line, err := r.ReadString('\n'); line != "data: 1\n" {
				t.Errorf("got %q, %v", line, err)
			}
			tt.end(meter, phone)
			<-ended
			if _, err := io.ReadAll(r); tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("the stream ended with %v, want %v", err, tt.want)
			}
		})
	}
}

func TestAbandonedUploadIsNotComplete(t *testing.T) {
	p := newPlace(t)
	begun, read := make(chan struct{}), make(chan error, 1)
	meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 4))
		close(begun)
		_, err := io.Copy(io.Discard, r.Body)
		read <- err
	}))
	phone := p.join("phone", nil)
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	req, _ := http.NewRequestWithContext(ctx, "POST", "kindred://meter/", in)
	var wg sync.WaitGroup
	wg.Go(func() {
		out.Write([]byte("half"))
		<-begun
		cancel()
		out.CloseWithError(context.Canceled) // net/http waits for its reader
	})
	if _, err := phone.client(nil, meter).Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-read; err == nil {
		t.Error("the callee took half a body for a whole one")
	}
	wg.Wait()
}

func TestWorthRepeating(t *testing.T) {
	stale := &CallError{Err: staleError{ErrUnreachable}}
	request := func(method string, body io.Reader, header ...string) *http.Request {
		r, err := http.NewRequest(method, "kindred://lock/", body)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range header {
			r.Header.Set(h, "1")
		}
		return r
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		req  *http.Request
		err  error
		want bool
	}{
		{"answered", request("GET", nil), nil, false},
		{"stale", request("GET", nil), stale, true},
		{"lost on a new connection", request("GET", nil), &CallError{Err: ErrUnreachable}, false},
		{"stale action", request("POST", strings.NewReader("x")), stale, false},
		{"stale action that may be repeated", request("POST", strings.NewReader("x"), "Idempotency-Key"), stale, true},
		{"body that cannot be had again", request("POST", io.MultiReader(), "Idempotency-Key"), stale, false},
		{"not looked at", request("POST", strings.NewReader("x")), &CallError{Err: errForgotten}, true},
		{"given up", request("GET", nil).WithContext(ended), stale, false},
	} {
		if got := worthRepeating(tt.req, tt.err); got != tt.want {
			t.Errorf("%s: got %v", tt.name, got)
		}
	}
}
