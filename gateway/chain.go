package gateway

import (
	"context"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// visible returns the live grants that a leaf may see, the oldest first, and who gave them and got them. Owners' apps see
// all; others what is for them, with what it passes on, which they carry about anyhow; and what they gave, with all that
// rests on it.
func (g *Gateway) visible(who identity.Chain) (grants []tree.Admitted, parties map[identity.MemberID]bool) {
	seen := map[tree.GrantID]bool{}
	var all []tree.Admitted
	g.keeper.View(func(s *tree.State) {
		for a := range s.Grants() {
			all = append(all, a)
		}
	})
	for _, a := range all {
		t, _, err := grant.Parse(a.Raw)
		switch {
		case err != nil:
		case who.Owner():
			seen[a.ID] = true
		case t.GivenBy(who):
			for _, b := range g.keeper.Resting(a.ID) {
				seen[b.ID] = true
			}
			fallthrough
		case t.To(who):
			for _, b := range g.keeper.Chain(a.ID) {
				seen[b.ID] = true
			}
		}
	}
	parties = map[identity.MemberID]bool{}
	for _, a := range all {
		if !seen[a.ID] {
			continue
		}
		grants = append(grants, a)
		if t, _, err := grant.Parse(a.Raw); err == nil && t.Subject.Tree == t.Tree {
			parties[t.Subject.Member] = true
			if t.GivenIn() == t.Tree {
				parties[t.Giver] = true
			}
		}
	}
	return grants, parties
}

// passesOn reports whether a leaf has been given something that it may pass on: then it may ask who is at a path that it
// knows, to give it on.
func (g *Gateway) passesOn(who identity.Chain) (may bool) {
	g.keeper.View(func(s *tree.State) {
		for a := range s.Grants() {
			if t, _, err := grant.Parse(a.Raw); err == nil && t.Depth > 0 && t.To(who) {
				may = true
				return
			}
		}
	})
	return may
}

// tellResting writes down of grants that they went with one that they rested on.
func (g *Gateway) tellResting(ctx context.Context, by identity.Chain, grants []tree.Admitted) {
	for _, a := range grants {
		t, _, err := grant.Parse(a.Raw)
		if err != nil {
			continue
		}
		var about, with journal.Party
		g.keeper.View(func(s *tree.State) {
			thing, _ := s.Member(t.Thing.Member)
			about, with = party(thing.Chain), subjectOf(s, t)
		})
		g.tell(ctx, journal.Unshare, by, about, with, a.ID)
	}
}
