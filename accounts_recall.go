package kindred

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
)

// recall has the node know of the calls that receipts are for what its own journal tells: those it made before it was
// started anew, or has forgotten. It returns the receipts that are worth looking at: of those it refused before, the
// journal tells already.
func (as *accounts) recall(ctx context.Context, host string, receipts [][]byte) [][]byte {
	found := map[uint64]*known{}
	now := as.node.clock()
	since := now
	as.mu.Lock()
	a := as.of(host)
	fresh := slices.DeleteFunc(slices.Clone(receipts), func(raw []byte) bool {
		r, name, err := journal.ReadReceipt(raw)
		if err != nil {
			return true
		}
		if _, ok := a.refused[name]; ok {
			return true
		}
		if r.Entries > 0 && a.reads != nil || r.Entries == 0 && r.Call != 0 && a.calls[r.Call] != nil {
			return false // which is known
		}
		found[r.Call] = nil
		from := r.Time.Add(-2 * slack)
		if r.Time.After(now.Add(slack)) {
			from = time.Time{} // it may have been refused at any time
		}
		if from.Before(since) {
			since = from
		}
		return false
	})
	as.mu.Unlock()
	if len(found) == 0 {
		return fresh
	}
	p := past{calls: found, refused: map[signed.Digest]struct{}{}}
	n := as.node
	_, err := n.journal.Query(ctx, journal.Filter{
		Who: n.party(n.self), Thing: as.partyAt(ctx, host), Since: since, Oldest: true, Accounts: true,
		Match: func(i journal.Item) (bool, error) {
			if i.Node == n.self.Member() {
				p.read(i.Entry)
			}
			return false, nil
		},
	})
	if err != nil {
		n.log.Error("reading what was asked for", "at", host, "error", err)
		return nil // none is refused for that
	}
	as.mu.Lock()
	defer as.mu.Unlock()
	for call, k := range p.calls {
		if k != nil && a.calls[call] == nil {
			a.remember(call, k)
		}
	}
	if a.reads == nil {
		a.reads = p.reads
	}
	for name := range p.refused {
		a.refused[name] = struct{}{}
	}
	return slices.DeleteFunc(fresh, func(raw []byte) bool {
		_, name, err := journal.ReadReceipt(raw)
		_, ok := p.refused[name]
		return ok || err != nil
	})
}

// past is what a journal is found to tell, entry by entry from the oldest on.
type past struct {
	calls   map[uint64]*known // nil: that nothing is known of yet
	reads   *signedFor        // the last receipt for reads
	refused map[signed.Digest]struct{}
}

// read reads an entry of the node's account of what it did at one thing.
func (p *past) read(e journal.Entry) {
	if e.Op == journal.Countersign && e.Outcome == journal.Refused && e.Exchange != nil {
		if _, name, err := journal.ReadReceipt(e.Exchange.Receipt); err == nil {
			p.refused[name] = struct{}{}
		}
		return
	}
	k, wanted := p.calls[e.Call]
	if !wanted {
		return
	}
	if k == nil && e.Call != 0 && e.Op != journal.Countersign { // as it was asked, or that it was begun
		k = &known{op: e.Op, affordance: e.Affordance, asked: e.Time, tries: 1}
		if e.Outcome == journal.Asked {
			k.request = e.Body
		}
		p.calls[e.Call] = k
	}
	if e.Exchange != nil && len(e.Exchange.Countersignature) > 0 {
		p.signed(k, e.Exchange)
	}
	if k == nil || e.Op == journal.Countersign {
		return
	}
	switch e.Outcome {
	case journal.Asked:
		k.tries = max(k.tries, e.Count)
	case journal.Ended:
		k.over = true
		k.carried = e.Bytes
	case journal.Served, journal.Failed, journal.Refused:
		if k.outcome == 0 {
			k.outcome, k.response, k.answered = e.Outcome, e.Body, e.Time
		}
		k.carried = max(k.carried, e.Bytes)
	}
}

// signed notes that a receipt was signed for, of a call or of reads.
func (p *past) signed(k *known, x *journal.Exchange) {
	r, name, err := journal.ReadReceipt(x.Receipt)
	switch s := (&signedFor{Receipt: r, name: name, exchange: x}); {
	case err != nil:
	case r.Entries > 0:
		p.reads = s
	case k != nil:
		k.keep(s)
	}
}

// fitsReads checks that a receipt for reads is of entries that none before was of, and of as many reads as the node counted
// while it says that they were. One that was killed has counted fewer than there were, so whoever says more need not lie.
func (a *account) fitsReads(r journal.Receipt, counted uint64, now time.Time) error {
	last := a.reads
	switch {
	case r.Call != 0 || r.Part > 0 || r.Op != journal.Read || r.Outcome != journal.Served:
		return errors.New("it is of several entries")
	case r.Until.Before(r.Time) || r.Until.After(now.Add(slack)):
		return fmt.Errorf("it is from %s until %s, and now is %s", rfc3339(r.Time), rfc3339(r.Until), rfc3339(now))
	case last != nil && r.Index < last.Index+int64(last.Entries):
		return fmt.Errorf("it is of entries from %d on, and there is a receipt for %d from %d on already", r.Index, last.Entries, last.Index)
	case last != nil && r.Time.Before(last.Until.Add(-slack)):
		return fmt.Errorf("it is from %s on, and there is a receipt until %s already", rfc3339(r.Time), rfc3339(last.Until))
	case r.Count > counted:
		return fmt.Errorf("it is of %d reads, and %d are known here: %w", r.Count, counted, errLater)
	}
	return nil
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// counted returns how often the node read at a thing, by its own journal, while a receipt says that it did.
func (as *accounts) counted(ctx context.Context, host string, r journal.Receipt) (reads uint64, err error) {
	as.writeReads()
	n := as.node
	_, err = n.journal.Query(ctx, journal.Filter{
		Who: n.party(n.self), Thing: as.partyAt(ctx, host), Since: r.Time.Add(-slack), Until: r.Until.Add(slack), Accounts: true,
		Match: func(i journal.Item) (bool, error) {
			e := i.Entry
			if i.Node == n.self.Member() && e.Outcome == journal.Served && e.Bytes == 0 && (e.Op == journal.Read || e.Op == journal.Observe) {
				reads += uint64(max(1, e.Count))
			}
			return false, nil
		},
	})
	return reads, err
}
