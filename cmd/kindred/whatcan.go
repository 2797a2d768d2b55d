package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

func newWhatCan(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "what-can WHO",
		Short: "Say everything that somebody may do",
		Long: `Say everything that WHO, a person, an app, a device, a service or a place, may do in this
home: by what they were given themselves, and by what was given to those they belong to. Of
somebody of another home, birch:sam/anna, it is what they were given under that name.`,
		Example:           "  kindred what-can sam/anna\n  kindred what-can birch:sam/anna",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completePaths,
	}
	s.lang(c)
	return s.does(c, func(ctx context.Context, args []string) error {
		return s.with(ctx, func(n *kindred.Node) error {
			r, err := s.roster(ctx, n)
			if err != nil {
				return err
			}
			list, name, err := s.whatSomebodyCan(n, r, args[0])
			if err != nil {
				return err
			}
			if len(list) == 0 {
				s.say("%s may do nothing here.", name)
			}
			return s.printAccess(list)
		})
	})
}

// whatSomebodyCan lists what a member may do, or somebody of another home.
func (s *session) whatSomebodyCan(n *kindred.Node, r kindred.Roster, arg string) (list []access, name string, err error) {
	if !strings.Contains(arg, ":") {
		m, err := member(n, r, arg)
		if err != nil {
			return nil, arg, err
		}
		return whatCan(s.language, r, m, s.now()), namesOf(r).plain(m.Who.ID.Path, m.Who.Kind()), nil
	}
	id, err := calledHere(r, arg)
	if err != nil {
		return nil, arg, err
	}
	if id.Tree == n.Self().ID.Tree {
		return s.whatSomebodyCan(n, r, string(id.Path))
	}
	var given []kindred.RosterGrant
	for _, g := range r.Grants {
		if g.Terms.Subject.Tree == id.Tree && g.Terms.Subject.Path == id.Path {
			given = append(given, g)
		}
	}
	return accessBy(s.language, r, given, s.now()), r.Elsewhere(id), nil
}

// whatCan lists the right of owners, and the grants that serve a member and whose time is not over.
func whatCan(l grant.Language, r kindred.Roster, m kindred.RosterMember, now time.Time) []access {
	list := []access{}
	if m.Who.Kind() == identity.Owner || m.Who.Owner() {
		who := namesOf(r).plain(m.Who.ID.Path, m.Who.Kind())
		list = append(list, access{Who: string(m.Who.ID.Path), Kind: "owner", Sentence: who + " may do everything, as an owner."})
	}
	return append(list, accessBy(l, r, grantsFor(r, m), now)...)
}

// accessBy lists grants whose time is not over.
func accessBy(l grant.Language, r kindred.Roster, grants []kindred.RosterGrant, now time.Time) []access {
	list, serving := []access{}, map[string]bool{}
	for _, g := range grants {
		serving[g.Terms.ID.String()] = true
	}
	for _, shown := range shownGrantsIn(l, r, now) {
		if serving[shown.ID] && !shown.Over {
			list = append(list, access{shown.With, "grant", &shown, shown.Sentence, shown.short})
		}
	}
	return list
}
