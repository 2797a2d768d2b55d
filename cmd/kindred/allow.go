package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

func newAllow(s *session) *cobra.Command {
	var o termFlags
	var clear clearFlags
	var affordance string
	c := &cobra.Command{
		Use:   "allow REQUEST",
		Short: "Allow what somebody asked for, or less",
		Long: `Allow what somebody asked for. Each flag, as that of "kindred share", replaces what was asked
for by what is given instead. The ID of what was given is printed. To a service that is what
--clear names, and you are shown first what would leave.`,
		Example:           "  kindred allow r-7kqm2x\n  kindred allow r-7kqm2x --until 2d --between 08:00-10:00",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeAsks,
	}
	o.register(c)
	clear.register(c)
	c.Flags().Lookup("allow").DefValue = "" // what was asked for
	s.lang(c)
	c.Flags().StringVar(&affordance, "only", "", "only this `property`, action or event of what was asked for")
	return s.does(c, func(ctx context.Context, args []string) error {
		less, err := s.terms(o, s.now())
		if err != nil {
			return err
		}
		return s.with(ctx, func(n *kindred.Node) error {
			r, asks, err := s.asked(ctx, n)
			if err != nil {
				return err
			}
			a, err := chosenAsk(asks, args[0])
			if err != nil {
				return err
			}
			what, err := member(n, r, string(a.Path))
			if err != nil {
				return err
			}
			if k := what.Who.Kind(); k != identity.Device && k != identity.Place {
				return usage("%s is of kind %s: devices and places are what can be shared", a.Path, k)
			}
			t := a.Terms
			t.Thing.Member = what.Who.Member()
			instead(&t, less, c.Flags().Changed)
			if affordance != "" {
				t.Thing.Affordance = affordance
			}
			shown, err := s.agree(ctx, n, r, what, clear, &t)
			if err != nil {
				return err
			}
			if t, err = n.Allow(ctx, a, t); err != nil {
				return err
			}
			r.Grants = append(r.Grants, kindred.RosterGrant{Terms: t})
			sentence := s.language.Sentence(t, namesOf(r).member)
			err = s.print(map[string]string{"id": t.ID.String(), "sentence": sentence}, r.ShortID(t.ID))
			s.say("%s", sentence)
			return errors.Join(err, s.settle(ctx, n, r.ShortID(t.ID), t, shown))
		})
	})
}

// instead puts what the flags say in place of what was asked for, where a flag was given.
func instead(t *grant.Terms, flags grant.Terms, given func(string) bool) {
	for name, put := range map[string]func(){
		"allow":    func() { t.Actions = flags.Actions },
		"below":    func() { t.Subject.Below = flags.Subject.Below },
		"days":     func() { t.Windows = flags.Windows },
		"between":  func() { t.Windows = flags.Windows },
		"when":     func() { t.Windows = flags.Windows },
		"from":     func() { t.From = flags.From },
		"until":    func() { t.Until = flags.Until },
		"offline":  func() { t.Offline = flags.Offline },
		"uses":     func() { t.Uses = flags.Uses },
		"minutes":  func() { t.Budget = flags.Budget },
		"rate":     func() { t.Rate = flags.Rate },
		"at-home":  func() { t.Home = flags.Home },
		"route":    func() { t.Route = flags.Route },
		"purpose":  func() { t.Purpose = flags.Purpose },
		"moments":  func() { t.Moments = flags.Moments },
		"any-hour": func() { t.Moments.Always = flags.Moments.Always },
		"detail":   func() { t.Detail = flags.Detail },
		"keep":     func() { t.Retention = flags.Retention },
	} {
		if given(name) {
			put()
		}
	}
	if flags.Zone != "" {
		t.Zone = flags.Zone
	}
}

func newDeny(s *session) *cobra.Command {
	var why string
	c := &cobra.Command{
		Use:               "deny REQUEST",
		Short:             "Turn down what somebody asked for",
		Long:              `Turn down what somebody asked for. Whoever asked uses it to take the request back.`,
		Example:           `  kindred deny r-7kqm2x --because "we are at home that week"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeAsks,
	}
	c.Flags().StringVar(&why, "because", "", "`why`, for whoever asked")
	return s.does(c, func(ctx context.Context, args []string) error {
		if len(why) > grant.MaxAskText {
			return usage("--because: %d bytes, of at most %d", len(why), grant.MaxAskText)
		}
		return s.with(ctx, func(n *kindred.Node) error {
			_, asks, err := s.askedAnywhere(ctx, n)
			if err != nil {
				return err
			}
			a, err := chosenAsk(asks, args[0])
			if err != nil {
				return err
			}
			if a.Terms.Tree != n.Self().ID.Tree {
				err = n.TakeBackAsk(ctx, a)
			} else {
				err = n.TurnDown(ctx, a, why)
			}
			if err != nil {
				return err
			}
			return s.print(map[string]string{"denied": a.Name()}, "Turned down.")
		})
	})
}
