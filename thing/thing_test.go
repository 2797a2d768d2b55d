package thing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/thing/thingtest"
)

// lamp is a thing with everything a thing can have.
type lamp struct {
	thing   *Thing
	level   atomic.Int64
	changed Prop[int]
	blinked Source[blink]
	flashes atomic.Int64
}

type blink struct {
	At    time.Time `json:"at" doc:"when it began"`
	Times int       `json:"times"`
	Power *float64  `json:"power,omitempty" unit:"W"`
}

type colour string

func (colour) Values() []string { return []string{"warm", "cold"} }

func newLamp() *lamp {
	l := &lamp{thing: New("Lamp")}
	l.thing.ID, l.thing.Base = "spiffe://tree/home/lamp", "kindred://member.tree/"
	l.changed = Property(l.thing, "level", "Brightness", func(context.Context) (int, error) {
		return int(l.level.Load()), nil
	}).Unit("%").Observable().Writable(func(_ context.Context, v int) error {
		if v < 0 || v > 100 {
			return &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("%d is not in 0 to 100", v)}
		}
		l.level.Store(int64(v))
		return l.changed.Changed(v)
	})
	Property(l.thing, "colour", "Colour of the light", func(context.Context) (colour, error) { return "warm", nil })
	Property(l.thing, "broken", "Always fails", func(context.Context) (bool, error) { return false, errors.New("no answer from the bus") })
	Media(l.thing, "picture", "What it looks like", "image/jpeg", func(context.Context) ([]byte, error) { return []byte{0xff, 0xd8, 0xff}, nil })
	Action(l.thing, "flash", "Flash some times", func(_ context.Context, b blink) (int64, error) { return l.flashes.Add(int64(b.Times)), nil })
	Action(l.thing, "off", "Go dark", func(context.Context, None) (None, error) { l.level.Store(0); return None{}, nil })
	Service(l.thing, "tcp", 8554, "Live video", nil)
	Service(l.thing, "udp", 53, "Names", nil)
	l.blinked = Event[blink](l.thing, "blinked", "It blinked")
	return l
}

func permit(*http.Request, Op, string) error { return nil }

// serve starts a server for h and gives a client for it.
func serve(t *testing.T, h http.Handler) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &Client{HTTP: server.Client(), Base: base}
}

func TestDescriptionIsValid(t *testing.T) {
	for name, thing := range map[string]*Thing{"lamp": newLamp().thing, "empty": New("Nothing")} {
		t.Run(name, func(t *testing.T) { thingtest.Valid(t, thing.Describe()) })
	}
}

func TestDescription(t *testing.T) {
	raw, err := serve(t, newLamp().thing.Handler(permit)).Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var d Description
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	for what, got := range map[string]any{
		`["https://www.w3.org/2019/wot/td/v1","https://www.w3.org/2022/wot/td/v1.1",{"kindred":"https://github.com/kindred-iot/kindred/ns#"}]`: d.Context,
		`"kindred://member.tree/"`: d.Base,
		`{"type":"integer","description":"Brightness","unit":"%","observable":true,"forms":[` +
			`{"href":"properties/level","contentType":"application/json","op":["readproperty","writeproperty"]},` +
			`{"href":"properties/level/observe","contentType":"application/json","subprotocol":"sse","op":["observeproperty","unobserveproperty"]}]}`: d.Properties["level"],
		`{"type":"string","description":"Colour of the light","enum":["warm","cold"],"readOnly":true,"forms":[` +
			`{"href":"properties/colour","contentType":"application/json","op":["readproperty"]}]}`: d.Properties["colour"],
		`{"description":"What it looks like","readOnly":true,"forms":[{"href":"properties/picture","contentType":"image/jpeg","op":["readproperty"]}]}`: d.Properties["picture"],
		`{"description":"Go dark","synchronous":true,"forms":[{"href":"actions/off","contentType":"application/json","op":["invokeaction"]}]}`:          d.Actions["off"],
		`{"description":"Live video","synchronous":false,"forms":[{"href":"services/tcp/8554","contentType":"application/octet-stream",` +
			`"subprotocol":"connect-tcp","htv:methodName":"GET","op":["invokeaction"]}]}`: d.Actions["tcp-8554"],
		`{"description":"It blinked","data":{"type":"object","properties":{"at":{"type":"string","description":"when it began","format":"date-time"},` +
			`"power":{"type":"number","unit":"W"},"times":{"type":"integer"}},"required":["at","times"]},"forms":[` +
			`{"href":"events/blinked","contentType":"application/json","subprotocol":"sse","op":["subscribeevent","unsubscribeevent"]}]}`: d.Events["blinked"],
	} {
		if is, _ := json.Marshal(got); string(is) != what {
			t.Errorf("got  %s\nwant %s", is, what)
		}
	}
}

