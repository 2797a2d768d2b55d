package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/tree"
)

// Prove returns one proof that members, with all above them, grants, and recognitions of other trees are live, from the
// head that is the newest when Prove is called or a later one. Run submits that head to the ledger; Prove waits for it
// as long as ctx lasts.
//
// When the ledger's newest block is older than maxAge, and maxAge not 0, the ledger is asked for a new one, if it is a
// Refresher; otherwise the proof is as old as that block. The error is ErrNotLive if one of the members or grants is
// not live, or one of the trees not recognized.
func (k *Keeper) Prove(ctx context.Context, members []identity.MemberID, grants []tree.GrantID, maxAge time.Duration, others ...identity.TreeID) (credential.Proof, error) {
	p, err := k.prove(ctx, maxAge, func() ([]credential.Entry, error) { return k.entries(members, grants, others) })
	if err != nil {
		return credential.Proof{}, fmt.Errorf("keeper: proving: %w", err)
	}
	return p, nil
}

// ProveJournals proves where the journals of members stood, as far as a head says so, and that those are live who are.
func (k *Keeper) ProveJournals(ctx context.Context, members []identity.MemberID) (credential.Proof, error) {
	p, err := k.prove(ctx, 0, func() ([]credential.Entry, error) {
		live := slices.DeleteFunc(slices.Clone(members), func(id identity.MemberID) bool {
			_, ok := k.state.Member(id)
			return !ok
		})
		entries, err := k.entries(live, nil, nil)
		for _, id := range live {
			if _, ok := k.state.Value(tree.CheckpointKey(id)); ok {
				entries = append(entries, credential.Entry{Journal: id})
			}
		}
		return entries, err
	})
	if err != nil {
		return credential.Proof{}, fmt.Errorf("keeper: proving journals: %w", err)
	}
	return p, nil
}

// prove proves the entries that are asked for with mu held.
func (k *Keeper) prove(ctx context.Context, maxAge time.Duration, entries func() ([]credential.Entry, error)) (credential.Proof, error) {
	_, _, sequence := k.Head()
	refresher, ok := k.ledger.(Refresher)
	refresh := ok && maxAge > 0
	for {
		if err := k.await(ctx, sequence); err != nil {
			return credential.Proof{}, err
		}
		if refresh && k.clock().Sub(k.ledger.Block().Time) > maxAge {
			if err := refresher.Refresh(ctx); err != nil {
				return credential.Proof{}, fmt.Errorf("asking for a new block: %w", err)
			}
			refresh = false
		}
		p, newer, err := k.tryProve(ctx, entries)
		if err == nil || newer == 0 {
			return p, err
		}
		sequence = newer
	}
}

// await waits until the ledger has recorded the head with a sequence.
func (k *Keeper) await(ctx context.Context, sequence uint64) error {
	for {
		k.mu.RLock()
		recorded, progress, behind := k.recorded, k.progress, k.behind
		k.mu.RUnlock()
		if behind != nil {
			return behind
		}
		if recorded >= sequence {
			return nil
		}
		select {
		case <-progress:
		case <-ctx.Done():
			k.mu.RLock()
			defer k.mu.RUnlock()
			return fmt.Errorf("waiting for the ledger to record head %d: %w", sequence, errors.Join(context.Cause(ctx), k.trouble))
		}
	}
}

// tryProve proves from the head that the ledger has now. If something asked for is newer than that head, or the head
// is not kept any more because the ledger has a newer one, newer is the sequence of a head to wait for.
func (k *Keeper) tryProve(ctx context.Context, wanted func() ([]credential.Entry, error)) (_ credential.Proof, newer uint64, _ error) {
	record, block, err := k.ledger.Prove(ctx, k.signer.tree)
	if err != nil {
		return credential.Proof{}, 0, err
	}
	_, recorded, err := record.AppHash(k.signer.tree)
	if err != nil {
		return credential.Proof{}, 0, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	entries, err := wanted()
	if err != nil {
		return credential.Proof{}, 0, err
	}
	newest := k.newest.head.Sequence
	at := k.momentOf(recorded)
	if at < 0 {
		err := fmt.Errorf("the ledger has head %d, which is not of this roster: %w", recorded.Sequence, ErrBehind)
		if recorded.Sequence < k.recorded {
			return credential.Proof{}, newest, err // another proof overtook this one
		}
		return credential.Proof{}, 0, err
	}
	p, err := k.proveAt(at, entries, record, block)
	if errors.Is(err, errLater) {
		return credential.Proof{}, newest, err
	}
	return p, 0, err
}

// momentOf returns the index of the moment that the ledger recorded, -1 if there is none.
func (k *Keeper) momentOf(r ledger.Record) int {
	for i, m := range k.moments {
		if m.head.Sequence == r.Sequence && m.digest == r.Head {
			return i
		}
	}
	return -1
}

// entries returns the entries to be proved, without their values, each once, and the upper ones first.
func (k *Keeper) entries(members []identity.MemberID, grants []tree.GrantID, others []identity.TreeID) ([]credential.Entry, error) {
	var entries []credential.Entry
	seen := map[merkle.Hash]bool{}
	add := func(e credential.Entry) {
		if key := e.Key(); !seen[key] {
			seen[key] = true
			entries = append(entries, e)
		}
	}
	for _, id := range members {
		m, ok := k.state.Member(id)
		if !ok {
			return nil, fmt.Errorf("member %s is %w", id, ErrNotLive)
		}
		for _, link := range m.Chain.Line {
			add(credential.Entry{Member: link.Member})
		}
	}
	for _, id := range grants {
		if _, ok := k.state.Grant(id); !ok {
			return nil, fmt.Errorf("grant %s is %w", id, ErrNotLive)
		}
		add(credential.Entry{Grant: id})
	}
	for _, other := range others {
		if _, ok := k.state.Recognized(other); !ok {
			return nil, fmt.Errorf("tree %s is %w", other, ErrNotLive)
		}
		add(credential.Entry{Other: other})
	}
	return entries, nil
}

var errLater = errors.New("it was admitted after the head that the ledger has")

// proveAt proves entries from a moment.
func (k *Keeper) proveAt(at int, entries []credential.Entry, record ledger.Proof, block light.Proof) (credential.Proof, error) {
	m := k.moments[at]
	p := credential.Proof{
		Charters: [][]byte{k.signer.charter.Raw}, Head: m.raw, Revoked: m.list, Entries: entries, Record: record, Block: block,
	}
	keys := make([]merkle.Hash, len(entries))
	for i := range entries {
		keys[i] = entries[i].Key()
		if entries[i].Value = k.valueAt(at, keys[i]); entries[i].Value == nil {
			return credential.Proof{}, errLater
		}
	}
	if len(keys) == 0 {
		return p, nil
	}
	var err error
	p.Map, err = m.entries.Prove(keys...)
	return p, err
}

// valueAt returns the value that a key had at a moment, nil if it had none.
func (k *Keeper) valueAt(at int, key merkle.Hash) []byte {
	for i := at + 1; i < len(k.moments); i++ {
		if value, ok := k.moments[i].before[key]; ok {
			return value
		}
	}
	value, _ := k.state.Value(key)
	return value
}
