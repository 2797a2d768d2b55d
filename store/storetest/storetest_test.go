package storetest_test

import (
	"errors"
	"testing"

	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/store/storetest"
)

func TestPointsVisitsEveryWriteBothWays(t *testing.T) {
	type outcome struct{ errs, saved, logged int }
	var got []outcome
	storetest.Points(t, func(t *testing.T, db *storetest.DB) {
		var o outcome
		for _, err := range []error{
			db.Save(t.Context(), map[string][]byte{"k": []byte("v")}),
			db.LogAppend(t.Context(), []byte("log"), 0, []store.Row{{}}, nil),
		} {
			if err != nil && !errors.Is(err, storetest.ErrInjected) {
				t.Error(err)
			}
			if err != nil {
				o.errs++
			}
		}
		value, err := db.Load(t.Context(), "k")
		if err != nil {
			t.Error(err)
		}
		size, _, err := db.LogSize(t.Context(), []byte("log"))
		if err != nil {
			t.Error(err)
		}
		o.saved, o.logged = len(value), int(size)
		got = append(got, o)
	})
	want := []outcome{{0, 1, 1}, {1, 0, 1}, {1, 1, 1}, {1, 1, 0}, {1, 1, 1}}
	if len(got) != len(want) {
		t.Fatalf("%d runs, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("run %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}
