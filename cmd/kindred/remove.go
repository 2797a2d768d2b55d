package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
)

func newRemove(s *session) *cobra.Command {
	var since string
	var yes bool
	c := &cobra.Command{
		Use:   "remove PATH",
		Short: "Take a member, and all below it, off the tree",
		Long: `Take a member, all below it, and every grant from, to or about them off the tree. It does
not come back: a new member at the same path is another one, and gets nothing of the old
one's rights. The report is as that of "kindred unshare", and says which of the homes that
are known here were told, and of the others until when they may still let in who is gone.

If an owner's phone was stolen, say since when: --made-since takes with it whom it let in,
what it shared and which homes it recognized since then, and what these made in turn. The
time is the home's own, whatever a thief says. You are shown all of it and asked first.`,
		Example:           "  kindred remove sam/anna/phone\n  kindred remove sam/phone --made-since 2d",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completePaths,
	}
	c.Flags().StringVar(&since, "made-since", "", "with what it made from this `time` on: "+clocksHint)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask once what goes with it is shown")
	return s.does(s.following(c), func(ctx context.Context, args []string) error {
		return s.with(ctx, func(n *kindred.Node) error { return s.remove(ctx, n, args[0], since, yes) })
	})
}

// remove takes a member off the tree and, where a moment is given, with it what it made since.
func (s *session) remove(ctx context.Context, n *kindred.Node, path, since string, yes bool) error {
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	m, err := member(n, r, path)
	if err != nil {
		return err
	}
	if err := removable(r, n.Self(), m); err != nil {
		return err
	}
	target, along := r.Member(m), kindred.Made{}
	if since != "" {
		at, err := parsePast(since, s.now())
		if err != nil {
			return usage("--made-since: %s", err)
		}
		if along, err = r.MadeSince(n.Self(), m, at); err != nil {
			return err
		}
		if err := s.agreeToMade(ctx, r, m, along, yes); err != nil {
			return err
		}
		target = r.Takes(m, at)
	}
	report, confirmed, err := s.revoke(ctx, n, target)
	if err != nil {
		return err
	}
	t := taken{Removed: string(m.Who.ID.Path), Things: report.Things, Pending: !confirmed, Sentence: "Removed " + string(m.Who.ID.Path) + "."}
	if t.Neighbours, err = s.neighboursTold(ctx, n, r, confirmed); err != nil {
		return err
	}
	if len(t.Things) > 0 {
		t.Sentence += " " + closed(report, s.now())
	} else {
		t.Things = []control.Reach{}
	}
	gone := r.Ended(m)
	for _, made := range along.Members {
		t.Members = append(t.Members, string(made.Who.ID.Path))
		gone = append(gone, r.Ended(made)...)
	}
	for _, g := range along.Approved {
		t.Approvals = append(t.Approvals, g.Terms.ID.String())
	}
	for _, other := range along.Others {
		t.Homes = append(t.Homes, other.Name)
	}
	gone = once(append(gone, append(along.Grants, r.Resting(along.Grants...)...)...))
	for _, g := range gone {
		t.Grants = append(t.Grants, g.Terms.ID.String())
	}
	lines := append([]string{t.Sentence}, ended(r, gone)...)
	for _, other := range t.Neighbours {
		lines = append(lines, heardOf(other, s.now()))
	}
	if since == "" {
		lines = append(lines, s.stays(n, r, m)...)
	}
	t.Sentence = strings.Join(lines, "\n")
	return s.print(t, t.Sentence)
}

// agreeToMade shows what goes with a member because it made it, and asks.
func (s *session) agreeToMade(ctx context.Context, r kindred.Roster, m kindred.RosterMember, along kindred.Made, yesAlready bool) error {
	if lines := s.madeLines(r, along); len(lines) == 0 {
		s.say("%s made nothing since then.", m.Who.ID.Path)
	} else {
		s.say("%s made this since then, which goes with it:\n  %s", m.Who.ID.Path, strings.Join(lines, "\n  "))
	}
	for _, left := range along.Left {
		s.say("It made %s too, a %s, which takes the root key or two owners and stays: look at what is in it.", left.Who.ID.Path, left.Who.Kind())
	}
	if yesAlready {
		return nil
	}
	if !s.asks {
		return hinted(usage("nobody is here to say whether that may go"), "--yes says so")
	}
	answer, err := s.ask(ctx, fmt.Sprintf("Remove %s and all of this? [y/N]", m.Who.ID.Path))
	if err != nil {
		return err
	}
	if !yes(answer) {
		return &failure{Code: "declined", Message: "nothing was removed", exit: exitFailed}
	}
	return nil
}

// madeLines tells what somebody made, a line each.
func (s *session) madeLines(r kindred.Roster, made kindred.Made) (lines []string) {
	for _, m := range made.Members {
		lines = append(lines, fmt.Sprintf("%s, a %s, let in %s", m.Who.ID.Path, m.Who.Kind(), stamp(m.Since, s.now())))
	}
	for _, g := range made.Grants {
		lines = append(lines, fmt.Sprintf("%s: %s", r.ShortID(g.Terms.ID), shownPassed(r, g)))
	}
	for _, g := range made.Approved {
		lines = append(lines, fmt.Sprintf("its approval of %s: %s", r.ShortID(g.Terms.ID), shownPassed(r, g)))
	}
	for _, o := range made.Others {
		lines = append(lines, "the home "+o.Name+" is recognized")
	}
	return lines
}

// lately is of how long before what a removed member made is pointed out.
const lately = 30 * 24 * time.Hour

// stays points out what a member that could do so made lately, and stays.
func (s *session) stays(n *kindred.Node, r kindred.Roster, m kindred.RosterMember) []string {
	made, err := r.MadeSince(n.Self(), m, s.now().Add(-lately))
	if err != nil || !m.Who.Owner() {
		return nil
	}
	lines := s.madeLines(r, made)
	if len(lines) == 0 {
		return nil
	}
	return append([]string{"It made this in the last 30 days, which stays. If it was stolen, look at it:"}, lines...)
}

// once returns grants, every one once.
func once(grants []kindred.RosterGrant) (all []kindred.RosterGrant) {
	for _, g := range grants {
		if !slices.ContainsFunc(all, func(other kindred.RosterGrant) bool { return other.Terms.ID == g.Terms.ID }) {
			all = append(all, g)
		}
	}
	return all
}

// removable reports, as an error, what a member may not remove.
func removable(r kindred.Roster, self identity.Chain, m kindred.RosterMember) error {
	switch k := m.Who.Kind(); {
	case !self.Owner():
		return onlyOwners("remove members")
	case k == identity.Owner || k == identity.Place:
		return hinted(refused("%s is of kind %s: taking it away takes the root key or two owners, which this version cannot do yet", m.Who.ID.Path, k),
			"remove what is in it, one by one")
	case r.IsGateway(m):
		return refused("%s is the gateway, without which nobody could change anything here any more", m.Who.ID.Path)
	case m.Who.Owner() && !slices.ContainsFunc(r.Members, func(other kindred.RosterMember) bool {
		return other.Who.Owner() && !other.Who.Self().Tool() && other.Who.Member() != m.Who.Member()
	}):
		return hinted(refused("%s is the last app of an owner: nobody could change anything here any more", m.Who.ID.Path),
			"add another one first")
	}
	return nil
}
