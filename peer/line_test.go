package peer

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A sender sends pieces through a line for as long as it may.
func sender(ctx context.Context, l *line, q *queue, bytes int) *atomic.Int64 {
	sent := new(atomic.Int64)
	go func() {
		for l.wait(ctx, q, bytes) == nil {
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
		greedy, modest, other := &house{}, &house{}, &house{}
		var videos []*atomic.Int64
		for range 10 { // ten holders in one household
			videos = append(videos, sender(ctx, l, &queue{household: greedy}, relayBuffer))
		}
		film := sender(ctx, l, &queue{household: modest}, relayBuffer)
		inbox := &queue{household: other}
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

// TestLineDelaysTheModestLittle has one send a little now and then while another sends without end.
func TestLineDelaysTheModestLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l := newLine(1 << 20)
		go l.run(ctx)
		for range 8 {
			sender(ctx, l, &queue{household: &house{}}, relayBuffer)
		}
		time.Sleep(time.Minute)
		q := &queue{household: &house{}}
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
		q := &queue{household: &house{}}
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
