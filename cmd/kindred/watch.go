package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
)

func newWatch(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "watch PATH [NAME]",
		Short: "Follow an event or a property of a thing, or list what can be followed",
		Long: `Print each event of a thing, or each new value of a property, as one JSON object a line,
until stopped. A connection that is lost is made again: then a property is told as it is
now, and events that were missed as far as the thing still has them.

When the right to it ends, so does the command, with exit code 3 and the reason.`,
		Example:           "  kindred watch home/meter telegram",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: s.completePaths,
	}
	return s.does(c, func(ctx context.Context, args []string) error {
		return s.withThing(ctx, args[0], func(t *thing.Client) error {
			d, err := description(ctx, t)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return s.printOffers("watch", args[0], watchable(d))
			}
			w := watching{s: s, name: args[1], open: t.Observe}
			switch _, event := d.Events[args[1]]; {
			case d.Properties[args[1]].Observable: // which begins with the value it has now
			case event:
				w.open, w.resumes = t.Subscribe, true
			default:
				names := map[string]bool{}
				for _, o := range watchable(d) {
					names[o.Name] = true
				}
				return noOffer("event or observable property", args[0], args[1], names)
			}
			return w.run(ctx)
		})
	})
}

func watchable(d thing.Description) []offer {
	var offers []offer
	for name, e := range d.Events {
		offers = append(offers, offer{Name: name, Description: e.Description})
	}
	for name, p := range d.Properties {
		if _, event := d.Events[name]; p.Observable && !event {
			offers = append(offers, offer{Name: name, Description: p.Description})
		}
	}
	return offers
}

// watching follows one stream through lost connections.
//
//	        opened                    lost, or the thing was restarted
//	begun ─────────▶ open ──────────────────────────────▶ lost ──┐
//	  │               │  ▲                                 │  ▲  │ not yet again
//	  │ refused       │  └──────────── opened ─────────────┘  └──┘
//	  ▼               ▼ the right ended                    ▼ for too long
//	ended ◀───────────┴────────────────────────────────────┘
type watching struct {
	s    *session
	name string
	open func(ctx context.Context, name, after string) (*thing.Stream, error)

	resumes bool      // after the last event, and not with the value there is now
	last    string    // ID of the newest event
	lost    time.Time // when the stream was lost
}

const (
	reopenFor   = time.Minute // how long a lost stream is tried again
	reopenEvery = 500 * time.Millisecond
)

func (w *watching) run(ctx context.Context) error {
	for began := false; ; {
		opened, err := w.follow(ctx)
		began = began || opened
		switch {
		case ctx.Err() != nil:
			return nil
		case !began, !passing(err):
			return err
		case opened:
			w.lost = time.Now()
			w.s.say("The connection was lost; trying again.")
		case time.Since(w.lost) > reopenFor:
			return err
		}
		select {
		case <-time.After(reopenEvery):
		case <-ctx.Done():
			return nil
		}
	}
}

// passing reports whether a stream that ended so may be opened again.
func passing(err error) bool {
	var p *thing.Problem
	if errors.As(err, &p) {
		return p.Status == http.StatusServiceUnavailable
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, peer.ErrUnreachable)
}

// event is a line of "watch".
type event struct {
	Name string          `json:"name"`
	ID   string          `json:"id"`
	Time time.Time       `json:"time"` // when it arrived
	Data json.RawMessage `json:"data"`
}

// follow prints events until the stream ends, and says whether it was opened at all.
func (w *watching) follow(ctx context.Context) (opened bool, err error) {
	stream, err := w.open(ctx, w.name, w.last)
	if err != nil {
		return false, err
	}
	defer stream.Close()
	for {
		e, err := stream.Next()
		if err != nil {
			return true, err
		}
		if err := w.s.object(event{w.name, e.ID, time.Now().UTC(), e.Data}); err != nil {
			return true, err
		}
		if w.resumes {
			w.last = e.ID
		}
	}
}
