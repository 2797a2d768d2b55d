package keeper

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Errors that callers tell apart. Any other error of a request means that what was asked for is wrong in itself, or
// comes from the store or the ledger.
var (
	// ErrDenied says that whoever asks has no right to what they ask for.
	ErrDenied = errors.New("not allowed")
	// ErrNotLive says that a member or grant named in a request is not in the roster.
	ErrNotLive = errors.New("not in the roster")
	// ErrGone says that a member or grant was taken away and does not come back under its ID.
	ErrGone = errors.New("taken away before; a new one needs a new ID")
	// ErrBehind says that newer heads of this keeper exist than the store has. It can neither sign nor prove until the
	// newer state is restored.
	ErrBehind = errors.New("the roster was restored from an old copy")
	// ErrNotMade says that the store holds no roster: it must be made with Create.
	ErrNotMade = errors.New("no roster was made here")
	// ErrExists says that the store holds a roster already: use Open.
	ErrExists = errors.New("there is a roster already")
)

// A Config says what a keeper works with. Store, Ledger and Key are required.
type Config struct {
	Store   Store
	Ledger  Ledger
	Key     crypto.Signer     // the keeper key that the charter names
	Gateway identity.MemberID // the device that may admit devices and places below its place; zero: none
	Clock   func() time.Time  // time.Now if nil
	Log     *slog.Logger      // nothing is logged if nil
	// Notify is called by Run with one event after the other. Changes wait for no call of it; one that takes long
	// delays the events that follow.
	Notify func(Event)
}

// A Keeper writes the roster of one tree. Use Open to get one. Its methods may be called from several goroutines.
type Keeper struct {
	store   Store
	ledger  Ledger
	signer  signer
	gateway identity.MemberID
	clock   func() time.Time
	log     *slog.Logger
	notify  func(Event)

	running atomic.Bool   // Run is
	more    chan struct{} // capacity 1: there is something in the outbox
	events  mailbox

	turn  chan struct{} // capacity 1: holds a value while somebody changes the roster
	doubt *step         // of the turn's holder: a change that may be on disk or not

	mu          sync.RWMutex
	state       *tree.State // changed only with both turn and mu, and so are newest, parties, gone, letIn, owns, rendezvous, consents, classes, withdrawn, taken
	newest      *moment
	moments     []*moment // from the newest recorded head, or the first since Open, up to the newest
	outbox      []item    // not recorded, by sequence
	sent        []string  // keys of recorded transactions that are in the store yet
	recorded    uint64    // sequence of the newest head that the ledger has
	progress    chan struct{}
	trouble     error // why the ledger does not take the first of the outbox
	behind      error // why nothing is signed any more
	parties     map[tree.GrantID]parties
	abroad      map[tree.GrantID]parties // of these, those that concern members of other trees
	gone        map[merkle.Hash]bool
	letIn       map[identity.MemberID]letIn // of members that are gone
	owns        map[string]own              // what leaves signed about themselves, by its key in the store
	rendezvous  []byte
	consents    consents
	classes     map[classKey]Class
	withdrawn   map[tree.GrantID]agreement.Agreement
	taken       map[maker]taken
	checkpoints map[identity.MemberID]tree.Checkpoint // for the next head
}

// parties are whom a grant concerns, and what it passes on.
type parties struct {
	giver, subject, thing identity.MemberID // zero: of another tree, whose IDs say nothing here
	parent                signed.Digest     // zero: nothing
	trees                 []identity.TreeID // other trees whose members are among them
}

// touches reports whether one of the parties is among these members.
func (p parties) touches(members map[identity.MemberID]bool) bool {
	return members[p.giver] || members[p.subject] || members[p.thing]
}

// Charter returns the tree's charter.
func (k *Keeper) Charter() tree.Ruled { return k.signer.charter }

// View calls read with the roster, which does not change meanwhile. read must not keep it, nor call the keeper.
func (k *Keeper) View(read func(*tree.State)) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	read(k.state)
}

// Head returns the newest head, signed, its revocation list, and its sequence. The ledger may not have it yet.
func (k *Keeper) Head() (head, list []byte, sequence uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.newest.raw, k.newest.list, k.newest.head.Sequence
}

// Checkpoint has the roster say, from the next head on, where the journal of a member stands. It causes no head of its
// own, so what is handed in may be lost in a crash before one: hand in the newest again after a start. A checkpoint
// smaller than one handed in before is ignored.
func (k *Keeper) Checkpoint(member identity.MemberID, c tree.Checkpoint) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, live := k.state.Member(member); live && c.Size >= k.checkpoints[member].Size {
		k.checkpoints[member] = c
	}
}

// Seen tells the keeper of a signed head that somebody has, whoever it is: only the keeper key can have signed it. If
// it is none of this roster's past, the roster was restored from an old copy: the error is ErrBehind, and so is that
// of every change from then on, after a restart too.
func (k *Keeper) Seen(ctx context.Context, raw []byte) error {
	head, digest, err := tree.OpenHead(raw, k.signer.tree, k.signer.key.Public())
	if err != nil {
		return fmt.Errorf("keeper: being shown a head: %w", err)
	}
	end, err := k.take(ctx)
	if err != nil {
		return fmt.Errorf("keeper: being shown head %d: %w", head.Sequence, err)
	}
	defer end()
	if !k.foreign(head.Sequence, digest) {
		return nil
	}
	err = k.fallBehind(head.Sequence, "somebody has")
	if saveErr := k.store.Save(ctx, map[string][]byte{seenKey: raw}); saveErr != nil {
		err = errors.Join(err, saveErr)
	}
	return fmt.Errorf("keeper: being shown head %d: %w", head.Sequence, err)
}

// foreign reports whether a head, signed with the keeper key, is none of this roster's past. Of heads long past that
// cannot be told, and is taken for granted.
func (k *Keeper) foreign(sequence uint64, digest signed.Digest) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if sequence > k.newest.head.Sequence {
		return true
	}
	for _, m := range k.moments {
		switch sequence {
		case m.head.Sequence:
			return m.digest != digest
		case m.head.Sequence - 1:
			return m.head.Previous != digest
		}
	}
	return false
}

// fallBehind stops all signing, because a head of this keeper exists that is not the roster's.
func (k *Keeper) fallBehind(sequence uint64, who string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.behind == nil {
		k.behind = fmt.Errorf("%w: it ends in head %d, and %s another head %d signed with the keeper key",
			ErrBehind, k.newest.head.Sequence, who, sequence)
		k.log.Error("the roster was restored from an old copy: nothing will be signed", "err", k.behind)
		k.advanced()
	}
	return k.behind
}

// begin waits for the turn to change the roster. The caller ends it.
func (k *Keeper) begin(ctx context.Context) (end func(), err error) {
	end, err = k.take(ctx)
	if err != nil {
		return nil, err
	}
	k.mu.RLock()
	err = k.behind
	k.mu.RUnlock()
	if err == nil {
		err = k.settle(ctx)
	}
	if err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// take waits for the turn.
func (k *Keeper) take(ctx context.Context) (end func(), err error) {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	end = func() { <-k.turn }
	if ctx.Err() != nil { // select picks any case that is ready
		end()
		return nil, context.Cause(ctx)
	}
	return end, nil
}

// now returns the time for a change: that of the clock, and never before the newest head's.
func (k *Keeper) now() time.Time {
	now, last := k.clock(), time.Unix(k.newest.head.Time, 0)
	if now.Before(last) {
		return last
	}
	return now
}
