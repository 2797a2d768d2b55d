package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
)

func newNews(s *session) *cobra.Command {
	var count int
	c := &cobra.Command{
		Use:   "news",
		Short: "Tell, as it comes, what was given and soon ends",
		Long: `Tell, until stopped, what you gave or were given in this home and soon ends, what you were
given in homes that know it, and as an owner all that ends here: a week, a day and an hour
before, as far as it lasts at least twice as long, and what is shorter when a quarter of its
time is left. Each is told once on each machine, with the command by which it goes on.`,
		Example: "  kindred news\n  kindred news --json -n 1",
		Args:    cobra.NoArgs,
	}
	c.Flags().IntVarP(&count, "count", "n", 0, "end after so `many` (default: until stopped)")
	s.lang(c)
	return s.does(c, func(ctx context.Context, _ []string) error {
		if count < 0 {
			return usage("-n: %d is no number of news", count)
		}
		return s.with(ctx, func(n *kindred.Node) error {
			if _, err := s.roster(ctx, n); err != nil {
				return err // the gateway is out of reach: from then on it may come and go
			}
			return s.news(ctx, n, count)
		})
	})
}

func (s *session) news(ctx context.Context, n *kindred.Node, count int) error {
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	told := 0
	return n.Endings(ctx, func(r kindred.Roster, g kindred.RosterGrant) error {
		e := s.soonEnds(shownGrant(s.language, r, g, s.now()))
		if err := s.print(e, fmt.Sprintf("%s ends %s", e.short, e.line(s.now()))); err != nil {
			return err
		}
		if told++; told == count {
			enough()
		}
		return nil
	})
}

// soonEnds is a grant that is soon over.
type soonEnds struct {
	Grant    string    `json:"grant"`
	Path     string    `json:"path"` // with the name of another home
	Until    time.Time `json:"until"`
	Sentence string    `json:"sentence"`
	Extend   string    `json:"extend"` // the command by which it goes on
	short    string
}

func (s *session) soonEnds(g sharedGrant) soonEnds {
	longer := "1h"
	switch left := g.Until.Sub(s.now()); {
	case left > 24*time.Hour:
		longer = "7d"
	case left > time.Hour:
		longer = "1d"
	}
	return soonEnds{g.ID, g.Path, *g.Until, g.Sentence, fmt.Sprintf("kindred extend %s --until %s", g.short, longer), g.short}
}

func (e soonEnds) line(now time.Time) string {
	return fmt.Sprintf("at %s: %s %q lets it go on.", stamp(e.Until, now), e.Sentence, e.Extend)
}
