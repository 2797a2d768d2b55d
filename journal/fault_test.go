package journal

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/store/storetest"
)

// TestFaultPoints makes each write of a log's life fail, in both ways. What
// Append acknowledged is there once; what it refused, not at all; what was
// noted, once.
func TestFaultPoints(t *testing.T) {
	storetest.Points(t, func(t *testing.T, db *storetest.DB) {
		synctest.Test(t, func(t *testing.T) {
			var want []uint64
			l := openLog(t, db, lock)
			app := func(n int) {
				if err := l.Append(t.Context(), opened(n)); err == nil {
					want = append(want, uint64(n))
				} else if !errors.Is(err, storetest.ErrInjected) {
					t.Errorf("Append(%d) = %v", n, err)
				}
			}
			note := func(n int) {
				if err := l.Note(opened(n)); err == nil {
					want = append(want, uint64(n))
				} else if !errors.Is(err, storetest.ErrInjected) {
					t.Errorf("Note(%d) = %v", n, err)
				}
			}
			app(1)
			note(2)
			time.Sleep(100 * time.Millisecond)
			app(3)
			note(4)
			note(5)
			app(6)
			if _, err := l.Checkpoint(t.Context(), noon); err != nil && !errors.Is(err, storetest.ErrInjected) {
				t.Errorf("Checkpoint = %v", err)
			}
			note(7)
			time.Sleep(2 * retryDelay) // a failed flush has been repeated
			synctest.Wait()
			wantOnDisk(t, db, lock, want...)
			app(8)
			note(9)
			if err := l.Close(); err != nil { // the last write may be the one that failed
				if !errors.Is(err, storetest.ErrInjected) {
					t.Errorf("Close = %v", err)
				}
				want = slices.DeleteFunc(want, func(n uint64) bool { return n == 9 })
			}
			wantOnDisk(t, db, lock, want...)
			l = openLog(t, db, lock)
			app(10)
			wantOnDisk(t, db, lock, want...)
			if err := l.Verify(t.Context()); err != nil {
				t.Error(err)
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

// unreadable fails every read while down.
type unreadable struct {
	*storetest.DB
	down atomic.Bool
}

var errDown = errors.New("the disk does not answer")

func (u *unreadable) LogSize(ctx context.Context, name []byte) (int64, []byte, error) {
	if u.down.Load() {
		return 0, nil, errDown
	}
	return u.DB.LogSize(ctx, name)
}

// TestDoubt lets a write fail, either way, and the reading back as well.
func TestDoubt(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.Failed, storetest.Happened} {
		t.Run(fault.String(), func(t *testing.T) {
			port := &unreadable{DB: storetest.Wrap(storetest.Open(t))}
			synctest.Test(t, func(t *testing.T) {
				l := openLog(t, port, lock)
				port.FailAt(1, fault)
				port.down.Store(true)
				if err := l.Note(opened(1)); err != nil {
					t.Fatal(err)
				}
				if err := l.Append(t.Context(), opened(2)); !errors.Is(err, storetest.ErrInjected) {
					t.Errorf("Append = %v, want %v", err, storetest.ErrInjected)
				}
				if err := l.Append(t.Context(), opened(3)); !errors.Is(err, errDown) {
					t.Errorf("Append while in doubt = %v, want %v", err, errDown)
				}
				if err := l.Note(opened(4)); !errors.Is(err, errDown) {
					t.Errorf("Note while in doubt = %v, want %v", err, errDown)
				}
				time.Sleep(time.Minute) // it goes on trying
				synctest.Wait()
				port.down.Store(false)
				time.Sleep(retryDelay)
				synctest.Wait()
				want := []uint64{1} // noted, and so repeated; 2 was refused, and so is not
				if fault == storetest.Happened {
					want = []uint64{1, 2}
				}
				wantOnDisk(t, port, lock, want...)
				appendAll(t, l, opened(5))
				wantOnDisk(t, port, lock, append(want, 5)...)
				if err := l.Verify(t.Context()); err != nil {
					t.Error(err)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestDoubtNobodyListens is the same when the caller has gone by the time its
// answer is known, and once more by the time the doubt ends.
func TestDoubtNobodyListens(t *testing.T) {
	port := &unreadable{DB: storetest.Wrap(storetest.Open(t))}
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, port, lock)
		port.FailAt(1, storetest.Failed)
		port.down.Store(true)
		gone, leave := context.WithCancel(t.Context())
		leave()
		if err := l.Append(gone, opened(1)); err == nil {
			t.Error("Append succeeded")
		}
		synctest.Wait()
		port.down.Store(false)
		appendAll(t, l, opened(2))
		wantOnDisk(t, port, lock, 2)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseSaysWhatIsLost(t *testing.T) {
	port := &unreadable{DB: storetest.Wrap(storetest.Open(t))}
	l := openLog(t, port, lock)
	port.FailAt(1, storetest.Failed)
	if err := l.Note(opened(1)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); !errors.Is(err, storetest.ErrInjected) {
		t.Errorf("Close = %v, want %v", err, storetest.ErrInjected)
	}
}

func TestTwoLogsOfOneName(t *testing.T) {
	db := storetest.Open(t)
	a, b := openLog(t, db, lock), openLog(t, db, lock)
	appendAll(t, a, opened(1))
	tampered := (*TamperError)(nil)
	for n := range 3 {
		if err := b.Append(t.Context(), opened(2)); !errors.As(err, &tampered) {
			t.Errorf("Append %d of the second = %v, want a TamperError", n, err)
		}
	}
	appendAll(t, a, opened(4))
	wantOnDisk(t, db, lock, 1, 4)
}
