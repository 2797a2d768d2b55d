package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

const shareHelp = `Allow WHO, a person, an app, a device, a service or a place, to use the thing at PATH, or all
things of the place there; or with AFFORDANCE one property, action or event alone.

"see" is to read and to follow, "use" is also to write and to act; or name some of read,
write, invoke, observe. Hours and times are by the clock of the place. --offline says for
how long after its last check it may be used while the gateway is out of reach; without
it, not longer than anything has to be checked anyhow.

When one may look is one thing, what one may look at another: of what was recorded only
that is shown which is from when it is granted, in its hours, or else from --moments.
What is limited in number, in minutes or to the home's own network is counted and
checked at the thing.

With --pass-on WHO may share it in turn, never for more than was given to them; with
--manage WHO may share it and take that back, and cannot use it. So a guest, or an
adviser, uses this command on what they were given. Taking it back takes back all that was
shared under it.

The ID of what was given is printed; "kindred unshare" takes it back.`

const shareExamples = `  kindred share home/meter power --with sam/anna
  kindred share home/lock --with sam/anna --allow use --days sat --between 14:00-16:00
  kindred share home/lock unlock --with sam/anna --allow invoke --until 2026-12-24 --offline 2d
  kindred share home/lock --with sam/anna --when "mon-fri 08:00-12:00" --when "sat 22:00-02:00"
  kindred share home/meter --with sam/anna --detail 1d --moments 2026-01-01..2026-06-30 --purpose heating-advice
  kindred share home/lock unlock --with sam/anna --allow invoke --uses 3 --rate 1/1h --at-home
  kindred share home/lock --with sam/anna --allow use --pass-on 1
  kindred share home/meter --with sam/adviser --manage`

func newShare(s *session) *cobra.Command {
	var o shareOptions
	c := &cobra.Command{
		Use:               "share PATH [AFFORDANCE] --with WHO",
		Short:             "Allow somebody to use a thing, or one of its properties, actions or events",
		Long:              shareHelp,
		Example:           shareExamples,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: s.completeShared(allOf, identity.Device, identity.Place),
	}
	f := c.Flags()
	f.StringVar(&o.with, "with", "", "`who` may use it: the path of a member")
	s.lang(c)
	o.termFlags.register(c)
	o.clearFlags.register(c)
	s.registerPassing(&o.passFlags, c)
	hide(c.RegisterFlagCompletionFunc("with", s.completeWho))
	return s.does(c, func(ctx context.Context, args []string) error {
		if len(args) > 0 {
			o.path = args[0]
		}
		if len(args) > 1 {
			o.affordance = args[1]
		}
		if !s.asks && (o.path == "" || o.with == "") {
			return usage("what and with whom? kindred share PATH --with WHO")
		}
		t, err := s.terms(o.termFlags, s.now())
		if err != nil {
			return err
		}
		t.Thing.Affordance = o.affordance
		o.apply(&t)
		return s.with(ctx, func(n *kindred.Node) error { return s.share(ctx, n, o, t) })
	})
}

type shareOptions struct {
	path, affordance, with string
	termFlags
	passFlags
	clearFlags
}

func (s *session) share(ctx context.Context, n *kindred.Node, o shareOptions, t grant.Terms) error {
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	if o.path == "" {
		if o.path, err = s.choose(ctx, r, "What do you share?", identity.Device, identity.Place); err != nil {
			return err
		}
	}
	if strings.Contains(o.path, ":") {
		thing, err := anywhere(ctx, n, o.path)
		if err != nil {
			return err
		}
		if thing.Tree != n.Self().ID.Tree {
			return s.passAbroad(ctx, n, r, thing, o, t)
		}
	}
	what, err := member(n, r, o.path)
	if err != nil {
		return err
	}
	if k := what.Who.Kind(); k != identity.Device && k != identity.Place {
		return usage("%s is of kind %s: devices and places are what can be shared", what.Who.ID.Path, k)
	}
	if o.with == "" {
		if o.with, err = s.choose(ctx, r, "With whom?", identity.Owner, identity.Person, identity.Service); err != nil {
			return err
		}
	}
	subject, err := s.subject(ctx, n, &r, o.with)
	if err != nil {
		return err
	}
	if err := s.checkAffordance(ctx, n, what, t.Thing.Affordance); err != nil {
		return err
	}
	subject.Below = t.Subject.Below
	t.Subject = subject
	t.Thing.Member = what.Who.Member()
	a, err := s.agree(ctx, n, r, what, o.clearFlags, &t)
	if err != nil {
		return err
	}
	if t, err = s.give(ctx, n, r, what, t, o.under); err != nil {
		return err
	}
	r.Grants = append(r.Grants, kindred.RosterGrant{Terms: t})
	sentence := s.language.Sentence(t, namesOf(r).member)
	result := sharedWith{ID: t.ID.String(), Sentence: sentence, Approval: a.approval}
	result.Leaves, result.Stays = a.fields()
	err = s.print(result, r.ShortID(t.ID))
	s.say("%s", sentence)
	return errors.Join(err, s.settle(ctx, n, r.ShortID(t.ID), t, a))
}

// choose asks for a member of some kinds.
func (s *session) choose(ctx context.Context, r kindred.Roster, question string, kinds ...identity.Kind) (string, error) {
	var paths []string
	for _, m := range r.Members {
		for _, k := range kinds {
			if m.Who.Kind() == k {
				paths = append(paths, string(m.Who.ID.Path))
			}
		}
	}
	answer, err := s.ask(ctx, fmt.Sprintf("%s (%s)", question, strings.Join(paths, ", ")))
	if err == nil && answer == "" {
		err = usage("nothing was chosen")
	}
	return answer, err
}

// checkFor is how long a slip of the pen is looked for before something is shared.
const checkFor = 2 * time.Second

// checkAffordance makes sure that a device has what is to be shared, if it can be asked.
func (s *session) checkAffordance(ctx context.Context, n *kindred.Node, what kindred.RosterMember, name string) error {
	if name == "" || what.Who.Kind() != identity.Device {
		return nil
	}
	soon, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	t, err := n.ThingOf(what.Who.Member())
	if err != nil {
		return err
	}
	d, err := description(soon, t)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.say("%s cannot be asked whether it has %q.", what.Who.ID.Path, name)
		return nil
	}
	there := offered(d)
	if !there[name] {
		return noOffer("property, action or event", string(what.Who.ID.Path), name, there)
	}
	return nil
}
