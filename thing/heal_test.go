package thing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/thing/thingtest"
)

// brittle serves a thing over connections that a test cuts.
type brittle struct {
	*Client
	told []string // what healing told, in order; the test's goroutine reads streams, and so is told
}

func newBrittle(t *testing.T, h http.Handler) *brittle {
	b := &brittle{Client: serve(t, h)}
	b.Healing.Lost = func(error) { b.told = append(b.told, "lost") }
	b.Healing.Back = func() { b.told = append(b.told, "back") }
	return b
}

// cutting serves h, and cuts the connection of a request once so many bytes of its answer were written, as often as
// there are numbers.
func cutting(h http.Handler, after ...int) http.Handler {
	var turn atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := int(turn.Add(1)) - 1; n < len(after) {
			w = thingtest.Cut(w, after[n])
		}
		h.ServeHTTP(w, r)
	})
}

// Wherever an event stream is cut, be it within an event, its reader gets each event once.
func TestEventsHealAnywhere(t *testing.T) {
	thing, tick := ticker(t)
	h := thing.Handler(permit)
	const events = 5
	emitAll(t, tick, 1, events)
	whole := httptest.NewRecorder()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	h.ServeHTTP(whole, httptest.NewRequest("GET", "/events/tick", nil).WithContext(ctx))
	for cut := 1; cut < 140; cut += 7 {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			t.Parallel()
			b := newBrittle(t, cutting(h, cut))
			s, err := b.Subscribe(t.Context(), "tick", "of another life")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for i := 1; i <= events; i++ {
				wantData(t, next(t, s), fmt.Sprint(i))
			}
			if want := []string{"lost", "back"}; !slices.Equal(b.told, want) {
				t.Errorf("was told %q, want %q", b.told, want)
			}
		})
	}
}

// What comes while a stream is lost before its first event is not lost.
func TestEventsBeforeTheFirstAreNotLost(t *testing.T) {
	thing, tick := ticker(t)
	h := thing.Handler(permit)
	var asked atomic.Int64
	b := newBrittle(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			ctx, cancel := context.WithCancelCause(r.Context())
			cancel(errors.New("cut"))
			h.ServeHTTP(w, r.WithContext(ctx)) // opened, and ended without a word
			emitAll(t, tick, 1, 1)
			return
		}
		h.ServeHTTP(w, r)
	}))
	s, err := b.Subscribe(t.Context(), "tick", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	wantData(t, next(t, s), "1")
}

// An observer that comes back to a thing that was started anew is told the current value at once.
func TestObserverOfAnotherLife(t *testing.T) {
	l := newLamp()
	l.level.Store(30)
	for _, v := range []int{10, 20, 30} {
		if err := l.changed.Changed(v); err != nil {
			t.Fatal(err)
		}
	}
	c := serve(t, l.thing.Handler(permit))
	s, err := c.Observe(t.Context(), "level", "ANOTHERLIFE-7")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first := next(t, s)
	wantData(t, first, "30")
	if err := l.changed.Changed(40); err != nil {
		t.Fatal(err)
	}
	wantData(t, next(t, s), "40")

	again, err := c.Observe(t.Context(), "level", first.ID) // of this life: only what came after
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	wantData(t, next(t, again), "40")
}

func TestStreamEndsWhenTheRightIsGone(t *testing.T) {
	thing, tick := ticker(t)
	emitAll(t, tick, 1, 1)
	var asked atomic.Int64
	h := thing.Handler(func(*http.Request, Op, string) error {
		if asked.Add(1) > 1 {
			return &Problem{Status: http.StatusForbidden, Code: "ended", Detail: "access was taken away"}
		}
		return nil
	})
	b := newBrittle(t, cutting(h, 30))
	s, err := b.Subscribe(t.Context(), "tick", "of another life")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for err == nil {
		_, err = s.Next()
	}
	var p *Problem
	if !errors.As(err, &p) || p.Code != "ended" || errors.Is(err, ErrLost) {
		t.Errorf("ended with %v", err)
	}
	if want := []string{"lost"}; !slices.Equal(b.told, want) {
		t.Errorf("was told %q, want %q", b.told, want)
	}
}

// roundTrip is a transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// after answers with a stream that tells one event and is lost then, and with err ever after.
func afterOne(err error) *Client {
	asked := 0
	return &Client{
		Base: &url.URL{Scheme: "http", Host: "thing"},
		HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if asked++; asked > 1 {
				return nil, err
			}
			return &http.Response{
				StatusCode: 200, Header: http.Header{"Content-Type": {streamType}}, Request: r,
				Body: io.NopCloser(strings.NewReader("id: a-1\ndata: 1\n\n")),
			}, nil
		})},
	}
}

