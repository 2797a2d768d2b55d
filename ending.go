package kindred

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// endings are what the gateway told of grants that end soon, until Endings tells it.
type endings struct {
	mu   sync.Mutex
	wait map[tree.GrantID]int64 // the notice, in seconds
	more chan struct{}          // capacity 1: there is something to tell

	elsewhere, asked map[identity.TreeID]string // tags of other homes in which something ends soon: as last told, and as of when they were asked
}

// maxEndings is how many wait to be told.
const maxEndings = 256

// add notes what the gateway told.
func (es *endings) add(id tree.GrantID, notice int64) {
	es.mu.Lock()
	defer es.mu.Unlock()
	if len(es.wait) >= maxEndings {
		return // it is told again whenever the node comes back
	}
	if es.wait == nil {
		es.wait = map[tree.GrantID]int64{}
	}
	es.wait[id] = notice
	es.poke()
}

func (es *endings) poke() {
	select {
	case es.more <- struct{}{}:
	default:
	}
}

// take removes and returns all that waits.
func (es *endings) take() map[tree.GrantID]int64 {
	es.mu.Lock()
	defer es.mu.Unlock()
	taken := es.wait
	es.wait = nil
	return taken
}

// told is what the node remembers of a grant's notices.
type told struct {
	Notice int64 `cbor:"1,keyasint"` // the last one told, in seconds
	Until  int64 `cbor:"2,keyasint"` // when the grant ends
}

const endingPrefix = "ending/"

// Endings calls each with every grant of the home that ends soon and that the node gave, was given, or as an owner's app
// may take back, and with those of other homes that it was given; see grant.Terms.Notice for when that is. It tells of
// each notice once, and remembers that when each has returned nil: only what it is telling while the process is killed is
// told again. It goes on, also when the gateway comes and goes, until ctx ends, which is no error, or each fails. It can
// run once at a time.
func (n *Node) Endings(ctx context.Context, each func(Roster, RosterGrant) error) error {
	if err := n.forgetEndings(ctx); err != nil {
		return fmt.Errorf("kindred: telling what ends soon: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	if len(n.cfg.Listen) == 0 {
		watch.Go(func() { n.watch(ctx) })
	}
	var again <-chan time.Time // when homes are asked that did not answer
	for {
		select {
		case <-n.endings.more:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		err := n.tellEndings(ctx, each)
		again = nil
		if err == nil {
			var all bool
			if all, err = n.tellElsewhere(ctx, each); !all {
				again = time.After(lastRetry)
			}
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// watch watches the gateway, for a node that does not listen, until ctx ends.
func (n *Node) watch(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		err := n.home.Watch(ctx, func(e control.Event) error {
			wait = firstRetry
			return n.heed(ctx, e)
		})
		n.log.Info("the gateway is out of reach", "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, lastRetry)
	}
}

// tellEndings tells what waits, as far as the roster has it, by which it ends, and as it was not told before.
func (n *Node) tellEndings(ctx context.Context, each func(Roster, RosterGrant) error) error {
	waiting := n.endings.take()
	r, err := n.Roster(ctx)
	if err != nil {
		n.log.Info("what ends soon cannot be looked up", "error", err)
		return n.lookAgain(ctx, waiting)
	}
	for _, g := range r.Grants {
		if err := n.tellEnding(ctx, r, g, waiting[g.Terms.ID], each); err != nil {
			return err
		}
	}
	return nil
}

// tellEnding tells of a grant at a notice, in seconds, if it was not told of that before.
func (n *Node) tellEnding(ctx context.Context, r Roster, g RosterGrant, notice int64, each func(Roster, RosterGrant) error) error {
	now := told{notice, g.Terms.Until}
	if now.Notice <= 0 || g.Terms.Until <= n.cfg.Clock().Unix() {
		return nil
	}
	if ctx.Err() != nil {
		return nil // it is told again
	}
	key := endingPrefix + g.Terms.ID.String()
	if !g.At.Tree.IsZero() {
		key = endingPrefix + g.At.Tree.String() + "/" + g.Terms.ID.String() // whose IDs another home chooses
	}
	before, err := n.toldOf(ctx, key)
	if err != nil {
		return err
	}
	if before.Notice != 0 && before.Notice <= now.Notice {
		return nil
	}
	if err := each(r, g); err != nil {
		return err
	}
	value, err := signed.Marshal(now)
	if err != nil {
		return err
	}
	return n.db.Save(context.WithoutCancel(ctx), map[string][]byte{key: value})
}

// lookAgain waits a while, and has what waits looked up again.
func (n *Node) lookAgain(ctx context.Context, waiting map[tree.GrantID]int64) error {
	select {
	case <-time.After(lastRetry):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for id, notice := range waiting {
		n.endings.add(id, notice)
	}
	return nil
}

func (n *Node) toldOf(ctx context.Context, key string) (t told, err error) {
	value, err := n.db.Load(ctx, key)
	if err != nil || value == nil {
		return t, err
	}
	return t, signed.Unmarshal(value, &t)
}

// forgetEndings forgets what was told of grants that are over.
func (n *Node) forgetEndings(ctx context.Context) error {
	over := map[string][]byte{}
	err := n.db.Scan(ctx, endingPrefix, func(key string, value []byte) error {
		var t told
		if err := signed.Unmarshal(value, &t); err != nil {
			return fmt.Errorf("reading %s: %w", strings.TrimPrefix(key, endingPrefix), err)
		}
		if n.cfg.Clock().Unix() > t.Until {
			over[key] = nil
		}
		return nil
	})
	if err != nil || len(over) == 0 {
		return err
	}
	return n.db.Save(ctx, over)
}
