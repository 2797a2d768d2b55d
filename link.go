package kindred

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/tree"
)

// link is what the node knows of its way to the gateway.
type link struct {
	mu      sync.Mutex
	heard   time.Time // when the gateway was last heard of
	failed  time.Time // when it was last tried in vain
	pokes   chan struct{}
	moved   chan struct{} // the node's addresses have changed
	inTouch chan struct{} // closed once the gateway has told the node how the tree stands
	told    sync.Once     // closes inTouch
	found   chan struct{} // closed once the gateway knows of a relay at which the node is found, if there is to be one
	placed  sync.Once     // closes found
	dated   int64         // when the last address record was made, in seconds
	replica int64         // entries of the node's journal that the gateway has; -1: not known
	full    time.Time     // when the gateway had no room for more of it, by a clock that nobody sets
}

// isolation is how recent a failed try must be for the node to count as isolated.
const isolation = time.Minute

// tried notes what came of asking the gateway.
func (l *link) tried(now time.Time, err error) {
	var answered *control.Error
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil || errors.As(err, &answered) {
		l.heard = now
	} else {
		l.failed = now
	}
}

// isolated reports whether the gateway was tried within the last minute, in vain, and not heard of since.
func (n *Node) isolated() bool {
	n.link.mu.Lock()
	defer n.link.mu.Unlock()
	return n.link.failed.After(n.link.heard) && n.cfg.Clock().Sub(n.link.failed) < isolation
}

// poke says that there is something to hand in: journal entries, a revocation.
func (l *link) poke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pokes == nil {
		return
	}
	select {
	case l.pokes <- struct{}{}:
	default:
	}
}

func (l *link) open() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pokes, l.replica = make(chan struct{}, 1), -1
	return l.pokes
}

