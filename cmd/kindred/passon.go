package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
)

// passFlags are the flags of "share" about passing on.
type passFlags struct {
	passOn uint32
	manage bool
	under  string
}

func (s *session) registerPassing(o *passFlags, c *cobra.Command) {
	f := c.Flags()
	f.Var(countFlag{&o.passOn, grant.MaxDepth}, "pass-on", "WHO may share it with others, and they with others, so many `times` over")
	f.BoolVar(&o.manage, "manage", false, "WHO may share it with others and take that back, and not use it")
	f.StringVar(&o.under, "under", "", "of what you were given yourself: share it under this `grant`")
	hide(c.RegisterFlagCompletionFunc("under", s.completeGrants))
}

// apply puts into terms what may be passed on.
func (o passFlags) apply(t *grant.Terms) {
	t.Depth = uint8(o.passOn)
	if o.manage {
		t.Actions, t.HandOn, t.Depth = 0, t.Actions, max(1, t.Depth)
	}
}

// give shares a thing: an owner gives what is theirs, everybody else what they were given and may pass on.
func (s *session) give(ctx context.Context, n *kindred.Node, r kindred.Roster, thing kindred.RosterMember, t grant.Terms, under string) (grant.Terms, error) {
	if n.Self().Owner() && under == "" {
		return n.Share(ctx, t)
	}
	found := n.Passable(r, t, thing)
	if under != "" {
		if !begins(under, "g-") {
			return t, usage("--under: %q is no grant such as g-7kqm", under)
		}
		found = slices.DeleteFunc(found, func(g kindred.RosterGrant) bool { return !strings.HasPrefix(g.Terms.ID.String(), under) })
	}
	if len(found) == 0 {
		return t, hinted(refused("nothing that you were given lets you share this with others"), `"kindred grants" lists what you were given`)
	}
	return n.PassOn(ctx, found[0], t)
}

// recipient finds whom something is shared with: somebody on the part of the tree that one sees or, for those who may share
// what they were given, whoever is at a path that they know.
func (s *session) recipient(ctx context.Context, n *kindred.Node, r *kindred.Roster, arg string) (kindred.RosterMember, error) {
	m, err := member(n, *r, arg)
	if err == nil || n.Self().Owner() {
		return m, err
	}
	p, perr := path(n, arg)
	if perr != nil {
		return m, perr
	}
	c, lerr := n.Resolve(ctx, p)
	var answered *control.Error
	switch {
	case errors.As(lerr, &answered) && answered.Code == control.NotFound:
		return m, err
	case lerr != nil:
		return m, lerr
	}
	m = kindred.RosterMember{Who: c.Chain}
	r.Members = append(r.Members, m)
	return m, nil
}

// ended lists grants that went with what was taken back: "g-7kqm with it: eva may see home/meter."
func ended(r kindred.Roster, grants []kindred.RosterGrant) []string {
	lines := make([]string, len(grants))
	for i, g := range grants {
		lines[i] = fmt.Sprintf("%s went with it: %s", r.ShortID(g.Terms.ID), shownPassed(r, g))
	}
	return lines
}

// shownPassed says a grant, and who passed it on.
func shownPassed(r kindred.Roster, g kindred.RosterGrant) string {
	sentence := g.Terms.Sentence(namesOf(r).member)
	if g.Terms.Parent.IsZero() {
		return sentence
	}
	return "by " + namesOf(r).member(g.Terms.GiverMember()) + ", " + sentence
}
