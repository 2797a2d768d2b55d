package kindred

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// PassOn gives on what the node was given under the grant above, which must be one that may be passed on. What the terms
// leave open is as above says; tree, ID, giver, parent and time are filled in.
func (n *Node) PassOn(ctx context.Context, above RosterGrant, t grant.Terms) (grant.Terms, error) {
	t.Tree, t.Giver = above.Terms.Tree, above.Terms.GiverFor(n.self)
	return n.give(ctx, t.Narrowed(above.Terms, above.Statement))
}

// Passable returns the grants under which the node can pass on what terms say about a thing: the ones that last longest
// first.
func (n *Node) Passable(r Roster, t grant.Terms, thing RosterMember) (found []RosterGrant) {
	for _, g := range r.Grants {
		a := g.Terms
		if a.To(n.self) && a.On(thing.Who) && a.Depth > t.Depth && t.Narrowed(a, g.Statement).Within(a) == nil {
			found = append(found, g)
		}
	}
	slices.SortStableFunc(found, func(a, b RosterGrant) int {
		last := func(g RosterGrant) int64 {
			if g.Terms.Until == 0 {
				return math.MaxInt64
			}
			return g.Terms.Until
		}
		return cmp.Compare(last(b), last(a))
	})
	return found
}

// Resting returns the grants that rest on one of these: that pass it on, or pass on what does.
func (r Roster) Resting(grants ...RosterGrant) (resting []RosterGrant) {
	under := map[signed.Digest]bool{}
	for _, g := range grants {
		under[g.Statement] = true
	}
	for found := true; found; {
		found = false
		for _, g := range r.Grants {
			if under[g.Terms.Parent] && !under[g.Statement] {
				under[g.Statement], found = true, true
				resting = append(resting, g)
			}
		}
	}
	return resting
}

// Ended returns the grants that end when a member is taken off the tree: those from, to or about it and all below it, and
// all that rest on them.
func (r Roster) Ended(m RosterMember) []RosterGrant {
	below := map[identity.TreeMember]bool{}
	for _, other := range r.Members {
		below[other.Who.TreeMember()] = other.Who.ID.Path.Within(m.Who.ID.Path)
	}
	var ended []RosterGrant
	for _, g := range r.Grants {
		t := g.Terms
		if below[t.GiverMember()] || below[t.Subject.TreeMember()] || below[t.ThingMember()] {
			ended = append(ended, g)
		}
	}
	return append(ended, r.Resting(ended...)...)
}
