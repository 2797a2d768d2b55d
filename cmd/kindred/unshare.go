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

func newUnshare(s *session) *cobra.Command {
	return s.following(s.onGrants(&cobra.Command{
		Use:   "unshare GRANT | PATH --with WHO",
		Short: "Take back what was shared",
		Long: `Take back what was shared: by its ID, or the beginning of it; or all that WHO has been given
at PATH. It is taken back at the gateway and straight at the things, and the report says
what each of them answered, and until when one that could not be reached may still serve.
What was shared under it goes with it, and is listed. With --wait it goes on until each
has answered, or the time is over.`,
		Example: "  kindred unshare g-7kqm\n  kindred unshare home/lock --with sam/anna",
	}, "from `whom` it is taken back", func(ctx context.Context, n *kindred.Node, r kindred.Roster, found []kindred.RosterGrant) error {
		return s.takeBack(ctx, n, r, found, false)
	}))
}

// onGrants completes a command that does something to grants, which only owners and their givers may do.
func (s *session) onGrants(c *cobra.Command, withHelp string, do func(context.Context, *kindred.Node, kindred.Roster, []kindred.RosterGrant) error) *cobra.Command {
	var with string
	c.Args, c.ValidArgsFunction = cobra.ExactArgs(1), s.completeGrants
	c.Flags().StringVar(&with, "with", "", withHelp)
	hide(c.RegisterFlagCompletionFunc("with", s.completeWho))
	return s.does(c, func(ctx context.Context, args []string) error {
		return s.with(ctx, func(n *kindred.Node) error {
			if home, id, ok := strings.Cut(args[0], ":"); ok && with == "" && strings.HasPrefix(id, "g-") {
				return s.unshareAbroad(ctx, n, home, id)
			}
			r, err := s.roster(ctx, n)
			if err != nil {
				return err
			}
			found, err := chosen(n, r, args[0], with)
			if err != nil && c.Name() == "withdraw" && with == "" {
				return s.demandAgain(ctx, n, args[0], err)
			}
			if err != nil {
				return err
			}
			for _, g := range found {
				if self := n.Self(); !self.Owner() && !g.Terms.GivenBy(self) {
					return refused("only owners, and who gave it, may %s %s", c.Name(), r.ShortID(g.Terms.ID))
				}
			}
			return do(ctx, n, r, found)
		})
	})
}

// chosen finds the grants that the arguments mean.
func chosen(n *kindred.Node, r kindred.Roster, arg, with string) ([]kindred.RosterGrant, error) {
	if with == "" {
		if !begins(arg, "g-") {
			return nil, usage("%q is no grant such as g-7kqm: give one, or PATH --with WHO", arg)
		}
		found := r.GrantsNamed(arg)
		switch {
		case len(found) == 0:
			return nil, hinted(notFound("there is no grant %s: it may have been taken back", arg), `"kindred grants" lists them`)
		case len(found) > 1:
			return nil, hinted(conflict("%s could be %d grants", arg, len(found)), "write more of it")
		}
		return found, nil
	}
	what, err := member(n, r, arg)
	if err != nil {
		return nil, err
	}
	whom, name, err := holder(n, r, with)
	if err != nil {
		return nil, err
	}
	found := slices.Collect(func(yield func(kindred.RosterGrant) bool) {
		for _, g := range r.Grants {
			if g.Terms.Thing.Member == what.Who.Member() && g.Terms.Subject.TreeMember() == whom && !yield(g) {
				return
			}
		}
	})
	if len(found) == 0 {
		return nil, hinted(notFound("%s has been given nothing at %s", name, what.Who.ID.Path), `"kindred who-can `+arg+`" lists who has`)
	}
	return found, nil
}

// begins reports whether an argument is the beginning of an ID, as far as it tells one from others: what a script left
// empty is none.
func begins(arg, prefix string) bool { return len(arg) > len(prefix) && strings.HasPrefix(arg, prefix) }

