package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
)

func newRemove(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "remove PATH",
		Short: "Take a member, and all below it, off the tree",
		Long: `Take a member, all below it, and every grant from, to or about them off the tree. It does
not come back: a new member at the same path is another one, and gets nothing of the old
one's rights. The report is as that of "kindred unshare".`,
		Example:           "  kindred remove sam/anna/phone",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completePaths,
	}
	return s.does(s.following(c), func(ctx context.Context, args []string) error {
		return s.with(ctx, func(n *kindred.Node) error {
			r, err := s.roster(ctx, n)
			if err != nil {
				return err
			}
			m, err := member(n, r, args[0])
			if err != nil {
				return err
			}
			if err := removable(n.Self(), m.Who); err != nil {
				return err
			}
			report, confirmed, err := s.revoke(ctx, n, r.Member(m))
			if err != nil {
				return err
			}
			t := taken{Removed: string(m.Who.ID.Path), Things: report.Things, Pending: !confirmed, Sentence: "Removed " + string(m.Who.ID.Path) + "."}
			if len(t.Things) > 0 {
				t.Sentence += " " + closed(report, s.now())
			} else {
				t.Things = []control.Reach{}
			}
			gone := r.Ended(m)
			for _, g := range gone {
				t.Grants = append(t.Grants, g.Terms.ID.String())
			}
			t.Sentence = strings.Join(append([]string{t.Sentence}, ended(r, gone)...), "\n")
			return s.print(t, t.Sentence)
		})
	})
}

// removable reports, as an error, what a member may not remove.
func removable(self, target identity.Chain) error {
	switch k := target.Kind(); {
	case !self.Owner():
		return refused("only owners remove members")
	case k == identity.Owner || k == identity.Place:
		return hinted(refused("%s is of kind %s: taking it away takes the root key or two owners, which this version cannot do yet", target.ID.Path, k),
			"remove what is in it, one by one")
	}
	return nil
}
