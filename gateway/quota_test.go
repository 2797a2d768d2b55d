package gateway

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
)

// A disk is that of a gateway, on which members write.
type disk struct {
	*quota
	free, all int64
	now       time.Time
	taken     map[identity.MemberID]int64
}

func newDisk(free, all int64) *disk {
	d := &disk{free: free, all: all, now: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC), taken: map[identity.MemberID]int64{}}
	d.quota = newQuota(func() (int64, int64, error) { return d.free, d.all, nil }, func() time.Time { return d.now })
	return d
}

// write has a member hand in so many bytes.
func (d *disk) write(id identity.MemberID, n int64) error {
	err := d.check(id, d.taken[id], n)
	if err == nil {
		d.taken[id], d.free = d.taken[id]+n, d.free-n
	}
	return err
}

const batch = 256 << 10

// fill writes until nothing more is taken that day, and returns what was.
func (d *disk) fill(t *testing.T, id identity.MemberID) (n int64) {
	t.Helper()
	for {
		err := d.write(id, batch)
		if later := (*control.Error)(nil); err != nil && (!errors.As(err, &later) || later.Code != control.Later) {
			t.Fatal(err)
		}
		if err != nil {
			return n
		}
		n += batch
	}
}

// A device that turned bad is stopped for the day, and others notice nothing.
func TestJournalsADay(t *testing.T) {
	d := newDisk(math.MaxInt64/2, math.MaxInt64)
	bad, good := identity.MemberID{1}, identity.MemberID{2}
	if n := d.fill(t, bad); n > journalPace || n < journalPace-batch {
		t.Errorf("%d bytes were taken at once, want %d", n, journalPace)
	}
	if d.easy(bad) || d.write(good, batch) != nil || !d.easy(good) {
		t.Error("another member is held back, or the one that wrote too much is not")
	}
	d.now = d.now.Add(6 * time.Hour)
	if n := d.fill(t, bad); n > journalPace/4+batch || n < journalPace/4-2*batch {
		t.Errorf("%d bytes were taken after six hours, want %d", n, journalPace/4)
	}
	d.now = d.now.Add(24 * time.Hour)
	if d.write(identity.MemberID{3}, 1); len(d.left) != 1 {
		t.Errorf("%d members are remembered that had all they may", len(d.left)-1)
	}
}

// Ten calls a second around the clock, each with the receipt that both ends signed, are less than what is taken.
func TestTenCallsASecond(t *testing.T) {
	d := newDisk(math.MaxInt64/2, math.MaxInt64)
	const call = 150 + 164 + 800 + 164
	for range 3 * 24 * 60 {
		if err := d.write(identity.MemberID{1}, 600*call); err != nil {
			t.Fatal(err)
		}
		d.now = d.now.Add(time.Minute)
	}
}

// However long devices write that turned bad, the others' journals have room, and the home itself.
func TestJournalsLeaveRoom(t *testing.T) {
	const all = 32e9
	d := newDisk(20e9, all)
	honest := identity.MemberID{9}
	for range 365 {
		for bad := range byte(3) {
			d.fill(t, identity.MemberID{bad + 1})
		}
		if err := d.write(honest, batch); err != nil {
			t.Fatalf("an honest member of %d bytes, with %d free: %v", d.taken[honest], d.free, err)
		}
		d.now = d.now.Add(24 * time.Hour)
	}
	if d.free < 2e9 {
		t.Errorf("three devices left %d bytes", d.free)
	}
	small := newDisk(30e6, 100e6)
	if small.fill(t, honest); small.free < 5e6+12e6 {
		t.Errorf("on a small disk %d bytes are left", small.free)
	}
}

// What is not known of the disk is no room.
func TestNoWordOfTheDisk(t *testing.T) {
	d := newDisk(1e12, 1e12)
	d.room = func() (int64, int64, error) { return 0, 0, errors.New("the disk is gone") }
	if err := d.write(identity.MemberID{1}, 1); err == nil {
		t.Error("taken")
	}
}
