package journal

import (
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/store/storetest"
)

// What there is no room for is not taken, changes nothing, and comes later without a gap.
func TestQuota(t *testing.T) {
	db, gateway := storetest.Open(t), storetest.Open(t)
	errFull := errors.New("no room")
	most := int64(1 << 40)
	r := NewReplica(gateway, home, func(node identity.MemberID, taken, more int64) error {
		if node != lock.Member || more <= 0 {
			t.Errorf("asked for %d bytes of %s", more, node)
		}
		if taken+more > most {
			return errFull
		}
		return nil
	})
	l := openLog(t, db, lock)
	appendAll(t, l, opened(0), opened(1))
	carry(t, l, lock, r)
	taken, err := gateway.LogBytes(t.Context(), lock.Member[:])
	if err != nil || taken < 2*100 {
		t.Fatalf("two entries take %d bytes, %v", taken, err)
	}
	most = taken + 2*rowBytes
	appendAll(t, l, opened(2))
	accept := func(from int64) error {
		t.Helper()
		b, err := l.Since(t.Context(), noon, from)
		if err != nil {
			t.Fatal(err)
		}
		return r.Accept(t.Context(), lock.Member, b, keyOf(lock).Public())
	}
	if err := accept(2); !errors.Is(err, errFull) {
		t.Errorf("more than there is room for: %v", err)
	}
	wantOnDisk(t, gateway, lock, 0, 1)
	b, err := l.Since(t.Context(), noon, 0)
	if err != nil {
		t.Fatal(err)
	}
	b.Entries = append([][]byte(nil), b.Entries...)
	b.Entries[0] = mustEncode(t, opened(9))
	var tampered *TamperError
	if err := r.Accept(t.Context(), lock.Member, b, keyOf(lock).Public()); !errors.As(err, &tampered) {
		t.Errorf("a log that contradicts itself, where there is no room: %v", err)
	}
	appendAll(t, l, opened(3))
	if err := accept(3); err == nil || errors.Is(err, errFull) {
		t.Errorf("a gap: %v", err)
	}
	most = 1 << 40
	carry(t, l, lock, r)
	wantOnDisk(t, gateway, lock, 0, 1, 2, 3)
	if err := r.Verify(t.Context(), lock.Member, keyOf(lock).Public()); err != nil {
		t.Error(err)
	}
}

// A checkpoint over a part of a log is dated when that ended: a receipt for an entry after it is not one for an entry that
// was left out.
func TestCheckpointOfAPart(t *testing.T) {
	db := storetest.Open(t)
	l := openLog(t, db, lock)
	for i := range maxBatchEntries + 1 {
		if err := l.Note(opened(i)); err != nil {
			t.Fatal(err)
		}
	}
	for from, want := range map[int64]time.Time{
		0: opened(maxBatchEntries - 1).Time, // of more
		1: noon.Add(24 * time.Hour),         // of all
	} {
		b, err := l.Since(t.Context(), noon.Add(24*time.Hour), from)
		if err != nil {
			t.Fatal(err)
		}
		c, err := OpenCheckpoint(b.Checkpoint, keyOf(lock).Public())
		if err != nil || !c.Time.Equal(want) || c.Size != from+maxBatchEntries {
			t.Errorf("from %d: over %d at %s, %v, want %s", from, c.Size, c.Time, err, want)
		}
	}
	b, err := l.Since(t.Context(), noon, 0) // by a clock that was put back
	if err != nil {
		t.Fatal(err)
	}
	if c, err := OpenCheckpoint(b.Checkpoint, keyOf(lock).Public()); err != nil || !c.Time.Equal(noon) {
		t.Errorf("dated %s, %v, want %s", c.Time, err, noon)
	}
}
