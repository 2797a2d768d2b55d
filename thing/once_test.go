package thing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// counter is a thing whose action counts and gives the count.
func counter() (http.Handler, *atomic.Int64) {
	n := new(atomic.Int64)
	t := New("Counter")
	Action(t, "count", "Count one", func(context.Context, map[string]int) (int64, error) {
		if v := n.Add(1); v != 3 {
			return v, nil
		}
		return 0, errors.New("three is broken")
	})
	return t.Handler(permit), n
}

func invoke(h http.Handler, caller, key, body string) string {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("POST", "/actions/count", strings.NewReader(body))
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	h.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), &Caller{Name: caller})))
	return fmt.Sprint(w.Code, " ", w.Body)
}

func TestActionIsDoneOnce(t *testing.T) {
	h, _ := counter()
	const broken = `500 {"title":"Internal Server Error","status":500,"detail":"three is broken"}`
	for i, c := range []struct{ caller, key, body, want string }{
		{"sam", "k1", "{}", "200 1"},
		{"sam", "k1", "{}", "200 1"},
		{"anna", "k1", "{}", "200 2"}, // another caller's key is another key
		{"sam", "k2", "{}", broken},
		{"sam", "k2", "{}", broken}, // a failure is an answer too
		{"sam", "", "{}", "200 4"},  // without a key each asks anew
		{"sam", "", "{}", "200 5"},
		{"sam", "k1", `{"a":1}`, `422 {"title":"Unprocessable Entity","status":422,"detail":"this Idempotency-Key was used with another input"}`},
		{"sam", strings.Repeat("k", 129), "{}", `400 {"title":"Bad Request","status":400,"detail":"Idempotency-Key of 129 bytes, at most 128"}`},
	} {
		if got := invoke(h, c.caller, c.key, c.body); got != c.want {
			t.Errorf("request %d: got %s\nwant %s", i, got, c.want)
		}
	}
}

func TestRememberedAnswersAreBounded(t *testing.T) {
	h, n := counter()
	for i := range maxOfOne + 1 {
		invoke(h, "sam", fmt.Sprint(i), "{}")
	}
	before := n.Load()
	invoke(h, "sam", "1", "{}")
	if n.Load() != before {
		t.Error("a remembered action was done again")
	}
	invoke(h, "sam", "0", "{}")
	if n.Load() != before+1 {
		t.Error("the oldest of too many answers was not forgotten")
	}
}

// Whoever asks as often as it likes has its own answers forgotten, and nobody else's.
func TestNobodyPushesOutAnothersAnswers(t *testing.T) {
	h, _ := counter()
	want := invoke(h, "anna", "open", "{}")
	for i := range 2 * maxRemembered {
		invoke(h, "mallory", fmt.Sprint(i), "{}")
	}
	if got := invoke(h, "anna", "open", "{}"); got != want {
		t.Errorf("anna was answered %q, and then %q: it was done twice", want, got)
	}
}

// Where many callers have all that is remembered, the one that has the most makes room.
func TestTheLargestShareMakesRoom(t *testing.T) {
	h, n := counter()
	want := invoke(h, "anna", "open", "{}")
	for i := range maxRemembered {
		invoke(h, fmt.Sprint("guest", i/(maxOfOne-1)), fmt.Sprint(i), "{}")
	}
	if got := invoke(h, "anna", "open", "{}"); got != want {
		t.Errorf("anna was answered %q, and then %q: it was done twice", want, got)
	}
	o, before := newOnce(), n.Load()
	for i := range maxRemembered + 100 {
		if _, err := o.do(t.Context(), onceKey{caller: fmt.Sprint(i)}, nil, func() ([]byte, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.answers) != maxRemembered || len(o.callers) != maxRemembered || n.Load() != before {
		t.Errorf("%d answers of %d callers are remembered, want %d of each", len(o.answers), len(o.callers), maxRemembered)
	}
}

// Two who ask at the same time with the same key get one action's answer.
func TestActionAskedForTwiceAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, release, runs := newOnce(), make(chan struct{}), 0
		answers := make(chan string, 2)
		for range 2 {
			go func() {
				out, err := o.do(t.Context(), onceKey{key: "k"}, nil, func() ([]byte, error) {
					runs++
					<-release
					return []byte("done"), nil
				})
				answers <- fmt.Sprint(string(out), err)
			}()
		}
		synctest.Wait()
		close(release)
		if a, b := <-answers, <-answers; runs != 1 || a != "done<nil>" || b != a {
			t.Errorf("%d runs, answers %q and %q", runs, a, b)
		}
	})
}

// What was broken off because its caller left is done by the next who asks.
func TestBrokenOffActionIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOnce()
		leaving, leave := context.WithCancel(t.Context())
		go o.do(leaving, onceKey{key: "k"}, nil, func() ([]byte, error) {
			<-leaving.Done()
			return nil, leaving.Err()
		})
		synctest.Wait()
		answer := make(chan string)
		go func() {
			out, err := o.do(t.Context(), onceKey{key: "k"}, nil, func() ([]byte, error) { return []byte("done"), nil })
			answer <- fmt.Sprint(string(out), err)
		}()
		synctest.Wait() // the second waits for the first
		leave()
		if got := <-answer; got != "done<nil>" {
			t.Errorf("the second got %q", got)
		}
	})
}

func TestTooManyActionsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, release := newOnce(), make(chan struct{})
		busy := func(caller string) {
			for i := range maxOfOne {
				go o.do(t.Context(), onceKey{caller: caller, key: fmt.Sprint(i)}, nil, func() ([]byte, error) { <-release; return nil, nil })
			}
			synctest.Wait()
		}
		one := func(caller string) error {
			_, err := o.do(t.Context(), onceKey{caller: caller, key: "one more"}, nil, func() ([]byte, error) { return nil, nil })
			return err
		}
		var p *Problem
		busy("mallory")
		if err := one("mallory"); !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
			t.Errorf("one action too many of one caller: %v", err)
		}
		if err := one("anna"); err != nil {
			t.Errorf("another caller's first: %v", err)
		}
		for i := range maxRemembered/maxOfOne - 1 {
			busy(fmt.Sprint("guest", i))
		}
		if err := one("sam"); !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
			t.Errorf("one action too many of all: %v", err)
		}
		close(release)
	})
}

func TestPanicInActionIsNotRemembered(t *testing.T) {
	o := newOnce()
	func() {
		defer func() { _ = recover() }()
		o.do(t.Context(), onceKey{key: "k"}, nil, func() ([]byte, error) { panic("device bug") })
	}()
	if out, err := o.do(t.Context(), onceKey{key: "k"}, nil, func() ([]byte, error) { return []byte("done"), nil }); string(out) != "done" || err != nil {
		t.Errorf("after a panic: %q, %v", out, err)
	}
}
