package kindred_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/journal"
)

// What happened is told as a whole, however little is told at once, also where many things happened in one moment.
func TestWholeHistory(t *testing.T) {
	noon := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var happened []journal.Entry
	for i, at := range []int{0, 1, 1, 1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 8, 8, 9} { // milliseconds
		happened = append(happened, journal.Entry{Time: noon.Add(time.Duration(at) * time.Millisecond), Call: uint64(i + 1)})
	}
	tell := func(_ context.Context, q control.HistoryQuery) (control.History, error) {
		before := happened
		if i := slices.IndexFunc(before, func(e journal.Entry) bool { return !e.Time.Before(q.Until) }); i >= 0 && !q.Until.IsZero() {
			before = before[:i]
		}
		return control.History{Entries: slices.Clone(before[max(0, len(before)-q.Limit):]), Seals: [][]byte{{1}}}, nil
	}
	for page := 3; page <= len(happened)+1; page++ {
		h, err := kindred.AllPages(t.Context(), control.HistoryQuery{Limit: page}, tell)
		if err != nil || !slices.EqualFunc(h.Entries, happened, func(a, b journal.Entry) bool { return a.Call == b.Call }) || len(h.Seals) == 0 {
			t.Errorf("by pages of %d is told %+v, %v", page, h, err)
		}
	}
	if _, err := kindred.AllPages(t.Context(), control.HistoryQuery{Limit: 2}, tell); err != nil {
		t.Errorf("where more happened in one moment than is told at once: %v", err)
	}
	again := func(ctx context.Context, q control.HistoryQuery) (control.History, error) {
		q.Until = time.Time{}
		return tell(ctx, q)
	}
	if _, err := kindred.AllPages(t.Context(), control.HistoryQuery{Limit: 3}, again); err == nil {
		t.Error("who tells the same again and again is asked without end")
	}
}
