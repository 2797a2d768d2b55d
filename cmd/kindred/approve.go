package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/tree"
)

func newApprove(s *session) *cobra.Command {
	var root, all bool
	c := &cobra.Command{
		Use:   "approve GRANT | PATH AFFORDANCE | PATH --all",
		Short: "Stand behind what another owner shared of what is never shown in clear",
		Long: `Stand behind what another owner gave to a service of what is never shown in clear on one
owner's word, or behind taking an affordance, or all of a thing or place, out of that
class ("kindred never"). With --root that is done with the root key, where it is in this
directory.`,
		Example:           "  kindred approve g-7kqm\n  kindred approve home/lock state --root",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: s.completeGrants,
	}
	c.Flags().BoolVar(&root, "root", false, "with the root key, in place of another owner")
	c.Flags().BoolVar(&all, "all", false, "that everything at PATH, as far as it is not set apart by itself, may be shown")
	return s.does(c, func(ctx context.Context, args []string) error {
		if all && len(args) > 1 {
			return usage("%s alone, or --all?", args[1])
		}
		if all {
			args = append(args, "")
		}
		return s.with(ctx, func(n *kindred.Node) error { return s.approve(ctx, n, args, root) })
	})
}

func (s *session) approve(ctx context.Context, n *kindred.Node, args []string, root bool) error {
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	if !n.Self().Owner() {
		return onlyOwners("approve what is shown in clear")
	}
	if len(args) == 2 {
		return s.approveClass(ctx, n, r, args[0], args[1], root)
	}
	found, err := chosen(n, r, args[0], "")
	if err != nil {
		return err
	}
	g := found[0]
	if g.Terms.Agreement.IsZero() {
		return conflict("%s is no agreement with a service: nobody else has to approve it", r.ShortID(g.Terms.ID))
	}
	if err := n.Approve(ctx, g.Terms.ID, g.Raw, root); err != nil {
		return err
	}
	sentence := g.Terms.Sentence(namesOf(r).member)
	s.say("Approved: %s", sentence)
	if !s.json {
		return nil
	}
	return s.object(map[string]string{"id": g.Terms.ID.String(), "sentence": sentence})
}

// approveClass approves that something is taken out of the class of what is never shown.
func (s *session) approveClass(ctx context.Context, n *kindred.Node, r kindred.Roster, path, name string, root bool) error {
	m, err := member(n, r, path)
	if err != nil {
		return err
	}
	for _, c := range m.Classes {
		said, _, err := grant.ParseClass(c.Raw)
		if err != nil || said.Affordance != name || said.Thing != m.Who.Member() || !c.Waits {
			continue
		}
		if err := n.Approve(ctx, tree.GrantID{}, c.Raw, root); err != nil {
			return err
		}
		s.say("%s may be shown in clear to a service, where an owner says so.", whatOf(name, m.Who.ID.Path))
		if !s.json {
			return nil
		}
		return s.object(map[string]any{"path": path, "affordance": name, "all": name == "", "never": false})
	}
	return notFound("nobody asked to have %s shown in clear", whatOf(name, m.Who.ID.Path))
}
