package thing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/thing/thingtest"
)

// projector is a thing with a film whose frames are numbered, each of so many bytes.
func projector(perSecond float64, size int) (*Thing, *atomic.Int64) {
	t := New("Projector")
	var shown atomic.Int64
	Media(t, "film", "A film", "image/jpeg", func(context.Context) ([]byte, error) {
		return append(fmt.Appendf(nil, "%d ", shown.Add(1)), make([]byte, size)...), nil
	}).Live(perSecond)
	return t, &shown
}

func frameNumber(t *testing.T, body []byte) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(string(body[:min(len(body), 12)]), &n); err != nil {
		t.Fatalf("frame of %d bytes: %v", len(body), err)
	}
	return n
}

func TestFilmDescription(t *testing.T) {
	th, _ := projector(5, 0)
	d := th.Describe()
	p := d.Properties["film"]
	if want := (Form{"properties/film/observe", "multipart/x-mixed-replace", "mjpeg", "", []Op{"observeproperty", "unobserveproperty"}}); !p.Observable ||
		len(p.Forms) != 2 || fmt.Sprint(p.Forms[1]) != fmt.Sprint(want) {
		t.Errorf("%+v", p)
	}
	thingtest.Valid(t, d)
}

// A film is what any reader of MIME parts can read, and each part is whole before the next one begins.
func TestFilm(t *testing.T) {
	th, _ := projector(100, 100_000)
	c := serve(t, th.Handler(permit))
	resp, err := c.HTTP.Get(c.Base.String() + "/properties/film/observe")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	media, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != "multipart/x-mixed-replace" {
		t.Fatalf("%q, %v", media, err)
	}
	parts := multipart.NewReader(resp.Body, params["boundary"])
	for i := 1; i <= 5; i++ {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part)
		if err != nil || part.Header.Get("Content-Type") != "image/jpeg" || part.Header.Get("Content-Length") != fmt.Sprint(len(body)) {
			t.Fatalf("part %v of %d bytes, %v", part.Header, len(body), err)
		}
		if n := frameNumber(t, body); n < i {
			t.Errorf("part %d is frame %d", i, n)
		}
	}
}

func TestFilmKeepsItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, shown := projector(4, 0)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		th.Handler(permit).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/properties/film/observe", nil).WithContext(ctx))
		if got := shown.Load(); got != 41 {
			t.Errorf("%d frames in ten seconds, want the first and four a second", got)
		}
	})
}

// A reader that does not read misses frames, and one beside it gets them at its own pace.
func TestSlowViewerMissesFrames(t *testing.T) {
	th, shown := projector(100, 1<<20)
	c := serve(t, th.Handler(permit))
	slow, err := c.Frames(t.Context(), "film")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	quick, err := c.Frames(t.Context(), "film")
	if err != nil {
		t.Fatal(err)
	}
	defer quick.Close()
	for frameNumber(t, frame(t, quick)) < 60 {
	}
	first := frameNumber(t, frame(t, slow))
	if first > 2 {
		t.Errorf("the slow one's first frame is %d", first)
	}
	// What is in the sockets is old. Then comes what there is now.
	before, gap := first, 0
	for range 30 {
		n := frameNumber(t, frame(t, slow))
		gap, before = max(gap, n-before), n
		if n >= 60 {
			break
		}
	}
	if gap < 20 {
		t.Errorf("no frames were passed over: at most %d at once, of %d", gap, shown.Load())
	}
}

func frame(t *testing.T, f *Frames) []byte {
	t.Helper()
	v, err := f.Next()
	if err != nil {
		t.Fatal(err)
	}
	return v.Body
}

