// Package thing turns a device into a Thing of the W3C Web of Things: it
// describes it in a Thing Description (TD 1.1), serves it over HTTP, and
// consumes such things.
//
// A device maker declares what a device can do, with ordinary functions and
// types; the description and its JSON schemas follow from them:
//
//	t := thing.New("Thermometer")
//	thing.Property(t, "temperature", "Air in the hall", sensor.Celsius).Unit("°C")
//	alarm := thing.Event[float64](t, "frost", "Air below 2 °C")
//	thing.Action(t, "calibrate", "Set to the true temperature", sensor.Calibrate)
//	http.Serve(listener, t.Handler(authorize))
//
// # Protocol
//
// The WoT HTTP binding, on fixed paths that the TD's forms repeat for clients
// of other makers:
//
//	GET  /, /.well-known/wot      the TD
//	GET  /properties/{p}          readproperty
//	PUT  /properties/{p}          writeproperty, 204
//	GET  /properties/{p}/observe  observeproperty: server-sent events, the current value first;
//	                              of media that are live, a film
//	GET  /files/{p}/{file}        readproperty, of one file that the property lists
//	POST /actions/{a}             invokeaction: 200 with the output, or 204
//	GET  /events/{e}              subscribeevent: server-sent events
//	GET  /services/{tcp|udp}/{n}  an upgrade to connect-tcp or connect-udp, see package tunnel
//	OPTIONS, the same             204 if the caller may connect; nothing is done
//
// A service is a TCP or UDP port that lies behind the thing, described as an
// action named by network and port: "tcp-8554".
//
// Values are JSON, or of the media type that the property's form names. Errors
// are problem details (RFC 9457), see [Problem]. Every request is put to the
// authorize function first, and an affordance that does not exist is told apart
// from one that is refused only after it said yes.
//
// A server-sent event carries an id. A client that comes back with it in
// Last-Event-ID gets what it missed, as far as the thing still holds it: at most
// [MaxHistory] events an affordance, in memory. An event named "problem" is a
// stream's last, and says why it ends.
//
// A film is multipart/x-mixed-replace: the property's values, one part each, as
// browsers and players show it where these are pictures. Its form has the
// subprotocol "mjpeg", which is not the W3C's. A part of the type
// application/problem+json is its last, and says why it ends.
//
// Files are served in parts on demand (RFC 9110, §14), with ETags that tell any
// two states of a file apart. A property that lists them has a form with the
// URI variable "file" (RFC 6570), a name of the list.
//
// A caller may be shown less than all (see [View]): some fields of values, some
// moments of what was recorded, of a history one value a day. A history is asked
// for with the URI variables from, until, step and zone.
//
// A [Client] makes a connection again that is lost under a stream or a download,
// and goes on where it was, as [Healing] says. A stream without events begins
// with an id of its own, so that this holds from its first moment; and an
// observer whose Last-Event-ID is of before the thing was started anew is told
// the current value.
//
// An action with an Idempotency-Key is done once: the same caller asking again
// with the same key gets the same answer. The last 64 of each caller are
// remembered, 512 in all, until the process ends.
//
// # Bounds
//
// Inputs, event payloads and action outputs are at most [MaxInput] bytes, values
// and descriptions [MaxValue], and so are the frames of films; files have any
// size, and none is held in memory. A reader who takes more than ten seconds for
// one write, or who falls behind by more than the history, loses its stream and
// nobody else notices; one who is slow misses frames of a film. 256 streams and
// files are served at a time, and 32 films.
//
// The package decides nothing about permission and knows nothing of who calls
// beyond what its user puts into [Caller]. Whoever serves browsers guards them:
// X-Content-Type-Options, and Cache-Control against their caches, are set here
// for streams and files alone.
package thing

import (
	"context"
	"fmt"
	"regexp"
)

