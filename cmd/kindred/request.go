package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
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
as one sentence, and may allow less. "kindred requests" tells what became of it.`,
		Example: `  kindred request home/camera --until 7d --why "I feed the cat while you are away"`,
		Args:    cobra.RangeArgs(1, 2),
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
			if n.Self().Owner() {
				return usage(`an owner's app may do everything: "kindred share" gives others something`)
			}
			p, err := path(n, args[0])
			if err != nil {
				return err
			}
			a, err := n.Ask(ctx, grant.Ask{Path: p, Terms: t, Text: why})
			if err != nil {
				return err
			}
			r, err := n.Roster(ctx)
			if err != nil {
				return err
			}
			shown := s.shownAsk(r, kindred.Ask{Ask: a, By: n.Self(), Waiting: true})
			err = s.print(shown, shown.ID)
			s.say(`Asked for: %s An owner answers; "kindred requests" tells.`, shown.Sentence)
			return err
		})
	})
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
			r, asks, err := s.asked(ctx, n)
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

// shownAsk is an ask in lists.
type shownAsk struct {
	ID       string     `json:"id"`
	By       string     `json:"by"` // path
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
	names := namesOf(r)
	about := func(id identity.MemberID) string {
		if id.IsZero() {
			return string(a.Path)
		}
		return names.member(id)
	}
	shown := shownAsk{
		ID: a.Name(), By: string(a.By.ID.Path), Path: string(a.Path), Sentence: s.language.Sentence(a.Terms, about),
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
		text += because(" (denied "+stamp(*a.Answered, now), a.Because) + ")"
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
	case !strings.HasPrefix(arg, "r-"):
		return kindred.Ask{}, usage("%q is no request such as r-7kqm2x", arg)
	case len(found) == 0:
		return kindred.Ask{}, hinted(notFound("no request %s waits for an answer", arg), `"kindred requests" lists them`)
	case len(found) > 1:
		return kindred.Ask{}, hinted(conflict("%s could be %d requests", arg, len(found)), "write more of it")
	}
	return found[0], nil
}
