package journal

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// flushDelay is how long a noted entry waits for others to share a
	// transaction with. Writing takes its time too, and 100 ms are promised.
	flushDelay = 50 * time.Millisecond
	// retryDelay is how long the writer waits after a write that failed.
	retryDelay = time.Second
	// maxQueue is how many entries wait before Note does.
	maxQueue = 4096
	// maxWrite is how many entries share a transaction.
	maxWrite = 1024
)

// pending is something the writer has yet to do: write a row, or, where call is
// set, call it once all rows before are written.
type pending struct {
	row    Row
	tally  *Entry      // what row is of, where others of its kind are counted with it
	kind   Entry       // tally without time and count
	sum    uint64      // of kind
	place  Place       // where row stands, once it is written; of the writer until then
	at     func(Place) // told that; nil: nobody
	noted  bool        // nobody was told that it failed, so it is tried again
	call   func(context.Context) error
	result chan error // capacity 1; nil when nobody waits
	told   bool       // result was sent; of the writer alone
}

// answer tells who waits, once.
func (p *pending) answer(err error) {
	if p.result != nil && !p.told {
		p.told = true
		p.result <- err
	}
}

// writer is the state of the writer goroutine. The queue moves like this:
//
//	queue ──take──▶ LogAppend ── nil ───────────────────────────────▶ answered nil
//	  ▲                │ error
//	  │                ▼
//	  │             doubt ──LogSize── all there (failed, but happened) ─▶ answered nil
//	  │                │  ├── nothing there ─▶ waited for: answered error
//	  └─────noted──────┼──┘
//	                   └── unreadable ─▶ waited for: answered error; stays in
//	                                     doubt until it can be read
type writer struct {
	edge  edge       // of what is on disk
	doubt []*pending // rows of a write that failed and was not read back yet
	wrote []Row      // the same with their hashes
	next  edge       // the edge if they are on disk
	cause error      // why it failed
}

// poke wakes the writer.
func (l *Log) poke() {
	select {
	case l.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

func (l *Log) enqueue(p *pending) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errClosed
	}
	l.queue = append(l.queue, p)
	if p.tally != nil && p.noted {
		l.tallied[p.sum] = p
	}
	poke := len(l.queue) == 1 || p.result != nil
	if p.result != nil {
		l.waiting++
	}
	l.mu.Unlock()
	if poke {
		l.poke()
	}
	return nil
}

// await returns the writer's answer, or the context's error if that ends first.
func (l *Log) await(ctx context.Context, p *pending) error {
	select {
	case err := <-p.result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("journal: waiting for the disk: %w", ctx.Err())
	}
}

// call has the writer call f once everything queued before is on disk.
func (l *Log) call(ctx context.Context, f func(context.Context) error) error {
	p := &pending{call: f, result: make(chan error, 1)}
	if err := l.enqueue(p); err != nil {
		return err
	}
	return l.await(ctx, p)
}

// write is the writer goroutine. It writes at once when somebody waits, else
// flushDelay after the first entry noted, or after it began to write before.
func (l *Log) write(ctx context.Context) {
	defer close(l.done)
	flush, minute := time.NewTimer(0), time.NewTimer(0)
	flush.Stop()
	minute.Stop()
	flushing, counting := false, false
	for {
		due := false
		select {
		case <-l.wake:
		case <-flush.C:
			flushing, due = false, true
		case <-minute.C:
			counting = false
			l.mu.Lock()
			l.countStrangers()
			l.mu.Unlock()
		}
		woke := time.Now()
		l.mu.Lock()
		closed := l.closed
		if closed {
			l.countStrangers()
		}
		due = due || closed || l.waiting > 0
		l.mu.Unlock()
		if due {
			l.drain(ctx)
		}
		if closed {
			flush.Stop()
			minute.Stop()
			return
		}
		l.mu.Lock()
		queued, counted, wait := len(l.queue)+len(l.w.doubt) > 0, len(l.strangers.by) > 0, flushDelay-time.Since(woke)
		if l.failed != nil {
			wait = retryDelay
		}
		l.mu.Unlock()
		if queued && !flushing {
			flushing = true
			flush.Reset(wait)
		}
		if counted && !counting {
			counting = true
			minute.Reset(time.Minute)
		}
	}
}

// drain writes what is queued when it begins, and on for as long as somebody
// waits, unless a write fails. What is noted meanwhile waits for its own flush:
// else a busy log would write row after row. After a failure nobody is left
// waiting.
func (l *Log) drain(ctx context.Context) {
	if len(l.w.doubt) > 0 {
		happened, err := l.settle(ctx)
		switch {
		case err != nil:
			l.refuse(err)
			return
		case happened:
			l.written()
		default:
			l.unwritten(l.w.cause)
		}
	}
	l.mu.Lock()
	left := len(l.queue)
	l.mu.Unlock()
	for left > 0 || l.awaited() {
		rows, call := l.take()
		switch {
		case call != nil:
			call.answer(call.call(ctx))
			left--
		case len(rows) == 0 || l.append(ctx, rows) != nil:
			return
		default:
			left -= len(rows)
		}
	}
}

