package gateway

import (
	"context"
	"fmt"
	"slices"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// visits reports whether somebody is of another tree.
func (g *Gateway) visits(c identity.Chain) bool { return c.ID.Tree != g.keeper.Charter().Tree }

// liveVisitor proves, to the gateway's own node, that a caller's tree is recognized, if the caller shows another tree than
// this first: what it is there, its own proof tells.
func (g *Gateway) liveVisitor(ctx context.Context, hello credential.Hello) (p credential.Proof, visits bool, err error) {
	if len(hello.Proofs) == 0 {
		return p, false, nil
	}
	id, err := hello.Proofs[0].Tree()
	if err != nil || id == g.keeper.Charter().Tree {
		return p, false, nil
	}
	if g.nameOf(id) == "" {
		return p, true, fmt.Errorf("gateway: tree %s %w", id, credential.ErrStranger)
	}
	p, err = g.keeper.Prove(ctx, nil, nil, 0, id)
	return p, true, err
}

// welcome reports, as an error, that somebody of another tree has no business here: nothing is shared with it. Then it is
// answered like any stranger. Owners' apps of trees that are recognized have some: they share with people here, and have
// to know who these are. So has the gateway there, which asks for news.
func (g *Gateway) welcome(who credential.Principal) error {
	found, recognized := who.Owner() || g.isDoor(who.Chain), false
	g.keeper.View(func(s *tree.State) {
		_, recognized = s.Recognized(who.ID.Tree)
		for a := range s.Grants() {
			if found {
				return
			}
			t, _, err := grant.Parse(a.Raw)
			found = err == nil && t.To(who.Chain)
		}
	})
	if !found || !recognized {
		return fmt.Errorf("gateway: nothing is shared with %s: it %w", who.ID, credential.ErrStranger)
	}
	return nil
}

// visitors answers members of other trees: each learns of what it was granted, and of nothing else. No right of an owner
// crosses from tree to tree.
type visitors struct{ *Gateway }

var _ control.Visitors = visitors{}

// Resolve says where a thing is that is shared with the caller, and where the gateway is itself. An owner's app is told
// who is at the path of an owner, a person or a service, to share something with them: not where they are.
func (v visitors) Resolve(_ context.Context, who credential.Principal, q control.Lookup) (control.Contact, error) {
	e, err := (&home{v.Gateway}).find(q.Path, q.Member)
	if err != nil {
		return control.Contact{}, err
	}
	people := []identity.Kind{identity.Owner, identity.Person, identity.Service}
	switch {
	case len(v.grantsFor(who.Chain, e.Chain)) > 0, e.Chain.Member() == v.started().Self().Member():
		found := v.contact(e.Chain)
		found.Relays = nil // where members of this home leave notes for each other
		return found, nil
	case who.Owner() && q.Path != "" && slices.Contains(people, e.Chain.Kind()):
		return control.Contact{Chain: e.Chain.Raw}, nil
	}
	return control.Contact{}, notFound(q.Path)
}

// Prove proves the grants that the caller has for a thing, that whoever gave them is live, and that the caller's tree is
// recognized. Without a thing it proves which of those are still members that an owner's app names, who shares with people
// here; or that a home's gateway shows to have passed on what its things serve.
func (v visitors) Prove(ctx context.Context, who credential.Principal, q control.ProofQuery) (control.Evidence, error) {
	q.MaxAge = v.young(who.Chain, q.MaxAge)
	if q.Thing == "" {
		return v.proveAlso(ctx, who, q)
	}
	e, err := (&home{v.Gateway}).find("", q.Thing)
	if err != nil {
		return control.Evidence{}, err
	}
	shown, err := v.proveVisitor(ctx, who.Chain, e, q, who.ID.Tree)
	if err == nil && len(shown.Grants) == 0 {
		err = notFound("")
	}
	return shown, err
}

// proveVisitor proves what somebody of another tree would show at a thing here, and that trees are recognized.
func (g *Gateway) proveVisitor(ctx context.Context, who identity.Chain, thing tree.Entry, q control.ProofQuery, trees ...identity.TreeID) (out control.Evidence, err error) {
	found, members := g.shown(who, g.grantsFor(who, thing.Chain), q.PassedOn)
	grants := make([]tree.GrantID, len(found))
	for i, a := range found {
		grants[i] = a.ID
		consents, by := g.keeper.Consents(a.ID)
		out.Grants, out.Consents = append(out.Grants, a.Raw), append(out.Consents, consents...)
		members = g.addLive(members, by)
	}
	var more []identity.TreeID
	more, out.Beside = g.givers.prove(ctx, found, trees...)
	proof, err := g.keeper.Prove(ctx, members, grants, q.MaxAge, append(trees, more...)...)
	if err != nil {
		return control.Evidence{}, answer(err)
	}
	out.Proof, err = proof.Marshal()
	out.Beside = fitting(out, credential.MaxHello/4) // which the visitor's own home takes
	return out, err
}

// proveAlso proves which of the members asked about are live.
func (v visitors) proveAlso(ctx context.Context, who credential.Principal, q control.ProofQuery) (out control.Evidence, err error) {
	if !who.Owner() && !v.isDoor(who.Chain) {
		return out, notFound("")
	}
	if len(q.Also) > 0 && !who.Owner() {
		return out, refused(byName)
	}
	members, err := v.also(q)
	if err != nil {
		return out, err
	}
	proof, err := v.keeper.Prove(ctx, members, nil, q.MaxAge)
	if err != nil {
		return out, answer(err)
	}
	out.Proof, err = proof.Marshal()
	return out, err
}

// judged proves to an owner what somebody of another tree would show at a thing.
func (h *home) judged(ctx context.Context, who credential.Principal, q control.ProofQuery) (control.Evidence, error) {
	if !who.Owner() {
		return control.Evidence{}, refused("only owners ask how others stand")
	}
	thing, err := h.find("", q.Thing)
	if err != nil {
		return control.Evidence{}, err
	}
	trees, err := h.known(q.Other)
	if err != nil {
		return control.Evidence{}, err
	}
	var visitor identity.Chain // nobody, of a tree that is not recognized
	if len(trees) > 0 {
		if visitor, err = h.chainIn(trees[0], q.Visitor); err != nil {
			return control.Evidence{}, invalid(err)
		}
	}
	return h.proveVisitor(ctx, visitor, thing, q, trees...)
}

// chainIn reads certificates of a tree that is recognized.
func (g *Gateway) chainIn(of identity.TreeID, chain [][]byte) (c identity.Chain, err error) {
	at, err := identity.ValidFrom(chain)
	if err != nil {
		return c, err
	}
	r, err := g.recognized(of)
	if err != nil {
		return c, err
	}
	return credential.VerifyChainIn(r, chain, at)
}

// Grant admits what the caller passes on under a grant that it has.
func (v visitors) Grant(ctx context.Context, who credential.Principal, g control.SignedGrant) (control.None, error) {
	id, already, err := v.keeper.GrantByVisitor(ctx, who.Chain, g.Raw)
	if err != nil {
		return control.None{}, answer(err)
	}
	if t, _, err := grant.Parse(g.Raw); err == nil && !already {
		thing, _ := v.member(t.Thing.Member)
		v.tell(ctx, journal.Share, who.Chain, party(thing.Chain), v.subject(t), id)
	}
	return control.None{}, nil
}

// Unshare takes back what the caller passed on.
func (v visitors) Unshare(ctx context.Context, who credential.Principal, q control.GrantRef) (control.None, error) {
	id, err := tree.ParseGrantID(q.ID)
	if err != nil {
		return control.None{}, invalid(err)
	}
	var thing, with journal.Party
	v.keeper.View(func(s *tree.State) {
		if a, ok := s.Grant(id); ok {
			if t, _, err := grant.Parse(a.Raw); err == nil {
				e, _ := s.Member(t.Thing.Member)
				thing, with = party(e.Chain), subjectOf(s, t)
			}
		}
	})
	resting := v.keeper.Resting(id)
	already, err := v.keeper.RevokeByVisitor(ctx, who.Chain, id)
	if err != nil {
		return control.None{}, answer(err)
	}
	if !already {
		v.tell(ctx, journal.Unshare, who.Chain, thing, with, id)
		v.tellResting(ctx, who.Chain, resting[min(1, len(resting)):])
	}
	return control.None{}, nil
}

// subject is subjectOf by the roster as it is.
func (g *Gateway) subject(t grant.Terms) (with journal.Party) {
	g.keeper.View(func(s *tree.State) { with = subjectOf(s, t) })
	return with
}
