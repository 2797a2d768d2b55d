package kindred

import (
	"math"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/journal"
)

// refusals bound how many lines the journal has of what one caller is refused: whoever asks without end, for what it has
// no right to or what there is not, fills no disk, here or at the gateway.
//
//	               up to maxRefusals in the minute: told
//	refused ──────┬────────────────────────────────────────▶ a line of its own
//	              └─ more ──▶ counted ── the minute is over ─▶ one line, of how many there were
//
// What was counted in the last minute is lost in a crash.
type refusals struct {
	mu sync.Mutex
	by map[journal.Party]*refused
}

// refused is what one caller was refused within a minute.
type refused struct {
	since time.Time // by a clock that nobody sets
	told  int
	rest  journal.Entry // with how many there were; the zero Entry for none
}

// maxRefusals is how many refusals of one caller are told one by one in a minute.
const maxRefusals = 60

// restRefused is the reason told of the others.
const restRefused = "more was asked within the minute, and refused like what is told here"

// take counts a refusal, and returns what is to be written down now.
func (rs *refusals) take(e journal.Entry, now time.Time) (write []journal.Entry) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.by[e.Caller]
	if r != nil && now.Sub(r.since) >= time.Minute {
		write = r.end(write)
		r = nil
	}
	if r == nil {
		if rs.by == nil {
			rs.by = map[journal.Party]*refused{}
		}
		r = &refused{since: now}
		rs.by[e.Caller] = r
	}
	if r.told < maxRefusals {
		r.told++
		return append(write, e)
	}
	if r.rest.Count == 0 {
		r.rest = journal.Entry{
			Time: e.Time, Thing: e.Thing, Caller: e.Caller, Op: e.Op, Outcome: journal.Refused, Reason: restRefused, AsOf: e.AsOf,
		}
	}
	if r.rest.Count < math.MaxUint32 {
		r.rest.Count++
	}
	return write
}

// end adds what was counted.
func (r *refused) end(write []journal.Entry) []journal.Entry {
	if r.rest.Count > 0 {
		write = append(write, r.rest)
	}
	return write
}

// over returns what was counted in minutes that are over, or in all, and forgets those callers.
func (rs *refusals) over(now time.Time, all bool) (write []journal.Entry) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for who, r := range rs.by {
		if all || now.Sub(r.since) >= time.Minute {
			write = r.end(write)
			delete(rs.by, who)
		}
	}
	return write
}

// noteRefused notes that a caller was refused something.
func (n *Node) noteRefused(e journal.Entry) {
	for _, e := range n.refusals.take(e, time.Now()) {
		n.note(e)
	}
}

// noteRefusals notes what was counted; all says that no minute is waited for.
func (n *Node) noteRefusals(all bool) {
	for _, e := range n.refusals.over(time.Now(), all) {
		n.note(e)
	}
}