// The bounds on what is sent and received, in bytes, and on what is kept.
const (
	// MaxInput bounds an action's input and output, a written value and an event.
	MaxInput = 64 << 10
	// MaxValue bounds a property's value and a Thing Description.
	MaxValue = 8 << 20
	// MaxHistory is how many events an affordance keeps for those who come back.
	MaxHistory = 256
)

// Op is an operation of the WoT information model (TD 1.1, §5.3.4.2), or
// OpReadFile, OpConnect or OpDescribe.
type Op string

// The operations that a servient asks permission for.
const (
	OpReadProperty    Op = "readproperty"
	OpWriteProperty   Op = "writeproperty"
	OpObserveProperty Op = "observeproperty"
	OpInvokeAction    Op = "invokeaction"
	OpSubscribeEvent  Op = "subscribeevent"
	// OpReadFile is reading a file that a property lists, readproperty to WoT.
	OpReadFile Op = "readfile"
	// OpDescribe is reading the Thing Description itself, for which WoT has no
	// name. Its affordance is empty.
	OpDescribe Op = "describe"
	// OpConnect is connecting to a service, an action that lasts. Its affordance
	// is the service's name.
	OpConnect Op = "connect"
)

// Caller is what a servient may know about who calls. Whoever serves the
// handler puts it into the request's context with [WithCaller].
type Caller struct {
	// Name separates callers: Idempotency-Keys of two names never meet.
	Name string
	// View, if it is not nil, tells what the caller may be shown. It is asked for
	// each value that is sent, after the authorize function has permitted the
	// request, and from any goroutine. Nil shows everything.
	View func() View
	// Base, if it is not empty, is told to the caller in the Thing Description in
	// place of the thing's own: the caller came another way.
	Base string
	// Ended or Failed is set before the handler of an OpConnect returns, where
	// the connection ended against the caller's wish, or did not come about: a
	// short plain sentence says why.
	Ended, Failed string
	// Sent, unless nil, counts what a stream or a connection carries.
	Sent *Sent
}

type callerKey struct{}

// WithCaller returns a context that carries the caller of a request.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf gives the caller that [WithCaller] put into a context, or an empty
// one. The functions of a device may use it, never to decide what is allowed.
func CallerOf(ctx context.Context) Caller {
	if c := callerIn(ctx); c != nil {
		return *c
	}
	return Caller{}
}

// viewOf gives what the caller in a context may be shown now.
func viewOf(ctx context.Context) View {
	if c := callerIn(ctx); c != nil && c.View != nil {
		return c.View()
	}
	return View{}
}

func callerIn(ctx context.Context) *Caller {
	c, _ := ctx.Value(callerKey{}).(*Caller)
	return c
}

// Thing is a device being described. Declare all it can do and set its fields
// before calling [Thing.Handler]; values and events may be emitted at any time
// and from any goroutine.
type Thing struct {
	// Title and Description are for people.
	Title, Description string
	// ID is the thing's URI, Base the URI that its forms' references are relative
	// to, such as "kindred://<member>.<tree>/". Both may be empty.
	ID, Base string

	properties map[string]*property
	actions    map[string]*action
	events     map[string]*event
	services   map[string]*service
}

// New returns a thing that can do nothing yet.
func New(title string) *Thing {
	return &Thing{
		Title:      title,
		properties: map[string]*property{},
		actions:    map[string]*action{},
		events:     map[string]*event{},
		services:   map[string]*service{},
	}
}

// nameRE keeps names usable in URLs, command lines and grants as they are.
var nameRE = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)

// declare panics on a name that is not one or is taken within its kind: as in
// [net/http.ServeMux], that is a mistake in the program.
func declare[A any](affordances map[string]A, kind, name string, a A) {
	if !nameRE.MatchString(name) {
		panic(fmt.Sprintf("thing: declaring %s %q: a name is a letter, then at most 62 letters, digits, - and _", kind, name))
	}
	if _, taken := affordances[name]; taken {
		panic(fmt.Sprintf("thing: declaring %s %q: declared before", kind, name))
	}
	affordances[name] = a
}
