package kindred

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// usage knows how often, and for how long, the node's thing was used under grants that limit that.
//
// A use is taken in the same moment in which it is decided that there is one left, and is on disk before anything is
// done, so that neither two requests at once nor a crash gain one; a read waits for the disk like all others. The time
// of a stream is paid ahead, prepaid at most, and what was not used is given back when the stream ends: a crash costs
// the caller that, and gains nothing. Time is measured by a clock that nobody sets.
//
//	             decided: yes                  time paid for is over, decided again: yes
//	no share ────────────────────▶ share ──┐
//	   ▲      a use is taken        ▲  │   │ paid on
//	   │                            └──┼───┘
//	   └──── the rest given back ──────┘ the stream ends
type usage struct {
	db  records
	log *slog.Logger

	saving sync.Mutex // held while what has changed is written, and before mu

	mu      sync.Mutex
	of      map[tree.GrantID]*tally
	lost    int64  // what was used under grants given before is not known, Unix time; 0: nothing was lost
	crowded func() // called when more streams than before run down one budget; must not wait
}

// records are where tallies are kept: the node's store.
type records interface {
	Load(ctx context.Context, key string) ([]byte, error)
	Save(ctx context.Context, changes map[string][]byte) error
	Scan(ctx context.Context, prefix string, each func(key string, value []byte) error) error
}

const (
	// prepaid is how far ahead the time of a stream is written down.
	prepaid = 30 * time.Second
	// leastUse is what every use costs of a budget of time: nobody looks longer by looking often.
	leastUse = time.Second
	// maxTallies is how many tallies are held in memory. Others are read when they are needed.
	maxTallies = 1024
	// exactRate is up to how many uses a rate is kept to the moment. Beyond, a use counts for up to 1/exactRate longer.
	exactRate = 64
	// keepGone is how long the tally of a grant is kept that was taken away: one that is only paused looks the same.
	keepGone = 400 * 24 * time.Hour
)

const usagePrefix = "usage/"

func usageKey(id tree.GrantID) string { return usagePrefix + id.String() }

// A tally is what was done under one grant.
type tally struct {
	Uses   uint32        `json:"uses"`
	Time   time.Duration `json:"time"`             // that streams lasted; on disk also what running ones have paid for
	Recent []burst       `json:"recent,omitempty"` // uses that count for the rate, those that end first first
	Until  int64         `json:"until,omitempty"`  // when the grant ends, Unix time
	Leaf   []byte        `json:"leaf,omitempty"`   // of its entry in the roster
	Gone   int64         `json:"gone,omitempty"`   // as of when it was known to be taken away or paused, Unix time

	shares  map[*call]*share
	changed bool // since it was written
	written bool // is being written
}

// A burst are uses that stop to count for a rate at the same moment.
type burst struct {
	End   time.Time `json:"end"`
	Count uint32    `json:"count"`
}

// A share is a stream that runs under a grant.
type share struct {
	since time.Time     // with a reading of the clock that nobody sets
	paid  time.Duration // of it, on disk
}

func (u *usage) start(db records, log *slog.Logger, crowded func()) {
	u.db, u.log, u.crowded = db, log, crowded
	u.of = map[tree.GrantID]*tally{}
}

// tally returns what was done under a grant. The caller holds mu.
func (u *usage) tally(id tree.GrantID) (*tally, error) {
	if y, ok := u.of[id]; ok {
		return y, nil
	}
	data, err := u.db.Load(context.Background(), usageKey(id))
	if err != nil {
		return nil, err
	}
	y := &tally{}
	if data != nil {
		if err := json.Unmarshal(data, y); err != nil {
			return nil, fmt.Errorf("kindred: reading what was used under %s: %w", id, err)
		}
	}
	for old, other := range u.of { // any will do
		if len(u.of) < maxTallies {
			break
		}
		if len(other.shares) == 0 && !other.changed && !other.written {
			delete(u.of, old)
		}
	}
	y.shares = map[*call]*share{}
	u.of[id] = y
	return y, nil
}

// lose says that what was used under grants given before a moment, Unix time, is not known any more.
func (u *usage) lose(until int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lost = until
}

func (u *usage) lostUntil() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.lost
}

// A taking is one decision for a call: it looks at what was used, and takes a use before anybody else can.
type taking struct {
	usage *usage
	call  *call
	live  credential.Live
	now   time.Time
	held  bool  // usage.mu
	back  bool  // something stands that was taken for gone
	err   error // what was used cannot be told
}

