package grant

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// week is a naive model of windows: every minute of a week by the wall clock, Monday first.
type week [7][dayMinutes]bool

func weekOf(windows []Window) *week {
	var w week
	for _, window := range windows {
		for day := range 7 {
			if window.Days&(1<<day) == 0 {
				continue
			}
			minute := int(window.From)
			for {
				w[day][minute] = true
				if minute++; minute == dayMinutes {
					minute, day = 0, (day+1)%7
				}
				if minute == int(window.To) {
					break
				}
			}
		}
	}
	return &w
}

func (w *week) open(at time.Time, zone *time.Location) bool {
	local := at.In(zone)
	return w[(int(local.Weekday())+6)%7][local.Hour()*60+local.Minute()]
}

// until goes from minute to minute. Offsets from UTC are whole minutes in all zones used.
func (w *week) until(at, limit time.Time, zone *time.Location) time.Time {
	if !w.open(at, zone) {
		return at
	}
	at = at.Truncate(time.Minute)
	for at.Before(limit) && w.open(at, zone) {
		at = at.Add(time.Minute)
	}
	return earlier(at, limit)
}

func randomWindow(r *rand.Rand) Window {
	w := Window{Days: Days(1 + r.IntN(int(AllDays))), From: uint16(r.IntN(dayMinutes)), To: uint16(r.IntN(dayMinutes))}
	if r.IntN(4) == 0 {
		w.From = uint16(r.IntN(24) * 60)
		w.To = uint16(r.IntN(24) * 60)
	}
	return w
}

// transitions are moments around which the clock on the wall jumps: forward, back, by half an hour, by a day.
var transitions = []struct {
	zone string
	at   string
}{
	{"Europe/Berlin", "2026-03-29T01:00:00Z"},
	{"Europe/Berlin", "2026-10-25T01:00:00Z"},
	{"America/New_York", "2026-03-08T07:00:00Z"},
	{"America/New_York", "2026-11-01T06:00:00Z"},
	{"Australia/Lord_Howe", "2026-04-04T15:00:00Z"},
	{"Australia/Lord_Howe", "2026-10-03T15:30:00Z"},
	{"Pacific/Apia", "2011-12-30T10:00:00Z"},
	{"Pacific/Apia", "2012-03-31T14:00:00Z"},
	{"Asia/Beirut", "2026-03-28T22:00:00Z"},       // midnight itself is skipped
	{"Africa/Casablanca", "2026-02-15T02:00:00Z"}, // back, for Ramadan
	{"Africa/Casablanca", "2026-03-22T02:00:00Z"},
	{"America/Santiago", "2026-04-05T03:00:00Z"}, // the hour before midnight is repeated
	{"UTC", "2026-06-01T00:00:00Z"},
}

// Invariant: hours are open exactly in the minutes that the model has open, and end exactly when it says.
func TestHoursAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	opened, ended := 0, 0
	for _, tr := range transitions {
		zone, err := time.LoadLocation(tr.zone)
		if err != nil {
			t.Fatal(err)
		}
		change, err := time.Parse(time.RFC3339, tr.at)
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			h := hours{zone: zone}
			for range 1 + r.IntN(3) {
				h.windows = append(h.windows, randomWindow(r))
			}
			model := weekOf(h.windows)
			for range 20 {
				at := change.Add(time.Duration(r.Int64N(int64(96*time.Hour))) - 48*time.Hour)
				if got, want := h.open(at), model.open(at, zone); got != want {
					t.Fatalf("%v in %s at %s: open %t, want %t", h.windows, tr.zone, at.In(zone), got, want)
				}
				limit := at.Add(time.Duration(r.Int64N(int64(60 * time.Hour))))
				got, want := h.until(at, limit), model.until(at, limit, zone)
				if !h.open(at) {
					continue
				}
				opened++
				if !got.Equal(want) {
					t.Fatalf("%v in %s at %s: until %s, want %s", h.windows, tr.zone, at.In(zone), got.In(zone), want.In(zone))
				}
				if got.Before(limit) {
					ended++
				}
			}
		}
	}
	if opened < 1000 || ended < 1000 {
		t.Errorf("open %d times, ended %d times: too few to tell anything", opened, ended)
	}
}

