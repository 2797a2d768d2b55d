package keeper

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// What a stolen app made goes with it, also what it made by way of somebody that it let in and took off the tree again. So
// who let in a member, and when, is kept when its entry is gone, for as long as the home.

// letIn is who asked for a member, and since when it was there.
type letIn struct {
	By    identity.MemberID `cbor:"1,keyasint"`
	Since int64             `cbor:"2,keyasint"` // Unix time, seconds
}

// noteLetIn puts into s who let in the members that it takes away. The caller holds the turn.
func (k *Keeper) noteLetIn(s *step) error {
	s.letIn = map[identity.MemberID]letIn{}
	for _, c := range s.event.Members {
		e, _ := k.state.Member(c.Member())
		made := letIn{e.By, e.Since}
		raw, err := signed.Marshal(made)
		if err != nil {
			return err
		}
		s.letIn[c.Member()], s.records[letInPrefix+c.Member().String()] = made, raw
	}
	return nil
}

// allGone returns of all members that are gone who let them in. The caller holds the turn or mu.
func (k *Keeper) allGone() (all []tree.Making) {
	for id, made := range k.letIn {
		all = append(all, tree.Making{By: made.By, Since: made.Since, Gone: id})
	}
	return all
}

// GoneMakers returns, of the members that are gone and made something that is in the roster, or let in who did, who let them
// in: in the order of their IDs.
func (k *Keeper) GoneMakers() []tree.Making {
	k.mu.RLock()
	defer k.mu.RUnlock()
	made := map[identity.MemberID]bool{} // something
	for e := range k.state.Members() {
		made[e.By] = true
	}
	for g := range k.state.Grants() {
		made[g.By] = made[g.By] || g.GiverTree.IsZero()
		for _, second := range g.Seconds {
			made[second.By] = true
		}
	}
	for o := range k.state.Recognitions() {
		made[o.By] = true
	}
	all := k.allGone()
	var found []tree.Making
	for grown := true; grown; {
		grown = false
		all = slices.DeleteFunc(all, func(m tree.Making) bool {
			if !made[m.Gone] {
				return false
			}
			found, made[m.By], grown = append(found, m), true, true
			return true
		})
	}
	slices.SortFunc(found, func(a, b tree.Making) int { return bytes.Compare(a.Gone[:], b.Gone[:]) })
	return found
}

func (k *Keeper) restoreLetIn(ctx context.Context) error {
	return k.store.Scan(ctx, letInPrefix, func(name string, value []byte) error {
		id, err := identity.ParseMemberID(strings.TrimPrefix(name, letInPrefix))
		var made letIn
		if err == nil {
			err = signed.Unmarshal(value, &made)
		}
		if err != nil {
			return fmt.Errorf("record %q: %w", name, err)
		}
		k.letIn[id] = made
		return nil
	})
}