// used is grant.Facts.Usage.
func (k *taking) used(t *grant.Terms) grant.Usage {
	if !k.held {
		k.usage.mu.Lock()
		k.held = true
	}
	all := grant.Usage{Uses: math.MaxUint32, Time: math.MaxInt64, Recent: math.MaxUint32}
	if t.Time < k.usage.lost {
		return all
	}
	y, err := k.usage.tally(t.ID)
	if err != nil {
		k.err = err
		return all
	}
	if y.Gone != 0 { // it was only paused: what stands is not forgotten, however long that is ago
		y.Gone, y.Leaf, y.changed, k.back = 0, k.leaf(t.ID), true, true
	}
	return y.usage(k.call, rateOf(t), k.now)
}

func rateOf(t *grant.Terms) time.Duration { return time.Duration(t.Rate.Seconds) * time.Second }

// usage tells what was done before a call, or beside it: what it was given itself it is not denied afterwards.
func (y *tally) usage(c *call, rate time.Duration, now time.Time) grant.Usage {
	y.expire(rate, now)
	used := grant.Usage{Uses: y.Uses, Time: y.time()}
	if y.shares[c] != nil {
		used.Uses--
		return used
	}
	for _, b := range y.Recent {
		used.Recent += b.Count
	}
	if len(y.Recent) > 0 {
		used.Free = y.Recent[0].End
	}
	return used
}

// expire forgets uses that do not count for the rate any more. If the clock was set back, those it cannot place are
// taken to be of now.
func (y *tally) expire(rate time.Duration, now time.Time) {
	kept := y.Recent[:0]
	for _, b := range y.Recent {
		if latest := now.Add(rate + rate/exactRate); b.End.After(latest) {
			b.End, y.changed = latest, true
		}
		if now.Before(b.End) {
			kept = append(kept, b)
		}
	}
	y.Recent = kept
}

// time is how long streams lasted so far.
func (y *tally) time() time.Duration {
	sum := y.Time
	for _, s := range y.shares {
		sum += time.Since(s.since)
	}
	return sum
}

// settle ends the taking. If the decision allows something that counts, and the call is to be served, a use is taken
// under each grant that counts it, and is on disk when settle returns without an error.
func (k *taking) settle(d *grant.Decision) error {
	if !k.held {
		return nil
	}
	take := k.err == nil && d.Allowed && d.Counts && k.call.counts && !k.call.left
	if take {
		if again := k.take(d.Counted()); again > 0 && k.now.Add(again).Before(d.Until) {
			d.Until = k.now.Add(again)
		}
	}
	k.usage.mu.Unlock()
	k.held = false
	if k.err != nil || !take && !k.back {
		return k.err
	}
	return k.usage.save()
}

// take takes a use under each of some terms, unless the call has taken it before, and pays for its time. It returns how
// long that lasts; 0: as long as the decision.
func (k *taking) take(counted []*grant.Terms) (again time.Duration) {
	for _, t := range counted {
		y, err := k.usage.tally(t.ID)
		if err != nil { // it was there a moment ago
			k.err = err
			return 0
		}
		s := y.shares[k.call]
		if s == nil {
			s = k.begin(y, t)
		}
		if t.Budget == 0 || s == nil {
			continue
		}
		elapsed := time.Since(s.since)
		left := time.Duration(t.Budget)*time.Second - y.time()
		s.paid, y.changed = elapsed+min(prepaid, max(left, 0)), true
		lasts := max(min(prepaid, left/time.Duration(len(y.shares))), time.Millisecond)
		if again == 0 || lasts < again {
			again = lasts
		}
	}
	return again
}

// begin takes a use. It returns the share of a call that lasts, nil for another.
func (k *taking) begin(y *tally, t *grant.Terms) *share {
	y.changed, y.Until, y.Leaf, y.Gone = true, t.Until, k.leaf(t.ID), 0
	if y.Uses < math.MaxUint32 {
		y.Uses++
	}
	if t.Rate.Uses != 0 {
		y.burst(t, k.now)
	}
	if !mayLast(k.call.op) {
		if t.Budget != 0 {
			y.Time += leastUse
		}
		return nil
	}
	s := &share{since: time.Now()}
	y.shares[k.call], k.call.shares = s, true
	if t.Budget != 0 && len(y.shares) > 1 {
		k.usage.crowded()
	}
	return s
}

