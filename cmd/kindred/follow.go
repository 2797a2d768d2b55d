package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/peer"
)

// lookOn is how long somebody at a terminal is shown how a taking-back goes on, if --wait says nothing else.
const lookOn = 5 * time.Second

// following gives a command that takes something back the flag --wait.
func (s *session) following(c *cobra.Command) *cobra.Command {
	wait := time.Duration(0)
	if s.errTerm {
		wait = lookOn
	}
	durationVar(c, &s.wait, "wait", wait, "go on for so `long`, until every thing has answered")
	return c
}

// revoke takes something back, goes on as long as the user wishes to look on, and says whether the home has it on record.
func (s *session) revoke(ctx context.Context, n *kindred.Node, target kindred.Target) (control.Report, bool, error) {
	report, err := n.Revoke(ctx, target)
	if err != nil {
		return report, false, err
	}
	if s.wait > 0 {
		if report, err = s.look(ctx, n, report); err != nil {
			return report, false, err
		}
	}
	confirmed, err := n.Confirmed(ctx, report)
	switch {
	case errors.Is(err, peer.ErrUnreachable), errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		s.say("The gateway is out of reach; it hears of this when it is back.")
	case err != nil:
		return report, false, err
	case !confirmed:
		s.say("%s", s.paint(red, "The gateway answers, and does not confirm this. Until it does, things that were not reached from here may go on;"+
			" \"kindred status\" tells."))
	}
	return report, confirmed, nil
}

// look follows a taking-back until every thing obeys, or the user has waited long enough.
func (s *session) look(ctx context.Context, n *kindred.Node, report control.Report) (control.Report, error) {
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

// neighboursTold returns which of the homes that are known here were told of what was taken away, once all were or the user
// has waited long enough. Where the gateway does not say, none was.
func (s *session) neighboursTold(ctx context.Context, n *kindred.Node, r kindred.Roster, reached bool) ([]control.Neighbour, error) {
	var open []control.Neighbour
	for _, o := range r.Others {
		open = append(open, control.Neighbour{Name: o.Name, Tree: o.Other.String(), Until: s.now().Add(grant.VisitorMaxAge).UTC()})
	}
	if len(open) == 0 || !reached {
		return open, nil
	}
	looking, stop := context.WithTimeout(ctx, max(s.wait, checkFor))
	defer stop()
	for told := 0; ; {
		now, err := n.Gateway().Neighbours(looking, told)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil: // the gateway is off, or the user has waited long enough
			return open, nil
		}
		open, told = now.Homes, 0
		for _, o := range open {
			if o.Told {
				told++
			}
		}
		if told == len(open) {
			return open, nil
		}
		if s.wait > 0 {
			s.say("%d of %d other homes were told so far. Waiting for the others; Ctrl-C ends the wait, not the removal.", told, len(open))
		}
	}
}

// heardOf says whether another home was told of what was taken away.
func heardOf(o control.Neighbour, now time.Time) string {
	if o.Told {
		return o.Name + " was told."
	}
	return fmt.Sprintf("%s was not told yet: what it shared with whoever is gone, they may still use there until %s.", o.Name, stamp(o.Until, now))
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
