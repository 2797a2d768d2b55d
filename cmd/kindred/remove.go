package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
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
			if err := removable(m); err != nil {
				return err
			}
			report, err := n.Revoke(ctx, r.Member(m))
			if err != nil {
				return err
			}
			t := taken{Removed: string(m.Who.ID.Path), Things: report.Things, Sentence: closed(report, time.Now())}
			if t.Things == nil {
				t.Things = []control.Reach{}
			}
			s.say("Removed %s.", m.Who.ID.Path)
			return s.print(t, t.Sentence)
		})
	})
}
