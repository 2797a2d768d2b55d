package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// grantsFor returns the live grants that are for a leaf and about a thing.
func (g *Gateway) grantsFor(who, thing identity.Chain) (found []tree.Admitted) {
	g.keeper.View(func(s *tree.State) {
		for a := range s.Grants() {
			if t, _, err := grant.Parse(a.Raw); err == nil && t.To(who) && t.On(thing) {
				found = append(found, a)
			}
		}
	})
	return found
}

// How many grants go into one hello, how many members' entries beside them, and how many leaves' into what a device is told.
const (
	maxEvidence = 16
	maxMembers  = 44
	maxSigners  = 20
)

// shown picks, of grants that are for a leaf, the newest that allow it something, each with all that it passes on: as many
// as go into one hello. It returns them with those who have to be proved to be members.
func (g *Gateway) shown(who identity.Chain, found []tree.Admitted, passedOn bool) (grants []tree.Admitted, givers []identity.MemberID) {
	lines := map[identity.MemberID]bool{}
	for _, id := range line(who) {
		lines[id] = true
	}
	trees := map[identity.TreeID]bool{g.keeper.Charter().Tree: true, who.ID.Tree: true} // a proof is shown of each
	for _, a := range slices.Backward(found) {
		if t, _, err := grant.Parse(a.Raw); err != nil || t.Actions == 0 && !passedOn {
			continue
		}
		all, from, more, through := slices.Clone(grants), slices.Clone(givers), maps.Clone(lines), maps.Clone(trees)
		for _, link := range g.keeper.Chain(a.ID) {
			if !slices.ContainsFunc(all, func(b tree.Admitted) bool { return b.ID == link.ID }) {
				all = append(all, link)
			}
			if !link.GiverTree.IsZero() {
				through[link.GiverTree] = true // which proves whom it is from
				continue
			}
			giver, _ := g.member(link.Giver)
			from = append(from, link.Giver)
			for _, id := range line(giver.Chain) {
				more[id] = true
			}
		}
		if len(all) <= maxEvidence && len(more) <= maxMembers && len(through) <= credential.MaxProofs {
			grants, givers, lines, trees = all, from, more, through
		}
	}
	return grants, givers
}

// Prove proves that the caller is live, and the grants it has for a thing.
func (h *home) Prove(ctx context.Context, who credential.Principal, q control.ProofQuery) (control.Evidence, error) {
	q.MaxAge = h.young(who.Chain, q.MaxAge)
	if len(q.Also) > 0 && !who.Owner() {
		return control.Evidence{}, refused(byName)
	}
	if q.Visitor != nil {
		return h.judged(ctx, who, q)
	}
	if q.Member == "" {
		return h.evidence(ctx, who.Chain, q)
	}
	e, err := h.find("", q.Member)
	switch {
	case err != nil:
		return control.Evidence{}, err
	case !who.Owner():
		return control.Evidence{}, refused("only owners ask how others stand")
	case !e.Chain.Kind().Leaf():
		return control.Evidence{}, invalid(fmt.Errorf("%s is of kind %s, and no app, device or service", e.Path(), e.Chain.Kind()))
	}
	return h.evidence(ctx, e.Chain, q)
}

