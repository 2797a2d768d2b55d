package main

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/thing"
)

func newWatch(s *session) *cobra.Command {
	var f following
	var purpose string
	c := &cobra.Command{
		Use:   "watch PATH [NAME]",
		Short: "Follow an event or a property of a thing, or list what can be followed",
		Long: `Print each event of a thing, or each new value of a property, as one JSON object a line,
until stopped. Pictures go, one after the other, into a folder (-o), where those that are
like the one before are left out, or into a pipe, as to "ffplay -f mjpeg -", never to a
terminal.

A connection that is lost is made again, and goes on after what was received last: nothing
is lost that the thing still has. When it does not come back for a minute, the command ends
with exit code 4. When the right to it ends, so does the command, with exit code 3 and the
reason.`,
		Example:           "  kindred watch home/meter telegram\n  kindred watch home/porch/doorbell picture -o pictures",
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: s.completeThing(namesOfOffers(watchable)),
	}
	c.Flags().StringVarP(&f.folder, "output", "o", "", "put pictures into a `folder`, one file each")
	c.Flags().IntVarP(&f.count, "count", "n", 0, "end after so `many` (default: until stopped)")
	forPurpose(c, &purpose)
	return s.does(c, func(ctx context.Context, args []string) error {
		if f.count < 0 {
			return usage("-n: %d is no number of events", f.count)
		}
		return s.withThing(ctx, args[0], func(t *thing.Client) error {
			t.Purpose = purpose
			d, err := description(ctx, t)
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return s.printOffers("watch", args[0], watchable(d))
			}
			f.s, f.name = s, args[1]
			t.Healing.Lost = func(error) { s.say("The connection was lost; trying again.") }
			t.Healing.Back = func() { s.say("The connection is back.") }
			err = f.follow(ctx, t, d, args[0])
			if ctx.Err() != nil { // as it was told to
				return nil
			}
			return err
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

// A following prints what becomes of an event or a property.
type following struct {
	s      *session
	name   string
	folder string // for pictures; empty: standard output
	count  int    // end after so many; 0: never
}

func (f following) follow(ctx context.Context, t *thing.Client, d thing.Description, path string) error {
	p, property := d.Properties[f.name]
	_, event := d.Events[f.name]
	switch {
	case property && isFilm(p):
		return f.pictures(ctx, t)
	case f.folder != "":
		return usage("-o takes a property whose values are pictures")
	case property && p.Observable: // which begins with the value it has now
		return f.events(t.Observe(ctx, f.name, ""))
	case event:
		return f.events(t.Subscribe(ctx, f.name, ""))
	}
	names := map[string]bool{}
	for _, o := range watchable(d) {
		names[o.Name] = true
	}
	return noOffer("event or observable property", path, f.name, names)
}

// isFilm reports whether a property is observed as a film.
func isFilm(p thing.PropertyAffordance) bool {
	for _, form := range p.Forms {
		if form.Subprotocol == thing.MJPEG {
			return true
		}
	}
	return false
}

// event is a line of "watch".
type event struct {
	Name string          `json:"name"`
	ID   string          `json:"id"`
	Time time.Time       `json:"time"` // when it arrived
	Data json.RawMessage `json:"data"`
}

// events prints events until the stream ends.
func (f following) events(stream *thing.Stream, err error) error {
	if err != nil {
		return err
	}
	defer stream.Close()
	for n := 1; ; n++ {
		e, err := stream.Next()
		if err != nil {
			return err
		}
		if err := f.s.object(event{f.name, e.ID, time.Now().UTC(), e.Data}); err != nil || n == f.count {
			return err
		}
	}
}
