package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
)

func newExtend(s *session) *cobra.Command {
	var until string
	c := &cobra.Command{
		Use:   "extend GRANT --until TIME",
		Short: "Let what was given go on beyond its end, or ask for that",
		Long: `Give once more what GRANT says, until later, if you gave it or are an owner; the ID of what
was given is printed. If it was given to you, in this home or another, ask the owners for
it, as "kindred request" does. The one before ends as it says, and with it what others
were given under it; what is limited in number or in minutes is counted anew.`,
		Example:           "  kindred extend g-7kqm --until 7d\n  kindred extend oak-lane:g-7kqm --until 7d",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeGrants,
	}
	c.Flags().StringVar(&until, "until", "", "until this `time`; a date is included")
	s.lang(c)
	return s.does(c, func(ctx context.Context, args []string) error {
		if until == "" {
			return usage("until when? kindred extend %s --until TIME", args[0])
		}
		end, err := parseMoment(until, s.now(), true)
		if err != nil {
			return usage("--until: %s", err)
		}
		return s.with(ctx, func(n *kindred.Node) error { return s.extend(ctx, n, args[0], end) })
	})
}

func (s *session) extend(ctx context.Context, n *kindred.Node, arg string, end time.Time) error {
	if home, id, ok := strings.Cut(arg, ":"); ok && begins(id, "g-") {
		return s.extendAbroad(ctx, n, home, id, end)
	}
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	found, err := chosen(n, r, arg, "")
	if err != nil {
		return err
	}
	short := r.ShortID(found[0].Terms.ID)
	t, err := s.longer(found[0].Terms, short, end)
	if err != nil {
		return err
	}
	self := n.Self()
	switch own := t.GivenBy(self); {
	case !own && t.To(self) && !self.Owner():
		return s.requestMore(ctx, n, r.Name(t.ThingMember()), t)
	case !own && !self.Owner():
		return refused("only owners, who gave %s, and who has it may have it go on", short)
	case !t.Parent.IsZero():
		t, err = s.passOnLonger(ctx, n, r, t, own)
	default:
		t, err = n.Share(ctx, t)
	}
	if err != nil {
		return err
	}
	r.Grants = append(r.Grants, kindred.RosterGrant{Terms: t})
	sentence := s.language.Sentence(t, namesOf(r).member)
	err = s.print(map[string]string{"id": t.ID.String(), "sentence": sentence}, r.ShortID(t.ID))
	s.say("%s", sentence)
	return err
}

// longer returns terms as they would go on until later.
func (s *session) longer(t grant.Terms, short string, end time.Time) (grant.Terms, error) {
	now := s.now()
	switch {
	case t.Until == 0:
		return t, conflict("%s has no end", short)
	case end.Unix() <= t.Until || !end.After(now):
		return t, usage("%s lasts until %s already", short, stamp(time.Unix(t.Until, 0), now))
	case !t.Agreement.IsZero():
		return t, hinted(conflict("%s is an agreement with a service, which is made anew", short), `"kindred share" does that`)
	}
	if t.From == 0 && now.Unix() < t.Until {
		t.From = t.Time // it goes on as it was: what could be looked at still can
	}
	t.Until = end.Unix()
	return t, nil
}

// requestMore asks owners, of this home or another, for what one has at a thing there, until later.
func (s *session) requestMore(ctx context.Context, n *kindred.Node, at string, t grant.Terms) error {
	var open grant.Terms // who gives it, for whom, and under what, an ask leaves open
	t.Giver, t.GiverTree, t.Subject, t.Thing.Member, t.Parent = open.Giver, open.GiverTree, open.Subject, open.Thing.Member, open.Parent
	return s.request(ctx, n, at, grant.Ask{Terms: t})
}

// passOnLonger passes on until later what was passed on, under the same grant.
func (s *session) passOnLonger(ctx context.Context, n *kindred.Node, r kindred.Roster, t grant.Terms, own bool) (grant.Terms, error) {
	if !own {
		return t, hinted(refused("%s was passed on by %s, under their grant", r.ShortID(t.ID), namesOf(r).member(t.GiverMember())),
			`who passed it on can extend it, or you "kindred share" it yourself`)
	}
	for _, above := range r.Grants {
		if above.Statement != t.Parent {
			continue
		}
		if a := above.Terms; a.Until != 0 && a.Until < t.Until {
			return t, hinted(conflict("%s is under %s, which ends at %s", r.ShortID(t.ID), r.ShortID(a.ID), stamp(time.Unix(a.Until, 0), s.now())),
				"have that one extended before")
		}
		return n.PassOn(ctx, above, t)
	}
	return t, notFound("what %s was passed on under is not there any more", r.ShortID(t.ID))
}
