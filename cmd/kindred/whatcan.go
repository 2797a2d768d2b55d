package main

import (
	"context"
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
home: by what they were given themselves, and by what was given to those they belong to.`,
		Example:           "  kindred what-can sam/anna",
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
			m, err := member(n, r, args[0])
			if err != nil {
				return err
			}
			list := whatCan(s.language, r, m, s.now())
			if len(list) == 0 {
				s.say("%s may do nothing here.", namesOf(r).plain(m.Who.ID.Path, m.Who.Kind()))
			}
			rows := make([][]string, len(list))
			for i, a := range list {
				rows[i] = []string{a.short, a.line()}
			}
			return s.print(list, table(rows))
		})
	})
}

// whatCan lists the right of owners, and the grants that serve a member and whose time is not over.
func whatCan(l grant.Language, r kindred.Roster, m kindred.RosterMember, now time.Time) []access {
	names, list := namesOf(r), []access{}
	if m.Who.Kind() == identity.Owner || m.Who.Owner() {
		who := names.plain(m.Who.ID.Path, m.Who.Kind())
		list = append(list, access{Who: string(m.Who.ID.Path), Kind: "owner", Sentence: who + " may do everything, as an owner."})
	}
	serving := map[string]bool{}
	for _, g := range grantsFor(r, m) {
		serving[g.Terms.ID.String()] = true
	}
	for _, shown := range shownGrantsIn(l, r, now) {
		if serving[shown.ID] && !shown.Over {
			list = append(list, access{shown.With, "grant", &shown, shown.Sentence, shown.short})
		}
	}
	return list
}
