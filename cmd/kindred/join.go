package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
)

func newJoin(s *session) *cobra.Command {
	var app string
	c := &cobra.Command{
		Use:   "join [INVITATION]",
		Short: "Make this directory the member that an invitation is for",
		Long: `Make this directory the member that an invitation is for. The keys are made here and
never leave. Without an argument the invitation is read from standard input, where
other users of this machine cannot see it.

If somebody has to confirm, six digits are shown, to be compared with those on the
other machine. Interrupted, the command can be repeated with the same invitation.`,
		Example: "  kindred join\n  kindred --dir lock join <invitation.txt",
		Args:    cobra.MaximumNArgs(1),
	}
	c.Flags().StringVar(&app, "app", "", "for a person: the `name` of the app on this machine (default the machine's)")
	return s.does(c, func(ctx context.Context, args []string) error {
		if app == "" {
			app = machineName()
		}
		if p, err := identity.ParsePath(app); err != nil || p.Parent() != "" {
			return usage("%q is no name of an app", app)
		}
		text, err := s.invitation(ctx, args)
		if err != nil {
			return err
		}
		return s.join(ctx, text, app)
	})
}

// invitation takes the invitation from the argument, the keyboard or standard input.
func (s *session) invitation(ctx context.Context, args []string) (text string, err error) {
	switch {
	case len(args) == 1:
		text = args[0]
	case s.asks && !s.json:
		text, err = s.ask(ctx, "The invitation:")
	default:
		if text, err = s.line(ctx); errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err == nil && strings.TrimSpace(text) == "" {
		err = usage("no invitation: give it as the argument, or on standard input")
	}
	return text, err
}

// unreadable says that a line which somebody was to hand on is not what it was.
func unreadable(what string, err error, begin string) error {
	return &failure{
		Code: "unreadable", Message: fmt.Sprintf("this is no %s: %s", what, own(errors.Unwrap(err))), exit: exitFailed, cause: err,
		Hint: fmt.Sprintf("copy all of the line, which begins with %s", begin),
	}
}

func (s *session) join(ctx context.Context, text, app string) error {
	if _, err := pairing.Read(text); err != nil {
		return unreadable("invitation", err, "kindred1")
	}
	var shown error
	show := func(digits string) {
		s.say("Six digits: %s. Compare them with those on the machine that invites you; there they are confirmed.", s.paint(bold, spaced(digits)))
		if s.json {
			shown = s.object(map[string]string{"digits": digits})
		}
	}
	cfg, err := s.config()
	if err != nil {
		return err
	}
	n, err := patient(ctx, func() (*kindred.Node, error) { return kindred.Join(ctx, cfg, text, app, show) })
	if err != nil {
		return err
	}
	id := n.Self().ID
	s.say("Joined: this is %s now.", id.Path)
	if s.json {
		shown = errors.Join(shown, s.object(map[string]string{"joined": string(id.Path), "id": id.String()}))
	}
	return errors.Join(shown, n.Close())
}
