package grant

import "time"

// notices are how long before its end a grant is told of, the first first, where it lasts at least twice as long.
var notices = []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour}

// Notice returns which notice of its end a grant is at: it ends so long from now at most. It is a week, a day or an hour,
// as far as the grant lasts twice as long, from when it begins or else was given; and for one that is shorter than all
// that, a quarter of its time. It is 0 for one that does not end, has ended, or has longer to go.
func (t Terms) Notice(now time.Time) time.Duration {
	begins := t.From
	if begins == 0 {
		begins = t.Time
	}
	left, lasts := time.Unix(t.Until, 0).Sub(now), time.Duration(t.Until-begins)*time.Second
	if t.Until == 0 || left <= 0 || lasts <= 0 {
		return 0
	}
	var at time.Duration
	short := true
	for _, n := range notices {
		if 2*n > lasts {
			continue
		}
		short = false
		if left <= n {
			at = n
		}
	}
	if short && left <= lasts/4 {
		at = lasts / 4
	}
	return at
}
