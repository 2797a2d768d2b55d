package grant

import (
	"cmp"
	"slices"
	"time"
)

// A View is what of a thing's values a decision opens: what every grant it rests on does. The zero View opens nothing.
type View struct {
	Detail Detail
	Zone   *time.Location // whose days and months those of Detail are; nil without a Step
	Clear  []string       // for a service: the fields it is shown; nil for everyone else
	Keep   time.Duration  // how long it may be kept; 0: nothing is agreed

	whole bool // owners
	links []*rules
}

// Sees reports whether something that was recorded at a moment may be shown.
func (v View) Sees(at time.Time) bool {
	for _, r := range v.links {
		if !r.sees(at) {
			return false
		}
	}
	return v.whole || len(v.links) > 0
}

// Whole reports whether everything may be shown, whenever it was recorded and however fine.
func (v View) Whole() bool {
	return v.whole && len(v.links) == 0 && v.Clear == nil && v.Detail == Detail{}
}

// narrow is what the view opens once it also rests on a link.
func (v View) narrow(r *rules, service bool) View {
	t := &r.terms
	if t.Detail.Step != Full { // by the zone of the last, the link that is farthest up: days of many zones tell hours
		v.Detail.Step, v.Zone = max(v.Detail.Step, t.Detail.Step), r.hours.zone
	}
	v.Detail.Area = v.Detail.Area || t.Detail.Area
	if keep := time.Duration(t.Retention) * time.Second; keep != 0 && (v.Keep == 0 || keep < v.Keep) {
		v.Keep = keep
	}
	switch {
	case !service:
	case len(v.links) == 0:
		v.Clear = slices.Clone(t.Agreement.Clear)
	default:
		v.Clear = slices.DeleteFunc(v.Clear, func(field string) bool { return !slices.Contains(t.Agreement.Clear, field) })
	}
	v.links = append(v.links, r)
	return v
}

// compare is positive if v opens more than other: it is finer, then shows more fields, then goes farther back.
func (v View) compare(other View) int {
	rank := func(v View) (step int, clear int, since int64) {
		step = int(v.Detail.Step)
		if v.Detail.Area {
			step += int(Month) + 1
		}
		if at := v.Since(); !at.IsZero() {
			since = at.Unix()
		}
		return step, len(v.Clear), since
	}
	step, clear, since := rank(v)
	otherStep, otherClear, otherSince := rank(other)
	return cmp.Or(cmp.Compare(otherStep, step), cmp.Compare(clear, otherClear), cmp.Compare(otherSince, since))
}

// SeesAll reports whether all that was recorded from one moment until another, not included, may be shown; where both
// are the same, what was recorded at that moment.
func (v View) SeesAll(from, until time.Time) bool {
	if !from.Before(until) {
		return v.Sees(from)
	}
	for _, r := range v.links {
		if !r.seesAll(from, until) {
			return false
		}
	}
	return v.whole || len(v.links) > 0
}

// Since returns the moment before which nothing is seen; the zero time if there is none.
func (v View) Since() time.Time {
	var since int64
	for _, r := range v.links {
		from, _ := r.moments()
		since = max(since, from)
	}
	if since == 0 {
		return time.Time{}
	}
	return time.Unix(since, 0)
}

// moments returns from when until when something was recorded that may be looked at; until is 0 where it goes on.
func (r *rules) moments() (from, until int64) {
	t := &r.terms
	from, until = max(t.From, t.Time), t.Until
	if t.Moments.From != 0 {
		from = t.Moments.From
	}
	if t.Moments.Until != 0 {
		until = t.Moments.Until
	}
	return from, until
}

func (r *rules) seesAll(from, until time.Time) bool {
	first, last := r.moments()
	if from.Unix() < first || last != 0 && until.After(time.Unix(last, 0)) {
		return false
	}
	if r.terms.Moments.Always {
		return true
	}
	for from.Before(until) { // as far ahead as hours look at a time
		if !r.hours.open(from) {
			return false
		}
		if from = r.hours.until(from, until); len(r.hours.windows) == 0 {
			return true
		}
	}
	return true
}

func (r *rules) sees(at time.Time) bool {
	from, until := r.moments()
	if at.Unix() < from || until != 0 && at.Unix() >= until {
		return false
	}
	return r.terms.Moments.Always || r.hours.open(at)
}
