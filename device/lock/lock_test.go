package lock

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/thing/thingtest"
)

func TestLock(t *testing.T) {
	server := httptest.NewServer(New().Thing().Handler(func(*http.Request, thing.Op, string) error { return nil }))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, ctx := &thing.Client{Base: base}, t.Context()

	state := func() (s State) {
		t.Helper()
		v, err := c.Read(ctx, "state")
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Decode(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if got := state(); got != Locked {
		t.Errorf("a new lock is %s", got)
	}
	events, err := c.Subscribe(ctx, "state", "")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	values, err := c.Observe(ctx, "state", "")
	if err != nil {
		t.Fatal(err)
	}
	defer values.Close()

	for _, do := range []struct {
		action string
		want   State
	}{{"unlock", Unlocked}, {"unlock", Unlocked}, {"lock", Locked}} {
		var got State
		v, err := c.Invoke(ctx, do.action, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Decode(&got); err != nil || got != do.want || state() != do.want {
			t.Errorf("%s: answered %q, is %q, want %q (%v)", do.action, got, state(), do.want, err)
		}
	}
	// Two changes, the second unlock was none; who observes gets the first state too.
	for name, c := range map[string]struct {
		stream *thing.Stream
		want   []string
	}{"event": {events, []string{`"unlocked"`, `"locked"`}}, "property": {values, []string{`"locked"`, `"unlocked"`, `"locked"`}}} {
		for _, want := range c.want {
			e, err := c.stream.Next()
			if err != nil || string(e.Data) != want {
				t.Errorf("%s: %s, %v; want %s", name, e.Data, err, want)
			}
		}
	}
}

func TestDescriptionIsValid(t *testing.T) { thingtest.Valid(t, New().Thing().Describe()) }
