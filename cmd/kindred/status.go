package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

func newStatus(s *session) *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "status",
		Short: "Say who this directory is, whether the gateway answers, and what protects the home",
		Long: `Say who this directory is, whether the gateway answers, and what protects the home.

With --peer, say which way a member is reached from here, over a connection made for
the purpose, who could be in between, and why it is not direct if it is not.`,
		Example: "  kindred status\n  kindred status --peer home/lock\n  kindred status --peer oak-lane:home/lock",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringVar(&to, "peer", "", "the `path` of a member to reach, here or in another home")
	hide(c.RegisterFlagCompletionFunc("peer", s.completeWho))
	return s.does(c, func(ctx context.Context, _ []string) error {
		if to != "" {
			return s.reach(ctx, to)
		}
		return s.with(ctx, func(n *kindred.Node) error {
			st, err := s.status(ctx, n)
			if err != nil {
				return err
			}
			return s.print(st, st.text(s, s.now()))
		})
	})
}

// state is what "status" tells.
type state struct {
	Name    string     `json:"name,omitempty"`
	Tree    string     `json:"tree"`
	ID      string     `json:"id"`
	Path    string     `json:"path"`
	Kind    string     `json:"kind"`
	Owner   bool       `json:"owner"`
	Expires time.Time  `json:"expires"`            // when the member's certificate ends
	Gateway answering  `json:"gateway"`            //
	Seen    *seen      `json:"seen,omitempty"`     // how it is reached from elsewhere; absent if the gateway does not answer
	AsOf    *time.Time `json:"as_of,omitempty"`    // the newest moment checked
	RootKey string     `json:"root_key,omitempty"` // the file, if it is in this directory
	Ledger  ledgerKind `json:"ledger"`
	Waiting []string   `json:"waiting,omitempty"` // paths of those who wait to be confirmed
	Asking  []shownAsk `json:"asking,omitempty"`  // what is asked for and waits for an answer
	Pending []pending  `json:"pending,omitempty"` // what was taken back, and the gateway has not confirmed
	Held    []heldBack `json:"held,omitempty"`    // whose journals are more than the gateway takes
	Ending  []soonEnds `json:"ending,omitempty"`  // what was given and ends soon
	title   string
}

type answering struct {
	Reachable bool   `json:"reachable"`
	Problem   string `json:"problem,omitempty"`
}

// ledgerKind says who keeps the order of what happens to the tree.
type ledgerKind struct {
	Embedded   bool `json:"embedded"` // the gateway alone
	Validators int  `json:"validators"`
}

// statusFor is how long the gateway has to answer.
const statusFor = 4 * time.Second

func (s *session) status(ctx context.Context, n *kindred.Node) (state, error) {
	settings, err := readSettings(s.dir)
	if err != nil {
		return state{}, err
	}
	self := n.Self()
	st := state{
		Name: settings.Name, Tree: self.ID.Tree.String(), ID: self.ID.String(), Path: string(self.ID.Path),
		Kind: self.Kind().String(), Owner: self.Owner(), Expires: self.NotAfter.UTC(), title: treeName(settings, n),
	}
	for _, a := range n.Charter().Anchors {
		st.Ledger.Validators = max(st.Ledger.Validators, len(a.Validators))
	}
	st.Ledger.Embedded = st.Ledger.Validators <= 1
	if file := filepath.Join(s.dir, kindred.KeysDir, kindred.KeyRoot+".pem"); exists(file) {
		st.RootKey = file
	}
	soon, cancel := context.WithTimeout(ctx, statusFor)
	defer cancel()
	if err := n.InTouch(soon); err != nil {
		if ctx.Err() != nil {
			return st, context.Cause(ctx)
		}
		if f := explain(err); f.exit != exitUnreachable {
			st.Gateway.Problem = f.Message
		}
	} else {
		st.Gateway.Reachable = true
		reached, err := survey(soon, n)
		if err != nil {
			return st, err
		}
		st.Seen = &reached
	}
	if t := n.AsOf(); !t.IsZero() {
		t = t.UTC()
		st.AsOf = &t
	}
	if st.Gateway.Reachable {
		if err := s.awaited(soon, n, &st); err != nil {
			return st, err
		}
	}
	if err := pendings(ctx, n, &st); err != nil {
		return st, err
	}
	if st.Owner && st.Gateway.Reachable {
		joins, err := n.Gateway().Joins(soon)
		if err != nil {
			return st, err
		}
		for _, r := range joins.Requests {
			st.Waiting = append(st.Waiting, string(r.Path))
		}
		if st.Held, err = held(soon, n); err != nil {
			return st, err
		}
	}
	if st.Gateway.Reachable {
		return st, s.awaitedElsewhere(ctx, n, &st)
	}
	return st, nil
}

// pending is what was taken back here, or told here to be, and is not on the home's record.
type pending struct {
	Grant  string    `json:"grant,omitempty"`
	Member string    `json:"member,omitempty"`
	Home   string    `json:"home,omitempty"` // the ID of its tree
	At     time.Time `json:"at"`
}

func (p pending) line(now time.Time) string {
	what := "a member was removed"
	switch {
	case p.Grant != "":
		what = p.Grant + " was taken back"
	case p.Home != "":
		what = "it was taken back that another home is known"
	}
	return fmt.Sprintf("%s at %s, and the gateway has not confirmed it", what, stamp(p.At, now))
}

