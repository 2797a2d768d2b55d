package thing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// A View is what of a thing's values a caller is shown. The zero View shows everything.
//
// Every value has a moment: one that is told as it changes the moment at which it is sent, an event and an entry of a
// history the one at which the thing recorded it, a file all moments that it may be of. What a caller may not see it is
// not sent; where it asked for that alone, the answer is a [Problem] whose code says why. An action is done, and
// answered without what may not be shown of its output.
type View struct {
	// Now is when the view was given; the zero time stands for the system's clock.
	Now time.Time
	// Sees reports whether all that was recorded from one moment until another, not included, may be shown; where both
	// are the same, what was recorded at that moment. Nil shows all.
	Sees func(from, until time.Time) bool
	// Step is how finely measurements are shown: one value for each step in Zone.
	Step Step
	// Zone is where steps begin and end by the clock on the wall; nil is the thing's own.
	Zone *time.Location
	// Area shows of a position the name of the area that it is in.
	Area bool
	// Fields are what is shown of a JSON value, or its affordance's own name, for all of it; nil shows every field.
	Fields []string
}

// The codes of problems by which a thing refuses to show what a caller's view leaves out.
const (
	CodeMoment = "moment" // it was recorded when the caller had no right to look
	CodeDetail = "detail" // it cannot be shown so coarsely
	CodeFields = "fields" // none of the fields that may be shown can be told apart in it
)

func (v View) now() time.Time {
	if v.Now.IsZero() {
		return time.Now()
	}
	return v.Now
}

// at reports whether what is recorded at a moment is shown.
func (v View) at(moment time.Time) bool { return v.Sees == nil || v.Sees(moment, moment) }

// span reports whether all that was recorded from one moment until another is shown.
func (v View) span(from, until time.Time) bool { return v.Sees == nil || v.Sees(from, until) }

// coarse reports whether single values are not shown.
func (v View) coarse() bool { return v.Step != Each || v.Area }

// whole reports whether all of a value of an affordance is shown, whatever it is.
func (v View) whole(affordance string) bool {
	return v.Fields == nil || slices.Contains(v.Fields, affordance)
}

// Whole refuses, as a [Problem], an affordance of which nothing can be left out, such as a service, unless the view
// shows all of it as it is now.
func (v View) Whole(affordance string) error {
	if !v.at(v.now()) {
		return errMoment
	}
	return v.allOf(affordance)
}

// allOf is Whole for what is not of now.
func (v View) allOf(affordance string) error {
	switch {
	case v.coarse():
		return errDetail(affordance)
	case !v.whole(affordance):
		return errFields(affordance)
	}
	return nil
}

// Shown returns what of a value of an affordance, JSON or else of a media type, a caller with this view is shown now: what
// an owner sees before it is agreed on.
func (v View) Shown(affordance string, value []byte) ([]byte, error) {
	return v.fields(affordance, value)
}

// fields leaves of a JSON value of an affordance what may be shown: of an object the fields named, of a list those of
// its objects. In any other value no field can be told apart.
func (v View) fields(affordance string, value []byte) ([]byte, error) {
	if v.whole(affordance) || value == nil {
		return value, nil
	}
	switch text := bytes.TrimSpace(value); {
	case len(text) > 0 && text[0] == '{':
		return v.object(affordance, value)
	case len(text) > 0 && text[0] == '[':
		var list, out []json.RawMessage
		if err := json.Unmarshal(value, &list); err != nil {
			return nil, errFields(affordance)
		}
		out = []json.RawMessage{}
		for _, one := range list {
			shown, err := v.object(affordance, one)
			if err != nil {
				return nil, err
			}
			out = append(out, shown)
		}
		return json.Marshal(out)
	}
	return nil, errFields(affordance)
}

func (v View) object(affordance string, value []byte) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(value, &all); err != nil || all == nil {
		return nil, errFields(affordance)
	}
	for name := range all {
		if !slices.Contains(v.Fields, name) {
			delete(all, name)
		}
	}
	return json.Marshal(all)
}

var errMoment = &Problem{
	Status: http.StatusForbidden, Code: CodeMoment, Detail: "it was recorded when there was no right to look",
}

func errDetail(affordance string) error {
	return &Problem{Status: http.StatusForbidden, Code: CodeDetail, Detail: fmt.Sprintf("%.70s cannot be shown so coarsely as was agreed", affordance)}
}

func errFields(affordance string) error {
	return &Problem{Status: http.StatusForbidden, Code: CodeFields, Detail: fmt.Sprintf("%.70s has none of the fields that may be shown", affordance)}
}

// isUnseen reports whether an error says that a view leaves something out.
func isUnseen(err error) bool {
	var p *Problem
	return errors.As(err, &p) && slices.Contains([]string{CodeMoment, CodeDetail, CodeFields}, p.Code)
}
