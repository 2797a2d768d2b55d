package p1meter

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/meter/p1"
	"github.com/kindred-iot/kindred/thing"
)

// Used is what went through the meter in a stretch of time.
type Used struct {
	In  p1.Energy `json:"in" doc:"drawn from the grid" unit:"Wh"`
	Out p1.Energy `json:"out" doc:"fed back into the grid" unit:"Wh"`
}

func (u Used) add(v Used) Used { return Used{u.In + v.In, u.Out + v.Out} }

// A Book is where a meter's history is kept, by keys of printable ASCII; package store has one. Save writes all
// changes or none, and removes a key whose value is nil.
type Book interface {
	Save(ctx context.Context, changes map[string][]byte) error
	Scan(ctx context.Context, prefix string, each func(key string, value []byte) error) error
}

const (
	quarter = 15 * 60 // seconds
	// maxQuarters is how many spans are kept, of which most are quarters of an hour: two years.
	maxQuarters = 2 * 366 * 24 * 4
	// behindFor is how long the clock may be before what it was, such as one that is not yet set, until that is taken
	// for the truth, and what was recorded after it for a mistake.
	behindFor = time.Hour

	bookPrefix = "history/"
	bookLast   = bookPrefix + "last"
)

// past is what a meter remembers: how much went through it in each quarter of an hour, by the clock of the thing when
// the telegrams came. Where none came for longer than that, it is one span however long, so that the sums are right.
type past struct {
	mu     sync.Mutex
	book   Book // nil: none
	spans  []span
	last   registers           // of the last telegram
	behind time.Time           // since when the clock is before the last telegram; zero: it is not
	dirty  map[string]struct{} // days with spans that are not in the book
}

// span is a stretch of time, Unix time in seconds, and what went through.
type span struct{ from, until, in, out int64 }

// registers are what a meter has counted since it was made, over all tariffs.
type registers struct {
	At  int64 `json:"at"` // Unix time, seconds; 0: there was no telegram
	In  int64 `json:"in"`
	Out int64 `json:"out"`
}

// MarshalJSON writes a span as four numbers.
func (s span) MarshalJSON() ([]byte, error) {
	return json.Marshal([4]int64{s.from, s.until, s.in, s.out})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *span) UnmarshalJSON(data []byte) error {
	var n [4]int64
	if err := json.Unmarshal(data, &n); err != nil {
		return err
	}
	if *s = (span{n[0], n[1], n[2], n[3]}); s.from < 0 || s.until <= s.from || s.in < 0 || s.out < 0 {
		return fmt.Errorf("a span from %d until %d with %d and %d Wh", s.from, s.until, s.in, s.out)
	}
	return nil
}

func sum(tariffs []p1.Energy) (total int64) {
	for _, e := range tariffs {
		total += int64(e)
	}
	return total
}

