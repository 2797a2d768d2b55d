package grant

import (
	"slices"
	"testing"
	"time"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return moment
}

// Which recorded moments may be looked at: within the grant and its hours, or what Moments say instead.
func TestViewSees(t *testing.T) {
	h := newHousehold(t)
	nights := func(t *Terms) { t.Windows, t.Zone = []Window{{AllDays, 22 * 60, 6 * 60}}, "Europe/Berlin" }
	for _, test := range []struct {
		name   string
		change func(*Terms)
		at     string
		want   bool
	}{
		{"before it was given", func(*Terms) {}, "2026-11-21T14:28:59Z", false},
		{"when it was given", func(*Terms) {}, "2026-11-21T14:29:00Z", true},
		{"before it begins", func(t *Terms) { t.From = now.Unix() + 60 }, "2026-11-21T14:30:30Z", false},
		{"when it begins", func(t *Terms) { t.From = now.Unix() + 60 }, "2026-11-21T14:31:00Z", true},
		{"its last moment", func(t *Terms) { t.Until = now.Unix() + 60 }, "2026-11-21T14:30:59.999Z", true},
		{"its end", func(t *Terms) { t.Until = now.Unix() + 60 }, "2026-11-21T14:31:00Z", false},
		{"one that begins in the past", func(t *Terms) { t.From = now.Unix() - 3600 }, "2026-11-21T14:28:00Z", false},
		{"the whole past", func(t *Terms) { t.Moments.From = 1 }, "1970-01-01T00:00:01Z", true},
		{"from a moment in the past", func(t *Terms) { t.Moments.From = now.Unix() - 3600 }, "2026-11-21T13:30:00Z", true},
		{"before it", func(t *Terms) { t.Moments.From = now.Unix() - 3600 }, "2026-11-21T13:29:59Z", false},
		{"until a moment", func(t *Terms) { t.Moments.Until = now.Unix() }, "2026-11-21T14:29:59Z", true},
		{"from it on", func(t *Terms) { t.Moments.Until = now.Unix() }, "2026-11-21T14:30:00Z", false},
		{"beyond the grant's end", func(t *Terms) { t.Until, t.Moments.Until = now.Unix()+60, now.Unix()+120 }, "2026-11-21T14:31:30Z", true},
		{"within its hours, past midnight", nights, "2026-11-22T04:59:59Z", true},
		{"outside its hours", nights, "2026-11-22T05:00:00Z", false},
		{"outside its hours, always", func(t *Terms) { nights(t); t.Moments.Always = true }, "2026-11-22T05:00:00Z", true},
		{"in its hours, before it was given", func(t *Terms) { nights(t) }, "2026-11-20T23:00:00Z", false},
		{"in its hours, in the past that is open", func(t *Terms) { nights(t); t.Moments.From = 1 }, "2026-11-20T23:00:00Z", true},
		{"the night the clock goes forward", func(t *Terms) { nights(t); t.Moments.From = 1 }, "2026-03-29T04:00:00Z", false}, // 06:00
		{"the night the clock goes back", func(t *Terms) { nights(t); t.Moments.From = 1 }, "2026-10-25T04:30:00Z", true},     // 05:30
	} {
		terms := h.terms("sam/anna", "home/lock")
		test.change(&terms)
		r := &rules{terms: terms}
		if err := r.compile(); err != nil {
			t.Fatal(err)
		}
		view := View{}.narrow(r, false)
		if got := view.Sees(at(t, test.at)); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
		if view.Whole() {
			t.Errorf("%s: the view is whole", test.name)
		}
		if since := view.Since(); test.want && at(t, test.at).Before(since) {
			t.Errorf("%s: seen at %s, and nothing is before %s", test.name, test.at, since)
		}
	}
	if (View{}).Sees(now) {
		t.Error("the zero View sees something")
	}
	if (View{}).Whole() || !(View{whole: true}).Whole() {
		t.Error("an owner's view is the one that is whole")
	}
	if !(View{whole: true}).Sees(time.Unix(0, 0)) || !(View{whole: true}).Since().IsZero() {
		t.Error("an owner does not see everything")
	}
}

// What several links open is what all of them do.
func TestViewNarrows(t *testing.T) {
	h := newHousehold(t)
	first, second := h.terms("bank", "barn/scale"), h.terms("bank", "barn/scale")
	first.Detail, first.Zone = Detail{Step: Day}, "Europe/Berlin"
	first.Agreement.Clear = []string{"weight", "mean", "note"}
	first.Retention = 3600
	first.Moments.From = now.Unix() - 3600
	second.Detail, second.Zone = Detail{Step: Hour, Area: true}, "Asia/Tokyo"
	second.Agreement.Clear = []string{"mean", "tare", "weight"}
	second.Retention = 60
	second.Moments = Moments{From: now.Unix() - 7200, Until: now.Unix() - 1800}
	var rs [2]*rules
	for i, terms := range []Terms{first, second} {
		rs[i] = &rules{terms: terms}
		if err := rs[i].compile(); err != nil {
			t.Fatal(err)
		}
	}
	for zone, order := range map[string][2]int{"Asia/Tokyo": {0, 1}, "Europe/Berlin": {1, 0}} {
		v := View{}.narrow(rs[order[0]], true).narrow(rs[order[1]], true)
		slices.Sort(v.Clear)
		if v.Detail != (Detail{Step: Day, Area: true}) || v.Zone.String() != zone || v.Keep != time.Minute ||
			!slices.Equal(v.Clear, []string{"mean", "weight"}) || v.Since().Unix() != now.Unix()-3600 {
			t.Errorf("%+v", v)
		}
		for after, want := range map[int64]bool{-7200: false, -3601: false, -3600: true, -1801: true, -1800: false, 0: false} {
			if got := v.Sees(now.Add(time.Duration(after) * time.Second)); got != want {
				t.Errorf("%d s after now: %t, want %t", after, got, want)
			}
		}
	}
	if len(first.Agreement.Clear) != 3 || len(second.Agreement.Clear) != 3 {
		t.Error("terms were changed")
	}
}

