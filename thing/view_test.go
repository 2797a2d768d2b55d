package thing

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"
)

// A viewer is a caller whose view the test changes.
type viewer struct{ view atomic.Pointer[View] }

func (v *viewer) sees(view View) { v.view.Store(&view) }

// serve serves a thing to the viewer, to whom everything is permitted.
func (v *viewer) serve(t *testing.T, th *Thing) *Client {
	t.Helper()
	v.sees(View{})
	h := th.Handler(permit)
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &Caller{Name: "guest", View: func() View { return *v.view.Load() }}
		h.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), c)))
	}))
}

// from is a view of what was recorded from a moment on.
func from(since time.Time) View {
	return View{Sees: func(from, _ time.Time) bool { return !from.Before(since) }}
}

func wantCode(t *testing.T, what string, err error, code string) {
	t.Helper()
	var p *Problem
	if code == "" && err == nil {
		return
	}
	if !errors.As(err, &p) || p.Code != code || p.Status != http.StatusForbidden {
		t.Errorf("%s: %v, want a problem of code %q", what, err, code)
	}
}

type status struct {
	Charge int    `json:"charge"`
	Driver string `json:"driver"`
}

func newCar() (*Thing, Prop[Position], Source[status]) {
	th := New("Car")
	at := Position{52.5200, 13.4050}
	areas := []Area{{"city", at, 20_000}, {"home", Position{52.5201, 13.4051}, 200}}
	position := Place(th, "position", "Where it is", areas, func(context.Context) (Position, error) { return at, nil }).Observable()
	Property(th, "status", "How it is", func(context.Context) (status, error) { return status{80, "anna"}, nil })
	Property(th, "trips", "Where it was", func(context.Context) ([]status, error) { return []status{{1, "a"}, {2, "b"}}, nil })
	Property(th, "charge", "Of the battery", func(context.Context) (int, error) { return 80, nil })
	Media(th, "picture", "Ahead", "image/jpeg", func(context.Context) ([]byte, error) { return []byte("jpeg"), nil }).Live(50)
	Action(th, "unlock", "Open it", func(context.Context, None) (bool, error) { return true, nil })
	Action(th, "report", "Tell", func(context.Context, None) (status, error) { return status{80, "anna"}, nil })
	Action(th, "measure", "Tell", func(context.Context, None) (float64, error) { return 21.5, nil })
	Files(th, "clips", "Recorded", fstest.MapFS{"a.mp4": {Data: []byte("clip"), ModTime: time.Now().Add(-time.Minute)}}).Longest(time.Hour)
	return th, position, Event[status](th, "driven", "It drove")
}

func TestViews(t *testing.T) {
	th, _, _ := newCar()
	var v viewer
	c, ctx := v.serve(t, th), t.Context()
	past, hours := time.Now().Add(-time.Hour), time.Now().Add(-3*time.Hour)
	never := View{Sees: func(_, _ time.Time) bool { return false }}
	for _, tt := range []struct {
		what string
		view View
		name string
		want string // the value, or the code of the refusal after "!"
	}{
		{"everything", View{}, "status", `{"charge":80,"driver":"anna"}`},
		{"this moment", from(past), "status", `{"charge":80,"driver":"anna"}`},
		{"not this moment", never, "status", "!moment"},
		{"not this moment", never, "picture", "!moment"},
		{"by the day", View{Step: Day}, "status", "!detail"},
		{"by the day", View{Step: Day}, "picture", "!detail"},
		{"by the day", View{Step: Day}, "position", "!detail"},
		{"by the day", View{Step: Day}, "clips", "!detail"},
		{"the area", View{Area: true}, "position", `{"area":"home"}`},
		{"the area, not now", View{Area: true, Sees: never.Sees}, "position", "!moment"},
		{"the area, by the day", View{Area: true, Step: Day}, "position", "!detail"},
		{"the area", View{Area: true}, "charge", "!detail"},
		{"a field", View{Fields: []string{"charge"}}, "status", `{"charge":80}`},
		{"a field of each", View{Fields: []string{"charge"}}, "trips", `[{"charge":1},{"charge":2}]`},
		{"a field that there is not", View{Fields: []string{"speed"}}, "status", `{}`},
		{"no field", View{Fields: []string{}}, "status", `{}`},
		{"the whole value", View{Fields: []string{"status"}}, "status", `{"charge":80,"driver":"anna"}`},
		{"a field of a number", View{Fields: []string{"status"}}, "charge", "!fields"},
		{"the number", View{Fields: []string{"charge"}}, "charge", "80"},
		{"a field of a picture", View{Fields: []string{"charge"}}, "picture", "!fields"},
		{"the picture", View{Fields: []string{"picture"}}, "picture", "jpeg"},
		{"the area, a field of it", View{Area: true, Fields: []string{"latitude"}}, "position", `{}`},
		{"files of these hours", from(hours), "clips", "a.mp4"},
		{"files of this hour", from(past.Add(2 * time.Minute)), "clips", "[]"},
		{"files by name alone", View{Fields: []string{"name"}}, "clips", `[{"name":"a.mp4"}]`},
	} {
		v.sees(tt.view)
		got, err := c.Read(ctx, tt.name)
		if code, refused := strings.CutPrefix(tt.want, "!"); refused {
			wantCode(t, tt.what+": "+tt.name, err, code)
		} else if err != nil || !strings.Contains(string(got.Body), tt.want) {
			t.Errorf("%s: %s is %s, %v; want %s", tt.what, tt.name, got.Body, err, tt.want)
		}
	}
}

