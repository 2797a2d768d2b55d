package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
)

func newAdd(s *session) *cobra.Command {
	var who kindred.Invitee
	var detach, child bool
	c := &cobra.Command{
		Use:   "add KIND PATH",
		Short: "Allow a new member: print an invitation, and wait until it has joined",
		Long: `Allow a new member of a KIND, device, person, app, service or owner, at a PATH, and print the
invitation: one line, good for one machine and for an hour, to be given to that machine
and nobody else. There, "kindred join" reads it.

A device below a place is let in at once. For all others both ends show six digits;
compare them and say yes. With --detach the command does not wait, and "kindred confirm"
asks later. Another owner, who may do all that you may, takes the root key.

A place needs no invitation: "kindred add place home/porch" makes it. With --child it is a
child's room, or what else is theirs: nothing in it, nor what joins it later, is shown in
clear to a service on one owner's word (see "kindred never").`,
		Example: `  kindred add device home/lock --label "Front door"
  kindred add person sam/anna
  kindred add app sam/phone --detach`,
		Args: cobra.ExactArgs(2),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return []string{"device", "person", "app", "service", "owner", "place"}, cobra.ShellCompDirectiveNoFileComp
		},
	}
	c.Flags().StringVar(&who.Label, "label", "", "what people call it, as free `text`")
	c.Flags().BoolVar(&who.Parents, "parents", false, "make the places above it that are missing")
	c.Flags().BoolVar(&child, "child", false, "a place that is a child's")
	c.Flags().BoolVar(&detach, "detach", false, "do not wait until it has joined")
	return s.does(c, func(ctx context.Context, args []string) error {
		var err error
		if who.Kind, err = identity.ParseKind(args[0]); err != nil || who.Kind == identity.Root {
			return usage("%q is no kind: want device, person, app, service, owner or place", args[0])
		}
		if child && who.Kind != identity.Place {
			return usage("--child says it of a place, and of all things in it")
		}
		return s.with(ctx, func(n *kindred.Node) error {
			if who.Path, err = path(n, args[1]); err != nil {
				return err
			}
			if who.Kind == identity.Place {
				return s.addPlace(ctx, n, who, child)
			}
			if err := pairing.CheckMember(who.Kind, who.Path); err != nil {
				return usage("%s", err)
			}
			return s.add(ctx, n, who, detach)
		})
	})
}

func (s *session) addPlace(ctx context.Context, n *kindred.Node, who kindred.Invitee, child bool) error {
	if err := n.Gateway().AddPlace(ctx, control.Place{Path: who.Path, Label: who.Label, Parents: who.Parents}); err != nil {
		return err
	}
	s.say("%s is a place now.", who.Path)
	if child {
		if err := s.setChilds(ctx, n, who.Path); err != nil {
			return err
		}
	}
	if s.json {
		return s.joined(n, who.Path)
	}
	return nil
}

// setChilds says that a place is a child's.
func (s *session) setChilds(ctx context.Context, n *kindred.Node, path identity.Path) error {
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	m, err := member(n, r, string(path))
	if err != nil {
		return err
	}
	if _, err := n.SetApart(ctx, grant.Class{Thing: m.Who.Member(), Never: true}); err != nil {
		return hinted(err, fmt.Sprintf("it is not marked as a child's yet: kindred never %s --all", path))
	}
	s.say("%s is never shown in clear on one owner's word.", whatOf("", path))
	return nil
}

// joined says that a member is in.
func (s *session) joined(n *kindred.Node, path identity.Path) error {
	id := identity.ID{Tree: n.Self().ID.Tree, Path: path}
	s.say("%s has joined.", path)
	if s.json {
		return s.object(map[string]string{"joined": string(path), "id": id.String()})
	}
	return nil
}

func (s *session) add(ctx context.Context, n *kindred.Node, who kindred.Invitee, detach bool) error {
	inv, text, err := n.Invite(ctx, who)
	if err != nil {
		return err
	}
	if err := s.print(map[string]string{"invitation": text, "path": string(who.Path)}, text); err != nil {
		return err
	}
	s.say(`This line lets one machine in as %s; show it to nobody else. There, "kindred join" reads it, until %s.`,
		who.Path, stamp(inv.Expires(), s.now()))
	if detach {
		if who.Kind != identity.Device {
			s.say(`When it has called, "kindred confirm %s" lets it in.`, who.Path)
		}
		return nil
	}
	err = s.admit(ctx, n, inv, pairing.StageOpen)
	if ctx.Err() != nil {
		return hinted(err, `the invitation stays good; "kindred confirm" goes on`)
	}
	return err
}

// admit follows an invitation from a stage on until the member is in, and asks for its confirmation if need be.
func (s *session) admit(ctx context.Context, n *kindred.Node, inv pairing.Invitation, after pairing.Stage) error {
	for {
		r, err := n.AwaitClaim(ctx, inv, after)
		if err != nil {
			return err
		}
		switch {
		case r.Stage == pairing.StageWaiting && r.Kind != identity.Device: // a place's devices need nobody's word
			if err := s.decide(ctx, n, inv, r); err != nil {
				return err
			}
		case r.Stage == pairing.StageJoined:
			return errors.Join(n.Forget(ctx, inv.ID()), s.joined(n, inv.Path))
		case r.Stage == pairing.StageRefused:
			return errors.Join(n.Forget(ctx, inv.ID()), turnedAway(inv.Path, r.Reason))
		}
		after = r.Stage
	}
}

// decide has a person compare the digits, and lets the new member in or turns it away.
func (s *session) decide(ctx context.Context, n *kindred.Node, inv pairing.Invitation, r pairing.Request) error {
	digits, err := n.Digits(inv, r)
	if err != nil {
		return err
	}
	same, err := s.confirm(ctx, string(inv.Path), digits)
	if err != nil {
		return err
	}
	if same {
		return n.Confirm(ctx, inv, r)
	}
	const reason = "the digits were not confirmed"
	if err := n.Gateway().Answer(ctx, control.JoinAnswer{ID: inv.ID(), Refuse: reason}); err != nil {
		return err
	}
	return errors.Join(n.Forget(ctx, inv.ID()), turnedAway(inv.Path, reason))
}

func turnedAway(path identity.Path, reason string) error {
	return &failure{
		Code: "turned-away", Message: fmt.Sprintf("%s was turned away: %s", path, reason),
		Hint: "make a new invitation to try again", exit: exitFailed,
	}
}
