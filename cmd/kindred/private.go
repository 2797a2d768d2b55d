package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
)

func newPrivate(s *session) *cobra.Command {
	var off bool
	c := &cobra.Command{
		Use:   "private PATH [PERSON...]",
		Short: "Say whose doings at a thing nobody else can read in the journal",
		Long: `Say that what a PERSON does at the thing at PATH is sealed to them in its journal: they read
it, with "kindred log --sealed", and nobody else does. Everybody who reads the journal sees
that somebody used the thing, and when; and what is refused to them stays in clear. With
--off it is told again, from then on. Without PERSON, list for whom it is private.

It is for adults: whoever looks after a child looks at what the child does.`,
		Example:           "  kindred private home/bath sam/anna\n  kindred private home/bath\n  kindred private home/bath sam/anna --off",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: s.completePaths,
	}
	c.Flags().BoolVar(&off, "off", false, "let it be told again")
	return s.does(c, func(ctx context.Context, args []string) error {
		if off && len(args) < 2 {
			return usage("for whom no more? kindred private PATH PERSON --off")
		}
		return s.with(ctx, func(n *kindred.Node) error { return s.private(ctx, n, args[0], args[1:], off) })
	})
}

func (s *session) private(ctx context.Context, n *kindred.Node, path string, people []string, off bool) error {
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	m, err := member(n, r, path)
	if err != nil {
		return err
	}
	if m.Who.Kind() != identity.Device {
		return usage("%s is of kind %s: devices have a journal of who used them", m.Who.ID.Path, m.Who.Kind())
	}
	entry, err := m.Current()
	if err != nil {
		return err
	}
	private := entry.Private
	for _, arg := range people {
		who, err := member(n, r, arg)
		if err != nil {
			return err
		}
		if kind := who.Who.Kind(); kind != identity.Owner && kind != identity.Person {
			return usage("%s is of kind %s: it is owners and persons who have something to themselves", who.Who.ID.Path, kind)
		}
		id := who.Who.Member()
		private = slices.DeleteFunc(slices.Clone(private), func(other identity.MemberID) bool { return other == id })
		if !off {
			private = append(private, id)
		}
	}
	if len(people) > 0 {
		if err := n.Conceal(ctx, m.Who.Member(), private); err != nil {
			return err
		}
	}
	names := []string{}
	for _, who := range r.Members {
		if slices.Contains(private, who.Who.Member()) {
			names = append(names, string(who.Who.ID.Path))
		}
	}
	slices.Sort(names)
	if path := m.Who.ID.Path; len(names) == 0 {
		s.say("%s is private for nobody: its journal tells owners all that is done there.", path)
	} else {
		s.say("%s is private for %s: what they do there is sealed to them.", path, strings.Join(names, ", "))
	}
	if !s.json {
		return nil
	}
	return s.object(map[string]any{"path": m.Who.ID.Path, "private": names})
}