func TestHealingGivesUp(t *testing.T) {
	gone := errors.New("no such host")
	for name, tt := range map[string]struct {
		healing Healing
		want    error
		after   time.Duration // at least, and ten seconds more at most
	}{
		"by default":     {Healing{}, ErrLost, HealFor},
		"as asked":       {Healing{For: 5 * time.Second}, ErrLost, 5 * time.Second},
		"never tried":    {Healing{For: -1}, io.EOF, 0},
		"does not pass":  {Healing{Passing: func(error) bool { return false }}, gone, 0},
		"known to pass":  {Healing{Passing: func(err error) bool { return errors.Is(err, gone) }}, ErrLost, HealFor},
		"unknown to all": {Healing{Passing: func(err error) bool { return errors.Is(err, io.ErrNoProgress) }}, gone, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := afterOne(gone)
				lost := 0
				c.Healing = tt.healing
				c.Healing.Lost = func(error) { lost++ }
				s, err := c.Subscribe(t.Context(), "tick", "")
				if err != nil {
					t.Fatal(err)
				}
				next(t, s)
				began := time.Now()
				_, err = s.Next()
				if took := time.Since(began); !errors.Is(err, tt.want) || took < tt.after || took > tt.after+10*time.Second {
					t.Errorf("after %v: %v, want %v after %v", took, err, tt.want, tt.after)
				}
				if want := min(1, int(tt.healing.For)+1); lost != want {
					t.Errorf("was told %d times, want %d", lost, want)
				}
			})
		})
	}
}

func TestCloseEndsHealing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := afterOne(errors.New("no such host")).Subscribe(t.Context(), "tick", "")
		if err != nil {
			t.Fatal(err)
		}
		next(t, s)
		ended := make(chan error, 1)
		go func() { _, err := s.Next(); ended <- err }()
		synctest.Wait()
		s.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

// A download that is cut again and again, and never twice at the same place, is whole.
func TestDownloadHeals(t *testing.T) {
	content := make([]byte, 300_000)
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	h := folder(fstest.MapFS{"clip.bin": {Data: content, ModTime: time.Unix(1e9, 0)}})
	b := newBrittle(t, cutting(h, 100_000, 1, 70_000, 129_998))
	d, err := b.Fetch(t.Context(), "recordings", "clip.bin", FileState{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := io.ReadAll(d)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if want := []string{"lost", "back", "lost", "back", "lost", "back", "lost", "back"}; !slices.Equal(b.told, want) {
		t.Errorf("was told %q", b.told)
	}
}

func TestDownloadOfAChangedFile(t *testing.T) {
	for name, change := range map[string]func(f *fstest.MapFile){
		"rewritten": func(f *fstest.MapFile) { f.ModTime = f.ModTime.Add(time.Nanosecond) },
		"cut short": func(f *fstest.MapFile) { f.Data = f.Data[:10] },
	} {
		t.Run(name, func(t *testing.T) {
			file := &fstest.MapFile{Data: make([]byte, 200_000), ModTime: time.Unix(1e9, 0)}
			served := folder(fstest.MapFS{"clip.bin": file})
			var asked atomic.Int64
			b := newBrittle(t, cutting(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if asked.Add(1) == 2 {
					change(file)
				}
				served.ServeHTTP(w, r)
			}), 50_000))
			d, err := b.Fetch(t.Context(), "recordings", "clip.bin", FileState{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := io.Copy(io.Discard, d); !errors.Is(err, ErrChanged) {
				t.Errorf("ended with %v", err)
			}
			again, err := b.Fetch(t.Context(), "recordings", "clip.bin", d.FileState, d.Offset)
			if err != nil || again.Offset != 0 || again.ETag == d.ETag {
				t.Fatalf("%+v, %v: does not begin anew", again, err)
			}
			again.Close()
		})
	}
}

// A wayfarer reads a thing that is reached by another way with each request. From the first there is a better one.
type wayfarer struct {
	*brittle
	ended chan struct{} // closed when the first answer is read no further
}

func newWayfarer(t *testing.T, h http.Handler) *wayfarer {
	w := &wayfarer{ended: make(chan struct{})}
	var ways atomic.Int64
	w.brittle = newBrittle(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		way := ways.Add(1)
		rw.Header().Set("Way", fmt.Sprint(way))
		h.ServeHTTP(rw, r)
		if way == 1 {
			close(w.ended)
		}
	}))
	w.Healing.Better = func(resp *http.Response) bool { return resp.Header.Get("Way") == "1" }
	return w
}

