package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

func newReport(s *session) *cobra.Command {
	o := logOptions{since: "30d"}
	c := &cobra.Command{
		Use:   "report",
		Short: "Set what was agreed beside what happened",
		Long: `Set what was agreed beside what happened: of everything that is shared what it allows, how
often it was used and last when, what left in clear and to where, what was refused under
it and why, and what was never used, with the command that takes it back. What happened
and is covered by nothing that was agreed comes last, in red: there should be none.

Owners see all of the home. Others see what concerns them: what was given to them and what
they did with it, what they gave and what was done under that, and who took it back.`,
		Example: "  kindred report\n  kindred report --since 7d --thing home/lock\n  kindred report --who sam/anna --json",
		Args:    cobra.NoArgs,
	}
	f := c.Flags()
	f.StringVar(&o.since, "since", o.since, "from this `time` on: "+clocksHint)
	f.StringVar(&o.who, "who", "", "only what this `path` was given, and did")
	f.StringVar(&o.thing, "thing", "", "only what was given and done at this `path`")
	s.lang(c)
	hide(c.RegisterFlagCompletionFunc("who", s.completeWho), c.RegisterFlagCompletionFunc("thing", s.completeWho))
	return s.does(c, func(ctx context.Context, _ []string) error {
		return s.with(ctx, func(n *kindred.Node) error { return s.report(ctx, n, o) })
	})
}

func (s *session) report(ctx context.Context, n *kindred.Node, o logOptions) error {
	now := s.now()
	since, err := parsePast(o.since, now)
	if err != nil {
		return usage("--since: %s", err)
	}
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	entries, err := everything(ctx, n, r, o, since)
	if err != nil {
		return err
	}
	grants, err := accountable(n, r, o)
	if err != nil {
		return err
	}
	a := account{Since: since.UTC(), Until: now.UTC(), reader: n.Self(), teller: teller{namesOf(r), now}, language: s.language}
	a.open(grants)
	for _, e := range withOutcomes(entries) {
		a.enter(e)
	}
	a.close()
	return s.print(a, a.text(s))
}

// everything fetches what happened since a moment, as far as the command was asked for, the oldest first; and all that was
// taken back, by which the rest is judged.
func everything(ctx context.Context, n *kindred.Node, r kindred.Roster, o logOptions, since time.Time) ([]journal.Entry, error) {
	asked, err := askedFor(n, r, o)
	if err != nil {
		return nil, err
	}
	all, err := n.WholeHistory(ctx, control.HistoryQuery{Since: since})
	if err != nil {
		return nil, err
	}
	if !n.Self().Owner() { // whoever is one is told with all else what is sealed to them
		sealed, err := n.WholeHistory(ctx, control.HistoryQuery{Since: since, Sealed: true})
		if err != nil {
			return nil, err
		}
		all = append(all, slices.DeleteFunc(sealed, func(e journal.Entry) bool { return e.Op == journal.Private })...)
		slices.SortStableFunc(all, func(a, b journal.Entry) int { return a.Time.Compare(b.Time) })
	}
	return slices.DeleteFunc(all, func(e journal.Entry) bool { return !asked(e) }), nil
}

// askedFor returns what says of an entry whether the command was asked for it.
func askedFor(n *kindred.Node, r kindred.Roster, o logOptions) (func(journal.Entry) bool, error) {
	var who []string
	if o.who != "" {
		m, err := member(n, r, o.who)
		if err != nil {
			return nil, err
		}
		who = callersOf(r, m)
	}
	var thing identity.MemberID
	if o.thing != "" {
		m, err := member(n, r, o.thing)
		if err != nil {
			return nil, err
		}
		thing = m.Who.Member()
	}
	return func(e journal.Entry) bool {
		switch e.Op {
		case journal.Unshare, journal.Pause, journal.Resume, journal.Remove, journal.Admit:
			return true
		}
		return (who == nil || r.Of(e.Caller.ID.Tree) && slices.Contains(who, e.Caller.Member.String())) &&
			(thing.IsZero() || r.Of(e.Thing.ID.Tree) && e.Thing.Member == thing)
	}, nil
}

