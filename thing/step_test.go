package thing

import (
	"testing"
	"time"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestStepBounds(t *testing.T) {
	for _, tt := range []struct {
		zone       string
		step       Step
		at         string // by the clock of the zone, with its offset where that is needed
		start, end string
	}{
		{"Europe/Berlin", QuarterHour, "2026-11-27T10:29:59+01:00", "2026-11-27T10:15:00+01:00", "2026-11-27T10:30:00+01:00"},
		{"Europe/Berlin", Hour, "2026-11-27T10:00:00+01:00", "2026-11-27T10:00:00+01:00", "2026-11-27T11:00:00+01:00"},
		{"Europe/Berlin", Day, "2026-11-27T23:59:59+01:00", "2026-11-27T00:00:00+01:00", "2026-11-28T00:00:00+01:00"},
		{"Europe/Berlin", Month, "2026-12-31T23:59:59+01:00", "2026-12-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00"},
		// The clock is set forward: a day of 23 hours.
		{"Europe/Berlin", Day, "2026-03-29T12:00:00+02:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"},
		{"Europe/Berlin", Hour, "2026-03-29T01:59:59+01:00", "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"Europe/Berlin", Month, "2026-03-29T12:00:00+02:00", "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"},
		// It is set back: a day of 25 hours, and an hour that comes twice.
		{"Europe/Berlin", Day, "2026-10-25T12:00:00+01:00", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"},
		{"Europe/Berlin", Hour, "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00"},
		{"Europe/Berlin", Hour, "2026-10-25T02:30:00+01:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"},
		// By half an hour.
		{"Australia/Lord_Howe", Hour, "2026-04-05T01:45:00+10:30", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30"},
		{"Australia/Lord_Howe", Hour, "2026-04-05T01:45:00+11:00", "2026-04-05T01:00:00+11:00", "2026-04-05T01:30:00+10:30"},
		{"Asia/Kolkata", Hour, "2026-04-05T01:45:00+05:30", "2026-04-05T01:00:00+05:30", "2026-04-05T02:00:00+05:30"},
		// Midnight is skipped, shown twice, and come back to.
		{"Asia/Beirut", Day, "2026-03-29T12:00:00+03:00", "2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00"},
		{"America/Havana", Day, "2026-11-01T00:30:00-05:00", "2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"},
		{"Asia/Beirut", Day, "2026-10-24T23:30:00+02:00", "2026-10-24T00:00:00+03:00", "2026-10-25T00:00:00+02:00"},
		{"America/St_Johns", Day, "2010-11-07T00:00:30-02:30", "2010-11-06T00:00:00-02:30", "2010-11-07T00:00:00-03:30"},
	} {
		z := zone(t, tt.zone)
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		start, end := tt.step.Start(at, z).Format(time.RFC3339), tt.step.End(at, z).Format(time.RFC3339)
		if start != tt.start || end != tt.end {
			t.Errorf("%s %s in %s: from %s until %s,\nwant from %s until %s", tt.step, tt.at, tt.zone, start, end, tt.start, tt.end)
		}
	}
}

// Whatever the clocks do, steps follow each other without gaps, and every moment is in the one that it is said to be in.
func TestStepsFollowEachOther(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut",
		"America/Havana", "Asia/Kathmandu", "America/Nuuk", "America/St_Johns", "Africa/Casablanca", "Pacific/Apia"} {
		z := zone(t, name)
		for _, step := range []Step{QuarterHour, Hour, Day, Month} {
			for _, year := range []int{2010, 2011, 2026} {
				at := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
				for last := at.AddDate(1, 0, 0); at.Before(last); {
					start, end := step.Start(at, z), step.End(at, z)
					middle := start.Add(end.Sub(start) / 2)
					if start.After(at) || !end.After(at) || !step.Start(middle, z).Equal(start) || !step.End(middle, z).Equal(end) {
						t.Fatalf("%s, %s: %s is from %s until %s, and in the middle from %s until %s", name, step, at, start, end, step.Start(middle, z), step.End(middle, z))
					}
					if at = end; step < Day { // not all of the year's quarters, but all around changes
						if _, set := at.In(z).ZoneBounds(); set.IsZero() || set.Sub(at) > 48*time.Hour {
							at = at.Add(37 * time.Hour)
						}
					}
				}
			}
		}
	}
}

func TestParseStep(t *testing.T) {
	for step := Each; step <= Month; step++ {
		if got, err := ParseStep(step.String()); got != step || err != nil {
			t.Errorf("%s is read as %s, %v", step, got, err)
		}
	}
	if _, err := ParseStep("week"); err == nil {
		t.Error("a week is a step")
	}
}