// keepUp keeps the node in touch with its gateway until ctx ends.
//
//	         announced, watching
//	away ──────────────────────────▶ in touch
//	 ▲                                   │ handing in notices and journal when poked
//	 └───────────── lost ────────────────┘
func (n *Node) keepUp(ctx context.Context) {
	pokes := n.link.open()
	wait := firstRetry
	for ctx.Err() == nil {
		err := n.inTouch(ctx, pokes, func() { wait = firstRetry })
		if ctx.Err() != nil {
			return
		}
		n.link.tried(n.cfg.Clock(), err)
		n.log.Info("the gateway is out of reach", "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, lastRetry)
	}
}

// roomAfter is how long a node keeps to itself what the gateway has no room for, before it hands it in again.
const roomAfter = time.Minute

// room tells when it is time to hand in again what there was no room for; nil if there was.
func (l *link) room() <-chan time.Time {
	if l.full.IsZero() {
		return nil
	}
	return time.After(time.Until(l.full.Add(roomAfter)))
}

// gather is how long what is to be handed in waits for more.
const gather = 100 * time.Millisecond

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// relayPatience is how long InTouch waits for a relay. A node without it is in touch all the same, and found where it is.
const relayPatience = 3 * time.Second

// InTouch waits until the node and its gateway know of each other what they need: the gateway where the node can be
// reached, also from elsewhere where the home has relays and one of them answers, the node how the tree stands and, for
// HTTPS, what its names are. It fails when ctx ends before; a node that listens goes on trying.
func (n *Node) InTouch(ctx context.Context) error {
	if len(n.cfg.Listen) == 0 {
		return n.Refresh(ctx)
	}
	ready := []<-chan struct{}{n.link.inTouch}
	if n.https != nil {
		ready = append(ready, n.https.own.ready)
	}
	for _, c := range ready {
		select {
		case <-c:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case <-n.link.found:
	case <-time.After(relayPatience):
	case <-ctx.Done():
	}
	return nil
}

// inTouch announces the node and watches the gateway until that fails.
func (n *Node) inTouch(ctx context.Context, pokes <-chan struct{}, up func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	told, err := n.announce(ctx)
	if err != nil {
		return err
	}
	n.link.tried(n.cfg.Clock(), nil)
	up()
	var hand sync.WaitGroup
	defer hand.Wait()
	defer cancel(nil)
	hand.Go(func() {
		for {
			select {
			case <-n.link.moved:
				if slices.Equal(n.host.Addresses(), told) {
					continue
				}
				var err error
				if told, err = n.announce(ctx); err != nil {
					cancel(err)
					return
				}
			case <-ctx.Done():
				return
			}
		}
	})
	hand.Go(func() {
		for {
			if err := n.handIn(ctx); err != nil {
				cancel(err)
				return
			}
			select {
			case <-pokes:
			case <-n.link.room():
			case <-ctx.Done():
				return
			}
			select { // what else comes now goes with it
			case <-time.After(gather):
			case <-ctx.Done():
				return
			}
		}
	})
	err = n.home.Watch(ctx, func(e control.Event) error {
		n.link.tried(n.cfg.Clock(), nil)
		return n.heed(ctx, e)
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// dates waits until an address record can be made that is newer than the last: they are dated in seconds.
func (l *link) dates(ctx context.Context, clock func() time.Time) error {
	l.mu.Lock()
	last := l.dated
	l.mu.Unlock()
	if wait := time.Unix(last+1, 0).Sub(clock()); wait > 0 && wait <= time.Second {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// announced notes when an address record was made.
func (l *link) announced(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dated = at.Unix()
}

// announce tells the gateway where the node can be reached, and learns where the gateway can. It returns what was told.
func (n *Node) announce(ctx context.Context) (addresses []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := n.link.dates(ctx, n.cfg.Clock); err != nil {
		return nil, err
	}
	n.link.announced(n.cfg.Clock())
	addresses = n.host.Addresses()
	raw, err := n.addressRecord(addresses)
	if err != nil {
		return nil, err
	}
	found, err := n.home.Announce(ctx, raw)
	if err != nil {
		return nil, err
	}
	c, err := n.contactOf(found, n.cfg.Clock())
	if err != nil || c.Member() != n.gateway.Member {
		return nil, errors.Join(err, errors.New("the gateway named somebody else as itself"))
	}
	n.follow(c.Relays)
	if len(n.host.Reach().Relays) == 0 || slices.ContainsFunc(addresses, peer.IsRelayed) {
		n.link.placed.Do(func() { close(n.link.found) })
	}
	return addresses, n.remember(ctx, found, c)
}

// heed acts on an event.
func (n *Node) heed(ctx context.Context, e control.Event) error {
	if e.Notice != nil {
		leaf, err := n.obey(ctx, e.Notice)
		if err != nil {
			n.log.Warn("a revocation was not obeyed", "error", err)
			return nil
		}
		n.calls.recheck() // before saying that it is obeyed
		return n.home.Obeyed(ctx, leaf[:])
	}
	if e.Ending != nil && n.self.Kind() != identity.Device {
		id, err := tree.ParseGrantID(e.Ending.Grant)
		if err != nil {
			n.log.Warn("news from the gateway cannot be read", "error", err)
			return nil
		}
		n.endings.add(id, e.Ending.Notice)
		return nil
	}
	if e.Evidence != nil {
		if err := n.keep(ctx, identity.MemberID{}, *e.Evidence); err != nil && ctx.Err() == nil {
			n.log.Warn("news from the gateway do not verify", "error", err)
			return nil
		}
		n.compareRecipient(ctx, *e.Evidence)
		if err := n.obeyDemands(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("a demand for deletion is not answered", "error", err)
		}
		n.link.told.Do(func() { close(n.link.inTouch) })
	}
	return nil
}

// handIn gives the gateway what it does not have: revocations that arrived here first, and the journal.
func (n *Node) handIn(ctx context.Context) error {
	notices, err := n.notices(ctx)
	if err != nil {
		return err
	}
	if err := n.deliver(ctx, notices); err != nil {
		return err
	}
	return n.handInJournal(ctx)
}

// handInJournal gives the gateway a copy of the journal; what it has no room for, later. Apps keep theirs to themselves: it
// is their people's own account of what things tell of too, and the gateway has a checkpoint of it.
func (n *Node) handInJournal(ctx context.Context) error {
	if n.self.Kind() == identity.App {
		return n.handInCheckpoint(ctx)
	}
	if !n.link.full.IsZero() && time.Since(n.link.full) < roomAfter {
		return nil
	}
	n.link.full = time.Time{}
	for n.link.replica != refusedReplica {
		var b control.Batch
		if n.link.replica >= 0 {
			size, _, err := n.journal.Have(ctx)
			if err != nil {
				return err
			}
			if size == n.link.replica {
				return nil
			}
			// Where the gateway has more, some were lost here: it is shown what came in their place.
			batch, err := n.journal.Since(ctx, n.cfg.Clock(), max(0, min(n.link.replica, size-1)))
			if err != nil {
				return err
			}
			if b.Batch, err = batch.Marshal(); err != nil {
				return err
			}
		}
		got, err := n.home.Record(ctx, b)
		var answer *control.Error
		if errors.As(err, &answer) && answer.Code == control.Conflict {
			n.link.replica = refusedReplica
			return n.forked(ctx, err)
		}
		if answer != nil && answer.Code == control.Later {
			n.link.full = time.Now()
			n.log.Warn("the gateway has no room for more of the journal: it stays here until it has", "error", err)
			return nil
		}
		if err != nil {
			return err
		}
		if err := n.compare(ctx, got.Size); err != nil {
			return err
		}
		if size := n.link.replica; size >= 0 && got.Size <= size {
			return nil
		}
		n.link.replica = got.Size
	}
	return nil
}

// refusedReplica says that the gateway takes no more of this journal.
const refusedReplica = -2

// handInCheckpoint binds the node to what is in its journal, without showing it.
func (n *Node) handInCheckpoint(ctx context.Context) error {
	size, _, err := n.journal.Have(ctx)
	if err != nil || size == n.link.replica {
		return err
	}
	checkpoint, err := n.journal.Checkpoint(ctx, n.cfg.Clock())
	if err != nil {
		return err
	}
	if _, err := n.home.Record(ctx, control.Batch{Checkpoint: checkpoint}); err != nil {
		return err
	}
	n.link.replica = size
	return nil
}

// deliver hands revocations to the gateway. One that it will not have is dropped here too.
func (n *Node) deliver(ctx context.Context, notices map[merkle.Hash][]byte) error {
	for leaf, raw := range notices {
		_, err := n.home.Revoke(ctx, raw)
		var answer *control.Error
		switch {
		case err == nil:
		case errors.As(err, &answer) && slices.Contains([]control.Code{control.Refused, control.Invalid}, answer.Code):
			n.log.Warn("the gateway does not accept a revocation", "error", err)
			if err := n.dropped(ctx, leaf, raw); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}
