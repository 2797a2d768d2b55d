package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
)

// lookOn is how long somebody at a terminal is shown how a taking-back goes on, if --wait says nothing else.
const lookOn = 5 * time.Second

// following gives a command that takes something back the flag --wait.
func (s *session) following(c *cobra.Command) *cobra.Command {
	wait := time.Duration(0)
	if s.errTerm {
		wait = lookOn
	}
	c.Flags().DurationVar(&s.wait, "wait", wait, "go on for so `long`, until every thing has answered")
	return c
}

// revoke takes something back, and goes on as long as the user wishes to look on.
func (s *session) revoke(ctx context.Context, n *kindred.Node, target kindred.Target) (control.Report, error) {
	report, err := n.Revoke(ctx, target)
	if err != nil || len(report.Leaf) == 0 || s.wait <= 0 {
		return report, err
	}
	looking, stop := context.WithTimeout(ctx, s.wait)
	defer stop()
	for told := -1; ; {
		done := obeying(report)
		if done == len(report.Things) {
			return report, nil
		}
		if told != done {
			s.say("Closed on %d of %d so far. Waiting for the others; Ctrl-C ends the wait, not the taking back.", done, len(report.Things))
			told = done
		}
		next, err := n.Gateway().Follow(looking, control.Following{Leaf: report.Leaf, Closed: done})
		var answered *control.Error
		if looking.Err() != nil || errors.As(err, &answered) {
			return report, nil // it stays taken back, whether anybody looks on or not
		}
		if err != nil {
			return report, err
		}
		join(report.Things, next.Things)
	}
}

// obeying returns how many things obey.
func obeying(r control.Report) (n int) {
	for _, t := range r.Things {
		if t.Closed {
			n++
		}
	}
	return n
}

// join takes for closed what either report says is.
func join(things, other []control.Reach) {
	for i := range things {
		for _, o := range other {
			if o.Path == things[i].Path && o.Closed {
				things[i] = o
			}
		}
	}
}
