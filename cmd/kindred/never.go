package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

func newNever(s *session) *cobra.Command {
	var off bool
	c := &cobra.Command{
		Use:   "never PATH [AFFORDANCE]",
		Short: "Say what of a thing is never shown in clear on one owner's word",
		Long: `Say that AFFORDANCE of the thing at PATH is never shown in clear to a service on one owner's
word alone, besides what the thing says so of itself: whether a door is locked, where
somebody is. With --off it may be again, once another owner, or the root key, says
"kindred approve PATH AFFORDANCE". Without AFFORDANCE, list what there is.`,
		Example:           "  kindred never home/camera picture\n  kindred never home/lock",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: s.completeThing(allOf),
	}
	c.Flags().BoolVar(&off, "off", false, "let it be shown, if another owner agrees")
	return s.does(c, func(ctx context.Context, args []string) error {
		if off && len(args) < 2 {
			return usage("what may be shown? kindred never PATH AFFORDANCE --off")
		}
		return s.with(ctx, func(n *kindred.Node) error {
			r, err := s.roster(ctx, n)
			if err != nil {
				return err
			}
			m, err := member(n, r, args[0])
			switch {
			case err != nil:
				return err
			case m.Who.Kind() != identity.Device:
				return usage("%s is of kind %s: devices have something to show", m.Who.ID.Path, m.Who.Kind())
			case len(args) == 1:
				return s.listNever(ctx, n, m)
			case !n.Self().Owner():
				return onlyOwners("say what is never shown")
			}
			return s.never(ctx, n, m, args[1], off)
		})
	})
}

func (s *session) never(ctx context.Context, n *kindred.Node, m kindred.RosterMember, name string, off bool) error {
	if err := s.checkAffordance(ctx, n, m, name); err != nil {
		return err
	}
	class := grant.Class{Thing: m.Who.Member(), Affordance: name, Never: !off}
	for _, c := range m.Classes {
		if said, _, err := grant.ParseClass(c.Raw); err == nil && said.Affordance == name {
			class.Time = max(class.Time, said.Time)
		}
	}
	waits, err := n.SetApart(ctx, class)
	if err != nil {
		return err
	}
	path := m.Who.ID.Path
	switch {
	case waits:
		s.say(`%s of %s stays unshown until another owner says "kindred approve %s %s", or you with --root.`, name, path, path, name)
	case off:
		s.say("%s of %s may be shown in clear to a service, where an owner says so.", name, path)
	default:
		s.say("%s of %s is never shown in clear on one owner's word.", name, path)
	}
	if !s.json {
		return nil
	}
	return s.object(map[string]any{"path": path, "affordance": name, "never": !off || waits, "waits": waits})
}

// setApart is an affordance in the list of what is never shown.
type setApart struct {
	Affordance string `json:"affordance"`
	By         string `json:"by"`              // the thing, or an owner
	Waits      bool   `json:"waits,omitempty"` // an owner wants it shown, and another has to approve
}

func (s *session) listNever(ctx context.Context, n *kindred.Node, m kindred.RosterMember) error {
	apart := map[string]setApart{}
	soon, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	t, err := n.ThingOf(m.Who.Member())
	if err != nil {
		return err
	}
	d, err := description(soon, t)
	if err != nil {
		s.say("%s cannot be asked what it says itself.", m.Who.ID.Path)
	}
	for name := range offered(d) {
		if d.Never(name) {
			apart[name] = setApart{Affordance: name, By: "the thing"}
		}
	}
	for _, c := range m.Classes {
		said, _, err := grant.ParseClass(c.Raw)
		switch {
		case err != nil:
		case c.Waits:
			a := apart[said.Affordance]
			a.Waits = true
			apart[said.Affordance] = a
		case said.Never:
			apart[said.Affordance] = setApart{Affordance: said.Affordance, By: "an owner"}
		default:
			delete(apart, said.Affordance)
		}
	}
	list, lines := []setApart{}, []string{}
	for _, name := range slices.Sorted(maps.Keys(apart)) {
		a := apart[name]
		line := fmt.Sprintf("%s  by %s", name, a.By)
		if a.Waits {
			line += ", until another owner approves that it is shown"
		}
		list, lines = append(list, a), append(lines, line)
	}
	if len(list) == 0 {
		s.say("Nothing of %s is set apart.", m.Who.ID.Path)
	}
	return s.print(list, strings.Join(lines, "\n"))
}

// offered returns the names of all that a thing has.
func offered(d thing.Description) map[string]bool {
	there := map[string]bool{}
	for name := range d.Properties {
		there[name] = true
	}
	for name := range d.Actions {
		there[name] = true
	}
	for name := range d.Events {
		there[name] = true
	}
	return there
}
