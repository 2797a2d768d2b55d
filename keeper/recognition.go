package keeper

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Recognize admits a signed recognition of another tree, in place of the one there may be, and returns that tree's ID.
// by, the verified leaf that asks, must be the owner's app that signed it. A recognition that replaces another takes
// nothing away. Admitting a live recognition again changes nothing.
func (k *Keeper) Recognize(ctx context.Context, by identity.Chain, raw []byte) (identity.TreeID, error) {
	other, err := k.recognize(ctx, by, raw)
	if err != nil {
		return identity.TreeID{}, fmt.Errorf("keeper: recognizing another tree: %w", err)
	}
	return other, nil
}

func (k *Keeper) recognize(ctx context.Context, by identity.Chain, raw []byte) (identity.TreeID, error) {
	r, signer, err := tree.OpenRecognition(raw, k.signer.tree, func(chain [][]byte, at time.Time) (identity.Chain, error) {
		return identity.Verify(chain, k.signer.tree, k.signer.charter.RootCertificate(), at)
	})
	if err != nil {
		return r.Other, err
	}
	end, err := k.begin(ctx)
	if err != nil {
		return r.Other, err
	}
	defer end()
	if err := k.checkOwner(by); err != nil {
		return r.Other, err
	}
	if signer.Self().Digest != by.Self().Digest {
		return r.Other, denied("%s asks for what %s signed", by.ID.Path, signer.ID.Path)
	}
	if at := time.Unix(r.Time, 0); at.After(k.clock().Add(credential.MaxSkew)) {
		return r.Other, fmt.Errorf("it is dated %s, in the future", at.UTC().Format(time.RFC3339))
	}
	old, ok := k.state.Recognized(r.Other)
	if ok && bytes.Equal(old.Statement, raw) {
		return r.Other, nil
	}
	if ok && r.Time < old.Time {
		return r.Other, fmt.Errorf("it is from before the one of %s", time.Unix(old.Time, 0).UTC().Format(time.RFC3339))
	}
	if err := k.notForgotten(by, raw, r.Other); err != nil {
		return r.Other, err
	}
	return r.Other, k.apply(ctx, tree.Update{By: by.Member(), Recognize: [][]byte{raw}}, Event{})
}

// notForgotten checks that a recognition is not one that was taken away, under whose entry it would come back dead.
func (k *Keeper) notForgotten(by identity.Chain, raw []byte, other identity.TreeID) error {
	value, err := signed.Marshal(tree.Known{Statement: raw, By: by.Member(), Since: k.now().Unix()})
	if err != nil {
		return err
	}
	if k.newest.revocations.Names(merkle.LeafHash(tree.RecognitionKey(other), value)) {
		return fmt.Errorf("this recognition of tree %s: %w", other, ErrGone)
	}
	return nil
}

// across returns the grants that concern members of another tree: who gets them, or gave them.
func (k *Keeper) across(other identity.TreeID) (grants []tree.Admitted) {
	for g := range k.state.Grants() {
		if t, _, err := grant.Parse(g.Raw); err == nil && (t.Subject.Tree == other || t.GiverTree == other) {
			grants = append(grants, g)
		}
	}
	return grants
}

