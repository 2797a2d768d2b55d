package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/grant"
)

// zone returns the time zone that hours are meant in, and its IANA name: as the flag says, else the place's where the
// directory knows it, else this machine's.
func (s *session) zone(flag string) (*time.Location, string, error) {
	name := flag
	if name == "" {
		settings, err := readSettings(s.dir)
		if err != nil {
			return nil, "", err
		}
		name = settings.Zone
	}
	if name == "" {
		name = systemZone()
	}
	if name == "" {
		return nil, "", usage("the time zone is not known: give --tz, such as Europe/Berlin")
	}
	if err := checkZone(name); err != nil {
		return nil, "", usage("%s", err)
	}
	loc, err := time.LoadLocation(name)
	return loc, name, err
}

// now returns the time, by the place's clock where the directory knows it.
func (s *session) now() time.Time {
	now := time.Now()
	if zone, _, err := s.zone(""); err == nil {
		return now.In(zone)
	}
	return now
}

// clocks are the forms that a moment may be given in, by the clock of a zone.
var clocks = []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04"}

const clocksHint = `such as 2026-12-24, "2026-12-24 18:00", 18:00, 2h or 7d`

// parseMoment reads a moment to come: a time by the clock of now's zone; the next time it is 18:00; a date, whose
// beginning it is, or with end its end; or a time from now.
func parseMoment(text string, now time.Time, end bool) (time.Time, error) {
	if t, ok := parseClock(text, now); ok {
		return t, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		if end {
			day = time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, day.Location())
		}
		return day, nil
	}
	if t, ok := parseHour(text, now); ok {
		if !t.After(now) {
			t = time.Date(t.Year(), t.Month(), t.Day()+1, t.Hour(), t.Minute(), 0, 0, t.Location())
		}
		return t, nil
	}
	if d, err := grant.ParseDuration(strings.TrimPrefix(text, "+")); err == nil && d > 0 {
		return now.Add(d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time %s", text, clocksHint)
}

// parsePast reads a moment that is over: like parseMoment, but 18:00 is the last time it was that, and 2h that long ago.
func parsePast(text string, now time.Time) (time.Time, error) {
	if t, ok := parseClock(text, now); ok {
		return t, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, now.Location()); err == nil {
		return day, nil
	}
	if t, ok := parseHour(text, now); ok {
		if t.After(now) {
			t = time.Date(t.Year(), t.Month(), t.Day()-1, t.Hour(), t.Minute(), 0, 0, t.Location())
		}
		return t, nil
	}
	if d, err := grant.ParseDuration(strings.TrimPrefix(text, "-")); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time %s", text, clocksHint)
}

func parseClock(text string, now time.Time) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, true
	}
	for _, layout := range clocks {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// parseHour reads "18:00" as a time of now's day.
func parseHour(text string, now time.Time) (time.Time, bool) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return t, false
	}
	return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), 0, 0, now.Location()), true
}
