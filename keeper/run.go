package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/ledger"
)

// How long Run waits before it submits a transaction again.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 10 * time.Second
)

// Run submits heads to the ledger and tells Config.Notify of events, until ctx ends; then it returns nil. Until it
// runs, changes are on disk and not provable. It can run once at a time.
func (k *Keeper) Run(ctx context.Context) error {
	if !k.running.CompareAndSwap(false, true) {
		return errors.New("keeper: running: it runs already")
	}
	defer k.running.Store(false)
	var teller sync.WaitGroup
	defer teller.Wait()
	if k.notify != nil {
		teller.Go(func() { k.deliver(ctx) })
	}
	for {
		for k.submitFirst(ctx) {
			k.tellRecorded()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.more:
		case <-k.ledger.NewBlock():
			k.tellRecorded()
		}
	}
}

// submitFirst submits the first transaction of the outbox until the ledger has it. It reports whether it did: not if
// there is none, if ctx ends, or if the roster turns out to be behind.
func (k *Keeper) submitFirst(ctx context.Context) bool {
	k.mu.RLock()
	outbox, behind := k.outbox, k.behind
	k.mu.RUnlock()
	if len(outbox) == 0 || behind != nil {
		return false
	}
	first := outbox[0]
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, lastPause) {
		err := k.ledger.Submit(ctx, first.tx)
		if err == nil || errors.Is(err, ledger.ErrAlready) {
			k.mu.Lock()
			k.drop()
			k.mu.Unlock()
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		k.failed(ctx, first, err, pause)
		if k.overtaken(first) {
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return false
}

// failed notes why the ledger did not take a transaction, and looks what it has.
func (k *Keeper) failed(ctx context.Context, first item, err error, pause time.Duration) {
	err = fmt.Errorf("submitting head %d: %w", first.sequence, err)
	k.log.Warn("the ledger did not take a head; it is submitted again", "sequence", first.sequence, "err", err, "after", pause)
	k.mu.Lock()
	k.trouble = err
	k.mu.Unlock()
	if err := k.compare(ctx); err != nil && ctx.Err() == nil {
		k.log.Warn("the ledger's record cannot be read", "err", err)
	}
}

// overtaken reports whether first is out of the outbox, or never will be.
func (k *Keeper) overtaken(first item) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.behind != nil || len(k.outbox) == 0 || k.outbox[0].sequence != first.sequence
}

// A mailbox holds the events that Notify has not been told of yet.
type mailbox struct {
	mu     sync.Mutex
	events []Event
	filled chan struct{} // capacity 1: events is not empty
}

// put adds an event. Of several in a row that say what is recorded, the last is kept.
func (b *mailbox) put(e Event) {
	b.mu.Lock()
	if n := len(b.events); n > 0 && e.Recorded != nil && b.events[n-1].Recorded != nil {
		b.events[n-1] = e
	} else {
		b.events = append(b.events, e)
	}
	b.mu.Unlock()
	select {
	case b.filled <- struct{}{}:
	default:
	}
}

// take removes and returns all events.
func (b *mailbox) take() []Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = nil
	return events
}

// tell has Run tell Notify of an event.
func (k *Keeper) tell(e Event) {
	if k.notify != nil {
		k.events.put(e)
	}
}

// tellRecorded tells what the ledger has now.
func (k *Keeper) tellRecorded() {
	block := k.ledger.Block()
	k.mu.RLock()
	recorded := k.recorded
	k.mu.RUnlock()
	if recorded > 0 {
		k.tell(Event{Sequence: recorded, Recorded: &block})
	}
}

// deliver calls Notify until ctx ends.
func (k *Keeper) deliver(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.events.filled:
		}
		for _, e := range k.events.take() {
			if ctx.Err() != nil {
				return
			}
			k.notify(e)
		}
	}
}