// check checks that the wayfarer is on a way, and of the first that it was given up without a word.
func (w *wayfarer) check(t *testing.T, l *line, way string) {
	t.Helper()
	if got := l.resp.Header.Get("Way"); got != way {
		t.Errorf("it is on way %s, want %s", got, way)
	}
	if way != "1" {
		<-w.ended
	}
	if len(w.told) > 0 {
		t.Errorf("was told %q", w.told)
	}
}

// Where there is a better way, an event stream goes on there, with each event once.
func TestEventsMove(t *testing.T) {
	thing, tick := ticker(t)
	w := newWayfarer(t, thing.Handler(permit))
	emitAll(t, tick, 1, 3)
	s, err := w.Subscribe(t.Context(), "tick", "of another life")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := 1; i <= 3; i++ {
		wantData(t, next(t, s), fmt.Sprint(i))
		w.check(t, s.line, "2")
	}
	emitAll(t, tick, 4, 4)
	wantData(t, next(t, s), "4")
}

// A stream of events on which nothing happens moves at the next sign of life.
func TestQuietEventsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, thing := io.Pipe()
		var better atomic.Bool
		var asked []string
		c := &Client{Base: &url.URL{Scheme: "http", Host: "ticker"}}
		c.HTTP = &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			var body io.ReadCloser = first
			if asked = append(asked, r.Header.Get("Last-Event-ID")); len(asked) > 1 {
				body = io.NopCloser(strings.NewReader("id: 8\ndata: 2\n\n"))
			}
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {streamType}}, Body: body}, nil
		})}
		c.Healing.Better = func(*http.Response) bool { return better.Load() }
		ended := make(chan error, 1)
		go func() {
			for i, s := range []string{"id: 7\ndata: 1\n\n", ":\n\n", ":\n\n"} {
				synctest.Wait()     // the reader waits
				better.Store(i > 1) // not yet at the first sign of life
				if _, err := io.WriteString(thing, s); err != nil {
					t.Error(err)
				}
			}
			_, err := io.WriteString(thing, ":\n\n")
			ended <- err
		}()
		s, err := c.Subscribe(t.Context(), "tick", "")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		wantData(t, next(t, s), "1")
		wantData(t, next(t, s), "2")
		if !slices.Equal(asked, []string{"", "7"}) {
			t.Errorf("it was asked to go on after %q", asked)
		}
		if err := <-ended; err != io.ErrClosedPipe {
			t.Errorf("what there was is not closed: %v", err)
		}
	})
}

// A stream that nothing came on yet has no place to go on at.
func TestNoEventNoMove(t *testing.T) {
	thing, tick := ticker(t)
	w := newWayfarer(t, thing.Handler(permit))
	s, err := w.Subscribe(t.Context(), "tick", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	emitAll(t, tick, 1, 2)
	wantData(t, next(t, s), "1")
	w.check(t, s.line, "1")
	wantData(t, next(t, s), "2")
	w.check(t, s.line, "2")
}

func TestFramesMove(t *testing.T) {
	th, _ := projector(50, 10_000)
	w := newWayfarer(t, th.Handler(permit))
	f, err := w.Frames(t.Context(), "film")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before := 0
	for range 3 {
		n := frameNumber(t, frame(t, f))
		if n <= before {
			t.Errorf("frame %d after %d", n, before)
		}
		before = n
	}
	w.check(t, f.line, "2")
}

func TestDownloadMoves(t *testing.T) {
	content := make([]byte, 4<<20) // more than what is under way
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	w := newWayfarer(t, folder(fstest.MapFS{"clip.bin": {Data: content, ModTime: time.Unix(1e9, 0)}}))
	d, err := w.Fetch(t.Context(), "recordings", "clip.bin", FileState{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	got, err := io.ReadAll(d)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	w.check(t, d.line, "2")
}

// A better way on which the rest is not to be had is left alone for a while, and what there is goes on.
func TestBetterWayInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := &Client{Base: &url.URL{Scheme: "http", Host: "projector"}}
		c.HTTP = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			if asked++; asked > 1 {
				return nil, errors.New("no such way")
			}
			const pictures = "--b\r\nContent-Type: image/jpeg\r\n\r\nabc\r\n--b\r\n\r\nabc\r\n--b\r\n\r\nabc\r\n--b--"
			h := http.Header{"Content-Type": {framesType + "; boundary=b"}}
			return &http.Response{StatusCode: http.StatusOK, Header: h, Body: io.NopCloser(strings.NewReader(pictures))}, nil
		})}
		c.Healing.Better = func(*http.Response) bool { return true }
		f, err := c.Frames(t.Context(), "film")
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []int{2, 2, 3} {
			if frame(t, f); asked != want {
				t.Errorf("at picture %d it was asked %d times, want %d", i, asked, want)
			}
			time.Sleep(moveEvery / 2)
		}
	})
}
