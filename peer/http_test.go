package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// eachWay runs a test over each transport of its own, and over lanes.
func eachWay(t *testing.T, test func(t *testing.T, join func(name string, h http.Handler) *member)) {
	const tcp = "/ip4/127.0.0.1/tcp/0"
	for name, listen := range map[string]string{"QUIC": "/ip4/127.0.0.1/udp/0/quic-v1", "TCP": tcp, "lanes": tcp} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			test(t, func(member string, h http.Handler) *member {
				m := p.join(member, h, func(c *Config) { c.Listen = []string{listen} })
				m.wide = name == "lanes"
				return m
			})
		})
	}
}

// An endless body gives zeros and counts them.
type endless struct{ given atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	clear(p)
	e.given.Add(int64(len(p)))
	return len(p), nil
}

// settled makes requests until a count has not changed for 20 of them, and returns it.
func settled(t *testing.T, client *http.Client, count *atomic.Int64) int64 {
	t.Helper()
	for before, same := int64(-1), 0; ; {
		if _, got := get(t, client, "kindred://camera/other"); got != "good day, phone" {
			t.Fatalf("another stream of the connection got %q", got)
		}
		switch now := count.Load(); {
		case now > 0 && now == before:
			if same++; same == 20 {
				return now
			}
		default:
			before, same = now, 0
		}
	}
}

// windows is what both ends and the ways between them hold of a body that nobody reads: the most that either transport
// grants one stream, and what a net/http of each end buffers.
const windows = 18 << 20

func TestTrailers(t *testing.T) {
	eachWay(t, func(t *testing.T, join func(string, http.Handler) *member) {
		camera := join("camera", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "Sum")
			n, err := io.Copy(w, r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Sum", fmt.Sprintf("%d, %s", n, r.Trailer.Get("Told")))
		}))
		phone := join("phone", nil)
		req, _ := http.NewRequest("POST", "kindred://camera/", io.MultiReader(strings.NewReader("in two "), strings.NewReader("chunks")))
		req.Trailer = http.Header{"Told": nil}
		req.Body = &atEnd{req.Body, func() { req.Trailer.Set("Told", "at the end") }}
		resp, err := phone.client(nil, camera).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := body(t, resp); got != "in two chunks" || resp.Trailer.Get("Sum") != "13, at the end" {
			t.Errorf("got %q, trailer %q", got, resp.Trailer)
		}
	})
}

// atEnd calls then when a body was read.
type atEnd struct {
	io.ReadCloser
	then func()
}

func (b *atEnd) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.then()
	}
	return n, err
}

func TestExpectContinue(t *testing.T) {
	eachWay(t, func(t *testing.T, join func(string, http.Handler) *member) {
		camera := join("camera", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/no" {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			io.Copy(w, r.Body)
		}))
		client := join("phone", nil).client(nil, camera)
		get(t, client, "kindred://camera/") // so that the answer comes well within the time for 100 Continue
		for path, want := range map[string]bool{"/no": false, "/yes": true} {
			given, continued := &endless{}, false
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { continued = true }})
			req, _ := http.NewRequestWithContext(ctx, "POST", "kindred://camera"+path, io.LimitReader(given, 100))
			req.Header.Set("Expect", "100-continue")
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got := body(t, resp)
			if sent := given.given.Load() > 0; continued != want || sent != want || want && len(got) != 100 {
				t.Errorf("%s: %s, told to continue %v, sent %v, %d bytes came back", path, resp.Status, continued, sent, len(got))
			}
		}
	})
}

// A body that is not read stops whoever sends it at a bound, and nothing else on the connection.
func TestFlowControl(t *testing.T) {
	eachWay(t, func(t *testing.T, join func(string, http.Handler) *member) {
		var written atomic.Int64
		release, ended := make(chan struct{}), make(chan error, 1)
		camera := join("camera", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/upload":
				<-release
				w.Header().Set("Connection", "close")
				http.Error(w, "enough", http.StatusRequestEntityTooLarge)
			case "/download":
				for b := make([]byte, 32<<10); ; {
					n, err := w.Write(b)
					if written.Add(int64(n)); err != nil {
						<-r.Context().Done()
						ended <- err
						return
					}
				}
			default:
				greet(w, r)
			}
		}))
		client := join("phone", nil).client(nil, camera)

		given := &endless{}
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			resp, err := client.Post("kindred://camera/upload", "", given)
			if err != nil {
				t.Error(err)
				return
			}
			if resp.Body.Close(); resp.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("the answer during the upload is %s", resp.Status)
			}
		}()
		if n := settled(t, client, &given.given); n > windows {
			t.Errorf("%d bytes left for a handler that reads none", n)
		}
		close(release)
		<-answered

		resp, err := client.Get("kindred://camera/download")
		if err != nil {
			t.Fatal(err)
		}
		if n := settled(t, client, &written); n > windows {
			t.Errorf("%d bytes were written for a reader that reads none", n)
		}
		resp.Body.Close()
		if err := <-ended; err == nil {
			t.Error("the handler wrote on to nobody")
		}
	})
}

