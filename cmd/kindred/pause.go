package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
)

func newPause(s *session) *cobra.Command {
	return s.following(s.onGrants(&cobra.Command{
		Use:   "pause GRANT | PATH --with WHO",
		Short: "Let what was shared allow nothing for a while",
		Long: `Let what was shared allow nothing until "kindred resume": by its ID, or the beginning of it;
or all that WHO has been given at PATH. What is going on under it ends at once. The report
is as that of "kindred unshare".`,
		Example: "  kindred pause g-7kqm\n  kindred pause home/lock --with sam/anna",
	}, "from `whom` it is taken for now", func(ctx context.Context, n *kindred.Node, r kindred.Roster, found []kindred.RosterGrant) error {
		return s.takeBack(ctx, n, r, found, true)
	}))
}

func newResume(s *session) *cobra.Command {
	return s.onGrants(&cobra.Command{
		Use:     "resume GRANT | PATH --with WHO",
		Short:   "Let what was paused allow again what it says",
		Example: "  kindred resume g-7kqm",
	}, "to `whom` it is given again", s.resume)
}

func (s *session) resume(ctx context.Context, n *kindred.Node, r kindred.Roster, found []kindred.RosterGrant) error {
	var t taken
	var lines []string
	for _, g := range found {
		line := "It was not paused."
		if g.Paused {
			if err := n.Gateway().Resume(ctx, g.Terms.ID.String()); err != nil {
				return err
			}
			line = g.Terms.Sentence(namesOf(r).member)
		}
		if len(found) > 1 {
			line = fmt.Sprintf("%s: %s", r.ShortID(g.Terms.ID), line)
		}
		t.Grants, lines = append(t.Grants, g.Terms.ID.String()), append(lines, line)
	}
	t.Things, t.Sentence = []control.Reach{}, strings.Join(lines, "\n")
	return s.print(t, t.Sentence)
}
