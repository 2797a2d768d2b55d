package kindred

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/tree"
)

// clockFloor is a moment before which no clock that was set can stand.
var clockFloor = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// keepTime is how much later it is proved to be before that alone is written to the disk: a clock that is set back while
// the node is off can be behind by so much, unnoticed.
const keepTime = 10 * time.Minute

// trust is what the node remembers of its own tree, on disk before anything is served on it.
type trust struct {
	db *store.DB

	mu      sync.Mutex
	known   credential.Trusted
	kept    time.Time     // as of when it is on disk
	version uint64        // counts the changes of known
	moved   time.Duration // what a block of the ledger added to a clock that was not set; 0: nothing did
	changed func()        // called when the roster changed; must not wait
}

func trustedKey(tree identity.TreeID) string { return "trusted/" + tree.String() }

func (t *trust) load(ctx context.Context, db *store.DB, id identity.TreeID) error {
	t.db = db
	data, err := db.Load(ctx, trustedKey(id))
	if err != nil {
		return err
	}
	if data == nil {
		return fmt.Errorf("nothing is kept of tree %s", id)
	}
	t.known, err = credential.ParseTrusted(data)
	t.kept = t.known.AsOf()
	return err
}

func (t *trust) snapshot() credential.Trusted {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known
}

func (t *trust) versioned() (credential.Trusted, uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known, t.version
}

func (t *trust) tree() identity.TreeID { return t.snapshot().Tree }
func (t *trust) charter() tree.Ruled   { return t.snapshot().Charter() }

// now returns the time, or the zero time if the clock was not set since boot: then nothing is fresh. A clock that
// stands before the newest block it saw was not set either.
func (t *trust) now(clock func() time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nowLocked(clock())
}

func (t *trust) nowLocked(now time.Time) time.Time {
	newest := t.known.AsOf()
	if now.Before(clockFloor) || now.Before(newest.Add(-credential.MaxSkew)) {
		if t.moved == 0 {
			return time.Time{}
		}
		return now.Add(t.moved)
	}
	return now
}

// update works what verify learns into what is trusted. It is repeated if another update came between, and on disk
// before it returns.
func (t *trust) update(ctx context.Context, clock func() time.Time, verify func(credential.Trusted, time.Time) (credential.Trusted, error)) error {
	for {
		before, version := t.versioned()
		now := t.now(clock)
		after, err := verify(before, now)
		if err != nil {
			return err
		}
		done, err := t.commit(ctx, before, version, after, clock())
		if done || err != nil {
			return err
		}
	}
}

func (t *trust) commit(ctx context.Context, before credential.Trusted, version uint64, after credential.Trusted, clock time.Time) (done bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.nowLocked(clock).IsZero() && !after.AsOf().IsZero() {
		t.moved = after.AsOf().Sub(clock)
	}
	grown := after.Sequence() != before.Sequence() || len(after.Struck()) != len(before.Struck())
	if !grown && after.AsOf().Equal(before.AsOf()) {
		return true, nil // nothing was learnt
	}
	if t.version != version {
		return false, nil
	}
	if grown || after.AsOf().Sub(t.kept) >= keepTime {
		data, err := after.Marshal()
		if err != nil {
			return false, err
		}
		if err := t.db.Save(ctx, map[string][]byte{trustedKey(after.Tree): data}); err != nil {
			return false, err
		}
		t.kept = after.AsOf()
	}
	t.known, t.version = after, version+1
	if grown && t.changed != nil {
		t.changed()
	}
	return true, nil
}

// verify checks a proof of the node's own tree and learns from it.
func (n *Node) verify(ctx context.Context, p credential.Proof) (credential.Live, error) {
	var live credential.Live
	err := n.trust.update(ctx, n.cfg.Clock, func(t credential.Trusted, now time.Time) (next credential.Trusted, err error) {
		live, next, err = credential.VerifyProof(p, t, now)
		return next, err
	})
	return live, err
}

