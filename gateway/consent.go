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
	apart, err := h.keeper.Consent(ctx, c.Raw)
	if err != nil {
		return control.None{}, answer(err)
	}
	var thing, subject tree.Entry
	op := journal.Approve
	if said.Grant.IsZero() {
		op = journal.SetApart
	}
	h.keeper.View(func(s *tree.State) {
		thing, _ = s.Member(apart)
		if a, ok := s.Grant(said.Grant); ok {
			if t, _, err := grant.Parse(a.Raw); err == nil {
				thing, _ = s.Member(t.Thing.Member)
				subject, _ = s.Member(t.Subject.Member)
				if t.Subject.Member == said.By {
					op = journal.Accept
				}
			}
		}
	})
	h.tell(ctx, op, who.Chain, party(thing.Chain), party(subject.Chain), said.Grant)
	h.watchers.renew(apart)
	return control.None{}, nil
}

// Classify files what an owner said of an affordance, and tells the thing.
func (h *home) Classify(ctx context.Context, who credential.Principal, c control.SignedClass) (control.Classified, error) {
	said, _, err := grant.ParseClass(c.Raw)
	if err != nil {
		return control.Classified{}, invalid(err)
	}
	waits, err := h.keeper.Classify(ctx, c.Raw)
	if err != nil {
		return control.Classified{}, answer(err)
	}
	if thing, ok := h.member(said.Thing); ok {
		h.tell(ctx, journal.SetApart, who.Chain, party(thing.Chain), journal.Party{}, tree.GrantID{})
	}
	h.watchers.renew(said.Thing)
	return control.Classified{Waits: waits}, nil
}

// classes returns what owners said of a thing, what waits for another one last.
func (g *Gateway) classes(thing identity.MemberID) (all []control.Class) {
	for _, waits := range []bool{false, true} {
		classes, _ := g.keeper.Classes(thing, waits)
		for _, c := range classes {
			all = append(all, control.Class{Raw: c.Raw, Consents: c.Consents, Waits: waits})
		}
	}
	return all
}
