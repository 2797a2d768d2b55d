package peer

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
)

// A sender sends pieces through a line for as long as it may.
func sender(ctx context.Context, l *line, s *share, bytes int) *atomic.Int64 {
	sent := new(atomic.Int64)
	go func() {
		for l.wait(ctx, s, bytes) == nil {
			sent.Add(int64(bytes))
		}
	}()
	return sent
}

func sum(sent ...*atomic.Int64) (all int64) {
	for _, s := range sent {
		all += s.Load()
	}
	return all
}

// TestLineIsShared has a greedy household and modest ones wait for one line.
func TestLineIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l := newLine(1 << 20)
		go l.run(ctx)
		greedy, modest, other := l.whole.part(), l.whole.part(), l.whole.part()
		var videos []*atomic.Int64
		for range 10 { // ten holders in one household
			videos = append(videos, sender(ctx, l, greedy.part(), relayBuffer))
		}
		film := sender(ctx, l, modest.part(), relayBuffer)
		inbox := other.part()
		var letters []*atomic.Int64
		for range 100 { // of another size
			letters = append(letters, sender(ctx, l, inbox, 1000))
		}
		time.Sleep(30 * time.Second)
		for _, v := range videos {
			if got := v.Load(); got < 850<<10 || got > 1200<<10 { // a tenth of ten MiB
				t.Errorf("one of the greedy household was carried %d KiB", got>>10)
			}
		}
		for name, got := range map[string]int64{"greedy": sum(videos...), "modest": sum(film), "other": sum(letters...)} {
			if got < 95<<20/10 || got > 105<<20/10 { // a third of thirty MiB
				t.Errorf("the %s household was carried %.2f MiB in 30 s of 1 MiB, want 10", name, float64(got)/(1<<20))
			}
		}
	})
}

// TestLineBehindOneAddress has two households and somebody who makes up a hundred others hold reservations from one
// address, as behind a provider's NAT, and one household from another: all get on, nobody more by making up tags.
func TestLineBehindOneAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := &carrier{line: newLine(1 << 20), holders: make(map[libp2ppeer.ID]*holder), wholes: make(map[netip.Prefix]weak.Pointer[share])}
		go c.line.run(ctx)
		crowded, quiet := Origin(netip.MustParseAddr("192.0.2.1")), Origin(netip.MustParseAddr("198.51.100.1"))
		hold := func(address netip.Prefix, household any) *atomic.Int64 {
			h := &holder{address: address, household: household}
			c.holders[libp2ppeer.ID(fmt.Sprint(len(c.holders)))] = h
			c.allot(h)
			return sender(ctx, c.line, h.share, relayBuffer)
		}
		early := hold(crowded, Tag{1})
		early2 := hold(crowded, Tag{1})
		made := make([]*atomic.Int64, 100)
		for i := range made {
			made[i] = hold(crowded, Tag{2, byte(i)})
		}
		late, untagged := hold(crowded, Tag{3}), hold(crowded, crowded)
		other := hold(quiet, Tag{4})
		time.Sleep(10 * time.Minute)
		for _, tt := range []struct {
			who  string
			got  int64
			part float64 // of all
		}{
			{"the other address", sum(other), 1. / 2},
			{"all behind the crowded one", sum(append(made, early, early2, late, untagged)...), 1. / 2},
			{"the household that came first", sum(early, early2), 1. / 2 / 9},
			{"a tag that has a share", sum(made[6]), 1. / 2 / 9},
			{"a tag that has none", sum(made[7]), 1. / 2 / 9 / 95},
			{"the household that came last", sum(late), 1. / 2 / 9 / 95},
			{"whoever shows no tag", sum(untagged), 1. / 2 / 9 / 95},
		} {
			want := tt.part * 600 * (1 << 20)
			if got := float64(tt.got); math.Abs(got-want) > 0.05*want+relayBuffer {
				t.Errorf("%s got %.2f MiB, want %.2f", tt.who, got/(1<<20), want/(1<<20))
			}
		}
		if late.Load() == 0 {
			t.Error("the household that came last got nothing")
		}
		// Those who leave make room at the next renewal.
		for id, h := range c.holders {
			if tag, ok := h.household.(Tag); ok && tag[0] == 2 {
				delete(c.holders, id)
			}
		}
		for _, h := range c.holders {
			before := h.share.of
			c.allot(h)
			if h.sharing != h.household {
				t.Errorf("%v has no share apart in an address that is empty", h.household)
			}
			if h.household == (Tag{1}) && h.share.of != before {
				t.Error("a household lost its share to a renewal")
			}
		}
	})
}

// TestLineDelaysTheModestLittle has one send a little now and then while another sends without end.
func TestLineDelaysTheModestLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l := newLine(1 << 20)
		go l.run(ctx)
		for range 8 {
			sender(ctx, l, l.whole.part().part(), relayBuffer)
		}
		time.Sleep(time.Minute)
		q := l.whole.part().part()
		for range 20 {
			began := time.Now()
			if err := l.wait(ctx, q, 1000); err != nil {
				t.Fatal(err)
			}
			if d := time.Since(began); d > 130*time.Millisecond { // two pieces of the others'
				t.Errorf("a thousand bytes waited %v", d)
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// TestLineForgetsWhoLeft has somebody give up waiting: the others' turns come as before.
func TestLineForgetsWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l := newLine(relayBuffer)
		q := l.whole.part().part()
		gone, leave := context.WithCancel(ctx)
		first, second := make(chan error), make(chan error)
		go func() { first <- l.wait(gone, q, relayBuffer) }()
		synctest.Wait()
		go func() { second <- l.wait(ctx, q, relayBuffer) }()
		synctest.Wait()
		leave()
		if err := <-first; err == nil {
			t.Error("whoever left was served")
		}
		go l.run(ctx)
		began := time.Now()
		if err := <-second; err != nil || time.Since(began) > 0 {
			t.Errorf("the next waited %v, %v", time.Since(began), err)
		}
	})
}
