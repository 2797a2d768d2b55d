package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// completeFor bounds how long a shell waits for a completion.
const completeFor = time.Second

// complete opens the directory's member for a completion. Whatever fails, nothing is offered: a shell has no place
// for errors.
func (s *session) complete(c *cobra.Command, offer func(context.Context, *kindred.Node, kindred.Roster) []string) []string {
	if s.begin() != nil {
		return nil
	}
	cfg, err := s.config()
	if err != nil {
		return nil
	}
	ctx := c.Context()
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
	return offer(ctx, n, r)
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

// pathsOf returns the paths of members of some kinds; of none, all.
func (s *session) pathsOf(c *cobra.Command, kinds ...identity.Kind) []string {
	return s.complete(c, func(_ context.Context, _ *kindred.Node, r kindred.Roster) (paths []string) {
		for _, m := range r.Members {
			if len(kinds) == 0 || slices.Contains(kinds, m.Who.Kind()) {
				paths = append(paths, string(m.Who.ID.Path))
			}
		}
		return paths
	})
}

// completeThing offers things for the first argument, and for the second names of what the thing has.
func (s *session) completeThing(names func(thing.Description) []string) cobra.CompletionFunc {
	return s.completeShared(names, identity.Device)
}

// completeShared is completeThing for what else can be shared.
func (s *session) completeShared(names func(thing.Description) []string, kinds ...identity.Kind) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		switch {
		case len(args) == 0:
			return s.pathsOf(c, kinds...), cobra.ShellCompDirectiveNoFileComp
		case len(args) == 1 && names != nil:
			return s.complete(c, func(ctx context.Context, n *kindred.Node, _ kindred.Roster) (offers []string) {
				_ = s.use(ctx, n, args[0], func(t *thing.Client) error { // a thing that does not answer offers nothing
					d, err := description(ctx, t)
					offers = names(d)
					return err
				})
				return offers
			}), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

func propertiesOf(d thing.Description) []string { return slices.Sorted(maps.Keys(d.Properties)) }

func allOf(d thing.Description) []string { return slices.Sorted(maps.Keys(offered(d))) }

func namesOfOffers(of func(thing.Description) []offer) func(thing.Description) []string {
	return func(d thing.Description) (names []string) {
		for _, o := range of(d) {
			names = append(names, o.Name)
		}
		slices.Sort(names)
		return names
	}
}

// completeWaiting offers those who wait to be confirmed.
func (s *session) completeWaiting(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.complete(c, func(ctx context.Context, n *kindred.Node, _ kindred.Roster) (paths []string) {
		joins, _ := n.Gateway().Joins(ctx) // without an answer there is nothing to offer
		for _, r := range joins.Requests {
			paths = append(paths, string(r.Path))
		}
		return paths
	}), cobra.ShellCompDirectiveNoFileComp
}

// completeAsks offers what is asked for, with what it says.
func (s *session) completeAsks(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.complete(c, func(ctx context.Context, n *kindred.Node, r kindred.Roster) (offers []string) {
		asks, _ := n.Asks(ctx) // without an answer there is nothing to offer
		for _, a := range asks {
			if a.Waiting {
				shown := s.shownAsk(r, a)
				offers = append(offers, shown.short()+"\t"+shown.Sentence)
			}
		}
		return offers
	}), cobra.ShellCompDirectiveNoFileComp
}

// completeGrants offers grants, with what they say, and paths.
func (s *session) completeGrants(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return s.complete(c, func(_ context.Context, _ *kindred.Node, r kindred.Roster) (offers []string) {
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

// completeHomes offers the other homes that are known.
func (s *session) completeHomes(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return s.complete(c, func(_ context.Context, _ *kindred.Node, r kindred.Roster) (homes []string) {
		for _, o := range r.Others {
			homes = append(homes, o.Name)
		}
		return homes
	}), cobra.ShellCompDirectiveNoFileComp
}
