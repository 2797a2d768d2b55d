package grant

import "time"

// A View is what of a thing's values a decision opens: what every grant it rests on does. The zero View opens nothing.
type View struct {
	Detail Detail
	Clear  []string // for a service: the fields it is shown; nil for everyone else

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

func (r *rules) sees(at time.Time) bool {
	from, until := r.moments()
	if at.Unix() < from || until != 0 && at.Unix() >= until {
		return false
	}
	return r.terms.Moments.Always || r.hours.open(at)
}