// accountable returns the grants that the command was asked for.
func accountable(n *kindred.Node, r kindred.Roster, o logOptions) ([]kindred.RosterGrant, error) {
	grants := r.Grants
	if o.who != "" {
		who, err := member(n, r, o.who)
		if err != nil {
			return nil, err
		}
		grants = grantsFor(r, who)
	}
	if o.thing != "" {
		what, err := member(n, r, o.thing)
		if err != nil {
			return nil, err
		}
		grants = slices.DeleteFunc(slices.Clone(grants), func(g kindred.RosterGrant) bool { return !g.Terms.On(what.Who) })
	}
	return grants, nil
}

// An account sets what was agreed beside what happened.
type account struct {
	Since   time.Time    `json:"since"`
	Until   time.Time    `json:"until"`
	Grants  []*accounted `json:"grants"`
	Outside []deed       `json:"outside"` // what nothing that was agreed covers
	Owners  []tally      `json:"owners"`  // what owners' apps did, by their right
	Refused []tally      `json:"refused"` // what was refused to members and rests on nothing they were given
	Unknown int          `json:"unknown"` // refusals of strangers
	Private []tally      `json:"private"` // what was done at things and is sealed to whoever did it

	reader   identity.Chain // whose app shows it
	teller   teller
	language grant.Language
	by       map[string]*accounted
	ended    map[string]taking    // how grants were taken back, by ID
	paused   map[string]time.Time // since when those rest that do
	removed  []removal
	tallies  map[*[]tally]map[string]int
	sealed   []journal.Party // things at which something is sealed
}

// accounted is a grant and what was done under it.
type accounted struct {
	sharedGrant
	Used    int            `json:"used"`
	Last    *time.Time     `json:"last,omitempty"`
	Refused []refusedBy    `json:"refused,omitempty"`
	Copies  []copied       `json:"copies,omitempty"` // what left in clear
	Gone    *time.Time     `json:"gone,omitempty"`   // when it was taken back
	GoneBy  string         `json:"goneBy,omitempty"` // by whom
	Passed  int            `json:"passed,omitempty"` // how often it was passed on, of what stands
	Advice  string         `json:"advice,omitempty"` // a command
	terms   *grant.Terms   // nil: it is gone, and so are they
	reasons map[string]int // of what was refused
	copies  map[string]copied
}

// A taking says when something was taken back, and by whom.
type taking struct {
	at time.Time
	by string
}

// A removal says when a member was removed, and with it all below.
type removal struct {
	who   journal.Party
	at    time.Time
	again []identity.Path // who was let in there since
}

// of reports whether somebody was removed so. Of those below the journal tells by their paths alone, and of whoever may have
// come back it is not held.
func (r removal) of(who journal.Party) bool {
	if who.ID.Tree != r.who.ID.Tree {
		return false
	}
	return who.Member == r.who.Member || who.ID.Path != r.who.ID.Path && who.ID.Path.Within(r.who.ID.Path) &&
		!slices.ContainsFunc(r.again, who.ID.Path.Within)
}

// copied counts what left in clear alike.
type copied struct {
	What  string `json:"what"` // which fields, to whom, and where they are kept
	Count int    `json:"count"`
	Bytes uint64 `json:"bytes"`
}

type refusedBy struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// A deed is something that happened outside of what was agreed.
type deed struct {
	logLine
	Why string `json:"why"`
}

// A tally counts what was done alike.
type tally struct {
	What  string `json:"what"`
	Count int    `json:"count"`
}

func (a *account) open(grants []kindred.RosterGrant) {
	a.by, a.ended, a.paused = map[string]*accounted{}, map[string]taking{}, map[string]time.Time{}
	a.Grants, a.Outside, a.Owners, a.Refused, a.Private = []*accounted{}, []deed{}, []tally{}, []tally{}, []tally{}
	a.tallies = map[*[]tally]map[string]int{}
	terms := map[string]*grant.Terms{}
	for _, g := range grants {
		terms[g.Terms.ID.String()] = &g.Terms
	}
	for _, shown := range shownGrantsIn(a.language, a.teller.names.roster, a.teller.now) {
		if t, ok := terms[shown.ID]; ok {
			g := &accounted{sharedGrant: shown, terms: t, reasons: map[string]int{}, copies: map[string]copied{}}
			a.Grants, a.by[shown.ID] = append(a.Grants, g), g
		}
		if parent, ok := a.by[shown.Parent]; ok {
			parent.Passed++
		}
	}
}

