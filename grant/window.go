package grant

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	dayMinutes = 24 * 60
	daySeconds = 24 * 60 * 60
)

// Days are a set of days of the week, one bit each, Monday the lowest.
type Days uint8

// AllDays is the whole week.
const AllDays Days = 1<<7 - 1

// dayNames are in the order of the bits.
var dayNames = [...]string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}

// DayOf returns the set of one day.
func DayOf(d time.Weekday) Days { return 1 << (uint(d+6) % 7) }

// Has reports whether a day is in the set.
func (d Days) Has(day time.Weekday) bool { return d&DayOf(day) != 0 }

// String returns "mon,sat": what ParseDays reads.
func (d Days) String() string {
	var names []string
	for i, name := range dayNames {
		if d&(1<<i) != 0 {
			names = append(names, strings.ToLower(name[:3]))
		}
	}
	return strings.Join(names, ",")
}

// ParseDays reads days with commas between them, in any case: "sat,sun", "Monday". A stretch is "mon-fri".
func ParseDays(text string) (Days, error) {
	var set Days
	for part := range strings.SplitSeq(text, ",") {
		first, last, stretch := strings.Cut(part, "-")
		from, ok := parseDay(first)
		to := from
		if stretch && ok {
			to, ok = parseDay(last)
		}
		if !ok {
			return 0, fmt.Errorf("grant: %.40q is no day: want mon, tue, wed, thu, fri, sat, sun, or a stretch such as mon-fri", part)
		}
		for day := from; ; day = (day + 1) % 7 {
			set |= 1 << day
			if day == to {
				break
			}
		}
	}
	return set, nil
}

func parseDay(s string) (int, bool) {
	i := slices.IndexFunc(dayNames[:], func(name string) bool {
		return strings.EqualFold(s, name) || strings.EqualFold(s, name[:3])
	})
	return i, i >= 0
}

// A Window is a stretch of hours that comes back every week.
type Window struct {
	Days Days   `cbor:"1,keyasint"`           // on which it opens
	From uint16 `cbor:"2,keyasint,omitempty"` // minute of the day at which it opens, 0 to 1439
	To   uint16 `cbor:"3,keyasint,omitempty"` // minute at which it closes, on the day after if it is not later than From
}

func (w Window) valid() bool {
	return w.Days != 0 && w.Days&^AllDays == 0 && w.From < dayMinutes && w.To < dayMinutes
}

// overnight reports whether the window closes on the day after it opened.
func (w Window) overnight() bool { return w.To <= w.From }

// opens reports whether the window is open at a minute of a day by the wall clock.
func (w Window) opens(day Days, minute int) bool {
	from, to := int(w.From), int(w.To)
	if !w.overnight() {
		return w.Days&day != 0 && from <= minute && minute < to
	}
	return w.Days&day != 0 && from <= minute || w.Days.after()&day != 0 && minute < to
}

// left returns how long the window stays open from a second of a day on which it is open, by the wall clock.
func (w Window) left(day Days, second int) int {
	switch to := int(w.To) * 60; {
	case !w.overnight():
		return to - second
	case w.Days&day != 0 && int(w.From)*60 <= second:
		return daySeconds + to - second
	default:
		return to - second
	}
}

// after returns the days after those of d.
func (d Days) after() Days { return (d<<1 | d>>6) & AllDays }

// ParseWindow reads "14:00-16:00": the minutes of the day at which a window opens and closes. One that ends at 24:00
// closes at midnight.
func ParseWindow(text string) (from, to uint16, err error) {
	first, last, ok := strings.Cut(strings.ReplaceAll(text, "–", "-"), "-")
	from, okFrom := parseMinute(first)
	to, okTo := parseMinute(last)
	if !ok || !okFrom || !okTo || from == dayMinutes {
		return 0, 0, fmt.Errorf("grant: %.40q are no hours: want a form such as 14:00-16:00", text)
	}
	return from, to % dayMinutes, nil
}

// parseMinute reads 00:00 to 24:00.
func parseMinute(s string) (uint16, bool) {
	hour, minute, ok := strings.Cut(s, ":")
	h, errH := strconv.ParseUint(hour, 10, 8)
	m, errM := strconv.ParseUint(minute, 10, 8)
	ok = ok && errH == nil && errM == nil && len(hour) <= 2 && len(minute) == 2 && m < 60 && h*60+m <= dayMinutes
	return uint16(h*60 + m), ok
}

// ParseDuration reads a duration as package time does, and days: "7d", "36h", "1d12h".
func ParseDuration(text string) (time.Duration, error) {
	days, rest, ok := strings.Cut(text, "d")
	if !ok {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 16)
	var d time.Duration
	if err == nil && (rest != "" || !ok) {
		d, err = time.ParseDuration(rest)
	}
	if err != nil || d < 0 || d > 1<<16*24*time.Hour {
		return 0, fmt.Errorf("grant: %.40q is no duration: want a form such as 7d, 36h or 90s", text)
	}
	return time.Duration(n)*24*time.Hour + d, nil
}

// loadZone returns a time zone by its IANA name.
func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" || len(name) > maxZone {
		return nil, fmt.Errorf("grant: looking up a time zone: %.80q is no name of one", name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("grant: looking up time zone %q: %w", name, err)
	}
	return zone, nil
}

// hours are weekly windows in a zone.
type hours struct {
	windows []Window
	zone    *time.Location
}

// wall returns the day and the second of the day by the wall clock.
func (h hours) wall(at time.Time) (Days, int) {
	local := at.In(h.zone)
	hour, minute, second := local.Clock()
	return DayOf(local.Weekday()), hour*3600 + minute*60 + second
}

// left returns how long by the wall clock some window stays open, 0 if none is open.
func (h hours) left(at time.Time) int {
	day, second := h.wall(at)
	longest := 0
	for _, w := range h.windows {
		if w.opens(day, second/60) {
			longest = max(longest, w.left(day, second))
		}
	}
	return longest
}

// open reports whether it is within the hours. Without windows it always is.
func (h hours) open(at time.Time) bool { return len(h.windows) == 0 || h.left(at) > 0 }

// horizon is how far ahead until looks, so that it ends soon for windows that never close.
const horizon = 8 * 24 * time.Hour

// until returns when the hours that at is within end, or limit if that is earlier; hours that go on beyond the horizon
// are said to end there. Windows that touch or overlap are one. Where the clock is set forward or back, it looks again
// from there.
func (h hours) until(at, limit time.Time) time.Time {
	if len(h.windows) == 0 {
		return limit
	}
	at = at.Truncate(time.Second)
	limit = earlier(limit, at.Add(horizon))
	for at.Before(limit) {
		left := h.left(at)
		if left == 0 {
			return at
		}
		end := at.Add(time.Duration(left) * time.Second)
		if _, change := at.In(h.zone).ZoneBounds(); !change.IsZero() && change.Before(end) {
			end = change
		}
		at = end
	}
	return limit
}