func TestServient(t *testing.T) {
	h := newLamp().thing.Handler(permit)
	big := `"` + strings.Repeat("x", MaxInput) + `"`
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string // the body, or the detail of a problem
	}{
		{"GET", "/properties/level", "", 200, "0"},
		{"HEAD", "/properties/level", "", 200, ""},
		{"PUT", "/properties/level", "40", 204, ""},
		{"GET", "/properties/level", "", 200, "40"},
		{"PUT", "/properties/level", "140", 400, "140 is not in 0 to 100"},
		{"PUT", "/properties/level", "", 400, "a JSON value is missing"},
		{"PUT", "/properties/level", "1 2", 400, "more than one JSON value"},
		{"PUT", "/properties/level", `"x"`, 400, "not the JSON wanted: it is a string"},
		{"PUT", "/properties/level", big, 413, "input of more than 65536 bytes"},
		{"PUT", "/properties/colour", `"cold"`, 405, `property "colour" is read-only`},
		{"POST", "/properties/level", "1", 405, "POST is not served here"},
		{"GET", "/properties/broken", "", 500, "no answer from the bus"},
		{"GET", "/properties/picture", "", 200, "\xff\xd8\xff"},
		{"GET", "/properties/none", "", 404, `there is no property "none"`},
		{"PUT", "/properties/none", "1", 404, `there is no property "none"`},
		{"GET", "/properties/none/observe", "", 404, `there is no property "none"`},
		{"GET", "/properties/colour/observe", "", 404, `property "colour" is not observable`},
		{"GET", "/events/none", "", 404, `there is no event "none"`},
		{"POST", "/actions/none", "", 404, `there is no action "none"`},
		{"GET", "/actions/off", "", 405, "GET is not served here"},
		{"POST", "/actions/off", "", 204, ""},
		{"POST", "/actions/off", "{}", 204, ""},
		{"POST", "/actions/off", "1", 400, "this action takes no input"},
		{"POST", "/actions/flash", `{"at":"2026-01-01T00:00:00Z","times":3}`, 200, "3"},
		{"POST", "/actions/flash", `{"times":3,"colour":"red"}`, 400, `not the JSON wanted: unknown field "colour"`},
		{"POST", "/actions/flash", "", 400, "a JSON value is missing"},
		{"GET", "/services/tcp/8554", "", 426, "tcp-8554 is reached by an upgrade to connect-tcp"},
		{"GET", "/services/udp/53", "", 426, "udp-53 is reached by an upgrade to connect-udp"},
		{"GET", "/services/tcp/53", "", 404, `there is no service "tcp-53"`},
		{"GET", "/services/tcp/08554", "", 404, `there is no service "tcp-08554"`},
		{"POST", "/services/tcp/8554", "", 405, "POST is not served here"},
		{"OPTIONS", "/services/tcp/8554", "", 204, ""},
		{"OPTIONS", "/services/tcp/53", "", 404, `there is no service "tcp-53"`},
		{"POST", "/actions/tcp-8554", "", 404, `there is no action "tcp-8554"`},
		{"GET", "/nowhere", "", 404, `nothing is served at "/nowhere"`},
		{"GET", "/properties", "", 404, `nothing is served at "/properties"`},
		{"GET", "/properties/level/observe/", "", 404, `nothing is served at "/properties/level/observe/"`},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
			h.ServeHTTP(w, r)
			got := w.Body.String()
			if w.Code >= 400 {
				var p Problem
				if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Title != http.StatusText(w.Code) {
					t.Errorf("problem is %s", w.Body)
				}
				got = p.Detail
			} else if c.method == "HEAD" {
				got = ""
			}
			if w.Code != c.status || got != c.want {
				t.Errorf("got  %d %q\nwant %d %q", w.Code, got, c.status, c.want)
			}
		})
	}
}

func TestServientWantsJSON(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("PUT", "/properties/level", strings.NewReader("level=1"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	newLamp().thing.Handler(permit).ServeHTTP(w, r)
	if w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("status %d, want 415", w.Code)
	}
}

// Every request is put to the authorize function under its operation's name,
// and a refusal looks the same whether or not the affordance exists.
func TestAuthorization(t *testing.T) {
	type ask struct {
		op   Op
		name string
	}
	for path, want := range map[string]ask{
		"GET /":                         {OpDescribe, ""},
		"GET /.well-known/wot":          {OpDescribe, ""},
		"GET /properties/level":         {OpReadProperty, "level"},
		"GET /properties/none":          {OpReadProperty, "none"},
		"PUT /properties/level":         {OpWriteProperty, "level"},
		"GET /properties/level/observe": {OpObserveProperty, "level"},
		"POST /actions/off":             {OpInvokeAction, "off"},
		"GET /events/blinked":           {OpSubscribeEvent, "blinked"},
		"GET /events/none":              {OpSubscribeEvent, "none"},
		"GET /services/tcp/8554":        {OpConnect, "tcp-8554"},
		"GET /services/udp/1":           {OpConnect, "udp-1"},
		"OPTIONS /services/tcp/8554":    {OpConnect, "tcp-8554"},
	} {
		var got []ask
		l := newLamp()
		l.level.Store(7)
		h := l.thing.Handler(func(_ *http.Request, op Op, name string) error {
			got = append(got, ask{op, name})
			return &Problem{Code: "stale", Detail: "your proof is too old"}
		})
		method, target, _ := strings.Cut(path, " ")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader("1")))
		if !reflect.DeepEqual(got, []ask{want}) {
			t.Errorf("%s asked %v, want %v once", path, got, want)
		}
		const problem = `{"title":"Forbidden","status":403,"detail":"your proof is too old","code":"stale"}`
		if w.Code != http.StatusForbidden || w.Body.String() != problem {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if l.level.Load() != 7 {
			t.Errorf("%s: did something", path)
		}
	}
	w := httptest.NewRecorder()
	newLamp().thing.Handler(nil).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("with no authorize function: %d, want 403", w.Code)
	}
}

