package peer

import (
	"io"
	"os"
	"sync"
	"time"
)

// A patience is how long a served stream is read. The deadline is moved several times a request, mostly while nobody reads,
// and QUIC makes a timer for every Read that has a deadline. So there is one timer, which looks from time to time, and the
// stream is told of nothing but that a Read in progress is to end.
//
// One goroutine reads at a time; others may move the deadline meanwhile.
type patience struct {
	set func(time.Time) error // the stream's own

	mu      sync.Mutex
	until   time.Time   // when Reads are to end; zero: never
	timer   *time.Timer // calls look; nil: it was never needed
	rings   time.Time   // when it does; zero: it does not
	told    bool        // the stream ends all Reads
	reading bool
}

// SetReadDeadline sets when Reads are to end, also one in progress.
func (p *patience) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = t
	if !p.reading {
		return nil
	}
	return p.watch(time.Now())
}

// watch sees to it that the Read in progress ends in time. mu is held.
func (p *patience) watch(now time.Time) error {
	switch {
	case p.until.IsZero():
	case p.passed(now):
		if !p.told {
			p.told = true
			return p.set(time.Unix(1, 0))
		}
	case p.timer == nil:
		p.rings = p.until
		p.timer = time.AfterFunc(p.until.Sub(now), p.look)
	case p.rings.IsZero() || p.rings.After(p.until):
		p.rings = p.until
		p.timer.Reset(p.until.Sub(now))
	}
	return nil
}

// look ends the Read in progress if it is time, and else looks again when it is.
func (p *patience) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rings = time.Time{}
	if p.reading {
		_ = p.watch(time.Now()) // fails on a stream that has ended, as its Reads have
	}
}

// stop ends the timer.
func (p *patience) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
}

// read reads from what reads the stream, in spite of deadlines that are none any more.
func (p *patience) read(b []byte, from io.Reader) (int, error) {
	for {
		if err := p.begin(); err != nil {
			return 0, err
		}
		n, err := from.Read(b)
		p.mu.Lock()
		p.reading = false
		p.mu.Unlock()
		if n > 0 || !late(err) || p.over() {
			return n, err
		}
	}
}

// begin sees to it that the stream ends the next Read in time and not before, and refuses one that would be too late.
func (p *patience) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.passed(now) {
		return os.ErrDeadlineExceeded
	}
	if p.told {
		if err := p.set(time.Time{}); err != nil {
			return err
		}
		p.told = false
	}
	p.reading = true
	return p.watch(now)
}

// over reports whether the deadline has passed.
func (p *patience) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed(time.Now())
}

// passed reports whether the deadline has passed. mu is held.
func (p *patience) passed(now time.Time) bool { return !p.until.IsZero() && !now.Before(p.until) }