// holder finds who has been given something: a member, or by what they are called in lists somebody of another home.
func holder(n *kindred.Node, r kindred.Roster, arg string) (who identity.TreeMember, name string, err error) {
	for _, g := range r.Grants {
		s := g.Terms.Subject
		id := identity.ID{Tree: s.Tree, Path: s.Path}
		if s.Path != "" && (arg == r.Elsewhere(id) || arg == id.String()) {
			return s.TreeMember(), arg, nil
		}
	}
	if strings.Contains(arg, ":") && !strings.Contains(arg, "://") {
		return who, arg, notFound("%s has been given nothing", arg)
	}
	m, err := member(n, r, arg)
	if err != nil {
		return who, arg, err
	}
	return m.Who.TreeMember(), string(m.Who.ID.Path), nil
}

// taken is the result of "unshare" and "remove".
type taken struct {
	Grants     []string            `json:"grants,omitempty"`
	Removed    string              `json:"removed,omitempty"`
	Members    []string            `json:"members,omitempty"`   // that went with it, since it had let them in
	Approvals  []string            `json:"approvals,omitempty"` // of these grants, which it approved
	Homes      []string            `json:"homes,omitempty"`     // that are recognized no more
	Forgotten  string              `json:"forgotten,omitempty"` // a home
	Things     []control.Reach     `json:"things"`
	Neighbours []control.Neighbour `json:"neighbours,omitempty"` // the homes that are known here, and whether they were told
	Pending    bool                `json:"pending,omitempty"`    // the gateway has not confirmed it
	Sentence   string              `json:"sentence"`
}

// takeBack takes grants back, or only pauses them.
func (s *session) takeBack(ctx context.Context, n *kindred.Node, r kindred.Roster, grants []kindred.RosterGrant, pause bool) error {
	t := taken{Things: []control.Reach{}}
	var lines []string
	for _, g := range grants {
		sentence := "It was paused already."
		if !pause || !g.Paused {
			target := r.Grant(g)
			target.Pause = pause
			papers, err := s.papers(ctx, n, g, pause)
			if err != nil {
				return err
			}
			report, confirmed, err := s.revoke(ctx, n, target)
			if err != nil {
				return err
			}
			if papers.Grant != nil {
				if err := s.demand(ctx, n, papers); err != nil {
					return err
				}
			}
			sentence = closed(report, s.now())
			t.Things, t.Pending = append(t.Things, report.Things...), t.Pending || !confirmed
		}
		if len(grants) > 1 {
			sentence = r.ShortID(g.Terms.ID) + ": " + sentence
		}
		lines = append(lines, sentence)
		t.Grants = append(t.Grants, g.Terms.ID.String())
		if !pause {
			for _, gone := range r.Resting(g) {
				t.Grants = append(t.Grants, gone.Terms.ID.String())
			}
			lines = append(lines, ended(r, r.Resting(g))...)
		}
	}
	t.Sentence = strings.Join(lines, "\n")
	return s.print(t, t.Sentence)
}

// closed says what a taking-back has reached: "Closed on 7 of 8; home/porch/doorbell unreachable: refuses guests by
// 14:05, offline grants by Sun 29 Nov 13:05."
func closed(r control.Report, now time.Time) string {
	if len(r.Things) == 0 {
		if r.Already {
			return "It was taken back before."
		}
		return "Taken back. No thing had to be told."
	}
	done := 0
	var rest []string
	for _, t := range r.Things {
		if t.Closed {
			done++
			continue
		}
		rest = append(rest, remaining(t, now))
	}
	text := fmt.Sprintf("Closed on %d of %d", done, len(r.Things))
	if len(rest) > 0 {
		text += "; " + strings.Join(rest, "; ")
	}
	return text + "."
}

// remaining says until when a thing that could not be told may still serve.
func remaining(t control.Reach, now time.Time) string {
	text := string(t.Path) + " unreachable"
	if !t.Refuses.IsZero() {
		text += ": refuses guests by " + stamp(t.Refuses, now)
	}
	if t.Offline.After(t.Refuses) {
		text += ", offline grants by " + stamp(t.Offline, now)
	}
	return text
}
