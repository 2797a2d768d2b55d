package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

func newRequest(s *session) *cobra.Command {
	var o termFlags
	var why string
	c := &cobra.Command{
		Use:   "request PATH [AFFORDANCE]",
		Short: "Ask the owners of the home to be allowed something",
		Long: `Ask to be allowed to use the thing at PATH, or one of its properties, actions or events. The
flags say what is asked for, as those of "kindred share" say what is given. Owners read it
as one sentence, and may allow less. "kindred requests" tells what became of it.

The thing may be of another home that knows yours: its owners are asked, and read which
home you are of.`,
		Example: `  kindred request home/camera --until 7d --why "I feed the cat while you are away"
  kindred request oak-lane:home/lock --allow use`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: s.completeShared(allOf, identity.Device, identity.Place),
	}
	o.register(c)
	s.lang(c)
	c.Flags().StringVar(&why, "why", "", "`what` to say to it")
	return s.does(c, func(ctx context.Context, args []string) error {
		t, err := s.terms(o, s.now())
		if err != nil {
			return err
		}
		if len(args) > 1 {
			t.Thing.Affordance = args[1]
		}
		if len(why) > grant.MaxAskText {
			return usage("--why: %d bytes, of at most %d", len(why), grant.MaxAskText)
		}
		return s.with(ctx, func(n *kindred.Node) error {
			return s.request(ctx, n, args[0], grant.Ask{Terms: t, Text: why})
		})
	})
}

// request asks the owners of the thing's home, this one or another.
func (s *session) request(ctx context.Context, n *kindred.Node, at string, a grant.Ask) error {
	id, err := anywhere(ctx, n, at)
	if err != nil {
		return err
	}
	a.Path = id.Path
	switch {
	case id.Tree != n.Self().ID.Tree:
		if a, err = n.AskAbroad(ctx, id, a); err != nil {
			return s.notAsked(err, at)
		}
	case n.Self().Owner():
		return usage(`an owner's app may do everything: "kindred share" gives others something`)
	default:
		if a, err = n.Ask(ctx, a); err != nil {
			return err
		}
	}
	r, err := n.Roster(ctx)
	if err != nil {
		return err
	}
	shown := s.shownAsk(r, kindred.Ask{Ask: a, By: n.Self(), Waiting: true})
	err = s.print(shown, shown.ID)
	s.say(`Asked for: %s An owner answers; "kindred requests" tells.`, shown.Sentence)
	return err
}

// notAsked explains why another home did not take a request.
func (s *session) notAsked(err error, arg string) error {
	var said *control.Error
	switch {
	case errors.Is(err, credential.ErrStranger):
		return hinted(notFound("%s is of a home that is not known here", arg), knownHint)
	case errors.As(err, &said) && said.Code == control.Refused:
		return hinted(refused("the home of %s takes no requests from here: it does not know this home", arg),
			`an owner there has to know this home too: "kindred recognize --invite"`)
	}
	return s.unreached(err, "the home of "+arg)
}

func newRequests(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "requests",
		Short: "List what is asked for, and what became of it",
		Args:  cobra.NoArgs,
	}
	s.lang(c)
	return s.does(c, func(ctx context.Context, _ []string) error {
		return s.with(ctx, func(n *kindred.Node) error {
			r, asks, err := s.askedAnywhere(ctx, n)
			if err != nil {
				return err
			}
			if len(asks) == 0 {
				s.say("Nothing is asked for.")
			}
			list := make([]shownAsk, len(asks))
			rows := make([][]string, len(asks))
			for i, a := range asks {
				list[i] = s.shownAsk(r, a)
				rows[i] = []string{list[i].short(), list[i].line(s.now())}
			}
			return s.print(list, table(rows))
		})
	})
}

func (s *session) asked(ctx context.Context, n *kindred.Node) (kindred.Roster, []kindred.Ask, error) {
	r, err := s.roster(ctx, n)
	if err != nil {
		return r, nil, err
	}
	asks, err := n.Asks(ctx)
	return r, asks, err
}

// askedAnywhere is asked, with what the directory's member asked for in other homes.
func (s *session) askedAnywhere(ctx context.Context, n *kindred.Node) (kindred.Roster, []kindred.Ask, error) {
	r, asks, err := s.asked(ctx, n)
	if err != nil {
		return r, nil, err
	}
	abroad, err := n.AsksAbroad(ctx)
	return r, append(asks, abroad...), err
}

// shownAsk is an ask in lists.
type shownAsk struct {
	ID       string     `json:"id"`
	By       string     `json:"by"` // path, with the name of another home
	Path     string     `json:"path"`
	Sentence string     `json:"sentence"` // what is asked for
	Text     string     `json:"text,omitempty"`
	Asked    time.Time  `json:"asked"`
	State    string     `json:"state"` // waiting, allowed, denied
	Answered *time.Time `json:"answered,omitempty"`
	Grant    string     `json:"grant,omitempty"`
	Because  string     `json:"because,omitempty"`
}

func (s *session) shownAsk(r kindred.Roster, a kindred.Ask) shownAsk {
	names, path, by := namesOf(r), string(a.Path), string(a.By.ID.Path)
	if !r.Of(a.Terms.Tree) {
		path = r.Elsewhere(identity.ID{Tree: a.Terms.Tree, Path: a.Path})
	}
	who := names.member
	if !r.Of(a.By.ID.Tree) {
		by = r.Elsewhere(a.By.ID)
		who = func(identity.TreeMember) string {
			return r.Elsewhere(identity.ID{Tree: a.By.ID.Tree, Path: a.Terms.Subject.Path})
		}
	}
	about := func(id identity.TreeMember) string {
		if id.Member.IsZero() {
			return path
		}
		return who(id)
	}
	shown := shownAsk{
		ID: a.Name(), By: by, Path: path, Sentence: s.language.Sentence(a.Terms, about),
		Text: a.Text, Asked: time.Unix(a.Terms.Time, 0).UTC(), State: "waiting", Grant: a.State.Grant, Because: a.State.Because,
	}
	if !a.Waiting {
		at := a.State.Answered.UTC()
		shown.Answered, shown.State = &at, "denied"
		if a.State.Grant != "" {
			shown.State = "allowed"
		}
	}
	return shown
}

const shortAsk = len("r-") + 6

func (a shownAsk) short() string { return a.ID[:shortAsk] }

func (a shownAsk) line(now time.Time) string {
	text := a.Sentence
	if a.Text != "" {
		text += fmt.Sprintf(" %q", a.Text)
	}
	switch a.State {
	case "allowed":
		text += " (allowed " + stamp(*a.Answered, now) + ")"
	case "denied":
		text += because(" (denied "+stamp(*a.Answered, now), flat(a.Because)) + ")"
	default:
		text += " (asked " + stamp(a.Asked, now) + ")"
	}
	return text
}

// chosenAsk finds the ask that an argument means, which waits.
func chosenAsk(asks []kindred.Ask, arg string) (kindred.Ask, error) {
	var found []kindred.Ask
	for _, a := range asks {
		if a.Waiting && strings.HasPrefix(a.Name(), arg) {
			found = append(found, a)
		}
	}
	switch {
	case !begins(arg, "r-"):
		return kindred.Ask{}, usage("%q is no request such as r-7kqm2x", arg)
	case len(found) == 0:
		return kindred.Ask{}, hinted(notFound("no request %s waits for an answer", arg), `"kindred requests" lists them`)
	case len(found) > 1:
		return kindred.Ask{}, hinted(conflict("%s could be %d requests", arg, len(found)), "write more of it")
	}
	return found[0], nil
}
