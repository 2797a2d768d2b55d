package peer

import (
	"io"
	"os"
	"sync"
	"time"
)

// A patience is how long a served stream is read. net/http moves the deadline six times a request, mostly while nobody
// reads or only to move it back: the stream is told of what matters to a Read alone. A deadline that the stream was told
// of and that is none any more ends no Read.
//
// One goroutine reads at a time; others may move the deadline meanwhile.
type patience struct {
	set func(time.Time) error // the stream's own

	mu      sync.Mutex
	until   time.Time // when Reads are to end; zero: never
	told    time.Time // what the stream was told last; zero: never
	reading bool
}

// SetReadDeadline sets when Reads are to end, also one in progress.
func (p *patience) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = t
	if p.reading && p.late() {
		return p.tell()
	}
	return nil
}

// late reports whether the stream would end a Read too late, or never. mu is held.
func (p *patience) late() bool {
	return !p.until.IsZero() && (p.told.IsZero() || p.told.After(p.until))
}

// tell tells the stream of the deadline. mu is held.
func (p *patience) tell() error {
	p.told = p.until
	return p.set(p.until)
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

// begin sees to it that the stream ends the next Read in time, and refuses one that would be too late.
func (p *patience) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.passed(p.until) {
		return os.ErrDeadlineExceeded
	}
	if p.late() || p.passed(p.told) {
		if err := p.tell(); err != nil {
			return err
		}
	}
	p.reading = true
	return nil
}

// over reports whether the deadline has passed.
func (p *patience) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passed(p.until)
}

func (p *patience) passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }
