package thing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"strings"
	"sync/atomic"
)

// maxStreams bounds the streams that a thing serves at a time.
const maxStreams = 256

// servient serves a thing. Its maps are not written after it is made.
type servient struct {
	authorize   func(*http.Request, Op, string) error
	describes   Description
	description []byte // encoded
	properties  map[string]*property
	actions     map[string]*action
	events      map[string]*event
	services    map[string]*service
	once        *once
	streams     atomic.Int64
	viewers     atomic.Int64
}

// Handler serves the thing as the package's documentation says.
//
// Authorize decides on every request before anything else happens; a nil error
// permits. Any other refuses with its text as the detail, and with status 403
// unless it is a [Problem] that says otherwise. The affordance may be one that
// does not exist. A nil authorize refuses everything. A request whose method is
// OPTIONS asks whether it would be permitted, and nothing is done.
//
// Cancelling the request's context ends a stream at once. If the cause of the
// cancellation is a [Problem], the reader is told.
func (t *Thing) Handler(authorize func(r *http.Request, op Op, affordance string) error) http.Handler {
	if authorize == nil {
		authorize = func(*http.Request, Op, string) error { return errors.New("nothing is permitted here") }
	}
	describes := t.Describe()
	description, err := json.Marshal(describes)
	if err != nil {
		panic(fmt.Sprintf("thing: describing %q: %v", t.Title, err)) // strings and lists always have a JSON form
	}
	s := &servient{
		authorize:   authorize,
		describes:   describes,
		description: description,
		properties:  map[string]*property{},
		actions:     map[string]*action{},
		events:      map[string]*event{},
		services:    maps.Clone(t.services),
		once:        newOnce(),
	}
	for name, p := range t.properties {
		s.properties[name] = new(*p)
	}
	for name, a := range t.actions {
		s.actions[name] = a
	}
	for name, e := range t.events {
		s.events[name] = e
	}
	return s
}

// route is what a path leads to: what each method does with which affordance.
type route struct {
	name    string
	file    string // below /files/{name}/
	methods map[string]method
}

type method struct {
	op    Op
	serve func(s *servient, w http.ResponseWriter, r *http.Request, to route)
}

var (
	describeMethods = map[string]method{"GET": {OpDescribe, (*servient).describe}, "HEAD": {OpDescribe, (*servient).describe}}
	propertyMethods = map[string]method{"GET": {OpReadProperty, (*servient).read}, "HEAD": {OpReadProperty, (*servient).read}, "PUT": {OpWriteProperty, (*servient).write}}
	observeMethods  = map[string]method{"GET": {OpObserveProperty, (*servient).observe}}
	actionMethods   = map[string]method{"POST": {OpInvokeAction, (*servient).invoke}}
	eventMethods    = map[string]method{"GET": {OpSubscribeEvent, (*servient).subscribe}}
	fileMethods     = map[string]method{"GET": {OpReadFile, (*servient).file}, "HEAD": {OpReadFile, (*servient).file}}
	serviceMethods  = map[string]method{"GET": {OpConnect, (*servient).connect}, "OPTIONS": {OpConnect, (*servient).mayConnect}}
)

// Means tells what a request asks of a thing, and of which affordance. Upgrade says whether it asks to switch protocols.
func Means(method, path string, upgrade bool) (op Op, affordance string, ok bool) {
	to, ok := routeOf(path)
	if !ok {
		return "", "", false
	}
	m, ok := to.methods[method]
	if m.op == OpConnect && !(upgrade && method == http.MethodGet) {
		return "", "", false // it asks whether it may, and nothing is done
	}
	return m.op, to.name, ok
}

func routeOf(path string) (route, bool) {
	if path == "" || path == "/" || path == "/.well-known/wot" {
		return route{methods: describeMethods}, true
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case len(parts) == 2 && parts[0] == "properties":
		return route{name: parts[1], methods: propertyMethods}, true
	case len(parts) == 3 && parts[0] == "properties" && parts[2] == "observe":
		return route{name: parts[1], methods: observeMethods}, true
	case len(parts) == 2 && parts[0] == "actions":
		return route{name: parts[1], methods: actionMethods}, true
	case len(parts) == 2 && parts[0] == "events":
		return route{name: parts[1], methods: eventMethods}, true
	case len(parts) >= 3 && parts[0] == "files":
		return route{name: parts[1], file: strings.Join(parts[2:], "/"), methods: fileMethods}, true
	case len(parts) == 3 && parts[0] == "services":
		return route{name: parts[1] + "-" + parts[2], methods: serviceMethods}, true
	}
	return route{}, false
}

// ServeHTTP implements [http.Handler].
func (s *servient) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	to, ok := routeOf(r.URL.Path)
	if !ok {
		refuse(w, fmt.Errorf("nothing is served at %.100q", r.URL.Path), http.StatusNotFound)
		return
	}
	m, ok := to.methods[r.Method]
	if !ok {
		var allow []string
		for _, name := range []string{"GET", "HEAD", "PUT", "POST", "OPTIONS"} {
			if _, ok := to.methods[name]; ok {
				allow = append(allow, name)
			}
		}
		w.Header().Set("Allow", strings.Join(allow, ", "))
		refuse(w, fmt.Errorf("%.20s is not served here", r.Method), http.StatusMethodNotAllowed)
		return
	}
	if err := s.authorize(r, m.op, to.name); err != nil {
		refuse(w, err, http.StatusForbidden)
		return
	}
	m.serve(s, w, r, to)
}