// burst counts a use for a rate.
func (y *tally) burst(t *grant.Terms, now time.Time) {
	rate := rateOf(t)
	end := now.Add(rate)
	if t.Rate.Uses > exactRate {
		grain := rate / exactRate
		end = end.Truncate(grain).Add(grain)
	}
	if last := len(y.Recent) - 1; last >= 0 && !y.Recent[last].End.Before(end) {
		y.Recent[last].Count++
		return
	}
	y.Recent = append(y.Recent, burst{end, 1})
}

// leaf names a grant's entry in the roster.
func (k *taking) leaf(id tree.GrantID) []byte {
	entry, ok := k.live.Grant(id)
	if !ok {
		return nil
	}
	value, err := signed.Marshal(entry)
	if err != nil {
		return nil // and so it is kept until the grant's end
	}
	leaf := merkle.LeafHash(tree.GrantKey(id), value)
	return leaf[:]
}

// leave gives back what a call has paid for and not used.
func (u *usage) leave(c *call) {
	if !u.refund(c) {
		return
	}
	if err := u.save(); err != nil { // then the caller has lost what it had paid
		u.log.Warn("what a stream did not use is not given back", "error", err)
	}
}

// refund ends the shares of a call, and reports whether it had paid for any. The call is given no others.
func (u *usage) refund(c *call) (paid bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c.left = true; !c.shares {
		return false
	}
	for _, y := range u.of {
		s := y.shares[c]
		if s == nil {
			continue
		}
		delete(y.shares, c)
		if s.paid > 0 {
			y.Time += max(time.Since(s.since), leastUse)
			y.changed, paid = true, true
		}
	}
	return paid
}

// save writes what has changed.
func (u *usage) save() error {
	u.saving.Lock()
	defer u.saving.Unlock()
	u.mu.Lock()
	changes, changed, err := u.changes()
	u.mu.Unlock()
	if err != nil || len(changes) == 0 { // somebody else has written it along with its own
		return err
	}
	err = u.db.Save(context.Background(), changes)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, y := range changed {
		y.written, y.changed = false, y.changed || err != nil
	}
	if err != nil {
		return fmt.Errorf("kindred: writing down what was used: %w", err)
	}
	return nil
}

// changes returns what is to be written, and marks it as being so. The caller holds mu.
func (u *usage) changes() (map[string][]byte, []*tally, error) {
	changes, changed := map[string][]byte{}, []*tally{}
	for id, y := range u.of {
		if !y.changed {
			continue
		}
		disk := *y
		for _, s := range y.shares {
			disk.Time += s.paid
		}
		data, err := json.Marshal(disk)
		if err != nil {
			return nil, nil, err
		}
		changes[usageKey(id)], changed = data, append(changed, y)
	}
	for _, y := range changed {
		y.changed, y.written = false, true
	}
	return changes, changed, nil
}

// forget drops the tallies of grants that cannot allow anything any more, whatever the node's clock is set to: those
// that had ended when the tree was last proved to stand, and those that were taken away long before.
func (u *usage) forget(ctx context.Context, t credential.Trusted) error {
	u.saving.Lock()
	defer u.saving.Unlock()
	asOf := t.AsOf()
	changes := map[string][]byte{}
	err := u.db.Scan(ctx, usagePrefix, func(key string, value []byte) error {
		var y tally
		if err := json.Unmarshal(value, &y); err != nil {
			return fmt.Errorf("kindred: reading %s: %w", key, err)
		}
		gone := time.Unix(y.Gone, 0)
		switch {
		case y.Until != 0 && asOf.After(time.Unix(y.Until, 0).Add(credential.MaxSkew)),
			y.Gone != 0 && asOf.After(gone.Add(keepGone)):
			changes[key] = nil
		case y.Gone == 0 && len(y.Leaf) == len(merkle.Hash{}) && t.Revoked(merkle.Hash(y.Leaf)):
			y.Gone = asOf.Unix()
			var err error
			if changes[key], err = json.Marshal(y); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || len(changes) == 0 {
		return err
	}
	u.mu.Lock()
	for key := range changes {
		id, err := tree.ParseGrantID(strings.TrimPrefix(key, usagePrefix))
		if y := u.of[id]; err == nil && y != nil && (len(y.shares) > 0 || y.changed) {
			delete(changes, key) // it is in use
		} else if err == nil {
			delete(u.of, id)
		}
	}
	u.mu.Unlock()
	return u.db.Save(ctx, changes)
}