// enter takes one thing that happened into the account.
func (a *account) enter(e journal.Entry) {
	times := int(max(1, e.Count))
	switch e.Op {
	case journal.Connect:
		a.Unknown += times
		return
	case journal.Private:
		a.count(&a.Private, string(e.Thing.ID.Path), times)
		a.sealed = append(a.sealed, e.Thing)
		return
	case journal.Unshare:
		a.ended[e.Grant] = taking{e.Time, a.teller.names.party(e.Caller)}
		return
	case journal.Pause:
		if _, ok := a.paused[e.Grant]; !ok { // else an owner has what somebody paused rest until an owner resumes it
			a.paused[e.Grant] = e.Time
		}
		return
	case journal.Resume:
		delete(a.paused, e.Grant)
		return
	case journal.Remove:
		a.removed = append(a.removed, removal{who: e.With, at: e.Time})
		return
	case journal.Admit:
		for i, r := range a.removed {
			if e.With.ID.Tree == r.who.ID.Tree {
				a.removed[i].again = append(r.again, e.With.ID.Path)
			}
		}
		return
	case journal.Copy:
		g := a.grant(e)
		c := g.copies[e.Reason]
		g.copies[e.Reason] = copied{e.Reason, c.Count + times, c.Bytes + e.Bytes}
		return
	}
	action, ok := actionsOf[e.Op]
	if !ok || e.AsOf.IsZero() || e.Outcome == journal.Failed { // nothing was done, or it is told by who did it, and the thing tells it too
		return
	}
	switch {
	case e.Outcome == journal.Refused && e.Grant == "":
		a.count(&a.Refused, fmt.Sprintf("%s, %s: %s", a.teller.names.party(e.Caller), a.what(e), e.Reason), times)
	case e.Outcome == journal.Refused:
		a.grant(e).reasons[e.Reason] += times
	case e.Grant == "" && a.late(e):
	case e.Grant == "" && e.Outcome == journal.Served:
		a.count(&a.Owners, a.teller.names.party(e.Caller)+", "+a.what(e), times)
	case e.Grant != "":
		a.use(e, action, times)
	}
}

// use counts what was done under a grant, and checks that the grant allows it.
func (a *account) use(e journal.Entry, action grant.Action, times int) {
	g := a.grant(e)
	if e.Outcome != journal.Ended {
		g.Used += times
		last := e.Time.UTC()
		g.Last = &last
	}
	switch {
	case a.late(e):
	case g.terms == nil || e.Affordance == "": // what a thing can do is told to whoever may do any of it
	default:
		if why := g.terms.Agreed(e.Affordance, action, doneAt(e)); why.Code != grant.Granted {
			a.Outside = append(a.Outside, deed{a.teller.object(e), why.String()})
		}
	}
}

// lag is how long something may go on after its right has ended, and not be taken for a breach of what was agreed: it is
// journalled when it is over.
const lag = 10 * time.Second

var actionsOf = map[journal.Op]grant.Action{
	journal.Read: grant.Read, journal.Write: grant.Write, journal.Invoke: grant.Invoke, journal.Observe: grant.Observe,
}

// doneAt returns when something was done at last: a stream ends a little after its right.
func doneAt(e journal.Entry) time.Time {
	if e.Outcome == journal.Ended {
		return e.Time.Add(-lag)
	}
	return e.Time
}

// late takes what was done after the right to it was taken back, or paused, into the account, and reports whether it was.
func (a *account) late(e journal.Entry) bool {
	gone, how := a.gone(e)
	if gone.IsZero() || !doneAt(e).After(gone.Add(lag)) {
		return false
	}
	a.Outside = append(a.Outside, deed{a.teller.object(e), fmt.Sprintf("it was %s at %s", how, stamp(gone, a.teller.now))})
	return true
}

