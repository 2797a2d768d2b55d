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
// nothing here. The first in a minute for a thing and a reason has an entry of
// its own, at once; those that follow share one with Op [Connect] and Count when
// the minute is over. Of each there are at most 17 a minute; what is counted in
// the current minute is lost in a crash. It does not wait.
func (l *Log) Stranger(at time.Time, thing Party, reason string) error {
	return l.Strangers(at, thing, reason, 1)
}

// Strangers counts several refusals at once.
func (l *Log) Strangers(at time.Time, thing Party, reason string, times uint32) error {
	if times == 0 {
		return nil
	}
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
	n, known := l.strangers.by[s]
	if !known {
		l.queueStranger(s.entry(at, 0))
		times--
	}
	l.strangers.by[s] = n + min(times, math.MaxUint32-n)
	l.poke()
	return nil
}

func (s stranger) entry(at time.Time, count uint32) Entry {
	return Entry{Time: at, Thing: s.thing, Op: Connect, Outcome: Refused, Reason: s.reason, Count: count}
}

// countStrangers queues the entries of the minute counted. l.mu is held.
func (l *Log) countStrangers() {
	for s, n := range l.strangers.by {
		if n > 0 {
			l.queueStranger(s.entry(l.strangers.minute, n))
		}
	}
	l.strangers.by = nil
}

// queueStranger queues an entry about strangers. l.mu is held.
func (l *Log) queueStranger(e Entry) {
	data, err := e.encode(l.tree)
	if err != nil { // checked when it was counted; should it happen, somebody hears of it
		l.failed = err
		return
	}
	l.queue = append(l.queue, &pending{row: e.row(data), noted: true})
}
