package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/thing"
)

func newDo(s *session) *cobra.Command {
	var purpose string
	c := &cobra.Command{
		Use:               "do PATH [ACTION [JSON]]",
		Short:             "Have a thing do something, or list what it can do",
		Example:           "  kindred do home/lock unlock",
		Args:              cobra.RangeArgs(1, 3),
		ValidArgsFunction: s.completeThing(namesOfOffers(doable)),
	}
	forPurpose(c, &purpose)
	return s.does(c, func(ctx context.Context, args []string) error {
		var value json.RawMessage
		if len(args) == 3 {
			var err error
			if value, err = input(args[2]); err != nil {
				return err
			}
		}
		return s.withThing(ctx, args[0], func(t *thing.Client) error {
			t.Purpose = purpose
			if len(args) == 1 {
				return s.listOffers(ctx, t, "do", args[0], doable)
			}
			v, err := t.Invoke(ctx, args[1], value)
			if missing(err) {
				if d, derr := description(ctx, t); derr == nil {
					return noOffer("action", args[0], args[1], d.Actions)
				}
			}
			if err != nil {
				return err
			}
			return s.printValue(v, "")
		})
	})
}

// doable returns what a thing does, but for the services that it has: "forward" lists those.
func doable(d thing.Description) (offers []offer) {
	for name, a := range d.Actions {
		if _, _, service := a.Service(); !service {
			offers = append(offers, offer{name, a.Description, schemaName(a.Input)})
		}
	}
	return offers
}
