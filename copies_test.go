package kindred_test

import (
	"context"
	"slices"
	"testing"

	"github.com/kindred-iot/kindred/journal"
)

// copies returns how often the lock has told that something left in clear, and how much that was.
func (b *bank) copies() (times int, bytes uint64) {
	b.t.Helper()
	items, err := b.lock.Journal().Query(b.t.Context(), journal.Filter{})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, i := range items {
		if i.Entry.Op == journal.Copy {
			times, bytes = times+1, bytes+i.Entry.Bytes
		}
	}
	return times, bytes
}

// What leaves in clear by a stream is told of while it goes on, or a thing that is switched off would tell of none of it;
// once each hour, and of all of it at the end.
func TestCopiesOfWhatGoesOn(t *testing.T) {
	b := newBank(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := b.kim.Approve(ctx, b.grant.Terms.ID, b.grant.Raw, false); err != nil {
		t.Fatal(err)
	}
	c, err := b.node.Thing(ctx, "home/lock")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Observe(ctx, "state", "")
	if err != nil {
		t.Fatal(err)
	}
	sent := uint64(0)
	next := func() {
		t.Helper()
		e, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		sent += uint64(len(e.Data))
	}
	next()
	b.lock.TellStreams()
	if times, bytes := b.copies(); times != 1 || bytes != sent {
		t.Fatalf("after %d bytes, while the stream goes on, %d entries tell of %d", sent, times, bytes)
	}
	soon := sent
	by, err := b.laptop.Thing(ctx, "home/lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := by.Invoke(ctx, "unlock", nil); err != nil {
		t.Fatal(err)
	}
	next()
	b.lock.TellStreams()
	if times, bytes := b.copies(); times != 1 || bytes != soon {
		t.Fatalf("within the hour %d entries tell of %d bytes", times, bytes)
	}
	s.Close()
	for { // until the lock knows
		if times, bytes := b.copies(); times == 2 {
			if bytes != sent {
				t.Errorf("of %d bytes in all %d are told of", sent, bytes)
			}
			break
		}
		if err := b.lock.Journal().Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// Of a stream by which nothing came nothing left, though it was open.
func TestNoCopyOfAStreamWithoutEvents(t *testing.T) {
	b := newBank(t)
	ctx := t.Context()
	if err := b.kim.Approve(ctx, b.grant.Terms.ID, b.grant.Raw, false); err != nil {
		t.Fatal(err)
	}
	c, err := b.node.Thing(ctx, "home/lock")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Subscribe(ctx, "state", "")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	for ended := false; !ended; {
		items, err := b.lock.Journal().Query(ctx, journal.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		ended = slices.ContainsFunc(items, func(i journal.Item) bool { return i.Entry.Outcome == journal.Ended })
	}
	if code := b.read(); code != "" { // which is told of later
		t.Fatal(code)
	}
	if times, bytes := b.copies(); times != 1 || bytes != uint64(len(`"locked"`)) {
		t.Errorf("%d entries tell of %d bytes, want that of the read", times, bytes)
	}
}
