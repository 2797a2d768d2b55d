package thing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/thing/thingtest"
)

// quarters are spans of a quarter of an hour each, from a moment on, of 1, 2, 4, … or of 1 each.
func quarters(from time.Time, n int, value func(i int) int) (spans []Span[int]) {
	for i := range n {
		at := from.Add(time.Duration(i) * 15 * time.Minute)
		spans = append(spans, Span[int]{at, at.Add(15 * time.Minute), value(i)})
	}
	return spans
}

func one(int) int { return 1 }

func add(a, b int) int { return a + b }

// historian is a thing with a history.
func historian(spans []Span[int]) *Thing {
	th := New("Counter")
	History(th, "history", "What was counted", func(_ context.Context, from, until time.Time) ([]Span[int], error) {
		return within(spans, from, until), nil
	}, add)
	return th
}

func within(spans []Span[int], from, until time.Time) (out []Span[int]) {
	for _, s := range spans {
		if (from.IsZero() || !s.From.Before(from)) && (until.IsZero() || !s.Until.After(until)) {
			out = append(out, s)
		}
	}
	return out
}

// told writes spans as "10-25 00:00 100, …", by the clock of a zone.
func told(t *testing.T, v Value, zone *time.Location) string {
	t.Helper()
	var spans []Span[int]
	if err := json.Unmarshal(v.Body, &spans); err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, s := range spans {
		parts = append(parts, fmt.Sprintf("%s+%s=%d", s.From.In(zone).Format("01-02 15:04"), strings.TrimSuffix(s.Until.Sub(s.From).String(), "0s"), s.Value))
	}
	return strings.Join(parts, " ")
}

func TestHistory(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	day := func(month time.Month, day, hour int) time.Time {
		return time.Date(2026, month, day, hour, 0, 0, 0, berlin)
	}
	autumn := quarters(day(10, 24, 0), (24+25+24)*4, one) // the clock is set back on the 25th
	gap := append(quarters(day(10, 24, 22), 4, one), Span[int]{day(10, 24, 23), day(10, 25, 2), 12})
	gap = append(gap, quarters(day(10, 25, 3), 4, one)...)
	var v viewer
	for _, tt := range []struct {
		what  string
		spans []Span[int]
		view  View
		query Query
		want  string
	}{
		{"days, as the clock has them", autumn, View{}, Query{Step: Day, Zone: berlin}, "10-24 00:00+24h0m=96 10-25 00:00+25h0m=100 10-26 00:00+24h0m=96"},
		{"a month so far", autumn, View{}, Query{Step: Month, Zone: berlin}, "10-24 00:00+73h0m=292"},
		{"two hours of one name", autumn, View{}, Query{From: day(10, 25, 0).Add(2 * time.Hour), Until: day(10, 25, 3), Step: Hour, Zone: berlin}, "10-25 02:00+1h0m=4 10-25 02:00+1h0m=4"},
		{"in another zone", autumn, View{}, Query{From: day(10, 24, 0), Until: day(10, 25, 0), Step: Day, Zone: time.UTC}, "10-24 00:00+2h0m=8 10-24 02:00+22h0m=88"},
		{"nothing was measured for hours", gap, View{}, Query{Step: Hour, Zone: berlin}, "10-24 22:00+1h0m=4 10-24 23:00+4h0m=12 10-25 03:00+1h0m=4"},
		{"nothing was measured, in the day", gap, View{}, Query{Step: Month, Zone: berlin}, "10-24 22:00+7h0m=20"},

		{"by the day, whatever is asked", autumn, View{Step: Day, Zone: berlin, Now: day(10, 26, 12)}, Query{Step: Hour, Zone: time.UTC}, "10-24 00:00+24h0m=96 10-25 00:00+25h0m=100"},
		{"a part of a day is the day", autumn, View{Step: Day, Zone: berlin, Now: day(10, 26, 12)}, Query{From: day(10, 25, 5)}, "10-25 00:00+25h0m=100"},
		{"nor is its end cut", autumn, View{Step: Day, Zone: berlin, Now: day(10, 28, 12)}, Query{From: day(10, 24, 0), Until: day(10, 25, 1)}, "10-24 00:00+24h0m=96"},
		{"coarser is given", autumn, View{Step: Hour, Zone: berlin, Now: day(11, 2, 0)}, Query{Step: Month}, "10-24 00:00+73h0m=292"},
		{"a step is over in its own zone", autumn, View{Step: Day, Zone: berlin, Now: day(10, 25, 0).Add(-1)}, Query{}, ""},
		{"and then it is", autumn, View{Step: Day, Zone: berlin, Now: day(10, 25, 0)}, Query{}, "10-24 00:00+24h0m=96"},

		{"moments", autumn, from(day(10, 26, 23).Add(time.Minute)), Query{}, "10-26 23:15+15m=1 10-26 23:30+15m=1 10-26 23:45+15m=1"},
		{"moments, by the day", autumn, View{Sees: from(day(10, 25, 12)).Sees, Step: Day, Zone: berlin, Now: day(10, 26, 12)}, Query{}, "10-25 12:00+12h0m=48"},
		{"a time that began before is not seen", gap, from(day(10, 25, 0)), Query{}, "10-25 03:00+15m=1 10-25 03:15+15m=1 10-25 03:30+15m=1 10-25 03:45+15m=1"},
	} {
		c := v.serve(t, historian(tt.spans))
		v.sees(tt.view)
		got, err := c.History(t.Context(), "history", tt.query)
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
		} else if text := told(t, got, berlin); text != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.what, text, tt.want)
		}
	}
}

