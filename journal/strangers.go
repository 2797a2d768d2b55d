package journal

import (
	"math"
	"time"
)

// maxCounted is how many kinds of refusals are told apart in one minute.
const maxCounted = 16

// strangers counts refusals of one minute, by thing and reason.
type strangers struct {
	minute time.Time
	by     map[stranger]uint32
}

type stranger struct {
	thing  Party
	reason string
}

// othersCounted is for what comes after maxCounted kinds.
var othersCounted = stranger{reason: "refused for further reasons"}

// Stranger counts a refusal, at the time at, of somebody whose name means
// nothing here. There is one entry a minute for each thing and reason, of at
// most 17 in all, with Op [Connect] and Count; the current minute's are lost in
// a crash. It does not wait.
func (l *Log) Stranger(at time.Time, thing Party, reason string) error {
	s := stranger{thing, printable(reason, maxReason)}
	minute := at.Truncate(time.Minute)
	if _, err := s.entry(minute, 1).encode(l.tree); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if !minute.Equal(l.strangers.minute) && len(l.queue) < maxQueue {
		l.countStrangers()
	}
	if len(l.strangers.by) == 0 {
		l.strangers = strangers{minute: minute, by: make(map[stranger]uint32)}
	}
	if _, known := l.strangers.by[s]; !known && len(l.strangers.by) >= maxCounted {
		s = othersCounted
	}
	if n := l.strangers.by[s]; n < math.MaxUint32 {
		l.strangers.by[s] = n + 1
	}
	l.poke()
	return nil
}

func (s stranger) entry(minute time.Time, count uint32) Entry {
	return Entry{Time: minute, Thing: s.thing, Op: Connect, Outcome: Refused, Reason: s.reason, Count: count}
}

// countStrangers queues the entries of the minute counted. l.mu is held.
func (l *Log) countStrangers() {
	for s, n := range l.strangers.by {
		e := s.entry(l.strangers.minute, n)
		data, err := e.encode(l.tree)
		if err != nil { // checked when it was counted; should it happen, somebody hears of it
			l.failed = err
			continue
		}
		l.queue = append(l.queue, &pending{row: e.row(data), noted: true})
	}
	l.strangers.by = nil
}