// obey takes a revocation for true before any head confirms it, if its signer was entitled to it. It is kept, to be
// handed to the gateway, until a head names it.
func (n *Node) obey(ctx context.Context, raw []byte) (merkle.Hash, error) {
	notice, err := credential.ParseNotice(raw)
	if err != nil {
		return merkle.Hash{}, err
	}
	n.noticing.Lock() // or what is kept here is settled before it is struck
	defer n.noticing.Unlock()
	var pending credential.Pending
	err = n.trust.update(ctx, n.cfg.Clock, func(t credential.Trusted, now time.Time) (credential.Trusted, error) {
		p, next, err := credential.VerifyNotice(notice, t, now)
		if err == nil && p.Member == n.gateway.Member && !p.Member.IsZero() {
			err = errors.New("it takes away the gateway, of which nobody would hear any more that it was wrong")
		}
		if err != nil {
			return t, err
		}
		if err := n.checkDropped(ctx, p); err != nil {
			return t, err
		}
		if !next.Revoked(p.Leaf) {
			if err := n.db.Save(ctx, map[string][]byte{noticeKey(p.Leaf): raw}); err != nil {
				return t, err
			}
		}
		pending = p
		return next.Strike(p), nil
	})
	return pending.Leaf, err
}

// Confirmed reports whether the home has put on record what a report of Revoke is about: whether a head names it. It asks
// the gateway, which could say that it obeys and do nothing.
func (n *Node) Confirmed(ctx context.Context, r control.Report) (bool, error) {
	if len(r.Leaf) != len(merkle.Hash{}) {
		return false, errors.New("kindred: asking whether the home has it on record: the report names nothing")
	}
	if n.isolated() {
		return false, fmt.Errorf("kindred: asking whether the home has it on record: %w", peer.ErrUnreachable)
	}
	ctx, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	if err := n.Refresh(ctx); err != nil {
		return false, err
	}
	return !slices.Contains(n.trust.snapshot().Struck(), merkle.Hash(r.Leaf)), nil
}

// An Unconfirmed is something that the node took away, or was told of, and that no head has named.
type Unconfirmed struct {
	tree.Revocation
	At time.Time
}

// Unconfirmed returns what was taken away and is not on the home's record, the oldest first.
func (n *Node) Unconfirmed(ctx context.Context) (open []Unconfirmed, err error) {
	notices, err := n.notices(ctx)
	if err != nil {
		return nil, err
	}
	for _, raw := range notices {
		var u Unconfirmed
		notice, err := credential.ParseNotice(raw)
		if err != nil {
			return nil, err
		}
		s, err := signed.Parse(notice.Statement)
		if err == nil {
			err = signed.Unmarshal(s.Payload, &u.Revocation)
		}
		if err != nil {
			return nil, fmt.Errorf("kindred: reading what was taken away: %w", err)
		}
		u.At = time.Unix(u.Time, 0)
		open = append(open, u)
	}
	slices.SortFunc(open, func(a, b Unconfirmed) int { return a.At.Compare(b.At) })
	return open, nil
}

func noticeKey(leaf merkle.Hash) string { return noticePrefix + leaf.String() }

const noticePrefix = "notice/"

// notices returns the revocations that no head has confirmed, and forgets those that one has.
func (n *Node) notices(ctx context.Context) (map[merkle.Hash][]byte, error) {
	n.noticing.Lock()
	defer n.noticing.Unlock()
	struck := map[string]merkle.Hash{}
	for _, leaf := range n.trust.snapshot().Struck() {
		struck[noticeKey(leaf)] = leaf
	}
	open, settled := map[merkle.Hash][]byte{}, map[string][]byte{}
	err := n.db.Scan(ctx, noticePrefix, func(key string, value []byte) error {
		if leaf, ok := struck[key]; ok {
			open[leaf] = value
		} else {
			settled[key] = nil
		}
		return nil
	})
	if err == nil && len(settled) > 0 {
		err = n.db.Save(ctx, settled)
	}
	return open, err
}
