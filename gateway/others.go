package gateway

import (
	"context"
	"fmt"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// Recognize admits the recognition of another tree.
func (h *home) Recognize(ctx context.Context, who credential.Principal, r control.SignedRecognition) (control.None, error) {
	other, err := h.keeper.Recognize(ctx, who.Chain, r.Raw)
	if err != nil {
		return control.None{}, answer(err)
	}
	h.tellOf(ctx, journal.Recognize, who.Chain, journal.Party{}, journal.Party{}, tree.GrantID{}, h.nameOf(other))
	return control.None{}, nil
}

// nameOf returns what another tree is called here; "" if it is not recognized.
func (g *Gateway) nameOf(other identity.TreeID) (name string) {
	g.keeper.View(func(s *tree.State) {
		r, _ := s.Recognized(other)
		name = r.Name
	})
	return name
}

// subjectOf returns whom a grant is for, a member of another tree by what it was called when the grant was given.
func subjectOf(s *tree.State, t grant.Terms) journal.Party {
	if t.Subject.Tree == s.Tree() {
		e, _ := s.Member(t.Subject.Member)
		return party(e.Chain)
	}
	if t.Subject.Path == "" {
		return journal.Party{}
	}
	return journal.Party{Member: t.Subject.Member, ID: identity.ID{Tree: t.Subject.Tree, Path: t.Subject.Path}}
}

// known returns the tree of a question, if it names one that is recognized here.
func (g *Gateway) known(other string) (trees []identity.TreeID, err error) {
	if other == "" {
		return nil, nil
	}
	id, err := identity.ParseTreeID(other)
	if err != nil {
		return nil, invalid(err)
	}
	g.keeper.View(func(s *tree.State) {
		if _, ok := s.Recognized(id); ok {
			trees = append(trees, id)
		}
	})
	return trees, nil
}

// recognized returns the recognition of another tree; the error is credential.ErrStranger if there is none.
func (g *Gateway) recognized(other identity.TreeID) (tree.Recognition, error) {
	var r tree.Recognized
	var ok bool
	g.keeper.View(func(s *tree.State) { r, ok = s.Recognized(other) })
	if !ok {
		return tree.Recognition{}, fmt.Errorf("gateway: tree %s %w", other, credential.ErrStranger)
	}
	return r.Recognition, nil
}
