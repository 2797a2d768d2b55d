package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
)

func newConfirm(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "confirm [PATH]",
		Short: "Let in those who wait to be confirmed",
		Long: `Ask, for each new member that waits (or the one at PATH), whether it shows the same six
digits, and let it in. An invitation is confirmed on the machine that made it.`,
		Example:           "  kindred confirm\n  kindred confirm sam/phone",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: s.completeWaiting,
	}
	return s.does(c, func(ctx context.Context, args []string) error {
		return s.with(ctx, func(n *kindred.Node) error {
			var only identity.Path
			var err error
			if len(args) == 1 {
				if only, err = path(n, args[0]); err != nil {
					return err
				}
			}
			return s.confirmAll(ctx, n, only)
		})
	})
}

// confirmAll goes through those who wait, or the one at a path.
func (s *session) confirmAll(ctx context.Context, n *kindred.Node, only identity.Path) error {
	joins, err := n.Gateway().Joins(ctx)
	if err != nil {
		return err
	}
	found := false
	var errs []error
	for _, r := range joins.Requests {
		if only != "" && r.Path != only {
			continue
		}
		found = true
		inv, err := n.Waiting(ctx, r)
		if err != nil && only == "" {
			s.say("%s was invited from another machine, and is confirmed there.", r.Path)
			continue
		}
		if err == nil {
			err = s.decide(ctx, n, inv, r)
		}
		if err == nil {
			err = s.settled(ctx, n, inv)
		}
		errs = append(errs, err)
	}
	switch {
	case found:
	case only != "":
		return notFound("%s does not wait to be confirmed", only)
	default:
		s.say("Nobody waits to be confirmed.")
	}
	return errors.Join(errs...)
}

// settleFor is how long to wait for a machine that was let in to call again.
const settleFor = 10 * time.Second

// settled waits a moment for a confirmed member to be in.
func (s *session) settled(ctx context.Context, n *kindred.Node, inv pairing.Invitation) error {
	soon, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	err := s.admit(soon, n, inv, pairing.StageWaiting)
	if soon.Err() != nil && ctx.Err() == nil {
		s.say("%s is confirmed, and in as soon as its machine calls again.", inv.Path)
		return nil
	}
	return err
}
