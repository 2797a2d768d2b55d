package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
)

// completeFor bounds how long a shell waits for a completion.
const completeFor = time.Second

// complete opens the directory's member for a completion. Whatever fails, nothing is offered: a shell has no place
// for errors.
func (s *session) complete(ctx context.Context, offer func(kindred.Roster) []string) []string {
	if s.begin() != nil {
		return nil
	}
	cfg, err := s.config()
	if err != nil {
		return nil
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeFor)
	defer cancel()
	n, err := kindred.Open(ctx, cfg)
	if err != nil {
		return nil
	}
	defer n.Close()
	r, err := n.Roster(ctx)
	if err != nil {
		return nil
	}
	return offer(r)
}

// completePaths offers the members' paths for the first argument.
func (s *session) completePaths(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.pathsOf(c), cobra.ShellCompDirectiveNoFileComp
}

// completeWho offers paths for a flag.
func (s *session) completeWho(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.pathsOf(c), cobra.ShellCompDirectiveNoFileComp
}

func (s *session) pathsOf(c *cobra.Command) []string {
	return s.complete(c.Context(), func(r kindred.Roster) (paths []string) {
		for _, m := range r.Members {
			paths = append(paths, string(m.Who.ID.Path))
		}
		return paths
	})
}

// completeAsks offers what is asked for, with what it says.
func (s *session) completeAsks(c *cobra.Command, args []string, _ string) (offers []string, _ cobra.ShellCompDirective) {
	if len(args) == 0 {
		_ = s.with(c.Context(), func(n *kindred.Node) error { // without an answer there is nothing to offer
			r, asks, err := s.asked(c.Context(), n)
			for _, a := range asks {
				if a.Waiting {
					shown := s.shownAsk(r, a)
					offers = append(offers, shown.short()+"\t"+shown.Sentence)
				}
			}
			return err
		})
	}
	return offers, cobra.ShellCompDirectiveNoFileComp
}

// completeGrants offers grants, with what they say, and paths.
func (s *session) completeGrants(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.complete(c.Context(), func(r kindred.Roster) (offers []string) {
		names := namesOf(r)
		for _, g := range r.Grants {
			offers = append(offers, r.ShortID(g.Terms.ID)+"\t"+g.Terms.Sentence(names.member))
		}
		for _, m := range r.Members {
			offers = append(offers, string(m.Who.ID.Path))
		}
		return offers
	}), cobra.ShellCompDirectiveNoFileComp
}