// However somebody asks who is to see days, and whenever, no two answers differ by less than a day.
func TestDifferencesTellNothingFiner(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	start := time.Date(2026, 10, 24, 0, 0, 0, 0, berlin)
	spans := quarters(start, 3*96, func(i int) int { return 1 << (i % 30) })
	days := map[string]int{}
	for i := range 5 * 24 {
		now := start.Add(time.Duration(i)*time.Hour + 20*time.Minute)
		view := View{Step: Day, Zone: berlin, Now: now}
		q := view.narrow(Query{From: start.Add(time.Duration(i%50) * time.Hour), Until: start.Add(time.Duration(i) * 47 * time.Minute), Zone: time.UTC, Step: Hour})
		for _, s := range Steps(view, q.Step, q.Zone, within(spans, q.From, q.Until), add) {
			day := s.From.In(berlin).Format(time.DateOnly)
			if before, ok := days[day]; ok && before != s.Value || !s.From.Equal(Day.Start(s.From, berlin)) {
				t.Fatalf("%s, asked at %s for %+v: %d from %s, before it was %d", day, now, q, s.Value, s.From, before)
			}
			days[day] = s.Value
		}
	}
	if len(days) != 3 {
		t.Errorf("%d days were told", len(days))
	}
}

func TestLatest(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	start := time.Date(2026, 10, 24, 0, 0, 0, 0, berlin)
	spans := quarters(start, 96+100+10, one)
	recorded := func(from, until time.Time) ([]Span[int], error) { return within(spans, from, until), nil }
	view := View{Step: Day, Zone: berlin, Now: start.Add(60 * time.Hour)} // the 26th
	if s, err := Latest(view, recorded, add); err != nil || s.Value != 100 {
		t.Errorf("the last whole day: %+v, %v", s, err)
	}
	view.Sees = from(start.Add(25 * time.Hour)).Sees // the day began before
	_, err := Latest(view, recorded, add)
	wantCode(t, "a day that is not seen as a whole", err, CodeMoment)
	view = View{Step: Day, Zone: berlin, Now: start.Add(12 * time.Hour)}
	var p *Problem
	if _, err := Latest(view, recorded, add); !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
		t.Errorf("no day is over: %v", err)
	}
}

func TestHistoryRefuses(t *testing.T) {
	c := serve(t, historian(quarters(time.Unix(0, 0), maxSpans+1, one)).Handler(permit))
	var p *Problem
	if _, err := c.History(t.Context(), "history", Query{}); !errors.As(err, &p) || p.Status != http.StatusBadRequest || !strings.Contains(p.Detail, "10001 values, at most 10000") {
		t.Errorf("too much: %v", err)
	}
	if _, err := c.History(t.Context(), "history", Query{Step: Day, Zone: time.UTC}); err != nil {
		t.Error(err)
	}
	for _, raw := range []string{"from=yesterday", "until=1", "step=week", "zone=Mars/Olympus", "zone=Local", "zone=../../etc/passwd"} {
		c.query = raw
		if _, err := c.Read(t.Context(), "history"); !errors.As(err, &p) || p.Status != http.StatusBadRequest {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestHistoryDescription(t *testing.T) {
	d := historian(nil).Describe()
	if href := d.Properties["history"].Forms[0].Href; href != "properties/history{?from,until,step,zone}" {
		t.Errorf("the form is %s", href)
	}
	thingtest.Valid(t, d)
}
