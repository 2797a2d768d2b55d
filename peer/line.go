package peer

import (
	"context"
	"slices"
	"sync"

	"golang.org/x/time/rate"
)

// A line carries a number of bytes a second, and shares them fairly when more are waiting: among houses equally, and
// what falls to a house among its queues equally (fair queueing by virtual time, on two levels). Who sends little hardly
// waits, who sends without end gets what is left.
//
// Each house and queue has a start: how many bytes it was carried so far, or would have been had it not been idle. The
// one comes next that would have been carried least with its next piece. Whoever comes back from idling starts where the
// one is that was carried least of those who wait, so that nobody saves up.
type line struct {
	pace *rate.Limiter
	work chan struct{} // capacity 1: somebody waits

	mu    sync.Mutex
	clock int64 // the least start of a house that waited when one was served last
	busy  []*house
}

// A house is what shares the line; all of it is guarded by the line's mu.
type house struct {
	start int64
	clock int64 // the least start of a queue that waited when one was served last
	busy  []*queue
}

// A queue is of one holder: pieces leave it in the order in which they came. Guarded by the line's mu.
type queue struct {
	household *house
	start     int64
	pieces    []*piece
}

// A piece waits to be carried.
type piece struct {
	bytes int
	turn  chan struct{} // closed when it may go
	left  bool          // whoever waited has gone away
}

func newLine(bytesPerSecond int64) *line {
	return &line{pace: rate.NewLimiter(rate.Limit(bytesPerSecond), relayBuffer), work: make(chan struct{}, 1)}
}

// wait waits until n bytes, at most relayBuffer, are q's to carry.
func (l *line) wait(ctx context.Context, q *queue, n int) error {
	p := &piece{bytes: n, turn: make(chan struct{})}
	l.enter(q, p)
	select {
	case l.work <- struct{}{}:
	default:
	}
	select {
	case <-p.turn:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		p.left = true
		return context.Cause(ctx)
	}
}

func (l *line) enter(q *queue, p *piece) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := q.household
	if len(h.busy) == 0 {
		h.start = max(h.start, l.clock)
		l.busy = append(l.busy, h)
	}
	if len(q.pieces) == 0 {
		q.start = max(q.start, h.clock)
		h.busy = append(h.busy, q)
	}
	q.pieces = append(q.pieces, p)
}

// next takes the piece whose turn it is off the line; nil if nobody waits.
func (l *line) next() *piece {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.busy) > 0 {
		h, clock := first(l.busy)
		l.clock = clock
		if p := l.take(h); !p.left {
			return p
		}
	}
	return nil
}

// take takes the piece whose turn it is in a house.
func (l *line) take(h *house) *piece {
	var q *queue
	q, h.clock = first(h.busy)
	p := q.pieces[0]
	q.pieces = q.pieces[1:]
	if !p.left {
		h.start += int64(p.bytes)
		q.start += int64(p.bytes)
	}
	if len(q.pieces) == 0 {
		h.busy = slices.DeleteFunc(h.busy, func(o *queue) bool { return o == q })
	}
	if len(h.busy) == 0 {
		l.busy = slices.DeleteFunc(l.busy, func(o *house) bool { return o == h })
	}
	return p
}

// first returns which of those who wait comes next, and the least start among them.
func first[W interface{ turn() (start, end int64) }](waiting []W) (next W, clock int64) {
	var soonest int64
	for i, w := range waiting {
		start, end := w.turn()
		if i == 0 || end < soonest {
			next, soonest = w, end
		}
		if i == 0 || start < clock {
			clock = start
		}
	}
	return next, clock
}

// turn returns how much q was carried, and would have been with its next piece.
func (q *queue) turn() (start, end int64) { return q.start, q.start + int64(q.pieces[0].bytes) }

// turn returns how much h was carried, and would have been with its next piece.
func (h *house) turn() (start, end int64) {
	q, _ := first(h.busy)
	return h.start, h.start + int64(q.pieces[0].bytes)
}

// run lets one piece after the other go until ctx ends.
func (l *line) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.work:
		}
		for p := l.next(); p != nil; p = l.next() {
			if l.pace.WaitN(ctx, p.bytes) != nil {
				return
			}
			close(p.turn)
		}
	}
}