func pendings(ctx context.Context, n *kindred.Node, st *state) error {
	open, err := n.Unconfirmed(ctx)
	for _, u := range open {
		p := pending{At: u.At.UTC()}
		switch {
		case !u.Grant.IsZero():
			p.Grant = u.Grant.String()
		case !u.Other.IsZero():
			p.Home = u.Other.String()
		default:
			p.Member = u.Member.String()
		}
		st.Pending = append(st.Pending, p)
	}
	return err
}

// endsWithin is how long before its end status tells of a grant.
const endsWithin = 3 * 24 * time.Hour

func soonOver(g sharedGrant, now time.Time) bool {
	return g.Until != nil && !g.Over && g.Until.Sub(now) < endsWithin
}

// awaited finds what waits for an owner's answer, and what is soon over of what the member gave or was given.
func (s *session) awaited(ctx context.Context, n *kindred.Node, st *state) error {
	r, asks, err := s.asked(ctx, n)
	if err != nil {
		return err
	}
	for _, a := range asks {
		if a.Waiting {
			st.Asking = append(st.Asking, s.shownAsk(r, a))
		}
	}
	for _, g := range shownGrants(r, s.now()) {
		if soonOver(g, s.now()) {
			st.Ending = append(st.Ending, s.soonEnds(g))
		}
	}
	return nil
}

// awaitedElsewhere finds what is soon over of what the member was given in other homes, as far as these answer in a moment.
func (s *session) awaitedElsewhere(ctx context.Context, n *kindred.Node, st *state) error {
	soon, cancel := context.WithTimeout(ctx, statusFor)
	defer cancel()
	found, err := n.EndingElsewhere(soon)
	if err != nil {
		s.log(levelSilent).Info("what ends soon in other homes cannot be looked up", "error", err)
	}
	if len(found) == 0 {
		return nil
	}
	r, err := s.roster(ctx, n) // for the names of homes
	for _, g := range found {
		if g := shownGrant(grant.English, r, g, s.now()); soonOver(g, s.now()) {
			st.Ending = append(st.Ending, s.soonEnds(g))
		}
	}
	return err
}

// heldBack is a member that writes more journal than the gateway takes.
type heldBack struct {
	Path  string    `json:"path"`
	Since time.Time `json:"since"`
}

// held finds whose journals are more than the gateway takes.
func held(ctx context.Context, n *kindred.Node) (all []heldBack, err error) {
	js, err := n.Gateway().Journals(ctx, control.JournalsQuery{Held: true})
	if err != nil {
		return nil, err
	}
	for _, j := range js.Logs {
		if j.Held.IsZero() { // of a gateway that tells of all
			continue
		}
		at, err := identity.ValidFrom(j.Chain)
		if err != nil {
			return nil, err
		}
		who, err := identity.Verify(j.Chain, n.Self().ID.Tree, n.Charter().RootCertificate(), at)
		if err != nil {
			return nil, err
		}
		all = append(all, heldBack{string(who.ID.Path), j.Held.UTC()})
	}
	return all, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, os.ErrNotExist)
}

// text says it for people.
func (st state) text(s *session, now time.Time) string {
	rows := [][]string{
		{"home", st.title},
		{"here", fmt.Sprintf("%s, %s", st.Path, whatIs(st))},
		{"gateway", "answers"},
		{"checked", "never"},
	}
	if !st.Gateway.Reachable {
		rows[2][1] = "does not answer"
		if st.Gateway.Problem != "" {
			rows[2][1] = st.Gateway.Problem
		}
	}
	if st.AsOf != nil {
		rows[3][1] = "as of " + stamp(*st.AsOf, now)
	}
	if st.Seen != nil {
		rows = append(rows, st.Seen.rows()...)
	}
	if len(st.Waiting) > 0 {
		rows = append(rows, []string{"waiting", strings.Join(st.Waiting, ", ") + `: "kindred confirm" lets them in`})
	}
	for _, a := range st.Asking {
		rows = append(rows, []string{"asked", a.Sentence + ` "kindred allow ` + a.short() + `" allows it, "kindred deny" does not`})
	}
	for _, e := range st.Ending {
		rows = append(rows, []string{"ending", e.short + " " + e.line(now)})
	}
	for _, h := range st.Held {
		rows = append(rows, []string{"journal", s.tint(red, fmt.Sprintf(
			"%s writes far more than there is room for, since %s: \"kindred log %s\" says who uses it; if nobody does, remove it", h.Path, stamp(h.Since, now), h.Path))})
	}
	for _, p := range st.Pending {
		rows = append(rows, []string{"pending", s.tint(red, p.line(now))})
	}
	text := table(rows)
	if st.RootKey != "" {
		text += fmt.Sprintf("\nThe root key is in this directory. Whoever has it rules the tree; it is needed for new\nowners and top places alone. Move %s\nto a stick that you lock away, and back when it is needed.\n", st.RootKey)
	} else if st.Owner {
		text += "\nThe root key is not in this directory. New owners and top places take it.\n"
	}
	if st.Ledger.Embedded {
		text += "\nThis home keeps its own history, on its gateway. That gives order and integrity, not\nprotection from a gateway that tells two people different stories.\n"
	} else {
		text += fmt.Sprintf("\nThis home's history is vouched for by %d validators: no gateway can tell two people\ndifferent stories.\n", st.Ledger.Validators)
	}
	return text
}

func whatIs(st state) string {
	if st.Owner {
		return "an owner's app"
	}
	if st.Kind == identity.App.String() {
		return "an app of " + string(identity.Path(st.Path).Parent())
	}
	return "of kind " + st.Kind
}
