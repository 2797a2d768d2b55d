package thing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// property, action and event are the declared affordances, with the device
// maker's types erased to bytes.
type property struct {
	description string
	class       string // "" or ClassNever
	schema      Schema
	contentType string
	read        func(context.Context) ([]byte, error)
	write       func(context.Context, []byte) error // nil: read-only
	hub         *hub                                // nil: not observable, unless every is not zero
	every       time.Duration                       // between two frames of a stream of its values; zero: there is none
	files       *shelf                              // what the value lists; nil: it is no list of files
	history     func(context.Context, View, Query) ([]byte, error)
	coarse      func(context.Context, View) ([]byte, error) // the value as a coarse view shows it; nil: it cannot be shown so
}

type action struct {
	description   string
	class         string
	input, output *Schema
	do            func(context.Context, []byte) ([]byte, error) // no output: nil
}

type event struct {
	description string
	class       string
	schema      Schema
	hub         *hub
}

// None is the input or output of an action that has none.
type None = struct{}

// Prop is a declared property whose values are of type T.
type Prop[T any] struct{ p *property }

// Property declares a property that read gives the value of, as JSON. Its
// schema follows from T, see [SchemaOf]. It panics where name is not a name or
// is taken.
func Property[T any](t *Thing, name, description string, read func(context.Context) (T, error)) Prop[T] {
	p := &property{
		description: description,
		schema:      SchemaOf[T](),
		contentType: jsonType,
		read: func(ctx context.Context) ([]byte, error) {
			v, err := read(ctx)
			if err != nil {
				return nil, err
			}
			return json.Marshal(v)
		},
	}
	declare(t.properties, "property", name, p)
	return Prop[T]{p}
}

// Unit names the unit of the value, for people and in the description.
func (p Prop[T]) Unit(unit string) Prop[T] {
	p.p.schema.Unit = unit
	return p
}

// Writable lets the property be written with set, which may refuse a value with
// a [Problem] of status 400.
func (p Prop[T]) Writable(set func(context.Context, T) error) Prop[T] {
	p.p.write = func(ctx context.Context, body []byte) error {
		var v T
		if err := decode(body, &v); err != nil {
			return &Problem{Status: http.StatusBadRequest, Detail: err.Error()}
		}
		return set(ctx, v)
	}
	return p
}

// Observable lets the property be observed. The device then tells each new
// value with [Prop.Changed].
func (p Prop[T]) Observable() Prop[T] {
	p.p.hub = newHub()
	return p
}

// Changed tells those who observe the property its new value. It never waits
// for them. It fails where the value has no JSON form or one above [MaxInput],
// and where the property is not observable.
func (p Prop[T]) Changed(v T) error {
	if p.p.hub == nil {
		return fmt.Errorf("thing: telling a new value: property is not observable")
	}
	return emit(p.p.hub, v)
}

// Coarse lets the property be shown to those who are not to see each value, but one
// a step, or the area of a position (see [View]), as what read gives them. Without
// it they are refused, and so they are by what read cannot show so.
func (p Prop[T]) Coarse(read func(ctx context.Context, v View) (any, error)) Prop[T] {
	p.p.coarse = func(ctx context.Context, v View) ([]byte, error) {
		value, err := read(ctx, v)
		if err != nil {
			return nil, err
		}
		return json.Marshal(value)
	}
	return p
}

// MediaProp is a declared property whose values are media.
type MediaProp struct{ p *property }

// Media declares a property whose values are of a media type other than JSON,
// such as "image/jpeg". It panics where name is not a name or is taken.
func Media(t *Thing, name, description, contentType string, read func(context.Context) ([]byte, error)) MediaProp {
	p := &property{
		description: description,
		contentType: contentType,
		read:        read,
	}
	declare(t.properties, "property", name, p)
	return MediaProp{p}
}

