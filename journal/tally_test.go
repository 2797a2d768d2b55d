package journal

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/store/storetest"
)

// saw is an entry that tells that somebody saw something at second i.
func saw(who Party, what string, i int) Entry {
	return Entry{Time: noon.Add(time.Duration(i) * time.Second), Thing: lock, Caller: who, Op: Read, Affordance: what, Outcome: Served, AsOf: noon}
}

// counts reads a log: how many calls of each kind its entries stand for, and the entries.
func counts(t *testing.T, port Port) (map[string]int, []Entry) {
	t.Helper()
	sums := map[string]int{}
	var entries []Entry
	err := port.LogRows(t.Context(), lock.Member[:], 0, 1<<40, func(_ int64, row Row) error {
		e, err := ParseEntry(home, row.Data)
		sums[string(e.Caller.ID.Path)+" "+e.Affordance] += int(max(1, e.Count))
		entries = append(entries, e)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sums, entries
}

func TestTallyCountsWhatIsAlike(t *testing.T) {
	db := storetest.Open(t)
	l := openLog(t, db, lock)
	for i, e := range []Entry{saw(anna, "state", 0), saw(anna, "state", 1), saw(guest, "state", 2), saw(anna, "level", 3), saw(anna, "state", 4)} {
		if err := l.Tally(e); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := l.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Tally(saw(anna, "state", 5)); err != nil { // the one before is written
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, entries := counts(t, db)
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprintf("%s %s %s %d", e.Time.Sub(noon), e.Caller.ID.Path, e.Affordance, e.Count))
	}
	if want := "[0s sam/anna/phone state 3 2s kim/phone state 0 3s sam/anna/phone level 0 5s sam/anna/phone state 0]"; fmt.Sprint(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if l = openLog(t, db, lock); l.Verify(t.Context()) != nil {
		t.Errorf("the log does not verify: %v", l.Verify(t.Context()))
	}
}

// However tallies, notes and writes meet, each call is counted once.
func TestTallyLosesNothing(t *testing.T) {
	db := storetest.Open(t)
	l := openLog(t, db, lock)
	const each = 2000
	var wait sync.WaitGroup
	for _, who := range []Party{anna, guest} {
		for range 2 {
			wait.Go(func() {
				for i := range each {
					write := l.Tally
					if i%100 == 0 {
						write = l.Note
					}
					if err := write(saw(who, "state", i)); err != nil {
						t.Error(err)
					}
					if i%500 == 0 {
						if err := l.Sync(t.Context()); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
	wait.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	sums, entries := counts(t, db)
	if want := map[string]int{"sam/anna/phone state": 2 * each, "kim/phone state": 2 * each}; !maps.Equal(sums, want) {
		t.Errorf("counted %v, want %v", sums, want)
	}
	if len(entries) > each {
		t.Errorf("%d entries for %d calls", len(entries), 4*each)
	}
	if err := l.Tally(saw(anna, "state", 0)); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// While the disk fails, a tally waits as a note does, and is told; what was tallied before is written once it works.
func TestTallyOnAFailingDisk(t *testing.T) {
	db := storetest.Open(t)
	failing := storetest.Wrap(db)
	failing.FailAt(1, storetest.Failed)
	failing.FailAt(2, storetest.Failed)
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, failing, lock)
		for i := range 3 {
			if err := l.Tally(saw(anna, "state", i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if err := l.Tally(saw(anna, "state", 3)); !errors.Is(err, storetest.ErrInjected) {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * retryDelay)
		synctest.Wait()
		if sums, entries := counts(t, db); sums["sam/anna/phone state"] != 3 || len(entries) != 1 {
			t.Errorf("counted %v in %d entries", sums, len(entries))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