// Across returns the other trees whose members were given something at a thing, or gave it, in the order of their IDs.
func (k *Keeper) Across(thing identity.Chain) (trees []identity.TreeID) {
	above := map[identity.MemberID]bool{}
	for _, l := range thing.Line {
		above[l.Member] = true
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, p := range k.abroad {
		if above[p.thing] {
			trees = append(trees, p.trees...)
		}
	}
	slices.SortFunc(trees, func(a, b identity.TreeID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(trees)
}

// checkSubject checks that there is whom a grant is for, or that their tree is recognized: that is all that is known here
// of its members.
func (k *Keeper) checkSubject(s grant.Subject) error {
	if s.Tree == k.signer.tree {
		if _, ok := k.state.Member(s.Member); !ok {
			return fmt.Errorf("it is for member %s, which is %w", s.Member, ErrNotLive)
		}
		return nil
	}
	if _, ok := k.state.Recognized(s.Tree); !ok {
		return fmt.Errorf("it is for a member of tree %s, which is %w as one that is recognized", s.Tree, ErrNotLive)
	}
	return nil
}

// checkTrees checks through how many trees a chain leads that a grant is to end, which passes on a live one: with the thing's
// own, and that of whom it ends with, as many as a caller can show proofs of. The caller holds the turn.
func (k *Keeper) checkTrees(t grant.Terms) error {
	trees := []identity.TreeID{k.signer.tree}
	add := func(of ...identity.TreeID) {
		for _, id := range of {
			if !slices.Contains(trees, id) {
				trees = append(trees, id)
			}
		}
	}
	add(t.Subject.Tree, t.GivenIn())
	for g, ok := k.state.Stated(t.Parent); ok; g, ok = k.state.Stated(k.parties[g.ID].parent) {
		add(k.parties[g.ID].trees...)
	}
	if len(trees) > credential.MaxProofs {
		return denied("grant %s leads through %d homes, of at most %d", t.ID, len(trees), credential.MaxProofs)
	}
	return nil
}

// GrantByVisitor is Grant for a leaf of another tree, which passes on what it was given: to members of that tree, of this
// one, or of a third that this one recognizes too. Whoever calls it has verified, by a proof of that tree of today, that the leaf is live there.
func (k *Keeper) GrantByVisitor(ctx context.Context, by identity.Chain, raw []byte) (id tree.GrantID, already bool, err error) {
	if id, already, err = k.grant(ctx, by, raw, k.checkVisitor); err != nil {
		return tree.GrantID{}, false, fmt.Errorf("keeper: admitting a visitor's grant: %w", err)
	}
	return id, already, nil
}

// checkVisitor is checkLive for a leaf of another tree, as far as that can be told here. The caller holds the turn.
func (k *Keeper) checkVisitor(by identity.Chain) error {
	if len(by.Line) == 0 || by.ID.Tree == k.signer.tree {
		return denied("%s is no visitor", by.ID)
	}
	if _, ok := k.state.Recognized(by.ID.Tree); !ok {
		return denied("%s is of a tree that is not recognized", by.ID)
	}
	if !by.Kind().Leaf() || k.clock().After(by.NotAfter) {
		return denied("%s is no leaf, or its certificates expired", by.ID)
	}
	return nil
}

// verifyVisitor verifies the certificates of a member of another tree, if that is recognized.
func (k *Keeper) verifyVisitor(of identity.TreeID, chain [][]byte, at time.Time) (identity.Chain, error) {
	var r tree.Recognized
	var ok bool
	k.View(func(s *tree.State) { r, ok = s.Recognized(of) })
	if !ok {
		return identity.Chain{}, denied("tree %s is not recognized", of)
	}
	return credential.VerifyChainIn(r.Recognition, chain, at)
}

// RevokeByVisitor takes back a grant that a leaf of another tree, or whoever it acts for, passed on, with what rests on it.
// It is not told to things on its own, as no member here signed it: they hear of it with the next head. A grant that is not
// there is taken back already.
func (k *Keeper) RevokeByVisitor(ctx context.Context, by identity.Chain, id tree.GrantID) (already bool, err error) {
	fail := func(err error) (bool, error) {
		return false, fmt.Errorf("keeper: taking back a visitor's grant: %w", err)
	}
	end, err := k.begin(ctx)
	if err != nil {
		return fail(err)
	}
	defer end()
	if err := k.checkVisitor(by); err != nil {
		return fail(err)
	}
	g, ok := k.state.Grant(id)
	if !ok {
		return true, nil
	}
	if !g.GivenBy(by, k.signer.tree) {
		return fail(denied("%s did not give grant %s", by.ID, id))
	}
	u, event := tree.Update{By: by.Member()}, Event{Grants: []tree.Admitted{g}}
	k.takeBack(&u, &event)
	if err := k.apply(ctx, u, event); err != nil {
		return fail(err)
	}
	return false, nil
}
