package thing

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTapesAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var kept []string
		tape := &Tape{
			Affordance: "picture", Type: "text/plain", Ending: ".txt", Every: time.Minute,
			Join: func(pieces [][]byte) []byte { return bytes.Join(pieces, []byte("+")) },
			Keep: func(_ context.Context, r Recording) {
				kept = append(kept, fmt.Sprintf("%s %s from %v until %v %s", r.Affordance, r.Title, r.From.Sub(start), r.Until.Sub(start), r.Content))
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); tape.Run(ctx) }()
		add := func(after time.Duration, piece string) {
			time.Sleep(after)
			tape.Add([]byte(piece))
		}
		add(10*time.Second, "a")
		add(10*time.Second, "b")
		add(2*time.Minute, "c") // at 2:20; nothing was added in the second minute
		cancel()
		<-done
		want := []string{
			"picture 2000-01-01T00-00-10Z.txt from 10s until 1m0s a+b", "picture 2000-01-01T00-02-20Z.txt from 2m20s until 2m20s c",
		}
		if !slices.Equal(kept, want) {
			t.Errorf("kept %q, want %q", kept, want)
		}
	})
}

// A tape that fills is cut at once, and one that nobody takes from keeps what it has.
func TestTapesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sizes := make(chan int)
		tape := &Tape{
			Every: time.Hour, Join: func(pieces [][]byte) []byte { return bytes.Join(pieces, nil) },
			Keep: func(_ context.Context, r Recording) { sizes <- len(r.Content) },
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); tape.Run(ctx) }()
		synctest.Wait()
		const piece = maxTape / 4
		for range 3 {
			tape.Add(make([]byte, piece))
		}
		synctest.Wait() // it waits for somebody to take three
		for range 6 {
			tape.Add(make([]byte, piece))
		}
		if first, second := <-sizes, <-sizes; first != 3*piece || second != 4*piece {
			t.Errorf("kept %d and %d bytes, want %d and %d", first, second, 3*piece, 4*piece)
		}
		cancel()
		<-done
	})
	var none *Tape
	none.Add([]byte(strings.Repeat("x", 9)))
	none.Run(t.Context())
}