// awaited reports whether somebody waits for what is queued.
func (l *Log) awaited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting > 0
}

// take removes the rows at the head of the queue, or else the call there.
func (l *Log) take() (rows []*pending, call *pending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.queue) && n < maxWrite && l.queue[n].call == nil {
		n++
	}
	if n == 0 && len(l.queue) > 0 {
		call, n = l.queue[0], 1
	} else {
		rows = slices.Clone(l.queue[:n])
	}
	for _, p := range l.queue[:n] {
		if p.result != nil {
			l.waiting--
		}
	}
	l.queue = slices.Delete(l.queue, 0, n)
	clear(l.tallied)
	return rows, call
}

// append writes rows in one transaction and answers those who wait: when it
// fails, everybody who waits by then.
func (l *Log) append(ctx context.Context, rows []*pending) error {
	l.w.next, l.w.doubt, l.w.wrote = l.w.edge, rows, make([]Row, 0, len(rows))
	for _, p := range rows {
		p.count(l.tree)
		if p.at != nil || p.result != nil {
			p.place = Place{l.w.next.size, tlog.RecordHash(p.row.Data)}
		}
		hashes, err := l.w.next.append(p.row.Data)
		if err != nil {
			l.refuse(err)
			l.unwritten(err)
			return err
		}
		row := p.row
		row.Hashes = hashes
		l.w.wrote = append(l.w.wrote, row)
	}
	cause := l.port.LogAppend(ctx, l.node[:], l.w.edge.size, l.w.wrote, nil)
	if cause == nil {
		l.written()
		return nil
	}
	l.w.cause = cause
	happened, err := l.settle(ctx)
	switch {
	case err != nil: // it stays in doubt; nobody waits for what may take hours to be known
		err = fmt.Errorf("%w; then %w", cause, err)
		l.refuse(err)
		for _, p := range rows {
			p.answer(err)
		}
		return err
	case happened:
		l.written()
		return nil
	}
	l.refuse(cause)
	l.unwritten(cause)
	return cause
}

// settle finds out by reading whether the rows in doubt are on disk.
func (l *Log) settle(ctx context.Context) (happened bool, err error) {
	size, _, err := l.port.LogSize(ctx, l.node[:])
	if err != nil {
		return false, fmt.Errorf("journal: reading back the log of %s: %w", l.node, err)
	}
	switch size {
	case l.w.edge.size:
		return false, nil
	case l.w.next.size:
		same := true
		err := l.port.LogRows(ctx, l.node[:], l.w.edge.size, size, func(index int64, row Row) error {
			same = same && sameRow(row, l.w.wrote[index-l.w.edge.size])
			return nil
		})
		if err != nil {
			return false, fmt.Errorf("journal: reading back the log of %s: %w", l.node, err)
		}
		if same {
			return true, nil
		}
	}
	return false, &TamperError{Node: l.node, Index: l.w.edge.size, What: fmt.Sprintf("somebody else wrote to it: it has %d entries", size)}
}

// written ends a doubt: the rows are on disk.
func (l *Log) written() {
	rows := l.w.doubt
	l.w.edge, l.w.doubt, l.w.wrote, l.w.cause = l.w.next, nil, nil, nil
	l.mu.Lock()
	l.failed = nil
	l.mu.Unlock()
	for _, p := range rows {
		if p.at != nil {
			p.at(p.place)
		}
		p.answer(nil)
	}
}

// unwritten ends a doubt: the rows are not on disk, because of err. What was
// noted goes back to the head of the queue; the others are told, and their
// entries dropped.
func (l *Log) unwritten(err error) {
	rows := l.w.doubt
	l.w.doubt, l.w.wrote, l.w.cause = nil, nil, nil
	var noted []*pending
	for _, p := range rows {
		if p.noted {
			noted = append(noted, p)
		}
		p.answer(err)
	}
	l.mu.Lock()
	l.queue = slices.Insert(l.queue, 0, noted...)
	l.mu.Unlock()
}

// refuse answers everybody who waits in the queue with err and drops what they
// asked for; what was noted stays.
func (l *Log) refuse(err error) {
	l.mu.Lock()
	l.failed = err
	var refused []*pending
	l.queue = slices.DeleteFunc(l.queue, func(p *pending) bool {
		if p.result != nil {
			refused = append(refused, p)
			return true
		}
		return false
	})
	l.waiting = 0
	l.mu.Unlock()
	for _, p := range refused {
		p.answer(err)
	}
}
