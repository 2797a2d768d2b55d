package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

func newGrants(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "grants",
		Short: "List what was shared",
		Args:  cobra.NoArgs,
	}
	s.lang(c)
	return s.does(c, func(ctx context.Context, _ []string) error {
		return s.with(ctx, func(n *kindred.Node) error {
			r, err := s.roster(ctx, n)
			if err != nil {
				return err
			}
			if len(r.Grants) == 0 {
				s.say("Nothing is shared.")
			}
			list := shownGrantsIn(s.language, r, s.now())
			rows := make([][]string, len(list))
			for i, g := range list {
				rows[i] = []string{g.short, g.indent() + g.line()}
			}
			return s.print(list, table(rows))
		})
	})
}

// sharedGrant is a grant in lists.
type sharedGrant struct {
	ID         string         `json:"id"`
	Giver      string         `json:"giver"`
	With       string         `json:"with"`
	Path       string         `json:"path"`
	Affordance string         `json:"affordance,omitempty"`
	Allow      string         `json:"allow"`
	From       *time.Time     `json:"from,omitempty"`
	Until      *time.Time     `json:"until,omitempty"`
	Windows    []sharedWindow `json:"windows,omitempty"`
	Zone       string         `json:"zone,omitempty"`
	Offline    int64          `json:"offline,omitempty"` // seconds
	Since      time.Time      `json:"since"`
	Over       bool           `json:"over,omitempty"` // its time is over
	Paused     bool           `json:"paused,omitempty"`
	Parent     string         `json:"parent,omitempty"` // the grant that it passes on
	PassOn     uint8          `json:"passOn,omitempty"` // how often it may be passed on
	Manage     string         `json:"manage,omitempty"` // what may be passed on, and not done
	Sentence   string         `json:"sentence"`
	sharedUse
	short string // the beginning of the ID
	by    string // who passed it on
	level int    // how many times it was
}

// sharedUse is how much, how finely and how often something may be used: all that is not limited is left out.
type sharedUse struct {
	Below   bool           `json:"below,omitempty"` // it is for everyone below
	Purpose string         `json:"purpose,omitempty"`
	Keep    int64          `json:"keep,omitempty"` // seconds
	Moments *sharedMoments `json:"moments,omitempty"`
	Detail  string         `json:"detail,omitempty"`
	Rate    string         `json:"rate,omitempty"`
	AtHome  bool           `json:"atHome,omitempty"`
	Uses    uint32         `json:"uses,omitempty"`
	Budget  int64          `json:"budget,omitempty"` // seconds
	Route   string         `json:"route,omitempty"`
}

type sharedMoments struct {
	From    *time.Time `json:"from,omitempty"`
	Until   *time.Time `json:"until,omitempty"`
	AnyHour bool       `json:"anyHour,omitempty"`
}

func usesOf(t grant.Terms) sharedUse {
	u := sharedUse{
		Below: t.Subject.Below, Purpose: t.Purpose, Keep: t.Retention, Detail: t.Detail.String(), AtHome: t.Home, Uses: t.Uses, Budget: t.Budget,
	}
	if m := t.Moments; m != (grant.Moments{}) {
		u.Moments = &sharedMoments{unix(m.From), unix(m.Until), m.Always}
	}
	if t.Rate.Uses != 0 {
		u.Rate = t.Rate.String()
	}
	if t.Route != grant.AnyRoute {
		u.Route = t.Route.String()
	}
	return u
}

type sharedWindow struct {
	Days    string `json:"days"`
	Between string `json:"between"`
}

// shownGrants returns the grants there are by what they are about, and for whom.
func shownGrants(r kindred.Roster, now time.Time) []sharedGrant {
	return shownGrantsIn(grant.English, r, now)
}

func shownGrantsIn(l grant.Language, r kindred.Roster, now time.Time) []sharedGrant {
	list := make([]sharedGrant, len(r.Grants))
	for i, g := range r.Grants {
		list[i] = shownGrant(l, r, g, now)
	}
	slices.SortFunc(list, func(a, b sharedGrant) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.With, b.With), cmp.Compare(a.Affordance, b.Affordance),
			a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return asTree(list)
}

