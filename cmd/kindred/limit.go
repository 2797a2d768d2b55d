package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

func newLimit(s *session) *cobra.Command {
	var fresh, offline string
	c := &cobra.Command{
		Use:   "limit PATH [AFFORDANCE]",
		Short: "Say how lately a right to a thing must have been checked",
		Long: `Say how lately a caller's right must have been checked for the thing at PATH to serve it
(--fresh, an hour unless you say otherwise), and for how long at most it serves while the
gateway is out of reach (--offline, seven days). With AFFORDANCE for that alone.

A short limit closes sooner what you take back while a thing is cut off; a long one keeps
things going when the gateway is dead.`,
		Example:           "  kindred limit home/lock --fresh 5s\n  kindred limit home/lock unlock --fresh 1m --offline 2d",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: s.completeThing(allOf),
	}
	c.Flags().StringVar(&fresh, "fresh", "", "the `time` since the last check within which it serves")
	c.Flags().StringVar(&offline, "offline", "", "the longest `time` that it serves offline")
	return s.does(c, func(ctx context.Context, args []string) error {
		if fresh == "" && offline == "" {
			return usage("what limit? --fresh DURATION, --offline DURATION or both")
		}
		want := tree.Limit{}
		if len(args) == 2 {
			want.Affordance = args[1]
		}
		for flag, to := range map[string]struct {
			text  string
			value *int64
		}{"fresh": {fresh, &want.Fresh}, "offline": {offline, &want.Offline}} {
			if to.text == "" {
				continue
			}
			d, err := grant.ParseDuration(to.text)
			if err != nil || d < time.Second || d > grant.MaxOffline {
				return usage("--%s: %q is no duration such as 5s, 1h or 7d", flag, to.text)
			}
			*to.value = int64(d / time.Second)
		}
		return s.with(ctx, func(n *kindred.Node) error { return s.limit(ctx, n, args[0], want) })
	})
}

func (s *session) limit(ctx context.Context, n *kindred.Node, arg string, want tree.Limit) error {
	r, err := s.roster(ctx, n)
	if err != nil {
		return err
	}
	m, err := member(n, r, arg)
	if err != nil {
		return err
	}
	if !n.Self().Owner() {
		return onlyOwners("change limits")
	}
	if m.Who.Kind() != identity.Device {
		return usage("%s is of kind %s: devices have limits", m.Who.ID.Path, m.Who.Kind())
	}
	entry, err := m.Current()
	if err != nil {
		return err
	}
	limits := withLimit(entry.Limits, want)
	if err := n.SetLimits(ctx, m.Who.Member(), limits); err != nil {
		return err
	}
	freshFor, offlineFor := tree.Member{Limits: limits}.LimitFor(want.Affordance)
	what := string(m.Who.ID.Path)
	if want.Affordance != "" {
		what += " " + want.Affordance
	}
	s.say("%s serves whoever was checked within %s; offline for %s at most.", what, span(freshFor), span(offlineFor))
	if !s.json {
		return nil
	}
	return s.object(map[string]any{
		"path": m.Who.ID.Path, "affordance": want.Affordance,
		"fresh": int64(freshFor / time.Second), "offline": int64(offlineFor / time.Second),
	})
}

// withLimit returns limits with one changed: what it does not say stays.
func withLimit(limits []tree.Limit, want tree.Limit) []tree.Limit {
	limits = slices.Clone(limits)
	for i := range limits {
		if limits[i].Affordance != want.Affordance {
			continue
		}
		if want.Fresh != 0 {
			limits[i].Fresh = want.Fresh
		}
		if want.Offline != 0 {
			limits[i].Offline = want.Offline
		}
		return limits
	}
	return append(limits, want)
}

// span writes a duration in its largest unit that leaves no rest: "5 s", "90 min", "7 days".
func span(d time.Duration) string {
	for _, unit := range []struct {
		d    time.Duration
		one  string
		many string
	}{{24 * time.Hour, "day", "days"}, {time.Hour, "h", "h"}, {time.Minute, "min", "min"}} {
		switch n := d / unit.d; {
		case n == 0 || d%unit.d != 0:
		case n == 1:
			return "1 " + unit.one
		default:
			return fmt.Sprintf("%d %s", n, unit.many)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
