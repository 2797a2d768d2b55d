package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
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
about themselves. Of a person, the answer is for one of their apps. Both may be of another
home: --by birch:sam/anna, or for oneself a thing such as oak-lane:home/lock.

The answer is the one the thing would give to somebody at home who has used up nothing of
what was shared; the thing itself is not asked. If it is no, the exit code is 3.`,
		Example: "  kindred why home/lock invoke unlock --by sam/anna\n  kindred why home/meter read power\n  kindred why home/lock read --by birch:sam/anna",
		Args:    cobra.RangeArgs(2, 3),
		ValidArgsFunction: func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return []string{"read", "write", "invoke", "observe"}, cobra.ShellCompDirectiveNoFileComp
			}
			return s.completePaths(c, args, word)
		},
	}
	c.Flags().StringVar(&by, "by", "", "`who` would do it; else the member in this directory")
	c.Flags().StringVar(&purpose, "for", "", "the `purpose` that they would name")
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
	id, err := anywhere(ctx, n, at)
	if err != nil {
		return err
	}
	if id.Tree != n.Self().ID.Tree {
		return s.whyAbroad(ctx, n, id, at, by, w)
	}
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	if w.Thing, err = member(n, r, string(id.Path)); err != nil {
		return err
	}
	if w.Thing.Who.Kind() != identity.Device {
		return usage("%s is of kind %s: ask about one of the devices", w.Thing.Who.ID.Path, w.Thing.Who.Kind())
	}
	answer := reasoned{Path: string(w.Thing.Who.ID.Path), Action: w.Action.String(), Affordance: w.Affordance, Checked: r.Fetched.UTC()}
	answer.what = answer.about(answer.Path)
	d, err := s.decided(ctx, n, r, by, &w, &answer)
	if err != nil {
		return err
	}
	answer.decided(d)
	for _, id := range slices.Backward(append([]tree.GrantID{d.Grant}, d.Above...)) {
		for _, g := range r.Grants {
			if g.Terms.ID == id {
				answer.Chain = append(answer.Chain, shownGrant(grant.English, r, g, s.now()))
			}
		}
	}
	return s.answer(answer)
}

// about says what is asked about a thing.
func (a reasoned) about(thing string) string {
	if a.Affordance != "" {
		return a.Affordance + " of " + thing
	}
	return thing
}

// decided takes over what was decided.
func (a *reasoned) decided(d grant.Decision) {
	a.Allowed, a.Code, a.Reason = d.Allowed, d.Reason.Code.String(), d.Reason.String()
	if !d.AsOf.IsZero() {
		a.Checked = d.AsOf.UTC()
	}
	if !d.At.IsZero() {
		a.Failed = d.At.String()
	}
	if d.Allowed {
		a.Until = unix(d.Until.Unix())
	}
}

// decided asks for the decision on whoever is named, here or in another home, and says who that is.
func (s *session) decided(ctx context.Context, n *kindred.Node, r kindred.Roster, by string, w *kindred.Why, a *reasoned) (grant.Decision, error) {
	id := n.Self().ID
	if strings.Contains(by, ":") {
		var err error
		if id, err = anywhere(ctx, n, by); err != nil {
			return grant.Decision{}, err
		}
	}
	if id.Tree == n.Self().ID.Tree {
		leaf, err := leafOf(n, r, by)
		if err != nil {
			return grant.Decision{}, err
		}
		w.By, a.By, a.who = leaf, string(leaf.ID.Path), namesOf(r).plain(leaf.ID.Path, leaf.Kind())
		return n.Why(ctx, *w)
	}
	if !n.Self().Owner() {
		return grant.Decision{}, onlyOwners("ask how others stand")
	}
	a.By = r.Elsewhere(id)
	a.who = a.By
	c, err := n.Abroad(ctx, id)
	var said *control.Error
	switch {
	case errors.Is(err, credential.ErrStranger):
		return grant.Decision{Reason: grant.Reason{Code: grant.Unknown}}, nil
	case errors.As(err, &said) && said.Code == control.NotFound && wasGiven(r, id):
		return grant.Decision{Reason: grant.Reason{Code: grant.Removed}}, nil
	case err != nil:
		return grant.Decision{}, s.unknownThere(err, by)
	}
	w.By = c.Chain
	d, err := n.Why(ctx, *w)
	if err != nil {
		return d, s.unknownThere(err, by)
	}
	return d, nil
}

// wasGiven reports whether something was given to whoever had an ID of another home then.
func wasGiven(r kindred.Roster, id identity.ID) bool {
	return slices.ContainsFunc(r.Grants, func(g kindred.RosterGrant) bool {
		return g.Terms.Subject.Tree == id.Tree && g.Terms.Subject.Path == id.Path
	})
}

// whyAbroad says whether this directory's member may do something at a thing of another home.
func (s *session) whyAbroad(ctx context.Context, n *kindred.Node, thing identity.ID, at, by string, w kindred.Why) error {
	if by != "" {
		return usage("what others may do at %s, its owners know: leave --by away", at)
	}
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	self := n.Self()
	answer := reasoned{
		By: string(self.ID.Path), Path: r.Elsewhere(thing), Action: w.Action.String(), Affordance: w.Affordance, Checked: s.now().UTC(),
		who: namesOf(r).plain(self.ID.Path, self.Kind()),
	}
	answer.what = answer.about(answer.Path)
	d, granted, err := n.WhyAbroad(ctx, thing, w.Affordance, w.Action, w.Purpose)
	if errors.Is(err, credential.ErrStranger) {
		return hinted(notFound("%s is of a home that is not known here", at), knownHint)
	}
	if err != nil {
		return s.unreached(err, "the home of "+at)
	}
	answer.decided(d)
	for _, id := range slices.Backward(append([]tree.GrantID{d.Grant}, d.Above...)) {
		for _, t := range granted {
			if t.ID == id {
				answer.Chain = append(answer.Chain, sharedGrant{
					ID: t.ID.String(), short: t.ID.String(), Path: answer.Path, Allow: t.Actions.String(), Since: time.Unix(t.Time, 0).UTC(),
					Affordance: t.Thing.Affordance, Sentence: grant.English.Sentence(t, namedThere(r, thing, t)),
				})
			}
		}
	}
	return s.answer(answer)
}

// namedThere names who stands in terms about a thing of another home.
func namedThere(r kindred.Roster, thing identity.ID, t grant.Terms) func(identity.TreeMember) string {
	return func(id identity.TreeMember) string {
		switch {
		case id == t.ThingMember():
			return r.Elsewhere(thing)
		case id == t.Subject.TreeMember() && !r.Of(t.Subject.Tree) && t.Subject.Path != "":
			return r.Elsewhere(identity.ID{Tree: t.Subject.Tree, Path: t.Subject.Path})
		}
		return namesOf(r).member(id)
	}
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
		return m.Who, onlyOwners("ask how others stand")
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