func TestHoursAcrossClockChanges(t *testing.T) {
	for _, test := range []struct {
		name, zone, window string
		days               Days
		at, until          string // until "": not open
	}{
		{"a skipped hour never comes", "Europe/Berlin", "02:00-03:00", AllDays, "2026-03-29T01:00:00Z", ""},
		{"a night cut short", "Europe/Berlin", "22:00-06:00", AllDays, "2026-03-28T22:00:00Z", "2026-03-29T04:00:00Z"},
		{"a repeated hour comes twice", "Europe/Berlin", "02:00-03:00", AllDays, "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"},
		{"half of a repeated hour", "Europe/Berlin", "02:00-02:30", AllDays, "2026-10-25T00:10:00Z", "2026-10-25T00:30:00Z"},
		{"and its second time", "Europe/Berlin", "02:00-02:30", AllDays, "2026-10-25T01:10:00Z", "2026-10-25T01:30:00Z"},
		{"the clock jumps into hours past", "Europe/Berlin", "02:30-03:00", AllDays, "2026-10-25T00:40:00Z", "2026-10-25T01:00:00Z"},
		{"the clock jumps out of the hours", "Europe/Berlin", "01:30-02:30", AllDays, "2026-03-29T00:45:00Z", "2026-03-29T01:00:00Z"},
		{"half an hour back", "Australia/Lord_Howe", "01:00-02:00", AllDays, "2026-04-04T14:30:00Z", "2026-04-04T15:30:00Z"},
		{"a day that was skipped", "Pacific/Apia", "00:00-24:00", DayOf(time.Friday), "2011-12-30T12:00:00Z", ""},
		{"back for Ramadan", "Africa/Casablanca", "02:00-03:30", AllDays, "2026-02-15T01:30:00Z", "2026-02-15T03:30:00Z"},
		{"and forward after it", "Africa/Casablanca", "01:00-02:30", AllDays, "2026-03-22T01:30:00Z", "2026-03-22T02:00:00Z"},
		{"a midnight that is skipped", "Asia/Beirut", "22:00-00:00", DayOf(time.Saturday), "2026-03-28T21:00:00Z", "2026-03-28T22:00:00Z"},
		{"an evening that is repeated", "America/Santiago", "23:00-00:00", DayOf(time.Saturday), "2026-04-05T02:30:00Z", "2026-04-05T04:00:00Z"},
		{"the night before the skipped day", "Pacific/Apia", "22:00-02:00", DayOf(time.Thursday), "2011-12-30T09:00:00Z", "2011-12-30T10:00:00Z"},
	} {
		from, to, err := ParseWindow(test.window)
		if err != nil {
			t.Fatal(err)
		}
		zone, err := loadZone(test.zone)
		if err != nil {
			t.Fatal(err)
		}
		h := hours{windows: []Window{{test.days, from, to}}, zone: zone}
		at, err := time.Parse(time.RFC3339, test.at)
		if err != nil {
			t.Fatal(err)
		}
		if open := h.open(at); open != (test.until != "") {
			t.Errorf("%s: open %t", test.name, open)
		} else if got := h.until(at, at.Add(24*time.Hour)).UTC().Format(time.RFC3339); open && got != test.until {
			t.Errorf("%s: until %s, want %s", test.name, got, test.until)
		}
	}
}

// Hours that never end are said to end at the horizon, and that takes few steps.
func TestHoursThatNeverEnd(t *testing.T) {
	h := hours{windows: []Window{{Days: AllDays}}, zone: time.UTC}
	if got := h.until(now, now.Add(100*365*24*time.Hour)); !got.Equal(now.Add(horizon)) {
		t.Errorf("until %s, want the horizon", got)
	}
}

func TestParseDays(t *testing.T) {
	for text, want := range map[string]string{
		"sat,sun": "sat,sun", "sun,sat": "sat,sun", "Monday": "mon", "mon-fri": "mon,tue,wed,thu,fri", "sat-mon": "mon,sat,sun",
		"wed-wed": "wed", "fri,FRIDAY": "fri",
		"": "", "sat,": "", "day": "", "mon-": "", "-mon": "", "mon - fri": "", "mon-fri-sun": "", "8": "",
	} {
		got, err := ParseDays(text)
		if err != nil && !strings.HasPrefix(err.Error(), "grant: ") {
			t.Errorf("ParseDays(%q): error %q", text, err)
		}
		if got.String() != want || (err != nil) != (want == "") {
			t.Errorf("ParseDays(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestParseWindow(t *testing.T) {
	for text, want := range map[string]string{
		"14:00-16:00": "840 960", "14:00–16:00": "840 960", "9:05-10:00": "545 600", "22:00-06:00": "1320 360",
		"14:00-24:00": "840 0", "00:00-24:00": "0 0", "00:00-00:00": "0 0",
		"": "", "14:00": "", "14-16": "", "14:0-16:00": "", "24:00-01:00": "", "24:01-03:00": "", "14:60-16:00": "", "-1:00-02:00": "",
		"014:00-16:00": "", "14:00-16:00-18:00": "", "14:00 - 16:00": "", "+1:00-2:00": "",
	} {
		from, to, err := ParseWindow(text)
		got := fmt.Sprint(from, to)
		if err != nil {
			got = ""
		}
		if strings.TrimSpace(got) != want {
			t.Errorf("ParseWindow(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"7d": 7 * day, "36h": 36 * time.Hour, "1d12h": 36 * time.Hour, "90s": 90 * time.Second, "0d": 0, "0s": 0, "1m30s": 90 * time.Second,
		"": -1, "d": -1, "7": -1, "7 d": -1, "-1d": -1, "-5s": -1, "1d-5s": -1, "70000d": -1, "1h1d": -1, "1dd": -1, "9999999h": -1,
	} {
		got, err := ParseDuration(text)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestParseActions(t *testing.T) {
	for text, want := range map[string]string{
		"see": "see", "use": "use", "read": "read", "read,observe": "see", "invoke,read": "read,invoke", "see,write,invoke": "use",
		"": "", "Read": "", "read,": "", "read write": "", "all": "",
	} {
		got, err := ParseActions(text)
		if got.String() != want || (err != nil) != (want == "") {
			t.Errorf("ParseActions(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}