func (s *servient) describe(w http.ResponseWriter, r *http.Request, _ route) {
	body := s.description
	if base := CallerOf(r.Context()).Base; base != "" {
		d := s.describes
		d.Base = base
		var err error
		if body, err = json.Marshal(d); err != nil {
			refuse(w, err, http.StatusInternalServerError)
			return
		}
	}
	respond(w, http.StatusOK, "application/td+json", body)
}

func (s *servient) read(w http.ResponseWriter, r *http.Request, to route) {
	p := s.properties[to.name]
	if p == nil {
		absent(w, "property", to.name)
		return
	}
	var body []byte
	var err error
	if v := viewOf(r.Context()); p.history != nil {
		body, err = p.past(r, to.name, v)
	} else {
		body, err = p.shown(r.Context(), to.name, v)
	}
	if err != nil {
		refuse(w, err, http.StatusInternalServerError)
		return
	}
	respond(w, http.StatusOK, p.contentType, body)
}

func (s *servient) write(w http.ResponseWriter, r *http.Request, to route) {
	p := s.properties[to.name]
	if p == nil {
		absent(w, "property", to.name)
		return
	}
	if p.write == nil {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, fmt.Errorf("property %q is read-only", to.name), http.StatusMethodNotAllowed)
		return
	}
	body, err := readInput(w, r)
	if err == nil {
		err = p.write(r.Context(), body)
	}
	if err != nil {
		refuse(w, err, http.StatusInternalServerError)
		return
	}
	respond(w, http.StatusNoContent, "", nil)
}

func (s *servient) invoke(w http.ResponseWriter, r *http.Request, to route) {
	a := s.actions[to.name]
	if a == nil {
		absent(w, "action", to.name)
		return
	}
	key := onceKey{CallerOf(r.Context()).Name, to.name, r.Header.Get("Idempotency-Key")}
	if len(key.key) > maxKey {
		refuse(w, fmt.Errorf("Idempotency-Key of %d bytes, at most %d", len(key.key), maxKey), http.StatusBadRequest)
		return
	}
	body, err := readInput(w, r)
	if err != nil {
		refuse(w, err, http.StatusBadRequest)
		return
	}
	run := func() ([]byte, error) { return a.run(r.Context(), body) }
	var output []byte
	if key.key == "" {
		output, err = run()
	} else {
		output, err = s.once.do(r.Context(), key, body, run)
	}
	if err == nil {
		output = a.shown(to.name, output, viewOf(r.Context()))
	}
	switch {
	case err != nil:
		refuse(w, err, http.StatusInternalServerError)
	case output == nil:
		respond(w, http.StatusNoContent, "", nil)
	default:
		respond(w, http.StatusOK, jsonType, output)
	}
}

// shown leaves of an action's output what a view shows, nil if that is nothing: the action is done all the same. An
// output is in any case no measurement and no position where it is a yes or no, or one of a few names.
func (a *action) shown(name string, output []byte, v View) []byte {
	if a.output == nil || v.coarse() && a.output.Type != "boolean" && a.output.Enum == nil {
		return nil
	}
	shown, err := v.fields(name, output)
	if err != nil {
		return nil
	}
	return shown
}

// run does the action once.
func (a *action) run(ctx context.Context, input []byte) ([]byte, error) {
	output, err := a.do(ctx, input)
	if len(output) > MaxInput {
		return nil, fmt.Errorf("done, but its output has %d bytes, at most %d", len(output), MaxInput)
	}
	return output, err
}

func (s *servient) observe(w http.ResponseWriter, r *http.Request, to route) {
	p := s.properties[to.name]
	if p == nil {
		absent(w, "property", to.name)
		return
	}
	if p.every > 0 {
		s.film(w, r, to.name, p)
		return
	}
	if p.hub == nil {
		refuse(w, fmt.Errorf("property %q is not observable", to.name), http.StatusNotFound)
		return
	}
	s.stream(w, r, source{name: to.name, hub: p.hub, property: p})
}

func (s *servient) subscribe(w http.ResponseWriter, r *http.Request, to route) {
	e := s.events[to.name]
	if e == nil {
		absent(w, "event", to.name)
		return
	}
	s.stream(w, r, source{name: to.name, hub: e.hub})
}

func (s *servient) stream(w http.ResponseWriter, r *http.Request, from source) {
	defer s.streams.Add(-1)
	if s.streams.Add(1) > maxStreams {
		refuse(w, fmt.Errorf("%d streams are open, no more are served", maxStreams), http.StatusServiceUnavailable)
		return
	}
	serveStream(w, r, from)
}

func absent(w http.ResponseWriter, kind, name string) {
	refuse(w, fmt.Errorf("there is no %s %.70q", kind, name), http.StatusNotFound)
}

// readInput reads a bounded body that is JSON or empty.
func readInput(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxInput))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &Problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("input of more than %d bytes", MaxInput)}
	}
	if err != nil {
		return nil, &Problem{Status: http.StatusBadRequest, Detail: "input ended early"}
	}
	if media := r.Header.Get("Content-Type"); len(body) > 0 && media != "" {
		if parsed, _, err := mime.ParseMediaType(media); err != nil || parsed != jsonType {
			return nil, &Problem{Status: http.StatusUnsupportedMediaType, Detail: fmt.Sprintf("input is %.60q, want %s", media, jsonType)}
		}
	}
	return body, nil
}
