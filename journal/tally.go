package journal

import (
	"hash/maphash"
	"math"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// Tally is [Log.Note] for what may happen often. Entries that differ in nothing but their time, and come before the
// first of them is written, are one: with the time of the first, and in Count how many there were. So a thing that is
// asked the same a thousand times a second writes down a few lines of it, and nothing is missing.
func (l *Log) Tally(e Entry) error {
	e.Count = 0
	kind := e
	kind.Time = time.Time{}
	sum := maphash.Comparable(l.seed, kind) // here, and not where others wait
	l.mu.Lock()
	if p := l.tallied[sum]; p != nil && p.kind == kind && p.tally.Count < math.MaxUint32 {
		p.tally.Count = max(p.tally.Count, 1) + 1
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	return l.tallyFirst(e, kind, sum)
}

// tallyFirst notes an entry that others may be counted with.
func (l *Log) tallyFirst(e, kind Entry, sum uint64) error {
	p, err := l.pendingOf(e)
	if err != nil {
		return err
	}
	p.tally, p.kind, p.sum = &e, kind, sum
	return l.note(p)
}

// count makes the row tell how many it stands for, once nobody is counted with it any more.
func (p *pending) count(tree identity.TreeID) {
	if p.tally == nil || p.tally.Count == 0 {
		return
	}
	if data, err := p.tally.encode(tree); err == nil { // as it was before, but for a number
		p.row = p.tally.row(data)
	}
}
