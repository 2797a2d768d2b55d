package kindred

import (
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
)

// known is what the node knows of a call that it made: as it remembers it, or as its own journal tells after a restart.
// Either way a receipt for the call is compared with it. accounts.mu guards it.
type known struct {
	op         journal.Op
	affordance string
	asked      time.Time
	request    signed.Digest   // of the body that was sent; zero for none
	tries      uint32          // how often it was asked for without an answer, and now: each can have a receipt of its own
	waiting    bool            // for the answer
	outcome    journal.Outcome // Served, Failed or Refused, by the answer; 0: none came, or none yet
	response   signed.Digest   // of the body of that
	answered   time.Time       // when it came; zero: it did not, or not yet
	live       *lasting        // what is carried by its stream; nil: that is known from the journal
	carried    uint64          // as the journal tells
	over       bool            // likewise: that is all there was
	given      []signedEntry   // what was signed for: one for each entry that the thing has of it
}

// signedEntry is what the node signed about one entry of a thing's journal.
type signedEntry struct {
	action, stream *signedFor // the one receipt for the action, the last one for the stream; nil for none
}

// signedFor is a receipt with its countersignature.
type signedFor struct {
	journal.Receipt
	name     signed.Digest
	exchange *journal.Exchange
}

// slack is how far the clocks of two ends may be apart for one's account to fit the other's. Whoever's receipt is refused
// does nothing more at the thing, and a phone whose clock is hours wrong is no reason to keep its owner out. Nothing is asked
// for where they are further apart: proofs a day old are too old.
const slack = 25 * time.Hour

// onItsWay is how much of a stream one end may have sent that the other has not got: what QUIC lets be under way, and more.
const onItsWay = 16 << 20

// errLater says that a receipt may be right, and that this is not to be known yet, or does not matter any more.
var errLater = errors.New("more is to come")

// acts and streams report whether the call has a receipt when it is answered, and such as it goes.
func (k *known) acts() bool { return k.op == journal.Write || k.op == journal.Invoke }

func (k *known) streams() bool {
	_, _, service := thing.ParseServiceName(k.affordance)
	return k.op == journal.Observe || k.op == journal.Invoke && service
}

// before returns what was signed under a receipt's name already, nil if it was not.
func (k *known) before(name signed.Digest) *journal.Exchange {
	for _, g := range k.given {
		for _, s := range []*signedFor{g.action, g.stream} {
			if s != nil && s.name == name {
				return s.exchange
			}
		}
	}
	return nil
}

// keep remembers what was signed for.
func (k *known) keep(s *signedFor) {
	at := k.at(s.Receipt)
	if at == nil {
		k.given = append(k.given, signedEntry{})
		at = &k.given[len(k.given)-1]
	}
	switch {
	case s.Part == 0:
		at.action = s
	case at.stream == nil || at.stream.Part < s.Part:
		at.stream = s
	}
}

// at returns what was given about the entry that a receipt is of, nil for nothing.
func (k *known) at(r journal.Receipt) *signedEntry {
	for i, g := range k.given {
		for _, s := range []*signedFor{g.action, g.stream} {
			if s != nil && s.Index == r.Index {
				return &k.given[i]
			}
		}
	}
	return nil
}

// fits checks that a receipt says of the call what it was, and says it once.
func (k *known) fits(r journal.Receipt, now time.Time) error {
	switch {
	case r.Op != k.op || r.Affordance != k.affordance:
		return fmt.Errorf("it is of %s %q; asked was %s %q", r.Op, r.Affordance, k.op, k.affordance)
	case r.Entries > 0:
		return errors.New("it is of several entries")
	case r.Part > 0 && !k.streams():
		return errors.New("it is of a stream")
	case r.Part == 0 && !k.acts():
		return errors.New("it is of an action")
	case k.outcome == journal.Refused:
		return fmt.Errorf("it says that it %s, and the answer that it was refused", r.Outcome)
	case k.waiting && k.tries == 1 && r.Part == 0:
		return fmt.Errorf("it is not answered: %w", errLater)
	}
	if err := k.fitsTime(r, now); err != nil {
		return err
	}
	if err := k.fitsOnce(r); err != nil {
		return err
	}
	if r.Part == 0 {
		return k.fitsAnswer(r)
	}
	return k.fitsSize(r)
}

// fitsTime compares when the thing says that it was with when it was by the node's own clock.
func (k *known) fitsTime(r journal.Receipt, now time.Time) error {
	by := now
	if !k.answered.IsZero() {
		by = k.answered
	}
	switch {
	case r.Time.Before(k.asked.Add(-slack)) || r.Time.After(by.Add(slack)):
		return fmt.Errorf("it is of %s, and the call was at %s", rfc3339(r.Time), rfc3339(k.asked))
	case r.Part > 0 && (r.Until.Before(r.Time) || r.Until.After(now.Add(slack))):
		return fmt.Errorf("it is until %s, and now is %s", rfc3339(r.Until), rfc3339(now))
	}
	return nil
}

// fitsAnswer compares a receipt with what was asked, and with the answer as far as there was one. What failed need not
// have been read.
func (k *known) fitsAnswer(r journal.Receipt) error {
	unread := r.Outcome == journal.Failed && r.Request.IsZero()
	switch {
	case r.Outcome != journal.Served && r.Outcome != journal.Failed:
		return fmt.Errorf("it says that it %s", r.Outcome)
	case r.Request != k.request && !unread:
		return errors.New("it is of another request")
	case k.outcome == 0:
		return nil
	case r.Outcome != k.outcome:
		return fmt.Errorf("it says that it %s, and the answer that it %s", r.Outcome, k.outcome)
	case r.Response != k.response:
		return errors.New("it is of another response")
	}
	return nil
}

// fitsSize checks that a stream carried what a receipt says.
func (k *known) fitsSize(r journal.Receipt) error {
	got, over := k.carried, k.over
	switch {
	case k.live != nil:
		got, over = k.live.Bytes(), k.live.ended.Load() != nil
	case !over: // the node was killed: it may have been twice as much when that was next to be written down
		got = max(2*got, onItsWay)
	}
	if most := got + onItsWay; r.Bytes <= most && r.Count <= most {
		return nil
	}
	err := fmt.Errorf("it is of %d bytes and %d events, and %d bytes were carried", r.Bytes, r.Count, got)
	if k.live != nil && !over {
		err = fmt.Errorf("%w: %w", err, errLater)
	}
	return err
}

// fitsOnce checks that there is one receipt for what was done, and of a stream that each goes on from the one before.
func (k *known) fitsOnce(r journal.Receipt) error {
	at := k.at(r)
	switch {
	case at == nil && len(k.given) >= max(1, int(k.tries)):
		return errors.New("there is a receipt for it already, of another entry")
	case at == nil:
		return nil
	case r.Part == 0 && at.action != nil:
		return errors.New("there is a receipt for it already, which says something else")
	}
	for _, s := range []*signedFor{at.action, at.stream} {
		if s != nil && r.Leaf != s.Leaf {
			return errors.New("there is a receipt for it already, of another entry")
		}
	}
	last := at.stream
	switch {
	case r.Part == 0 || last == nil:
		return nil
	case r.Part < last.Part:
		return fmt.Errorf("there is one that takes its place: %w", errLater)
	case r.Part == last.Part:
		return errors.New("there is a receipt for as much already, which says something else")
	case last.Outcome == journal.Ended:
		return errors.New("there is a receipt for all of it already")
	case r.Bytes < last.Bytes || r.Count < last.Count || r.Until.Before(last.Until):
		return errors.New("it says less than the receipt before")
	}
	return nil
}
