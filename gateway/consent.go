package gateway

import (
	"context"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// Consent files a consent, which counts by its signer, whoever brings it. A thing that waits for it to be set apart no
// more is told.
func (h *home) Consent(ctx context.Context, who credential.Principal, c control.SignedConsent) (control.None, error) {
	said, _, err := grant.ParseConsent(c.Raw)
	if err != nil {
		return control.None{}, invalid(err)
	}
	apart, already, err := h.keeper.Consent(ctx, c.Raw)
	switch {
	case err != nil:
		return control.None{}, answer(err)
	case already:
		return control.None{}, nil
	}
	var thing tree.Entry
	var subject journal.Party
	op := journal.Approve
	if said.Grant.IsZero() {
		op = journal.SetApart
	}
	h.keeper.View(func(s *tree.State) {
		thing, _ = s.Member(apart)
		if a, ok := s.Grant(said.Grant); ok {
			if t, _, err := grant.Parse(a.Raw); err == nil {
				thing, _ = s.Member(t.Thing.Member)
				subject = subjectOf(s, t)
				if subject.Member == said.By && t.Subject.Tree == s.Tree() {
					op = journal.Accept
				}
			}
		}
	})
	h.tell(ctx, op, who.Chain, party(thing.Chain), subject, said.Grant)
	h.renewBelow(thing.Chain)
	return control.None{}, nil
}

// Classify files what an owner said of an affordance, and tells the thing.
func (h *home) Classify(ctx context.Context, who credential.Principal, c control.SignedClass) (control.Classified, error) {
	said, _, err := grant.ParseClass(c.Raw)
	if err != nil {
		return control.Classified{}, invalid(err)
	}
	waits, already, err := h.keeper.Classify(ctx, c.Raw)
	if err != nil {
		return control.Classified{}, answer(err)
	}
	if thing, ok := h.member(said.Thing); ok && !already {
		h.tell(ctx, journal.SetApart, who.Chain, party(thing.Chain), journal.Party{}, tree.GrantID{})
		h.renewBelow(thing.Chain)
	}
	return control.Classified{Waits: waits}, nil
}

// classes returns what owners said of a thing and the places above it, what waits for another one last.
func (g *Gateway) classes(thing identity.Chain) (all []control.Class) {
	for _, waits := range []bool{false, true} {
		for _, id := range line(thing) {
			classes, _ := g.keeper.Classes(id, waits)
			for _, c := range classes {
				all = append(all, control.Class{Raw: c.Raw, Consents: c.Consents, Waits: waits})
			}
		}
	}
	return all
}

// renewBelow tells a thing, or all things of a place, that there are news of it. What is zero has none.
func (g *Gateway) renewBelow(top identity.Chain) {
	if len(top.Line) == 0 {
		return
	}
	var below []identity.MemberID
	g.keeper.View(func(s *tree.State) {
		for e := range s.Members() {
			if e.Chain.Kind() == identity.Device && e.Path().Within(top.ID.Path) {
				below = append(below, e.Chain.Member())
			}
		}
	})
	for _, id := range below {
		g.watchers.renew(id)
	}
}
