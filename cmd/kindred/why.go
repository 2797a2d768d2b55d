package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

func newWhy(s *session) *cobra.Command {
	var by, purpose string
	c := &cobra.Command{
		Use:   "why PATH ACTION [AFFORDANCE]",
		Short: "Say why somebody may do something now, or may not",
		Long: `Say whether WHO may read, write, invoke or observe the thing at PATH, or with AFFORDANCE one
of its properties, actions or events, at this moment: what was shared that allows it, from
the owner on, or the first thing that stands against it. Owners ask about anyone, others
about themselves. Of a person, the answer is for one of their apps.

The answer is the one the thing would give to somebody at home who has used up nothing of
what was shared; the thing itself is not asked. If it is no, the exit code is 3.`,
		Example: "  kindred why home/lock invoke unlock --by sam/anna\n  kindred why home/meter read power",
		Args:    cobra.RangeArgs(2, 3),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"read", "write", "invoke", "observe"}, cobra.ShellCompDirectiveNoFileComp
			}
			return s.completePaths(c, args, word)
		},
	}
	c.Flags().StringVar(&by, "by", "", "`who` would do it; else the member in this directory")
	c.Flags().StringVar(&purpose, "purpose", "", "the `purpose` that they would name")
	hide(c.RegisterFlagCompletionFunc("by", s.completeWho))
	return s.does(c, func(ctx context.Context, args []string) error {
		action, err := parseAction(args[1])
		if err != nil {
			return err
		}
		w := kindred.Why{Action: action, Purpose: purpose}
		if len(args) > 2 {
			w.Affordance = args[2]
		}
		return s.with(ctx, func(n *kindred.Node) error { return s.why(ctx, n, args[0], by, w) })
	})
}

func parseAction(name string) (grant.Action, error) {
	for _, a := range []grant.Action{grant.Read, grant.Write, grant.Invoke, grant.Observe} {
		if a.String() == name {
			return a, nil
		}
	}
	return 0, usage("%.40q is no action: want read, write, invoke or observe", name)
}

// reasoned is the answer to "why".
type reasoned struct {
	Allowed    bool          `json:"allowed"`
	Code       string        `json:"code"` // of grant.Code
	Reason     string        `json:"reason"`
	By         string        `json:"by"` // the path of the leaf that the answer is for
	Path       string        `json:"path"`
	Action     string        `json:"action"`
	Affordance string        `json:"affordance,omitempty"`
	Chain      []sharedGrant `json:"chain,omitempty"`  // from the owner's grant on: what allows it, or comes nearest
	Failed     string        `json:"failed,omitempty"` // which of them stands against it
	Until      *time.Time    `json:"until,omitempty"`
	Checked    time.Time     `json:"checked"`

	who, what string // as people say them
}

func (a reasoned) sentence(may string) string {
	return a.who + " " + may + " " + a.Action + " " + a.what
}

func (s *session) why(ctx context.Context, n *kindred.Node, at, by string, w kindred.Why) error {
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	if w.Thing, err = member(n, r, at); err != nil {
		return err
	}
	if w.Thing.Who.Kind() != identity.Device {
		return usage("%s is of kind %s: ask about one of the devices", w.Thing.Who.ID.Path, w.Thing.Who.Kind())
	}
	if w.By, err = leafOf(n, r, by); err != nil {
		return err
	}
	d, err := n.Why(ctx, w)
	if err != nil {
		return err
	}
	answer := reasoned{
		Allowed: d.Allowed, Code: d.Reason.Code.String(), Reason: d.Reason.String(), By: string(w.By.ID.Path),
		Path: string(w.Thing.Who.ID.Path), Action: w.Action.String(), Affordance: w.Affordance, Checked: d.AsOf.UTC(),
		who: namesOf(r).plain(w.By.ID.Path, w.By.Kind()), what: string(w.Thing.Who.ID.Path),
	}
	if w.Affordance != "" {
		answer.what = w.Affordance + " of " + answer.what
	}
	for _, id := range slices.Backward(append([]tree.GrantID{d.Grant}, d.Above...)) {
		for _, g := range r.Grants {
			if g.Terms.ID == id {
				answer.Chain = append(answer.Chain, shownGrant(grant.English, r, g, s.now()))
			}
		}
	}
	if !d.At.IsZero() {
		answer.Failed = d.At.String()
	}
	if d.Allowed {
		answer.Until = unix(d.Until.Unix())
	}
	return s.answer(answer)
}

// answer prints why, and fails if the answer is no.
func (s *session) answer(a reasoned) error {
	rows := make([][]string, len(a.Chain))
	for i, g := range a.Chain {
		line := g.line()
		if g.ID == a.Failed {
			line += "  <- " + a.Reason
		}
		rows[i] = []string{g.short, line}
	}
	lines := table(rows)
	if a.Allowed {
		reason := "."
		if a.Code == grant.OwnersRight.String() {
			reason = ", as an owner."
		}
		lines = "Yes: " + a.sentence("may") + reason + "\n" + lines
	}
	if err := s.print(a, lines); err != nil || a.Allowed {
		return err
	}
	return refused("%s: %s", a.sentence("may not"), a.Reason)
}

// leafOf finds the leaf that a member means: itself, or an app of a person.
func leafOf(n *kindred.Node, r kindred.Roster, arg string) (identity.Chain, error) {
	if arg == "" {
		return n.Self(), nil
	}
	m, err := member(n, r, arg)
	if err != nil || m.Who.Kind().Leaf() {
		return m.Who, err
	}
	switch {
	case m.Who.Member() == n.Self().ActsFor():
		return n.Self(), nil
	case !n.Self().Owner():
		return m.Who, refused("only owners ask how others stand")
	}
	for _, app := range r.Members {
		if app.Who.Kind() == identity.App && app.Who.ActsFor() == m.Who.Member() && !app.Who.Self().Tool() {
			return app.Who, nil
		}
	}
	if k := m.Who.Kind(); !isPerson(k) {
		return m.Who, usage("%s is of kind %s: ask about one of the devices", m.Who.ID.Path, k)
	}
	return m.Who, hinted(notFound("%s has no device yet", m.Who.ID.Path), "whoever has none can do nothing")
}
