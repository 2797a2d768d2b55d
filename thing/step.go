package thing

import (
	"fmt"
	"time"
)

// A Step is a stretch of time for which a measurement has one value.
type Step uint8

// The steps, finer ones first. All begin and end by the clock on the wall: a day has 23 hours when that is set forward,
// and 25 when it is set back.
const (
	Each        Step = iota // every value
	QuarterHour             // four to the hour
	Hour
	Day
	Month
)

var stepNames = [...]string{"each", "quarter-hour", "hour", "day", "month"}

// String returns "quarter-hour", "hour", "day" or "month"; "each" for every value.
func (s Step) String() string {
	if int(s) >= len(stepNames) {
		return fmt.Sprintf("Step(%d)", uint8(s))
	}
	return stepNames[s]
}

// ParseStep reads what [Step.String] writes.
func ParseStep(text string) (Step, error) {
	for i, name := range stepNames {
		if text == name {
			return Step(i), nil
		}
	}
	return 0, fmt.Errorf("thing: %.40q is no step: want quarter-hour, hour, day or month", text)
}

// Start returns when the step that a moment is in began, by the clock on the wall of a zone. Where that is set back
// the hour that comes twice is two steps.
func (s Step) Start(at time.Time, zone *time.Location) time.Time {
	at = at.In(zone)
	switch s {
	case QuarterHour:
		return floor(at, 15*time.Minute)
	case Hour:
		return floor(at, time.Hour)
	case Day:
		return midnight(at.Year(), at.Month(), today(at), zone)
	case Month:
		year, month, _ := midnight(at.Year(), at.Month(), today(at), zone).Date()
		return midnight(year, month, 1, zone)
	}
	return at
}

// End returns when the step that a moment is in ends, which is when the next one begins.
func (s Step) End(at time.Time, zone *time.Location) time.Time {
	start := s.Start(at, zone)
	switch s {
	case QuarterHour:
		return turn(start, 15*time.Minute)
	case Hour:
		return turn(start, time.Hour)
	case Day:
		return midnight(start.Year(), start.Month(), start.Day()+1, zone)
	case Month:
		return midnight(start.Year(), start.Month()+1, 1, zone)
	}
	return start
}

// today returns the day of the month that a moment belongs to. Where the clock is set back over midnight the day that
// had begun begins once more, and what was before belongs to the day before.
func today(at time.Time) int {
	if midnight(at.Year(), at.Month(), at.Day(), at.Location()).After(at) {
		return at.Day() - 1
	}
	return at.Day()
}

// floor returns the last moment at which the clock on the wall stood at a multiple of d, an hour or a part of one, or
// was set, whichever was later.
func floor(at time.Time, d time.Duration) time.Time {
	past := time.Duration(at.Minute())*time.Minute + time.Duration(at.Second())*time.Second + time.Duration(at.Nanosecond())
	start := at.Add(-(past % d))
	if set, _ := at.ZoneBounds(); !set.IsZero() && set.After(start) {
		return set.In(at.Location())
	}
	return start
}

// turn returns when a step of at most d that begins at a moment ends: when the clock on the wall has moved on to the
// next multiple of d, or is set.
func turn(start time.Time, d time.Duration) time.Time {
	past := time.Duration(start.Minute())*time.Minute + time.Duration(start.Second())*time.Second
	end := start.Add(d - past%d)
	if _, set := start.ZoneBounds(); !set.IsZero() && set.Before(end) {
		return set.In(start.Location())
	}
	return end
}

// midnight returns the first moment of a day by the clock on the wall of a zone.
func midnight(year int, month time.Month, day int, zone *time.Location) time.Time {
	t := time.Date(year, month, day, 12, 0, 0, 0, zone)
	day = t.Day()
	for {
		hour, minute, second := t.Clock()
		first := t.Add(-time.Duration(hour*3600+minute*60+second)*time.Second - time.Duration(t.Nanosecond()))
		set, _ := t.ZoneBounds()
		if set.IsZero() || first.After(set) {
			return first
		}
		before := set.Add(-1).In(zone) // where the clock was set the day may have begun before
		if before.Day() != day {
			return set.In(zone)
		}
		t = before
	}
}
