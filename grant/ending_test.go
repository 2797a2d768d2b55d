package grant

import (
	"testing"
	"time"
)

func TestNotice(t *testing.T) {
	const hour, day, week = time.Hour, 24 * time.Hour, 7 * 24 * time.Hour
	given := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		lasts, left, want time.Duration
	}{
		{0, 0, 0},
		{90 * day, 8 * day, 0}, {90 * day, week, week}, {90 * day, day + 1, week}, {90 * day, day, day}, {90 * day, hour, hour},
		{90 * day, time.Second, hour}, {90 * day, 0, 0}, {90 * day, -hour, 0},
		{week, week, 0}, {week, day + time.Second, 0}, {week, day, day}, {14 * day, week, week},
		{day, 23 * hour, 0}, {day, hour, hour}, {2 * hour, hour, hour},
		{hour, 16 * time.Minute, 0}, {hour, 15 * time.Minute, 15 * time.Minute}, {hour, time.Second, 15 * time.Minute}, {hour, 0, 0},
	} {
		terms := Terms{Time: given.Unix()}
		if test.lasts > 0 {
			terms.Until = given.Add(test.lasts).Unix()
		}
		if got := terms.Notice(given.Add(test.lasts - test.left)); got != test.want {
			t.Errorf("one of %s, %s before its end: %s, want %s", test.lasts, test.left, got, test.want)
		}
	}
	late := Terms{Time: given.Unix(), From: given.Add(week).Unix(), Until: given.Add(week + hour).Unix()}
	if got := late.Notice(given.Add(week + 50*time.Minute)); got != 15*time.Minute {
		t.Errorf("one of an hour in a week: %s", got)
	}
	if got := (Terms{From: 10, Until: 5}).Notice(time.Unix(1, 0)); got != 0 {
		t.Errorf("one that ends before it begins: %s", got)
	}
}

// A grant is told of in order, each notice once, whenever one looks.
func TestNoticesNeverGrow(t *testing.T) {
	given := time.Unix(1_800_000_000, 0)
	for lasts := time.Minute; lasts < 400*24*time.Hour; lasts = lasts * 3 / 2 {
		terms := Terms{Time: given.Unix(), Until: given.Add(lasts).Unix()}
		last, told := time.Duration(1<<62), 0
		for i := range 2000 {
			n := terms.Notice(given.Add(lasts / 2000 * time.Duration(i)))
			if n == 0 {
				continue
			}
			if n > last {
				t.Fatalf("one of %s: after %s comes %s", lasts, last, n)
			}
			if n < last {
				told++
			}
			last = n
		}
		if told < 1 || told > len(notices) {
			t.Errorf("one of %s is told of %d times", lasts, told)
		}
	}
}