// load reads what the book says, and keeps to it from then on.
func (p *past) load(ctx context.Context, book Book) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	err := book.Scan(ctx, bookPrefix, func(key string, value []byte) error {
		if key == bookLast {
			return json.Unmarshal(value, &p.last)
		}
		var day []span
		if err := json.Unmarshal(value, &day); err != nil {
			return err
		}
		for _, s := range day {
			if n := len(p.spans); n > 0 && s.from < p.spans[n-1].until {
				return fmt.Errorf("%s: a span from %d, before the one before ends", key, s.from)
			}
			p.spans = append(p.spans, s)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("p1meter: reading the history: %w", err)
	}
	p.book = book
	return nil
}

// note takes in what a telegram says that came now, and writes the book when a quarter is over.
func (p *past) note(ctx context.Context, now time.Time, energy Energy) error {
	p.mu.Lock()
	closed := p.take(registers{now.Unix(), sum(energy.In), sum(energy.Out)})
	p.mu.Unlock()
	if !closed {
		return nil
	}
	return p.save(ctx)
}

// save writes into the book what is not there yet. One goroutine does.
func (p *past) save(ctx context.Context) error {
	p.mu.Lock()
	changes, err := p.changes()
	book := p.book
	p.mu.Unlock()
	if err != nil || book == nil || len(changes) == 0 {
		return err
	}
	if err := book.Save(ctx, changes); err != nil {
		return fmt.Errorf("p1meter: writing the history: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.dirty)
	return nil
}

// take adds what went through since the last telegram, and reports whether a span was completed.
func (p *past) take(next registers) (closed bool) {
	last := p.last
	switch {
	case last.At == 0:
		p.last = next
		return false
	case next.At <= last.At:
		return p.wait(next)
	}
	p.behind = time.Time{}
	in, out := max(0, next.In-last.In), max(0, next.Out-last.Out) // less: another meter, or a recording that begins anew
	before := len(p.spans)
	if gap := next.At - last.At; gap > quarter {
		p.append(span{last.At, next.At, in, out})
	} else {
		share := func(total, until int64) int64 { return total * (until - last.At) / gap }
		for from := last.At; from < next.At; {
			until := min(next.At, from-from%quarter+quarter)
			p.append(span{from, until, share(in, until) - share(in, from), share(out, until) - share(out, from)})
			from = until
		}
	}
	p.last = next
	return len(p.spans) > before
}

// wait passes over telegrams that come before the last by the clock, until that goes on for too long.
func (p *past) wait(next registers) (closed bool) {
	if next.At == p.last.At { // what it says comes with the next
		return false
	}
	if p.behind.IsZero() {
		p.behind = time.Now()
	}
	if time.Since(p.behind) < behindFor {
		return false
	}
	for n := len(p.spans); n > 0 && p.spans[n-1].until > next.At; n-- {
		p.touch(p.spans[n-1])
		p.spans = p.spans[:n-1]
	}
	p.last, p.behind = next, time.Time{}
	return true
}

// append adds a span, to the last one if they are of the same quarter.
func (p *past) append(s span) {
	if n := len(p.spans); n > 0 {
		last := &p.spans[n-1]
		if last.until == s.from && last.from/quarter == s.from/quarter && (s.until-1)/quarter == s.from/quarter {
			last.until, last.in, last.out = s.until, last.in+s.in, last.out+s.out
			p.touch(*last)
			return
		}
	}
	p.spans = append(p.spans, s)
	p.touch(s)
	if len(p.spans) <= maxQuarters {
		return
	}
	oldest := p.spans[0]
	p.touch(oldest)
	for dayOf(p.spans[0]) == dayOf(oldest) {
		p.spans = p.spans[1:]
	}
}

func (p *past) touch(s span) {
	if p.dirty == nil {
		p.dirty = map[string]struct{}{}
	}
	p.dirty[dayOf(s)] = struct{}{}
}

// dayOf is the key of the day, in UTC, that a span begins on.
func dayOf(s span) string {
	return bookPrefix + time.Unix(s.from, 0).UTC().Format("2006-01-02")
}

// changes returns what is to be written into the book: of the days that have changed, those that are not gone are the
// last. The caller holds mu.
func (p *past) changes() (map[string][]byte, error) {
	if len(p.dirty) == 0 {
		return nil, nil
	}
	changes := map[string][]byte{}
	for day := range p.dirty {
		changes[day] = nil
	}
	for end := len(p.spans); end > 0; {
		day, start := dayOf(p.spans[end-1]), end
		for start > 0 && dayOf(p.spans[start-1]) == day {
			start--
		}
		if _, ok := p.dirty[day]; !ok {
			break
		}
		data, err := json.Marshal(p.spans[start:end])
		if err != nil {
			return nil, err
		}
		changes[day], end = data, start
	}
	last, err := json.Marshal(p.last)
	changes[bookLast] = last
	return changes, err
}

// between returns what is recorded within two moments; a zero one is no bound.
func (p *past) between(_ context.Context, from, until time.Time) ([]thing.Span[Used], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []thing.Span[Used]
	for _, s := range p.spans {
		if !from.IsZero() && s.from < from.Unix() || !until.IsZero() && s.until > until.Unix() {
			continue
		}
		out = append(out, thing.Span[Used]{
			From: time.Unix(s.from, 0).UTC(), Until: time.Unix(s.until, 0).UTC(), Value: Used{p1.Energy(s.in), p1.Energy(s.out)},
		})
	}
	return out, nil
}

// mean gives the power that flowed on average in the last whole step, for those who may see no more of it.
func (p *past) mean(part func(Used) p1.Energy) func(context.Context, thing.View) (any, error) {
	return func(ctx context.Context, v thing.View) (any, error) {
		s, err := thing.Latest(v, func(from, until time.Time) ([]thing.Span[Used], error) { return p.between(ctx, from, until) }, Used.add)
		if err != nil {
			return nil, err
		}
		return p1.Power(int64(part(s.Value)) * 3600 / int64(s.Until.Sub(s.From)/time.Second)), nil
	}
}