// What may not be shown of an action's output is left out, and the action done.
func TestViewsOfOutputs(t *testing.T) {
	th, _, _ := newCar()
	var v viewer
	c := v.serve(t, th)
	for _, tt := range []struct {
		view         View
		action, want string
	}{
		{View{}, "report", `{"charge":80,"driver":"anna"}`},
		{View{Step: Day}, "report", ""},
		{View{Step: Day}, "measure", ""},
		{View{Area: true}, "unlock", "true"},
		{View{Fields: []string{"driver"}}, "report", `{"driver":"anna"}`},
		{View{Fields: []string{}}, "unlock", ""},
		{View{Fields: []string{"unlock"}}, "unlock", "true"},
	} {
		v.sees(tt.view)
		if got, err := c.Invoke(t.Context(), tt.action, nil); err != nil || string(got.Body) != tt.want {
			t.Errorf("%+v: %s gives %q, %v; want %q", tt.view, tt.action, got.Body, err, tt.want)
		}
	}
}

func TestViewsOfFiles(t *testing.T) {
	th, _, _ := newCar()
	var v viewer
	c, ctx := v.serve(t, th), t.Context()
	fetch := func() error {
		d, err := c.Fetch(ctx, "clips", "a.mp4", FileState{}, 0)
		if err == nil {
			d.Close()
		}
		return err
	}
	v.sees(from(time.Now().Add(-2 * time.Hour)))
	wantCode(t, "a file of moments that are seen", fetch(), "")
	v.sees(View{Step: Hour})
	wantCode(t, "by the hour", fetch(), CodeDetail)
	v.sees(View{Fields: []string{"name"}})
	wantCode(t, "names alone", fetch(), CodeFields)
	v.sees(View{Fields: []string{"clips"}})
	wantCode(t, "the files", fetch(), "")
	v.sees(from(time.Now().Add(-59 * time.Minute))) // it may have begun before
	var p *Problem
	if err := fetch(); !errors.As(err, &p) || p.Status != http.StatusNotFound {
		t.Errorf("a file of moments that are not seen: %v", err)
	}
}

// What is missed is told as the view is when it is sent, and not what was recorded before.
func TestViewsOfEvents(t *testing.T) {
	th, _, driven := newCar()
	var v viewer
	c, ctx := v.serve(t, th), t.Context()
	if err := driven.Emit(status{1, "sam"}); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	v.sees(View{Sees: from(since).Sees, Fields: []string{"charge"}})
	s, err := c.Subscribe(ctx, "driven", "anotherepoch-0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	emit := func(charge int) {
		t.Helper()
		if err := driven.Emit(status{charge, "sam"}); err != nil {
			t.Fatal(err)
		}
	}
	emit(2)
	wantData(t, next(t, s), `{"charge":2}`)
	v.sees(View{})
	emit(3)
	wantData(t, next(t, s), `{"charge":3,"driver":"sam"}`)
	v.sees(View{Step: Day})
	emit(4)
	_, err = s.Next()
	wantCode(t, "in the middle, by the day", err, CodeDetail)
	_, err = c.Subscribe(ctx, "driven", "")
	wantCode(t, "from the start, by the day", err, CodeDetail)
}