// shown reads the property's value as it may be shown.
func (p *property) shown(ctx context.Context, name string, v View) ([]byte, error) {
	if !v.coarse() && v.Fields == nil && v.Sees == nil {
		return p.value(ctx)
	}
	if p.files != nil {
		if v.coarse() {
			return nil, errDetail(name)
		}
		body, err := p.files.listed(ctx, v)
		if err != nil {
			return nil, err
		}
		return v.fields(name, body)
	}
	if !v.at(v.now()) {
		return nil, errMoment
	}
	body, err := p.raw(ctx, name, v)
	if err != nil || v.whole(name) {
		return body, err
	}
	if p.contentType != jsonType {
		return nil, errFields(name)
	}
	return v.fields(name, body)
}

// raw reads the value, as coarsely as it is shown.
func (p *property) raw(ctx context.Context, name string, v View) ([]byte, error) {
	switch {
	case !v.coarse():
		return p.value(ctx)
	case p.coarse == nil:
		return nil, errDetail(name)
	}
	return p.coarse(ctx, v)
}

// value reads the property's value and keeps to its bound.
func (p *property) value(ctx context.Context) ([]byte, error) {
	v, err := p.read(ctx)
	if err == nil && len(v) > MaxValue {
		return nil, fmt.Errorf("value of %d bytes, at most %d", len(v), MaxValue)
	}
	return v, err
}

// Action declares an action. Input and output are JSON, their schemas follow
// from In and Out; [None] stands for none. Do runs once for each request with a
// key not seen before, possibly several at a time. It panics where name is not
// a name, is taken or names a service.
func Action[In, Out any](t *Thing, name, description string, do func(context.Context, In) (Out, error)) {
	a := &action{description: description, input: schemaUnlessNone[In](), output: schemaUnlessNone[Out]()}
	a.do = func(ctx context.Context, body []byte) ([]byte, error) {
		var in In
		if a.input != nil || len(bytes.TrimSpace(body)) > 0 {
			if err := decode(body, &in); err != nil {
				detail := err.Error()
				if a.input == nil {
					detail = "this action takes no input"
				}
				return nil, &Problem{Status: http.StatusBadRequest, Detail: detail}
			}
		}
		out, err := do(ctx, in)
		if err != nil || a.output == nil {
			return nil, err
		}
		return json.Marshal(out)
	}
	if _, _, ok := ParseServiceName(name); ok {
		panic(fmt.Sprintf("thing: declaring action %q: that names a service", name))
	}
	declare(t.actions, "action", name, a)
}

// Source is a declared event whose payloads are of type T.
type Source[T any] struct{ hub *hub }

// Event declares an event. It panics where name is not a name or is taken.
func Event[T any](t *Thing, name, description string) Source[T] {
	e := &event{description: description, schema: SchemaOf[T](), hub: newHub()}
	declare(t.events, "event", name, e)
	return Source[T]{e.hub}
}

// Emit sends an event to its subscribers. It never waits for them. It fails
// where the payload has no JSON form or one above [MaxInput].
func (s Source[T]) Emit(v T) error { return emit(s.hub, v) }

func emit(h *hub, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("thing: emitting: %w", err)
	}
	if len(data) > MaxInput {
		return fmt.Errorf("thing: emitting: %d bytes, at most %d", len(data), MaxInput)
	}
	h.emit(data)
	return nil
}

// unwanted says what is wrong with JSON to whoever sent it, who knows nothing of the program's types.
func unwanted(err error) string {
	var kind *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &kind):
		return strings.TrimPrefix(err.Error(), "json: ")
	case kind.Field != "":
		return fmt.Sprintf("%s has a %s", kind.Field, kind.Value)
	}
	return fmt.Sprintf("it is a %s", kind.Value)
}

// decode reads exactly one JSON value and no unknown members.
func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if err == io.EOF {
			return fmt.Errorf("a JSON value is missing")
		}
		return fmt.Errorf("not the JSON wanted: %s", unwanted(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more than one JSON value")
	}
	return nil
}