// gone returns when what something rested on was taken back or paused, by what the journal told before; zero: it was not.
func (a *account) gone(e journal.Entry) (at time.Time, how string) {
	if t, ok := a.ended[e.Grant]; ok {
		return t.at, "taken back"
	}
	if i := slices.IndexFunc(a.removed, func(r removal) bool { return r.of(e.Caller) }); i >= 0 {
		return a.removed[i].at, "taken back"
	}
	for id := e.Grant; id != ""; { // and all that it rests on
		if at, ok := a.paused[id]; ok {
			return at, "paused"
		}
		g := a.by[id]
		if g == nil {
			break
		}
		id = g.Parent
	}
	return time.Time{}, ""
}

// grant returns the account of the grant that something rested on, also if that is there no more.
func (a *account) grant(e journal.Entry) *accounted {
	g, ok := a.by[e.Grant]
	if ok {
		return g
	}
	with := a.teller.names.party(e.Caller)
	g = &accounted{reasons: map[string]int{}, copies: map[string]copied{}, sharedGrant: sharedGrant{
		ID: e.Grant, With: with, Path: string(e.Thing.ID.Path), short: a.teller.grant(e.Grant),
		Sentence: fmt.Sprintf("What %s had been given at %s.", with, e.Thing.ID.Path),
	}}
	a.by[e.Grant] = g
	a.Grants = append(a.Grants, g)
	return g
}

func (a *account) what(e journal.Entry) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Op, e.Thing.ID.Path, e.Affordance))
}

func (a *account) count(in *[]tally, what string, times int) {
	if a.tallies[in] == nil {
		a.tallies[in] = map[string]int{}
	}
	a.tallies[in][what] += times
}

// close sums up.
func (a *account) close() {
	for in, counts := range a.tallies {
		for _, what := range slices.Sorted(maps.Keys(counts)) {
			*in = append(*in, tally{what, counts[what]})
		}
		slices.SortStableFunc(*in, func(x, y tally) int { return cmp.Compare(y.Count, x.Count) })
	}
	for _, g := range a.Grants {
		for _, reason := range slices.Sorted(maps.Keys(g.reasons)) {
			g.Refused = append(g.Refused, refusedBy{reason, g.reasons[reason]})
		}
		for _, what := range slices.Sorted(maps.Keys(g.copies)) {
			g.Copies = append(g.Copies, g.copies[what])
		}
		if t, ok := a.ended[g.ID]; ok {
			at := t.at.UTC()
			g.Gone, g.GoneBy = &at, t.by
		}
		unused := g.Used == 0 && g.Passed == 0
		if g.terms != nil && (g.Over || unused && !a.maybeUsed(*g.terms)) && !g.Paused && a.takesBack(g.terms) {
			g.Advice = "kindred unshare " + g.short
		}
	}
}

// maybeUsed reports whether what is sealed may be uses of a grant: at a thing that it is about.
func (a *account) maybeUsed(t grant.Terms) bool {
	return slices.ContainsFunc(a.teller.names.roster.Members, func(m kindred.RosterMember) bool {
		return t.On(m.Who) && slices.ContainsFunc(a.sealed, func(p journal.Party) bool { return p.Member == m.Who.Member() })
	})
}

// takesBack reports whether whoever reads it may take back a grant.
func (a *account) takesBack(t *grant.Terms) bool {
	return a.reader.Owner() || t.GivenBy(a.reader)
}

// grantsFor returns the grants that serve a member, or an app of theirs.
func grantsFor(r kindred.Roster, who kindred.RosterMember) (found []kindred.RosterGrant) {
	for _, g := range r.Grants {
		serves := g.Terms.Subject.TreeMember() == who.Who.TreeMember() || who.Who.Kind().Leaf() && g.Terms.To(who.Who)
		for _, m := range r.Members {
			serves = serves || m.Who.ActsFor() == who.Who.Member() && g.Terms.To(m.Who)
		}
		if serves {
			found = append(found, g)
		}
	}
	return found
}
