package keeper

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

const (
	maxWithdrawn = 1024     // agreements that were withdrawn; of more the oldest that was answered is forgotten
	maxPapers    = 64 << 10 // bytes of one of them
	maxAnswers   = 8        // of a service to one demand; of more the oldest are forgotten
)

// Withdraw keeps the papers of an agreement whose grant was taken back and that have an owner's demand for deletion, for
// the service to fetch and answer. They are on disk when Withdraw returns nil, and no part of the roster.
func (k *Keeper) Withdraw(ctx context.Context, p agreement.Papers) error {
	if err := k.withdraw(ctx, p); err != nil {
		return fmt.Errorf("keeper: keeping a withdrawal: %w", err)
	}
	return nil
}

func (k *Keeper) withdraw(ctx context.Context, p agreement.Papers) error {
	p.Root, p.Answers = k.signer.charter.RootCertificate().Raw, nil
	a, err := p.Open()
	if err != nil {
		return err
	}
	if a.Demand == nil || a.Terms.Tree != k.signer.tree {
		return fmt.Errorf("the papers have no demand, or are of tree %s", a.Terms.Tree)
	}
	_, signer, _, err := agreement.OpenDemand(p.Demand, k.verifyChain)
	if err != nil {
		return err
	}
	end, err := k.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if err := k.checkOwner(signer); err != nil {
		return err
	}
	switch old, ok := k.withdrawn[a.Terms.ID]; {
	case ok && bytes.Equal(old.Papers().Demand, p.Demand), ok && isDone(old):
		return nil
	case !ok && !k.gone[tree.GrantKey(a.Terms.ID)]:
		return fmt.Errorf("grant %s was not taken back", a.Terms.ID)
	case time.Unix(a.Demand.Time, 0).After(k.clock().Add(credential.MaxSkew)):
		return fmt.Errorf("it is dated %s, in the future", time.Unix(a.Demand.Time, 0).UTC().Format(time.RFC3339))
	}
	return k.keepWithdrawn(ctx, a)
}

// isDone reports whether the service said that nothing is left.
func isDone(a agreement.Agreement) bool {
	answer, ok := a.Answer()
	return ok && answer.Done
}

// keepWithdrawn writes down papers, and forgets what is too much. The caller holds the turn.
func (k *Keeper) keepWithdrawn(ctx context.Context, a agreement.Agreement) error {
	value, err := signed.Marshal(a.Papers())
	if err == nil && len(value) > maxPapers {
		err = fmt.Errorf("papers of %d bytes, of at most %d", len(value), maxPapers)
	}
	if err != nil {
		return err
	}
	change := map[string][]byte{withdrawnPrefix + a.Terms.ID.String(): value}
	var forget tree.GrantID
	if _, ok := k.withdrawn[a.Terms.ID]; !ok && len(k.withdrawn) >= maxWithdrawn {
		oldest := int64(0)
		for id, other := range k.withdrawn {
			if answer, _ := other.Answer(); answer.Done && (oldest == 0 || answer.Time < oldest) {
				forget, oldest = id, answer.Time
			}
		}
		if oldest == 0 {
			return fmt.Errorf("%d withdrawals wait for an answer, the most there may be", len(k.withdrawn))
		}
		change[withdrawnPrefix+forget.String()] = nil
	}
	if err := k.store.Save(ctx, change); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.withdrawn, forget)
	k.withdrawn[a.Terms.ID] = a
	return nil
}

// Deleted keeps the answer of a live service to a demand that was made to it. What it has answered before, and anything once
// nothing is left to delete, changes nothing: it is so already.
func (k *Keeper) Deleted(ctx context.Context, by identity.Chain, raw []byte) (id tree.GrantID, already bool, err error) {
	if id, already, err = k.deleted(ctx, by, raw); err != nil {
		return id, false, fmt.Errorf("keeper: keeping the answer to a demand: %w", err)
	}
	return id, already, nil
}

func (k *Keeper) deleted(ctx context.Context, by identity.Chain, raw []byte) (id tree.GrantID, already bool, err error) {
	if len(raw) > maxStatement {
		return id, false, fmt.Errorf("%d bytes, of at most %d", len(raw), maxStatement)
	}
	end, err := k.begin(ctx)
	if err != nil {
		return id, false, err
	}
	defer end()
	if err := k.checkLive(by); err != nil {
		return id, false, err
	}
	for id, a := range k.withdrawn {
		if a.Demand.Service != by.Member() {
			continue
		}
		p := a.Papers()
		demand, _, name, err := agreement.OpenDemand(p.Demand, k.verifyChain)
		if err != nil {
			continue
		}
		answer, err := agreement.OpenDeletion(raw, demand, name, k.verifyChain)
		switch {
		case err != nil:
			continue // to another demand
		case isDone(a), slices.ContainsFunc(p.Answers, func(before []byte) bool { return bytes.Equal(before, raw) }):
			return id, true, nil
		case time.Unix(answer.Time, 0).After(k.clock().Add(credential.MaxSkew)):
			return id, false, fmt.Errorf("it is dated %s, in the future", time.Unix(answer.Time, 0).UTC().Format(time.RFC3339))
		}
		p.Answers = append(slices.Clone(p.Answers), raw)
		p.Answers = p.Answers[max(0, len(p.Answers)-maxAnswers):]
		if a, err = p.Open(); err != nil {
			return id, false, err
		}
		return id, false, k.keepWithdrawn(ctx, a)
	}
	return id, false, fmt.Errorf("nothing of the kind was demanded of %s: %w", by.ID.Path, ErrNotLive)
}

// Withdrawn returns the agreements that were withdrawn, the oldest first: all of them, or those with a service that it
// has yet to do what was demanded.
func (k *Keeper) Withdrawn(service identity.MemberID) (all []agreement.Agreement) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, a := range k.withdrawn {
		if service.IsZero() || a.Demand.Service == service && !isDone(a) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, func(a, b agreement.Agreement) int {
		return cmp.Or(cmp.Compare(a.Demand.Time, b.Demand.Time), bytes.Compare(a.Terms.ID[:], b.Terms.ID[:]))
	})
	return all
}

func (k *Keeper) restoreWithdrawn(ctx context.Context) error {
	return k.store.Scan(ctx, withdrawnPrefix, func(name string, value []byte) error {
		var p agreement.Papers
		err := signed.Unmarshal(value, &p)
		if err == nil {
			var a agreement.Agreement
			if a, err = p.Open(); err == nil && a.Demand != nil {
				k.withdrawn[a.Terms.ID] = a
			}
		}
		if err != nil {
			return fmt.Errorf("record %q: %w", name, err)
		}
		return nil
	})
}