func (g *Gateway) evidence(ctx context.Context, who identity.Chain, q control.ProofQuery) (control.Evidence, error) {
	rendezvous := g.keeper.Rendezvous() // before looking whether the caller is a member still
	self, ok := g.member(who.Member())
	if !ok {
		return control.Evidence{}, refused("you are not a member of this home any more")
	}
	e := control.Evidence{Chain: self.Chain.Raw, Rendezvous: rendezvous, Recipient: g.recipientNamed(who.Member())}
	members := line(self.Chain)
	var grants []tree.GrantID
	var from []identity.TreeID // trees of those who passed on what is shown
	size := 0                  // of what goes into a hello beside the proof
	if q.Thing != "" {
		id, err := identity.ParseMemberID(q.Thing)
		if err != nil {
			return e, invalid(err)
		}
		if thing, ok := g.member(id); ok {
			shown, givers := g.shown(self.Chain, g.grantsFor(self.Chain, thing.Chain), q.PassedOn)
			members = append(members, givers...)
			from, e.Beside = g.givers.prove(ctx, shown)
			for _, a := range shown {
				e.Grants = append(e.Grants, a.Raw)
				grants = append(grants, a.ID)
				raw, by := g.consentsFor(a, who.Member())
				for _, c := range raw {
					size += len(c)
				}
				if size += len(a.Raw); size <= maxShown {
					e.Consents = append(e.Consents, raw...)
					members = g.addLive(members, by)
				}
			}
		}
	}
	demands := g.demands(self.Chain)
	e.Demands = demands[:min(len(demands), maxDemands)]
	if q.Thing == "" && q.Member == "" && self.Chain.Kind() != identity.Device { // nobody else's business
		e.Elsewhere = g.news.endingsOf(self.Chain)
	}
	if q.Thing == "" && self.Chain.Kind() == identity.Device {
		var signed []identity.MemberID
		for _, id := range line(self.Chain) {
			classes, signers := g.keeper.Classes(id, false)
			for _, c := range classes {
				e.Classes = append(e.Classes, control.Class{Raw: c.Raw, Consents: c.Consents})
			}
			signed = g.addLive(signed, signers)
		}
		members = append(members, signed[:min(len(signed), maxSigners)]...)
		homes, err := g.homes(ctx, self.Chain)
		if err != nil {
			return e, answer(err)
		}
		e.Homes = homes
	}
	others, err := g.known(q.Other)
	if err != nil {
		return e, err
	}
	also, err := g.also(q)
	if err != nil {
		return e, err
	}
	members = append(members, also...)
	proof, err := g.keeper.Prove(ctx, members, grants, q.MaxAge, append(others, from...)...)
	if err != nil {
		return e, answer(err)
	}
	if e.Proof, err = proof.Marshal(); err != nil {
		return e, err
	}
	g.keeper.View(func(s *tree.State) { e.Self, _ = s.Value(tree.MemberKey(who.Member())) })
	e.Beside = fitting(e, 0)
	return e, nil
}

// fitting returns, of the proofs of other homes that are in evidence, the smaller ones that go into one hello with all else,
// and with more bytes of its bearer's. How large one is, that home says: it is not to keep anybody from what rests on others.
func fitting(e control.Evidence, more int) (beside [][]byte) {
	const around = 1 << 10 // of what is between
	left := credential.MaxHello - around - more - len(e.Proof)
	for _, raw := range slices.Concat(e.Chain, e.Grants, e.Consents) {
		left -= len(raw)
	}
	for _, p := range slices.SortedStableFunc(slices.Values(e.Beside), func(a, b []byte) int { return len(a) - len(b) }) {
		if left -= len(p); left >= 0 {
			beside = append(beside, p)
		}
	}
	return beside
}

// shownBy returns what of its evidence a member shows to others: of what is said to it about itself, nothing.
func shownBy(e control.Evidence) control.Evidence {
	return control.Evidence{Chain: e.Chain, Proof: e.Proof, Grants: e.Grants, Consents: e.Consents, Beside: e.Beside}
}

// maxShown is how many bytes grants and the consents to them may have for these to go into one hello, of which the proof
// takes the rest. Without them an agreement allows nothing: the newest have them.
const maxShown = credential.MaxHello * 3 / 4

// consentsFor returns the consents to a grant that a service has to show: that of its own, and one second of whoever is
// still an owner, the root key's before others.
func (g *Gateway) consentsFor(a tree.Admitted, service identity.MemberID) (raw [][]byte, by []identity.MemberID) {
	seconded := false
	all, who := g.keeper.Consents(a.ID)
	for i, id := range who {
		_, live := g.member(id)
		switch {
		case id == service:
		case seconded || !live && !id.IsZero():
			continue
		default:
			seconded = true
		}
		raw, by = append(raw, all[i]), append(by, id)
	}
	return raw, by
}

// maxDemands is how many demands a service is shown at a time: when it has answered these, it is shown the next.
const maxDemands = 4

// addLive adds to members those whom consents and classes rest on. One who is gone is left out.
func (g *Gateway) addLive(members, more []identity.MemberID) []identity.MemberID {
	for _, id := range more {
		if _, ok := g.member(id); ok && !slices.Contains(members, id) {
			members = append(members, id)
		}
	}
	return members
}
