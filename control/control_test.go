package control_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
)

// desk is a home of which a few calls are answered; the others are those of a nil Home and panic.
type desk struct {
	control.Home
	events []control.Event
}

func (d desk) Resolve(_ context.Context, _ credential.Principal, q control.Lookup) (control.Contact, error) {
	switch q.Path {
	case "home/lock":
		return control.Contact{Address: []byte("there")}, nil
	case "home/disk":
		return control.Contact{}, errors.New("sector 7 of /dev/sda is broken")
	}
	return control.Contact{}, &control.Error{Code: control.NotFound, Message: "there is no " + string(q.Path), Hint: "look again"}
}

func (d desk) Watch(_ context.Context, _ credential.Principal, send func(control.Event) error) error {
	for _, e := range d.events {
		if err := send(e); err != nil {
			return err
		}
	}
	return nil
}

// serve serves d to callers that are known, or to none.
func serve(t *testing.T, d desk, known bool) control.Client {
	t.Helper()
	who := credential.Principal{Chain: identity.Chain{Line: []identity.Link{{Member: identity.MemberID{1}}}}}
	caller := func(context.Context) (credential.Principal, bool) { return who, known }
	s := httptest.NewServer(control.Handler(d, caller, slog.New(slog.DiscardHandler)))
	t.Cleanup(s.Close)
	return control.Client{HTTP: s.Client(), Base: s.URL}
}

func TestCall(t *testing.T) {
	c := serve(t, desk{}, true)
	found, err := c.Resolve(t.Context(), control.Lookup{Path: "home/lock"})
	if err != nil || string(found.Address) != "there" {
		t.Errorf("found %q, %v", found.Address, err)
	}
	_, err = c.Resolve(t.Context(), control.Lookup{Path: "home/lamp"})
	var answer *control.Error
	if !errors.As(err, &answer) || *answer != (control.Error{Code: control.NotFound, Message: "there is no home/lamp", Hint: "look again"}) {
		t.Errorf("a refusal made for the caller arrives as %+v", err)
	}
	_, err = c.Resolve(t.Context(), control.Lookup{Path: "home/disk"})
	if !errors.As(err, &answer) || answer.Code != control.Unavailable || strings.Contains(answer.Message, "sda") {
		t.Errorf("what is the gateway's own trouble arrives as %+v", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	c := serve(t, desk{}, false)
	_, err := c.Resolve(t.Context(), control.Lookup{Path: "home/lock"})
	var answer *control.Error
	if !errors.As(err, &answer) || answer.Code != control.Refused {
		t.Errorf("a stranger's call: %v", err)
	}
	if err := c.Watch(t.Context(), func(control.Event) error { return nil }); !errors.As(err, &answer) || answer.Code != control.Refused {
		t.Errorf("a stranger's watch: %v", err)
	}
}

func TestBadQuestions(t *testing.T) {
	c := serve(t, desk{}, true)
	for name, test := range map[string]struct {
		method, path, body string
		want               int
	}{
		"no JSON":          {"POST", "resolve", "{", http.StatusBadRequest},
		"an unknown field": {"POST", "resolve", `{"paht":"home/lock"}`, http.StatusBadRequest},
		"another type":     {"POST", "resolve", `{"path":7}`, http.StatusBadRequest},
		"too long":         {"POST", "resolve", `{"path":"` + strings.Repeat("x", 2<<20) + `"}`, http.StatusBadRequest},
		"no such call":     {"POST", "rule", `{}`, http.StatusNotFound},
		"another method":   {"GET", "resolve", ``, http.StatusMethodNotAllowed},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, c.Base+control.Prefix+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.HTTP.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != test.want {
			t.Errorf("%s: answered %s, want %d", name, resp.Status, test.want)
		}
	}
}

func TestWatch(t *testing.T) {
	c := serve(t, desk{events: []control.Event{{Notice: []byte("gone")}, {Evidence: &control.Evidence{Self: []byte("me")}}}}, true)
	var got []control.Event
	err := c.Watch(t.Context(), func(e control.Event) error { got = append(got, e); return nil })
	if err == nil {
		t.Error("a watch that the gateway ended came to an end without an error")
	}
	if len(got) != 2 || string(got[0].Notice) != "gone" || got[1].Evidence == nil || string(got[1].Evidence.Self) != "me" {
		t.Errorf("watched %+v", got)
	}
	enough := errors.New("enough")
	if err := c.Watch(t.Context(), func(control.Event) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("a watcher that had enough gets %v", err)
	}
}

// slowDesk answers no call until it is let.
type slowDesk struct {
	control.Home
	asked chan string
	let   chan struct{}
}

func (d slowDesk) Resolve(_ context.Context, who credential.Principal, _ control.Lookup) (control.Contact, error) {
	d.asked <- who.Member().String()
	<-d.let
	return control.Contact{}, nil
}

// TestNobodyStarves: one member asks much more at once than is answered at a time, and another is answered all the same.
func TestNobodyStarves(t *testing.T) {
	const many = 90
	d := slowDesk{asked: make(chan string, many), let: make(chan struct{})}
	type key struct{}
	calls := control.Handler(d, func(ctx context.Context) (credential.Principal, bool) {
		who := credential.Principal{Chain: identity.Chain{Line: []identity.Link{{Member: ctx.Value(key{}).(identity.MemberID)}}}}
		return who, true
	}, slog.New(slog.DiscardHandler))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := identity.MemberID{r.Header.Get("Who")[0]}
		calls.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, who)))
	}))
	defer s.Close()
	answers := make(chan int, many+1)
	ask := func(who string) {
		req, err := http.NewRequest("POST", s.URL+control.Prefix+"resolve", strings.NewReader("{}"))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Who", who)
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
		answers <- resp.StatusCode
	}
	for range many {
		go ask("a")
	}
	for range many - 16 - 64 { // those for which there is no room even to wait
		if got := <-answers; got != http.StatusServiceUnavailable {
			t.Errorf("one too many was answered %d", got)
		}
	}
	go ask("b")
	asked := map[string]int{}
	for range 17 {
		asked[<-d.asked]++
	}
	if a, b := asked[identity.MemberID{'a'}.String()], asked[identity.MemberID{'b'}.String()]; a != 16 || b != 1 {
		t.Errorf("%d calls of the one and %d of the other are being answered, want 16 and 1", a, b)
	}
	close(d.let)
	for range 16 + 64 + 1 {
		if got := <-answers; got != http.StatusOK {
			t.Errorf("answered %d", got)
		}
	}
}

// Of a gateway of another tree no more is read than it has to say, and nothing of what it would have users do.
func TestForeignGateway(t *testing.T) {
	c := serve(t, desk{}, true)
	c.Foreign = true
	_, err := c.Resolve(t.Context(), control.Lookup{Path: "home/lamp"})
	var answer *control.Error
	if !errors.As(err, &answer) || *answer != (control.Error{Code: control.NotFound, Message: "there is no home/lamp"}) {
		t.Errorf("it answered %v", err)
	}
	long := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"address":%q}`, strings.Repeat("AAAA", 1<<19))
	}))
	t.Cleanup(long.Close)
	for _, foreign := range []bool{false, true} {
		c := control.Client{HTTP: long.Client(), Base: long.URL, Foreign: foreign}
		if _, err := c.Resolve(t.Context(), control.Lookup{}); (err != nil) != foreign {
			t.Errorf("of 2 MB, foreign %t: %v", foreign, err)
		}
	}
}
