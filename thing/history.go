package thing

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// A Span is what a thing measured from one moment until another, not included.
type Span[T any] struct {
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
	Value T         `json:"value"`
}

// maxSpans is how many spans an answer has at most.
const maxSpans = 10_000

// The variables of the form by which a history is read: RFC 3339 moments, a step, and the IANA name of its time zone.
const (
	FromVariable  = "from"
	UntilVariable = "until"
	StepVariable  = "step"
	ZoneVariable  = "zone"
)

// A Query is what of a history is asked for. The zero Query asks for all of it as it was recorded.
type Query struct {
	From, Until time.Time      // zero: from the first, until the last
	Step        Step           // to sum up by; Each: as it was recorded
	Zone        *time.Location // that steps begin and end in; nil: the thing's
}

// values are the variables of the form.
func (q Query) values() url.Values {
	v := url.Values{}
	for name, at := range map[string]time.Time{FromVariable: q.From, UntilVariable: q.Until} {
		if !at.IsZero() {
			v.Set(name, at.Format(time.RFC3339))
		}
	}
	if q.Step != Each {
		v.Set(StepVariable, q.Step.String())
	}
	if q.Zone != nil {
		v.Set(ZoneVariable, q.Zone.String())
	}
	return v
}

// History fetches what of a property of [History] is asked for: a list of [Span].
func (c *Client) History(ctx context.Context, property string, q Query) (Value, error) {
	at := *c
	at.query = q.values().Encode()
	return at.do(ctx, OpReadProperty, property, http.MethodGet, nil, nil, "properties", property)
}

// History declares a property whose value is what the thing measured in the past: a list of [Span], oldest first, or
// sums over the steps that a caller asks for, or has to put up with. Recorded gives what lies within two moments, the
// zero time standing for no bound, in order and without overlaps; add gives the sum of two values.
//
// Spans are shown whole or not at all, and those that are shown are summed up where they lie within one step: the sum
// is told from the first of them until the last. A span that reaches beyond a step, as when nothing was measured for some
// time, is told by itself. Whoever is to see one value a step sees steps that are over, whatever part of them it asks for:
// differences between answers tell nothing finer.
// It panics where name is not a name or is taken.
func History[T any](t *Thing, name, description string, recorded func(ctx context.Context, from, until time.Time) ([]Span[T], error), add func(a, b T) T) {
	p := &property{description: description, schema: SchemaOf[[]Span[T]](), contentType: jsonType}
	p.history = func(ctx context.Context, v View, q Query) ([]byte, error) {
		q = v.narrow(q)
		spans, err := recorded(ctx, q.From, q.Until)
		if err != nil {
			return nil, err
		}
		spans = Steps(v, q.Step, q.Zone, spans, add)
		if len(spans) > maxSpans {
			return nil, &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("%d values, at most %d: ask for a shorter time or a longer step", len(spans), maxSpans)}
		}
		return json.Marshal(spans)
	}
	p.read = func(ctx context.Context) ([]byte, error) { return p.history(ctx, View{}, Query{}) }
	declare(t.properties, "property", name, p)
}

// narrow makes of what is asked for what may be shown.
func (v View) narrow(q Query) Query {
	if q.Zone == nil {
		q.Zone = time.Local
	}
	if v.Step != Each {
		q.Step = max(q.Step, v.Step)
		if q.Zone = v.Zone; q.Zone == nil {
			q.Zone = time.Local
		}
		if !q.From.IsZero() {
			q.From = q.Step.Start(q.From, q.Zone)
		}
		now := v.now()
		if q.Until.IsZero() || q.Until.After(now) {
			q.Until = now
		}
		q.Until = q.Step.Start(q.Until, q.Zone)
	}
	return q
}

// Steps sums up spans, which are in order, by the steps that they lie in, leaving out what a view does not show. Where
// the view is of one value a step, those that are not over are left out.
func Steps[T any](v View, step Step, zone *time.Location, spans []Span[T], add func(a, b T) T) []Span[T] {
	out := []Span[T]{}
	var end time.Time // of the step that the last of out lies in; zero: it may not be added to
	for _, s := range spans {
		if !v.span(s.From, s.Until) {
			continue
		}
		if v.Step != Each && v.now().Before(step.End(s.Until.Add(-1), zone)) {
			break
		}
		if !s.From.Before(end) { // of another step
			if end = step.End(s.From, zone); s.Until.After(end) || step == Each {
				end = time.Time{}
			}
			out = append(out, s)
			continue
		}
		if s.Until.After(end) {
			out, end = append(out, s), time.Time{}
			continue
		}
		last := &out[len(out)-1]
		last.Until, last.Value = s.Until, add(last.Value, s.Value)
	}
	return out
}

// Latest gives the last whole step before now that a view shows: what stands in place of a present value for those who
// are to see one value a step. There is none if nothing was recorded in it, or some of that is not to be seen.
func Latest[T any](v View, recorded func(from, until time.Time) ([]Span[T], error), add func(a, b T) T) (Span[T], error) {
	var none Span[T]
	q := v.narrow(Query{Step: v.Step})
	from := v.Step.Start(q.Until.Add(-1), q.Zone)
	spans, err := recorded(from, q.Until)
	switch {
	case err != nil:
		return none, err
	case !v.span(from, q.Until):
		return none, errMoment
	}
	if spans = Steps(v, v.Step, q.Zone, spans, add); len(spans) != 1 {
		return none, &Problem{Status: http.StatusServiceUnavailable, Detail: fmt.Sprintf("nothing was measured in the last %s", v.Step)}
	}
	return spans[0], nil
}

// past reads the property's history for a request.
func (p *property) past(r *http.Request, name string, v View) ([]byte, error) {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		return nil, &Problem{Status: http.StatusBadRequest, Detail: err.Error()}
	}
	body, err := p.history(r.Context(), v, q)
	if err != nil {
		return nil, err
	}
	return v.fields(name, body)
}

func parseQuery(values url.Values) (Query, error) {
	var q Query
	var err error
	for name, into := range map[string]*time.Time{FromVariable: &q.From, UntilVariable: &q.Until} {
		if text := values.Get(name); text != "" {
			if *into, err = time.Parse(time.RFC3339, text); err != nil {
				return q, fmt.Errorf("%s is %.40q, want a moment such as 2026-11-27T00:00:00+01:00", name, text)
			}
		}
	}
	if text := values.Get(StepVariable); text != "" {
		if q.Step, err = ParseStep(text); err != nil {
			return q, fmt.Errorf("step is %.40q, want quarter-hour, hour, day or month", text)
		}
	}
	if text := values.Get(ZoneVariable); text != "" {
		if q.Zone, err = time.LoadLocation(text); err != nil || len(text) > 64 || text == "Local" {
			return q, fmt.Errorf("zone is %.40q, want the name of a time zone such as Europe/Berlin", text)
		}
	}
	return q, nil
}