func TestClient(t *testing.T) {
	l, ctx := newLamp(), t.Context()
	c := serve(t, l.thing.Handler(permit))
	if err := c.Write(ctx, "level", json.RawMessage("55")); err != nil {
		t.Error(err)
	}
	var level int
	if v, err := c.Read(ctx, "level"); err != nil || v.Decode(&level) != nil || level != 55 {
		t.Errorf("level %d, %v", level, err)
	}
	picture, err := c.Read(ctx, "picture")
	if err != nil || picture.ContentType != "image/jpeg" || string(picture.Body) != "\xff\xd8\xff" {
		t.Errorf("picture %+v, %v", picture, err)
	}
	if err := picture.Decode(&level); err == nil {
		t.Error("a picture was read as JSON")
	}
	if v, err := c.Invoke(ctx, "off", nil); err != nil || v.Body == nil || len(v.Body) != 0 || l.level.Load() != 0 {
		t.Errorf("off: %+v, %v", v, err)
	}
	_, err = c.Read(ctx, "broken")
	var p *Problem
	if !errors.As(err, &p) || p.Status != 500 || err.Error() != `thing: readproperty "broken": no answer from the bus` {
		t.Errorf("broken: %v", err)
	}
	if _, err := c.Read(ctx, ".."); err == nil || err.Error() != `thing: readproperty "..": not a name` {
		t.Errorf("a name that climbs: %v", err)
	}
}

// An answer of no thing is an error that says so, whatever it is.
func TestClientMeetsOtherServers(t *testing.T) {
	ctx := t.Context()
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"plain text": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "go away", http.StatusBadGateway) }, `thing: subscribeevent "e": go away`},
		"no text":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, `thing: subscribeevent "e": Not Found`},
		"no stream":  {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }, `thing: subscribeevent "e": answer is "text/plain", want text/event-stream`},
		"odd problem": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", problemType)
			w.WriteHeader(403)
			io.WriteString(w, `{"detail":`+strings.Repeat(" ", 2*maxProblem)+`"x"}`)
		}, `thing: subscribeevent "e": Forbidden`},
	} {
		_, err := serve(t, c.h).Subscribe(ctx, "e", "")
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
	_, err := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range MaxValue/len(junk) + 1 {
			w.Write(junk)
		}
	})).Read(ctx, "p")
	if err == nil || err.Error() != `thing: readproperty "p": answer of more than 8388608 bytes` {
		t.Errorf("endless value: %v", err)
	}
}

var junk = make([]byte, 1<<16)

func TestDeclarePanics(t *testing.T) {
	for name, declare := range map[string]func(*Thing){
		"no name":   func(l *Thing) { Event[int](l, "", "") },
		"odd name":  func(l *Thing) { Event[int](l, "a/b", "") },
		"taken":     func(l *Thing) { Event[int](l, "blinked", "") },
		"no JSON":   func(l *Thing) { Event[chan int](l, "channel", "") },
		"recursive": func(l *Thing) { Event[node](l, "node", "") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: declared", name)
				}
			}()
			declare(newLamp().thing)
		}()
	}
}

type node struct{ Next *node }

func TestChangedNeedsObservable(t *testing.T) {
	p := Property(New("Clock"), "hour", "Hour", func(context.Context) (int, error) { return 1, nil })
	if err := p.Changed(2); err == nil {
		t.Error("a property that is not observable took a new value")
	}
	if err := newLamp().changed.Changed(2); err != nil {
		t.Error(err)
	}
	if err := Event[string](New("Clock"), "chime", "").Emit(strings.Repeat("x", MaxInput)); err == nil {
		t.Error("an event above the bound was taken")
	}
}

func Example() {
	celsius := func(context.Context) (float64, error) { return 21.5, nil }
	t := New("Thermometer")
	Property(t, "temperature", "Air in the hall", celsius).Unit("°C")

	server := httptest.NewServer(t.Handler(func(*http.Request, Op, string) error { return nil }))
	defer server.Close()
	base, _ := url.Parse(server.URL)
	v, err := (&Client{Base: base}).Read(context.Background(), "temperature")
	fmt.Println(string(v.Body), err)
	// Output: 21.5 <nil>
}
