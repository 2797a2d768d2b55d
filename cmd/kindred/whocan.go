package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

func newWhoCan(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "who-can PATH",
		Short: "Say who may use a thing, and when",
		Long: `Say who may use the thing at PATH, or things of the place there: its owners, and whoever was
given something there or at a place above it, with what that says.`,
		Example:           "  kindred who-can home/lock",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeShared(nil, identity.Device, identity.Place),
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
			if k := m.Who.Kind(); k != identity.Device && k != identity.Place {
				return usage("%s is of kind %s: devices and places are what can be used", m.Who.ID.Path, k)
			}
			return s.printAccess(whoCan(s.language, r, m, s.now()))
		})
	})
}

// printAccess lists rights.
func (s *session) printAccess(list []access) error {
	rows := make([][]string, len(list))
	for i, a := range list {
		rows[i] = []string{a.short, a.line()}
	}
	return s.print(list, table(rows))
}

// access is somebody's right to a thing.
type access struct {
	Who      string       `json:"who"`             // path
	Kind     string       `json:"kind"`            // "owner": may do everything; "grant": what the grant says
	Grant    *sharedGrant `json:"grant,omitempty"` //
	Sentence string       `json:"sentence"`
	short    string       // the grant's ID
}

func (a access) line() string {
	if a.Grant != nil {
		return a.Grant.line()
	}
	return a.Sentence
}

// whoCan lists the owners, and the grants about a thing, or a place above it, whose time is not over.
func whoCan(l grant.Language, r kindred.Roster, m kindred.RosterMember, now time.Time) []access {
	names, list := namesOf(r), []access{}
	owners, apps := ownersOf(r)
	for _, o := range owners {
		p := o.Who.ID.Path
		sentence := names.plain(p, identity.Owner) + " may do everything, as an owner"
		if with := apps[p]; len(with) > 0 {
			sentence += ", with " + strings.Join(with, ", ")
		}
		list = append(list, access{Who: string(p), Kind: "owner", Sentence: sentence + "."})
	}
	about := r
	about.Grants = slices.DeleteFunc(slices.Clone(r.Grants), func(g kindred.RosterGrant) bool { return !g.Terms.On(m.Who) })
	for _, shown := range shownGrantsIn(l, about, now) {
		if !shown.Over {
			list = append(list, access{shown.With, "grant", &shown, shown.Sentence, shown.short})
		}
	}
	return list
}