// Moments are in the hours by the clock on the wall as it was when something was recorded, and a budget is time that
// passes, whatever the clock on the wall does meanwhile.
func TestAcrossClockChanges(t *testing.T) {
	h := newHousehold(t)
	for _, test := range []struct {
		name, zone, window string
		days               Days
		now, until         string // a use begins, and ends by itself or as its budget of 90 minutes is spent
		seen, unseen       []string
	}{
		{"an hour that comes twice", "Europe/Berlin", "02:00-04:00", AllDays, "2026-10-25T00:00:00Z", "2026-10-25T01:30:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:59:59Z"}, []string{"2026-10-24T23:59:59Z", "2026-10-25T03:00:00Z"}},
		{"an hour that never comes", "Europe/Berlin", "01:30-04:00", AllDays, "2026-03-29T00:40:00Z", "2026-03-29T02:00:00Z",
			[]string{"2026-03-29T00:30:00Z", "2026-03-29T01:59:59Z"}, []string{"2026-03-29T00:29:59Z", "2026-03-29T02:00:00Z"}},
		{"a night that is an hour shorter", "America/New_York", "22:00-06:00", DayOf(time.Saturday), "2026-03-08T06:30:00Z", "2026-03-08T08:00:00Z",
			[]string{"2026-03-08T03:00:00Z", "2026-03-08T09:59:59Z"}, []string{"2026-03-08T02:59:59Z", "2026-03-08T10:00:00Z", "2026-03-09T03:00:00Z"}},
		{"half an hour that comes twice", "Australia/Lord_Howe", "01:30-02:00", AllDays, "2026-04-04T14:30:00Z", "2026-04-04T15:30:00Z",
			[]string{"2026-04-04T14:59:59Z", "2026-04-04T15:00:00Z", "2026-04-04T15:29:59Z"}, []string{"2026-04-04T14:29:59Z", "2026-04-04T15:30:00Z"}},
		{"half an hour that never comes", "Australia/Lord_Howe", "02:00-02:30", AllDays, "2026-10-03T15:00:00Z", "",
			nil, []string{"2026-10-03T15:29:59Z", "2026-10-03T15:30:00Z"}},
		{"Ramadan begins", "Africa/Casablanca", "02:30-04:00", AllDays, "2026-02-15T01:45:00Z", "2026-02-15T02:00:00Z",
			[]string{"2026-02-15T01:30:00Z", "2026-02-15T02:30:00Z", "2026-02-15T03:59:59Z"}, []string{"2026-02-15T02:00:00Z", "2026-02-15T02:29:59Z"}},
		{"a day that was skipped", "Pacific/Apia", "00:00-24:00", DayOf(time.Friday), "2011-12-30T10:00:00Z", "",
			[]string{"2011-12-23T10:00:00Z", "2012-01-06T09:59:59Z"}, []string{"2011-12-30T09:59:59Z", "2011-12-30T10:00:00Z"}},
		{"a night cut off by a day that was skipped", "Pacific/Apia", "23:00-02:00", DayOf(time.Thursday), "2011-12-30T09:30:00Z", "2011-12-30T10:00:00Z",
			[]string{"2011-12-30T09:00:00Z", "2011-12-30T09:59:59Z"}, []string{"2011-12-30T10:00:00Z", "2011-12-30T11:59:59Z"}},
	} {
		terms := h.terms("sam/anna", "home/lock")
		from, to, err := ParseWindow(test.window)
		if err != nil {
			t.Fatal(err)
		}
		terms.Windows, terms.Zone = []Window{{test.days, from, to}}, test.zone
		terms.Budget, terms.Moments.From = 5400, 1
		r := &rules{terms: terms}
		if err := r.compile(); err != nil {
			t.Fatal(err)
		}
		begin := at(t, test.now)
		if open := r.hours.open(begin); open != (test.until != "") {
			t.Errorf("%s: open %t", test.name, open)
		} else if open {
			if got := r.until(begin, begin.Add(24*time.Hour), &Usage{}); !got.Equal(at(t, test.until)) {
				t.Errorf("%s: until %s, want %s", test.name, got.UTC().Format(time.RFC3339), test.until)
			}
		}
		view := View{}.narrow(r, false)
		for _, moments := range []struct {
			texts []string
			want  bool
		}{{test.seen, true}, {test.unseen, false}} {
			for _, text := range moments.texts {
				if got := view.Sees(at(t, text)); got != moments.want {
					t.Errorf("%s: %s seen %t", test.name, text, got)
				}
			}
		}
	}
}
