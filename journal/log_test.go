package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/store/storetest"
)

func TestAppendIsOnDiskWhenItReturns(t *testing.T) {
	db := storetest.Open(t)
	l := openLog(t, db, lock)
	for i := range 5 {
		if err := l.Note(opened(2 * i)); err != nil {
			t.Fatal(err)
		}
		appendAll(t, l, opened(2*i+1))
		if got := onDisk(t, db, lock); len(got) != 2*i+2 || got[2*i] != uint64(2*i) || got[2*i+1] != uint64(2*i+1) {
			t.Fatalf("on disk are %d, want everything up to %d in order", got, 2*i+1)
		}
	}
	if err := l.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNoteIsOnDiskWithin100ms(t *testing.T) {
	for _, disk := range []time.Duration{0, 30 * time.Millisecond} {
		t.Run(disk.String(), func(t *testing.T) { testNoteIsOnDiskWithin100ms(t, disk) })
	}
}

// testNoteIsOnDiskWithin100ms does so with a disk that takes so long for a write.
func testNoteIsOnDiskWithin100ms(t *testing.T, disk time.Duration) {
	db := storetest.Open(t)
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, &busyPort{Port: db, during: func() { time.Sleep(disk) }}, lock)
		for i := range 200 { // more than one flush, at odd moments
			if err := l.Note(opened(i)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(7 * time.Millisecond)
			synctest.Wait()
			if oldest := i - 100/7 + 1; oldest > 0 && len(onDisk(t, db, lock)) < oldest {
				t.Fatalf("%d entries on disk, number %d was noted 100 ms ago", len(onDisk(t, db, lock)), oldest)
			}
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := len(onDisk(t, db, lock)); got != 200 {
			t.Errorf("%d entries on disk 100 ms after the last, want 200", got)
		}
		writes := storetest.Wrap(db)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, writes, lock)
		for i := range 500 {
			if err := l.Note(opened(200 + i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := writes.Writes(); got != 1 {
			t.Errorf("500 notes at once took %d transactions, want 1", got)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// What is noted while a flush writes waits for the next one, however busy the log is.
func TestBusyLogWritesAFlushAtATime(t *testing.T) {
	db := storetest.Open(t)
	synctest.Test(t, func(t *testing.T) {
		busy := &busyPort{Port: db}
		l := openLog(t, busy, lock)
		busy.during = func() { l.Note(opened(busy.writes)) }
		if err := l.Note(opened(0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20*flushDelay + flushDelay/2)
		synctest.Wait()
		busy.during = func() {}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if got := len(onDisk(t, db, lock)); got != 21 || busy.writes != got {
			t.Errorf("%d entries in %d writes, want 21 in the time of 20 flushes and at the end, each in its own", got, busy.writes)
		}
	})
}

// busyPort has something happen during each of its writes, up to what no log should need.
type busyPort struct {
	Port
	writes int
	during func()
}

func (p *busyPort) LogAppend(ctx context.Context, name []byte, first int64, rows []Row, checkpoint []byte) error {
	if p.writes++; p.writes < 1000 {
		p.during()
	}
	return p.Port.LogAppend(ctx, name, first, rows, checkpoint)
}

func TestConcurrentAppends(t *testing.T) {
	const writers, each = 16, 25
	db := storetest.Wrap(storetest.Open(t))
	l := openLog(t, db, lock)
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				e := opened(w*each + i)
				err := l.Append(t.Context(), e)
				if i%3 == 0 {
					err = l.Note(e)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := onDisk(t, db, lock)
	position := make(map[uint64]int)
	for i, n := range got {
		position[n] = i
	}
	for w := range writers {
		for i := range each - 1 {
			n := uint64(w*each + i)
			if position[n] > position[n+1] {
				t.Errorf("writer %d: entry %d stands after the next", w, n)
			}
		}
	}
	if want := writers * (each + (each+2)/3); len(got) != want {
		t.Errorf("%d entries, want %d", len(got), want)
	}
	if db.Writes() >= len(got) {
		t.Errorf("%d transactions for %d entries: none shared", db.Writes(), len(got))
	}
	if err := openLog(t, db, lock).Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStrangersAreCounted(t *testing.T) {
	db := storetest.Open(t)
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, db, lock)
		knock := func(at time.Time, thing Party, reason string) {
			t.Helper()
			if err := l.Stranger(at, thing, reason); err != nil {
				t.Fatal(err)
			}
		}
		for range 10 {
			knock(noon.Add(59*time.Second), lock, "nobody here knows it")
		}
		if err := l.Strangers(noon.Add(59*time.Second), lock, "nobody here knows it", 990); err != nil {
			t.Fatal(err)
		}
		knock(noon.Add(30*time.Second), lock, "its proof is too old")
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if got := onDisk(t, db, lock); len(got) != 2 {
			t.Errorf("%d entries at once, want the first of each kind", len(got))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := onDisk(t, db, lock); len(got) != 3 {
			t.Errorf("%d entries a minute after, want one more for those that followed", len(got))
		}
		for i := range 1000 { // the next minute, with what an attacker may vary
			knock(noon.Add(time.Minute), lock, fmt.Sprint("reason ", i))
		}
		knock(noon.Add(2*time.Minute), lock, "nobody here knows it")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, db, lock)
		items, err := l.Query(t.Context(), Filter{Oldest: true})
		if err != nil {
			t.Fatal(err)
		}
		total := make(map[time.Time]uint32)
		for _, item := range items {
			e := item.Entry
			total[e.Time.Truncate(time.Minute)] += max(e.Count, 1)
			if e.Op != Connect || e.Outcome != Refused || !e.Caller.IsZero() {
				t.Errorf("%+v is no refusal of a stranger", e)
			}
		}
		if want := 3 + maxCounted + 2 + 1; len(items) != want || total[noon] != 1001 || total[noon.Add(time.Minute)] != 1000 || total[noon.Add(2*time.Minute)] != 1 {
			t.Errorf("%d entries with %v, want %d with 1001, 1000 and 1", len(items), total, want)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if err := l.Stranger(noon, lock, "late"); err == nil {
			t.Error("Stranger succeeded after Close")
		}
	})
}

func TestQuery(t *testing.T) {
	db := storetest.Open(t)
	l := openLog(t, db, lock)
	moved := anna
	moved.ID.Path = "sam/anna/old-phone"
	entries := []Entry{
		{Time: noon, Thing: lock, Caller: anna, Op: Read, Outcome: Served},
		{Time: noon.Add(time.Second), Thing: porch, Caller: moved, Op: Read, Outcome: Served},
		{Time: noon.Add(2 * time.Second), Thing: lock, Caller: guest, Op: Invoke, Outcome: Refused},
		{Time: noon.Add(3 * time.Second), Thing: lock, Op: Connect, Outcome: Refused},
	}
	for _, e := range entries {
		if err := l.Note(e); err != nil { // Query sees what was noted before
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		filter Filter
		want   []int
	}{
		{"everything", Filter{}, []int{3, 2, 1, 0}},
		{"oldest first", Filter{Oldest: true, Limit: 2}, []int{0, 1}},
		{"newest", Filter{Limit: 1}, []int{3}},
		{"since", Filter{Since: noon.Add(time.Second)}, []int{3, 2, 1}},
		{"until", Filter{Until: noon.Add(time.Second)}, []int{0}},
		{"before all time", Filter{Until: time.UnixMilli(0)}, nil},
		{"who, wherever it was", Filter{Who: anna}, []int{1, 0}},
		{"thing", Filter{Thing: porch}, []int{1}},
		{"who and thing", Filter{Who: guest, Thing: lock}, []int{2}},
		{"nobody", Filter{Who: porch}, nil},
	} {
		items, err := l.Query(t.Context(), test.filter)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		var got []int
		for _, item := range items {
			got = append(got, int(item.Index))
			if item.Node != lock.Member || item.Entry != entries[item.Index] || string(item.Raw) != string(mustEncode(t, item.Entry)) {
				t.Errorf("%s: item %+v is not entry %d", test.name, item, item.Index)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
	if _, err := l.Query(t.Context(), Filter{Limit: MaxLimit + 1}); err == nil {
		t.Error("a limit too high was accepted")
	}
}

// TestTagsMayCollide files rows under anna's tag that are not hers.
func TestTagsMayCollide(t *testing.T) {
	db := storetest.Open(t)
	e := Entry{Time: noon, Caller: guest, Op: Read, Outcome: Served}
	row := e.row(mustEncode(t, e))
	row.Caller = anna.tag()
	if err := db.LogAppend(t.Context(), lock.Member[:], 0, []Row{row}, nil); err != nil {
		t.Fatal(err)
	}
	items, err := query(t.Context(), db, home, Filter{Who: anna})
	if err != nil || len(items) != 0 {
		t.Errorf("query = %v, %v, want nothing of the guest's", items, err)
	}
}

func TestAfterClose(t *testing.T) {
	db := storetest.Open(t)
	l := openLog(t, db, lock)
	if err := l.Note(opened(1)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantOnDisk(t, db, lock, 1)
	if err := errors.Join(l.Append(t.Context(), opened(2)), l.Note(opened(3)), l.Sync(t.Context())); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v, want %v", err, errClosed)
	}
	if _, err := l.Checkpoint(t.Context(), noon); !errors.Is(err, errClosed) {
		t.Errorf("Checkpoint after Close: %v, want %v", err, errClosed)
	}
	wantOnDisk(t, db, lock, 1)
}

func TestAppendEndsWithItsContext(t *testing.T) {
	db := storetest.Open(t)
	stuck := &stuckPort{Port: db, begun: make(chan struct{}), release: make(chan struct{})}
	l := openLog(t, stuck, lock)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-stuck.begun
		cancel()
	}()
	if err := l.Append(ctx, opened(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Append = %v, want %v", err, context.Canceled)
	}
	close(stuck.release)
	appendAll(t, l, opened(2))
	wantOnDisk(t, db, lock, 1, 2)
}

// stuckPort's first append waits until released.
type stuckPort struct {
	Port
	begun, release chan struct{}
	once           sync.Once
}

func (p *stuckPort) LogAppend(ctx context.Context, name []byte, first int64, rows []Row, checkpoint []byte) error {
	p.once.Do(func() {
		close(p.begun)
		<-p.release
	})
	return p.Port.LogAppend(ctx, name, first, rows, checkpoint)
}

func TestOpenRefusesAnotherLogsCheckpoint(t *testing.T) {
	db := storetest.Open(t)
	l := openLog(t, db, lock)
	appendAll(t, l, opened(1), opened(2), opened(3))
	raw, err := l.Checkpoint(t.Context(), noon)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), db, lock.Member, other, keyOf(lock))
	if err == nil || !strings.Contains(err.Error(), "its checkpoint is of") {
		t.Errorf("Open in another tree = %v", err)
	}
	if err := db.LogAppend(t.Context(), porch.Member[:], 0, nil, raw); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), db, porch.Member, home, keyOf(porch))
	if err == nil || !strings.Contains(err.Error(), "its checkpoint is of") {
		t.Errorf("Open with another node's checkpoint = %v", err)
	}
	edited := altered{db, func(index int64, row *Row) bool { row.Hashes = make([]byte, len(row.Hashes)); return true }}
	tampered := (*TamperError)(nil)
	if _, err := Open(t.Context(), edited, lock.Member, home, keyOf(lock)); !errors.As(err, &tampered) {
		t.Errorf("Open with other hashes = %v, want a TamperError", err)
	}
}
