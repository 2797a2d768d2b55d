package keeper

import (
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// maxGiven is how many live grants somebody who is no owner has given, or let others give, at most. Each takes room in the
// roster, and its end a place in the list of what was taken away.
const maxGiven = 64

// openGrant reads a grant, and checks who signed it.
func (k *Keeper) openGrant(raw []byte) (grant.Opened, error) {
	return grant.OpenAny(raw, func(of identity.TreeID, chain [][]byte, at time.Time) (identity.Chain, error) {
		if of != k.signer.tree {
			return k.verifyVisitor(of, chain, at)
		}
		return identity.Verify(chain, k.signer.tree, k.signer.charter.RootCertificate(), at)
	})
}

// checkGiver checks that a live leaf, which signed a grant, may give it: as an owner's app, or because it passes on a live
// grant as that allows. What that one passes on is live too, and was checked when it was admitted. The caller holds the
// turn.
func (k *Keeper) checkGiver(by identity.Chain, o grant.Opened) error {
	t := o.Terms()
	if t.Parent.IsZero() {
		return k.checkOwner(by)
	}
	parent, ok := k.state.Stated(t.Parent)
	if !ok {
		return denied("what grant %s passes on is %v", t.ID, ErrNotLive)
	}
	above, err := k.openGrant(parent.Raw)
	if err != nil {
		return err
	}
	if err := o.Under(above); err != nil {
		return denied("%v", err)
	}
	thing, ok := k.state.Member(t.Thing.Member)
	if whole := above.Terms(); !ok || !whole.On(thing.Chain) {
		return denied("grant %s is about something else than what it passes on", t.ID)
	}
	if err := k.checkTrees(t); err != nil {
		return err
	}
	if by.Owner() && by.ID.Tree == k.signer.tree {
		return nil
	}
	me := maker{Tree: by.ID.Tree, Member: t.Giver}
	answerable := append(k.makers(parent.ID), me)
	if err := k.checkRoom(answerable); err != nil {
		return err
	}
	return k.checkGiven(answerable)
}

// checkGiven checks that these may have one more grant that they gave, or that rests on one they gave. The caller holds
// the turn.
func (k *Keeper) checkGiven(makers []maker) error {
	given := map[maker]int{}
	for id, p := range k.parties {
		if p.parent.IsZero() {
			continue // an owner's
		}
		for _, m := range k.makers(id) {
			given[m]++
		}
	}
	for _, m := range makers {
		if n := given[m]; n >= maxGiven {
			return denied("%s has passed on %d grants, with those that others give under them: the most there may be at a time", k.nameOf(m), n)
		}
	}
	return nil
}

// leftBehind returns what a member that is admitted at another path than it has now has passed on. Grants to everyone
// below a member, or in a place, were for it where it was.
func (k *Keeper) leftBehind(admitted identity.Chain) (grants []tree.Admitted) {
	old, ok := k.state.Member(admitted.Member())
	if !ok || old.Path() == admitted.ID.Path {
		return nil
	}
	for g := range k.state.Grants() {
		if p := k.parties[g.ID]; p.giver == admitted.Member() && !p.parent.IsZero() {
			grants = append(grants, g)
		}
	}
	return grants
}

// takeBack completes a change that takes away the event's grants: with each goes what passes it on. The caller holds the
// turn.
func (k *Keeper) takeBack(u *tree.Update, event *Event) {
	event.Grants = k.resting(event.Grants)
	for _, g := range event.Grants {
		u.Revoke = append(u.Revoke, g.ID)
	}
}

// resting returns grants, each once, and all that rest on them: that pass them on, or pass on what does. The caller holds
// the turn or mu.
func (k *Keeper) resting(grants []tree.Admitted) (all []tree.Admitted) {
	seen := map[tree.GrantID]bool{}
	for len(grants) > 0 {
		statements := map[signed.Digest]bool{}
		for _, g := range grants {
			if !seen[g.ID] {
				seen[g.ID], statements[g.Statement] = true, true
				all = append(all, g)
			}
		}
		grants = nil
		for g := range k.state.Grants() {
			if statements[k.parties[g.ID].parent] {
				grants = append(grants, g)
			}
		}
	}
	return all
}

// Resting returns a live grant, first, and all that rest on it: that pass it on, or pass on what does.
func (k *Keeper) Resting(id tree.GrantID) []tree.Admitted {
	k.mu.RLock()
	defer k.mu.RUnlock()
	g, ok := k.state.Grant(id)
	if !ok {
		return nil
	}
	return k.resting([]tree.Admitted{g})
}

// Chain returns a live grant, first, and what it passes on, up to what an owner gave.
func (k *Keeper) Chain(id tree.GrantID) (chain []tree.Admitted) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for g, ok := k.state.Grant(id); ok; g, ok = k.state.Stated(k.parties[g.ID].parent) {
		chain = append(chain, g)
	}
	return chain
}