// Whoever sees the area alone is told when that is another one, and nothing that tells how often the car moved.
func TestCoarseObserver(t *testing.T) {
	th := New("Car")
	var at atomic.Pointer[Position]
	at.Store(&Position{52.52, 13.405})
	areas := []Area{{"home", *at.Load(), 200}}
	position := Place(th, "position", "Where it is", areas, func(context.Context) (Position, error) { return *at.Load(), nil }).Observable()
	var v viewer
	c := v.serve(t, th)
	v.sees(View{Area: true})
	s, err := c.Observe(t.Context(), "position", "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first := next(t, s)
	wantData(t, first, `{"area":"home"}`)
	if first.ID != "" {
		t.Errorf("the first has the id %q", first.ID)
	}
	move := func(latitude float64) {
		t.Helper()
		at.Store(&Position{latitude, 13.405})
		if err := position.Changed(*at.Load()); err != nil {
			t.Fatal(err)
		}
	}
	move(52.5201)
	move(52.5202)
	move(53)
	wantData(t, next(t, s), `{"area":"elsewhere"}`)
	v.sees(View{})
	move(54)
	wantData(t, next(t, s), `{"latitude":54,"longitude":13.405}`)
}

func TestFilmEndsWithItsView(t *testing.T) {
	th, _, _ := newCar()
	var v viewer
	c := v.serve(t, th)
	f, err := c.Frames(t.Context(), "picture")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Next(); err != nil {
		t.Fatal(err)
	}
	v.sees(View{Step: Hour})
	for err == nil {
		_, err = f.Next()
	}
	wantCode(t, "a film by the hour", err, CodeDetail)
	_, err = c.Frames(t.Context(), "picture")
	wantCode(t, "a film by the hour, from the start", err, CodeDetail)
}

func TestServiceNeedsAWholeView(t *testing.T) {
	th := New("Door")
	Service(th, "tcp", 1, "Nobody", nil)
	var v viewer
	c := v.serve(t, th)
	for _, tt := range []struct {
		view View
		code string
	}{{View{Area: true}, CodeDetail}, {View{Fields: []string{"a"}}, CodeFields}, {from(time.Now().Add(time.Hour)), CodeMoment}} {
		v.sees(tt.view)
		_, err := c.Connect(t.Context(), "tcp", 1)
		wantCode(t, "connecting", err, tt.code)
	}
	v.sees(View{Fields: []string{"tcp-1"}})
	var p *Problem
	if _, err := c.Connect(t.Context(), "tcp", 1); !errors.As(err, &p) || p.Status != http.StatusBadGateway {
		t.Errorf("with all of it in view: %v", err)
	}
}

// Of what a thing sends nothing is left but the fields that are named, whatever it is.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":2}`, `[{"a":1},{"b":2}]`, `[1]`, `7`, `"a"`, `null`, ` {"a":{"b":1}}`, `{"a":1,"a":2}`, `[[{"b":1}]]`, ``, `{"A":1}`} {
		f.Add([]byte(seed))
	}
	v := View{Fields: []string{"a"}}
	f.Fuzz(func(t *testing.T, value []byte) {
		out, err := v.fields("status", value)
		if err != nil || value == nil {
			return
		}
		var list []map[string]json.RawMessage
		if json.Unmarshal(out, &list) != nil {
			var one map[string]json.RawMessage
			if err := json.Unmarshal(out, &one); err != nil {
				t.Fatalf("%q became %q: %v", value, out, err)
			}
			list = append(list, one)
		}
		for _, object := range list {
			for name := range object {
				if name != "a" {
					t.Errorf("%q became %q", value, out)
				}
			}
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("from=2026-11-27T00:00:00%2B01:00&step=day&zone=Europe/Berlin")
	f.Add("until=x&zone=../../etc/passwd&step=")
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		q, err := parseQuery(values)
		if err != nil {
			return
		}
		again, err := parseQuery(q.values())
		if err != nil || again.Step != q.Step || !again.From.Equal(q.From.Truncate(time.Second)) {
			t.Errorf("%q is read as %+v, and that as %+v, %v", raw, q, again, err)
		}
	})
}