// asTree puts each grant under the one that it passes on.
func asTree(list []sharedGrant) []sharedGrant {
	listed := map[string]bool{"": true}
	for _, g := range list {
		listed[g.ID] = true
	}
	under := map[string][]sharedGrant{}
	for _, g := range list {
		parent := g.Parent
		if !listed[parent] {
			parent = ""
		}
		under[parent] = append(under[parent], g)
	}
	ordered := make([]sharedGrant, 0, len(list))
	var add func(parent string, level int)
	add = func(parent string, level int) {
		for _, g := range under[parent] {
			g.level = level
			ordered = append(ordered, g)
			add(g.ID, level+1)
		}
	}
	add("", 0)
	return ordered
}

func shownGrant(l grant.Language, r kindred.Roster, of kindred.RosterGrant, now time.Time) sharedGrant {
	t, about := of.Terms, namesOf(r).member
	if !of.At.Tree.IsZero() {
		about = func(id identity.TreeMember) string {
			if id == t.ThingMember() {
				return r.Elsewhere(of.At)
			}
			return namesOf(r).member(id)
		}
	}
	g := sharedGrant{
		short: r.ShortID(t.ID), Paused: of.Paused,
		ID: t.ID.String(), Giver: r.Name(t.GiverMember()), With: r.Name(t.Subject.TreeMember()), Path: r.Name(t.ThingMember()),
		Affordance: t.Thing.Affordance, Allow: t.Actions.String(), From: unix(t.From), Until: unix(t.Until), Zone: t.Zone,
		Offline: t.Offline, Since: time.Unix(t.Time, 0).UTC(), Over: t.Until != 0 && now.Unix() >= t.Until,
		Sentence:  l.Sentence(t, about),
		PassOn:    t.Depth,
		sharedUse: usesOf(t),
	}
	if !of.At.Tree.IsZero() {
		g.Path = about(t.ThingMember())
		if home, _, ok := strings.Cut(g.Path, ":"); ok {
			g.short = home + ":" + g.short
		}
	}
	if t.HandOn != 0 {
		g.Manage = t.HandOn.String()
	}
	if !t.Parent.IsZero() {
		g.by = namesOf(r).member(t.GiverMember())
	}
	for _, above := range r.Grants {
		if above.Statement == t.Parent && !t.Parent.IsZero() {
			g.Parent = above.Terms.ID.String()
		}
	}
	for _, w := range t.Windows {
		g.Windows = append(g.Windows, sharedWindow{w.Days.String(), fmt.Sprintf("%02d:%02d-%02d:%02d", w.From/60, w.From%60, w.To/60, w.To%60)})
	}
	return g
}

// line is the sentence, with who passed it on, and whether the grant still matters.
func (g sharedGrant) line() string {
	line := g.Sentence
	if g.by != "" {
		line = "by " + g.by + ", " + line
	}
	switch {
	case g.Over:
		line += " (over)"
	case g.Paused:
		line += " (paused)"
	}
	return line
}

// indent says how deep a grant is below an owner's.
func (g sharedGrant) indent() string {
	if g.level == 0 {
		return ""
	}
	return strings.Repeat("   ", g.level-1) + "└─ "
}

func unix(seconds int64) *time.Time {
	if seconds == 0 {
		return nil
	}
	t := time.Unix(seconds, 0).UTC()
	return &t
}

// ownersOf returns the owners on the tree with their apps.
func ownersOf(r kindred.Roster) (owners []kindred.RosterMember, apps map[identity.Path][]string) {
	apps = map[identity.Path][]string{}
	for _, m := range r.Members {
		switch {
		case m.Who.Kind() == identity.Owner:
			owners = append(owners, m)
		case m.Who.Owner():
			above := m.Who.ID.Path.Parent()
			apps[above] = append(apps[above], m.Who.ID.Path.Name())
		}
	}
	return owners, apps
}
