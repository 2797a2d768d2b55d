package control

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/kindred-iot/kindred/identity"
)

func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shares{calls: 2, watches: 1, waiting: 2}
		lamp, lock := identity.MemberID{1}, identity.MemberID{2}
		call := func(who identity.MemberID) func() {
			t.Helper()
			done, err := s.call(t.Context(), who)
			if err != nil {
				t.Fatal(err)
			}
			return done
		}
		first := call(lamp)
		call(lamp)
		ctx, cancel := context.WithCancel(t.Context())
		gone, served := make(chan error, 1), make(chan struct{})
		go func() {
			_, err := s.call(ctx, lamp)
			gone <- err
		}()
		synctest.Wait()
		go func() {
			call(lamp)
			close(served)
		}()
		synctest.Wait()
		if _, err := s.call(t.Context(), lamp); !errors.Is(err, errTooMany) {
			t.Errorf("one that may not even wait: %v", err)
		}
		call(lock)() // nobody else is held up
		if _, known := s.by[lock]; known {
			t.Error("a member with nothing under way is remembered")
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("one that gave up: %v", err)
		}
		select {
		case <-served:
			t.Error("a third call is answered at a time")
		default:
		}
		first()
		<-served
		if got := s.by[lamp].calls; got != 2 {
			t.Errorf("%d calls are under way, want 2", got)
		}
	})
}

func TestWatchesAreFew(t *testing.T) {
	s := &shares{calls: 1, watches: 1}
	lamp := identity.MemberID{1}
	done, err := s.watch(lamp)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.watch(lamp); !errors.Is(err, errTooMany) {
		t.Errorf("a second watch: %v", err)
	}
	if _, err := s.call(t.Context(), lamp); err != nil {
		t.Errorf("a call beside a watch: %v", err)
	}
	s.done(lamp)
	done()
	if len(s.by) != 0 {
		t.Errorf("left behind: %v", s.by)
	}
	if done, err = s.watch(lamp); err != nil {
		t.Errorf("a watch after the first: %v", err)
	}
	done()
}