func TestCancellation(t *testing.T) {
	eachWay(t, func(t *testing.T, join func(string, http.Handler) *member) {
		begun, ended := make(chan struct{}), make(chan struct{})
		camera := join("camera", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/abort":
				io.WriteString(w, "the beginning")
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			case "/wait":
				close(begun)
				<-r.Context().Done()
				close(ended)
			}
		}))
		client := join("phone", nil).client(nil, camera)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-begun; cancel() }()
		req, _ := http.NewRequestWithContext(ctx, "GET", "kindred://camera/wait", nil)
		if _, err := client.Do(req); !errors.Is(err, context.Canceled) {
			t.Errorf("a request that was cancelled ended with %v", err)
		}
		<-ended // nothing was sent to the caller, and its handler knows all the same

		resp, err := client.Get("kindred://camera/abort")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != "the beginning" || err == nil {
			t.Errorf("of an answer that was broken off: %q, %v", got, err)
		}
	})
}

// Bodies of any size take the same memory: 64 MiB up and down here, 2 GiB in BenchmarkHuge.
func TestHugeBodies(t *testing.T) {
	eachWay(t, func(t *testing.T, join func(string, http.Handler) *member) { huge(t, join, 64<<20, nil) })
}

// huge sends so many bytes up and down again, and checks that memory stays within bounds.
func huge(t testing.TB, join func(string, http.Handler) *member, size int64, done func(what string)) {
	camera := join("camera", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			io.CopyN(w, &endless{}, size)
			return
		}
		n, err := io.Copy(io.Discard, &weighed{Reader: r.Body, t: t, every: size / 8})
		fmt.Fprint(w, n, " ", err)
	}))
	client := join("phone", nil).client(nil, camera)
	resp, err := client.Post("kindred://camera/", "", io.LimitReader(&endless{}, size)) // chunked: of unknown length
	if err != nil {
		t.Fatal(err)
	}
	if got := body(t, resp); got != fmt.Sprint(size, " <nil>") {
		t.Errorf("of %d bytes uploaded came %q", size, got)
	}
	if done != nil {
		done("up")
	}
	if resp, err = client.Get("kindred://camera/"); err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, &weighed{Reader: resp.Body, t: t, every: size / 8}); n != size || err != nil {
		t.Errorf("%d bytes came of %d, %v", n, size, err)
	}
	if done != nil {
		done("down")
	}
}

// A weighed reader looks at the heap now and then.
type weighed struct {
	io.Reader
	t     testing.TB
	every int64
	n     int64
	first uint64
}

func (w *weighed) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	before := w.n / w.every
	if w.n += int64(n); w.n/w.every > before {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if w.first == 0 {
			w.first = m.HeapAlloc
		}
		if m.HeapAlloc > w.first+windows {
			w.t.Errorf("after %d bytes the heap has grown from %d to %d", w.n, w.first, m.HeapAlloc)
		}
	}
	return n, err
}

// Small requests, one after the other or several at once, take as many streams as there are at once, each opened and
// agreed on once.
func TestRequestsShareStreams(t *testing.T) {
	eachWay(t, func(t *testing.T, join func(string, http.Handler) *member) {
		camera, phone := join("camera", greet), join("phone", nil)
		var streams atomic.Int64
		client := &http.Client{Transport: phone.Transport(func(context.Context, string) (Target, error) {
			streams.Add(1)
			return phone.target(camera), nil
		})}
		for range 100 {
			get(t, client, "kindred://camera/")
		}
		if n := streams.Load(); n != 1 {
			t.Errorf("100 requests took %d streams", n)
		}
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for range 50 {
					get(t, client, "kindred://camera/")
				}
			})
		}
		wait.Wait()
		if n := streams.Load(); n > 1+8+1+8 { // one may be opened while another becomes free, and lanes come instead of all
			t.Errorf("8 at once took %d streams", n)
		}
	})
}

func TestAnswersWithoutBody(t *testing.T) {
	eachWay(t, func(t *testing.T, join func(string, http.Handler) *member) {
		camera := join("camera", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"1"`)
			switch {
			case r.Header.Get("If-None-Match") != "":
				w.WriteHeader(http.StatusNotModified)
			case r.URL.Path == "/nothing":
				w.WriteHeader(http.StatusNoContent)
			default:
				io.Copy(w, bytes.NewReader(make([]byte, 1<<20)))
			}
		}))
		client := join("phone", nil).client(nil, camera)
		for range 2 { // all on one stream, which none of them spoils
			for _, tt := range []struct {
				method, path, known string
				status              int
				length              int
			}{{"HEAD", "/", "", 200, 0}, {"GET", "/", `"1"`, 304, 0}, {"GET", "/nothing", "", 204, 0}, {"GET", "/", "", 200, 1 << 20}} {
				req, _ := http.NewRequest(tt.method, "kindred://camera"+tt.path, nil)
				if tt.known != "" {
					req.Header.Set("If-None-Match", tt.known)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				if got := body(t, resp); resp.StatusCode != tt.status || len(got) != tt.length || resp.Header.Get("ETag") != `"1"` {
					t.Errorf("%s %s: %s, %d bytes", tt.method, tt.path, resp.Status, len(got))
				}
			}
		}
	})
}
