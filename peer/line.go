package peer

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"golang.org/x/time/rate"
)

// A line carries a number of bytes a second, and shares them fairly when more are waiting: among its parts equally, what
// falls to a part among that one's parts equally, and so on (fair queueing by virtual time, on each level). Who sends
// little hardly waits, who sends without end gets what is left.
//
// Each share has a start: how many bytes it was carried so far, or would have been had it not been idle. The one comes
// next that would have been carried least with its next piece. Whoever comes back from idling starts where the one is
// that was carried least of those who wait, so that nobody saves up.
type line struct {
	pace *rate.Limiter
	work chan struct{} // capacity 1: somebody waits

	mu    sync.Mutex
	whole *share
}

// A share is of what falls to another, and has either shares of its own or pieces that wait, which leave it in the order
// in which they came. All but of is guarded by the line's mu.
type share struct {
	of     *share // nil: the line's whole
	start  int64
	clock  int64    // the least start of a share that waited in it when one was served last
	busy   []*share // its shares in which something waits
	pieces []*piece
}

// A piece waits to be carried.
type piece struct {
	bytes int
	turn  chan struct{} // closed when it may go
	left  bool          // whoever waited has gone away
}

func newLine(bytesPerSecond int64) *line {
	return &line{pace: rate.NewLimiter(rate.Limit(bytesPerSecond), relayBuffer), work: make(chan struct{}, 1), whole: &share{}}
}

// part makes a share of s.
func (s *share) part() *share { return &share{of: s} }

// wait waits until n bytes, at most relayBuffer, are s's to carry.
func (l *line) wait(ctx context.Context, s *share, n int) error {
	p := &piece{bytes: n, turn: make(chan struct{})}
	l.enter(s, p)
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

func (l *line) enter(s *share, p *piece) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.wake()
	s.pieces = append(s.pieces, p)
}

// next takes the piece whose turn it is off the line; nil if nobody waits.
func (l *line) next() *piece {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.whole.waits() {
		if p := l.whole.take(); !p.left {
			return p
		}
	}
	return nil
}

func (s *share) waits() bool { return len(s.busy) > 0 || len(s.pieces) > 0 }

// wake notes that something is about to wait in s.
func (s *share) wake() {
	if s.of == nil || s.waits() {
		return
	}
	s.of.wake()
	s.start = max(s.start, s.of.clock)
	s.of.busy = append(s.of.busy, s)
}

// take takes the piece whose turn it is in s.
func (s *share) take() (p *piece) {
	if len(s.busy) == 0 {
		p, s.pieces = s.pieces[0], s.pieces[1:]
	} else {
		next := s.first()
		s.clock = slices.MinFunc(s.busy, func(a, b *share) int { return cmp.Compare(a.start, b.start) }).start
		p = next.take()
		if !next.waits() {
			s.busy = slices.DeleteFunc(s.busy, func(o *share) bool { return o == next })
		}
	}
	if !p.left {
		s.start += int64(p.bytes)
	}
	return p
}

// first returns which of its shares comes next.
func (s *share) first() (next *share) {
	var soonest int64
	for _, o := range s.busy {
		if end := o.start + int64(o.peek().bytes); next == nil || end < soonest {
			next, soonest = o, end
		}
	}
	return next
}

// peek returns the piece that take would take.
func (s *share) peek() *piece {
	if len(s.busy) > 0 {
		return s.first().peek()
	}
	return s.pieces[0]
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
