package main

import (
	"cmp"
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
	var off, all bool
	c := &cobra.Command{
		Use:   "never PATH [AFFORDANCE | --all]",
		Short: "Say what of a thing is never shown in clear on one owner's word",
		Long: `Say that AFFORDANCE of the thing at PATH is never shown in clear to a service on one owner's
word alone, besides what the thing says so of itself: whether a door is locked, where
somebody is. With --all that is said of everything at PATH, a thing or a place, also of
what joins it later: as of a child's room, which "kindred add place PATH --child" makes so.
With --off it may be again, once another owner, or the root key, says "kindred approve
PATH AFFORDANCE". With PATH alone, list what there is.`,
		Example:           "  kindred never home/camera picture\n  kindred never home/nursery --all\n  kindred never home/lock",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: s.completeThing(allOf),
	}
	c.Flags().BoolVar(&off, "off", false, "let it be shown, if another owner agrees")
	c.Flags().BoolVar(&all, "all", false, "everything there is, and what joins it later")
	return s.does(c, func(ctx context.Context, args []string) error {
		switch {
		case all && len(args) > 1:
			return usage("%s alone, or --all?", args[1])
		case all:
			args = append(args, "")
		case off && len(args) < 2:
			return usage("what may be shown? kindred never PATH AFFORDANCE --off")
		}
		return s.with(ctx, func(n *kindred.Node) error {
			r, err := s.roster(ctx, n)
			if err != nil {
				return err
			}
			m, err := member(n, r, args[0])
			if err != nil {
				return err
			}
			kind := m.Who.Kind()
			switch {
			case kind != identity.Device && kind != identity.Place:
				return usage("%s is of kind %s: devices, and the places they are in, have something to show", m.Who.ID.Path, kind)
			case len(args) > 1 && !all && kind == identity.Place:
				return hinted(usage("%s is a place, which has no %q of its own", m.Who.ID.Path, args[1]), "--all says it of everything in it")
			case len(args) == 1:
				return s.listNever(ctx, n, r, m)
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
		if said, _, err := grant.ParseClass(c.Raw); err == nil && said.Affordance == name && said.Thing == class.Thing {
			class.Time = max(class.Time, said.Time)
		}
	}
	waits, err := n.SetApart(ctx, class)
	if err != nil {
		return err
	}
	path := m.Who.ID.Path
	switch what := whatOf(name, path); {
	case waits && name == "":
		s.say(`%s stays unshown until another owner says "kindred approve %s --all", or you with --root.`, what, path)
	case waits:
		s.say(`%s stays unshown until another owner says "kindred approve %s %s", or you with --root.`, what, path, name)
	case off:
		s.say("%s may be shown in clear to a service, where an owner says so.", what)
	default:
		s.say("%s is never shown in clear on one owner's word.", what)
	}
	if !s.json {
		return nil
	}
	return s.object(map[string]any{"path": path, "affordance": name, "all": name == "", "never": !off || waits, "waits": waits})
}

// whatOf names an affordance of what is at a path, or all there is.
func whatOf(name string, path identity.Path) string {
	if name == "" {
		return fmt.Sprintf("everything at %s", path)
	}
	return fmt.Sprintf("%s of %s", name, path)
}

// setApart is an affordance in the list of what is never shown.
type setApart struct {
	Affordance string        `json:"affordance"`      // "": all there is
	At         identity.Path `json:"at,omitempty"`    // the thing or place of which all is set apart
	By         string        `json:"by,omitempty"`    // the thing, or an owner
	Waits      bool          `json:"waits,omitempty"` // an owner wants it shown, and another has to approve
}

func (a setApart) line() string {
	line := a.Affordance
	if a.Affordance == "" {
		line = whatOf("", a.At)
	}
	if a.By != "" {
		line += "  by " + a.By
	}
	if a.Waits {
		line += ", until another owner approves that it is shown"
	}
	return line
}

func (s *session) listNever(ctx context.Context, n *kindred.Node, r kindred.Roster, m kindred.RosterMember) error {
	apart := map[grant.Thing]setApart{}
	if m.Who.Kind() == identity.Device {
		if err := s.ownNever(ctx, n, m, apart); err != nil {
			return err
		}
	}
	for _, c := range m.Classes {
		said, _, err := grant.ParseClass(c.Raw)
		if err != nil {
			continue
		}
		key := grant.Thing{Member: said.Thing, Affordance: said.Affordance}
		a := apart[key]
		a.Affordance = said.Affordance
		if said.Affordance == "" {
			a.At = identity.Path(r.Name(identity.TreeMember{Tree: said.Tree, Member: said.Thing}))
		}
		switch {
		case c.Waits:
			a.Waits = true
		case said.Never:
			a.By = "an owner"
		default:
			delete(apart, key)
			continue
		}
		apart[key] = a
	}
	list := slices.SortedFunc(maps.Values(apart), func(a, b setApart) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Affordance, b.Affordance))
	})
	if len(list) == 0 {
		list = []setApart{}
		s.say("Nothing of %s is set apart.", m.Who.ID.Path)
	}
	lines := make([]string, len(list))
	for i, a := range list {
		lines[i] = a.line()
	}
	return s.print(list, strings.Join(lines, "\n"))
}

// ownNever adds what a thing itself says that is never shown.
func (s *session) ownNever(ctx context.Context, n *kindred.Node, m kindred.RosterMember, apart map[grant.Thing]setApart) error {
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
			apart[grant.Thing{Member: m.Who.Member(), Affordance: name}] = setApart{Affordance: name, By: "the thing"}
		}
	}
	return nil
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