// A film ends at once with its right, also for a reader that does not read, and says why to one that does.
func TestFilmEndsWithItsRight(t *testing.T) {
	for name, size := range map[string]int{"read": 10, "not read": 4 << 20} {
		t.Run(name, func(t *testing.T) {
			th, _ := projector(100, size)
			gone := &Problem{Status: 403, Code: "ended", Detail: "access was taken away"}
			var asked atomic.Int64
			h := th.Handler(func(*http.Request, Op, string) error {
				if asked.Add(1) > 1 {
					return gone
				}
				return nil
			})
			cancel, done := make(chan context.CancelCauseFunc, 1), make(chan struct{})
			client := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, stop := context.WithCancelCause(r.Context())
				defer stop(nil)
				select {
				case cancel <- stop: // the first request
					defer close(done)
				default:
				}
				h.ServeHTTP(w, r.WithContext(ctx))
			}))
			f, err := client.Frames(t.Context(), "film")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if size < 1<<20 {
				frame(t, f)
			}
			began := time.Now()
			stop := <-cancel
			cancel <- nil // full for good
			stop(gone)
			<-done
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("ended after %v", took)
			}
			for err == nil {
				var v Value
				if v, err = f.Next(); err == nil && v.ContentType != "image/jpeg" {
					t.Errorf("a frame is %q", v.ContentType)
				}
			}
			var p *Problem
			if !errors.As(err, &p) || p.Code != "ended" {
				t.Errorf("ended with %v", err)
			}
		})
	}
}

// Frames that cannot be had are passed over, but not for long.
func TestFilmPassesOverWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := New("Projector")
		began := time.Now()
		Media(th, "film", "A film", "image/jpeg", func(context.Context) ([]byte, error) {
			if since := time.Since(began); since > 2*time.Second && since < 4*time.Second || since > 10*time.Second {
				return nil, errors.New("the shutter is stuck")
			}
			return []byte("frame"), nil
		}).Live(1)
		w := httptest.NewRecorder()
		th.Handler(permit).ServeHTTP(w, httptest.NewRequest("GET", "/properties/film/observe", nil))
		_, params, _ := mime.ParseMediaType(w.Header().Get("Content-Type"))
		parts, frames := multipart.NewReader(w.Body, params["boundary"]), 0
		var err error
		for err == nil {
			if _, err = readFrame(parts); err == nil {
				frames++
			}
		}
		var p *Problem
		if !errors.As(err, &p) || p.Detail != "the shutter is stuck" || frames < 8 || frames > 10 {
			t.Errorf("%d frames, then %v", frames, err)
		}
		if took := time.Since(began); took < 10*time.Second+heartbeat || took > 12*time.Second+heartbeat {
			t.Errorf("given up after %v", took)
		}
	})
}

func TestViewersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th, _ := projector(1, 0)
		h := th.Handler(permit)
		ctx, cancel := context.WithCancel(t.Context())
		get := func() int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/properties/film/observe", nil).WithContext(ctx))
			return w.Code
		}
		for range maxViewers {
			go get()
		}
		synctest.Wait()
		if code := get(); code != http.StatusServiceUnavailable {
			t.Errorf("one viewer too many: %d, want 503", code)
		}
		cancel()
		synctest.Wait()
		if code := get(); code != http.StatusOK {
			t.Errorf("after the others ended: %d, want 200", code)
		}
	})
}

func TestFramesHeal(t *testing.T) {
	th, _ := projector(50, 10_000)
	b := newBrittle(t, cutting(th.Handler(permit), 25_000))
	f, err := b.Frames(t.Context(), "film")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before := 0
	for range 10 {
		n := frameNumber(t, frame(t, f))
		if n <= before {
			t.Errorf("frame %d after %d", n, before)
		}
		before = n
	}
	if got := strings.Join(b.told, " "); got != "lost back" {
		t.Errorf("was told %q", got)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte("--b\r\nContent-Type: image/jpeg\r\nContent-Length: 3\r\n\r\nabc\r\n--b\r\n"))
	f.Add([]byte("--b\r\nContent-Type: application/problem+json\r\n\r\n{\"status\":403}\r\n--b--\r\n"))
	f.Add([]byte("--b\r\n\r\n\r\n--b--"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		parts := multipart.NewReader(bytes.NewReader(raw), "b")
		for range 16 {
			v, err := readFrame(parts)
			if err != nil {
				return
			}
			if len(v.Body) > len(raw) || v.ContentType == problemType {
				t.Errorf("%q of %d bytes", v.ContentType, len(v.Body))
			}
		}
	})
}
