package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/thing"
)

func newSet(s *session) *cobra.Command {
	var purpose string
	c := &cobra.Command{
		Use:   "set PATH [PROPERTY JSON]",
		Short: "Write a property of a thing, or list those that can be written",
		Example: `  kindred set home/heating target 21.5
  kindred set home/sign text '"closed"'`,
		Args:              cobra.RangeArgs(1, 3),
		ValidArgsFunction: s.completeThing(namesOfOffers(writable)),
	}
	forPurpose(c, &purpose)
	return s.does(c, func(ctx context.Context, args []string) error {
		if len(args) == 2 {
			return usage("a value is missing: kindred set %s %s JSON", args[0], args[1])
		}
		var value json.RawMessage
		if len(args) == 3 {
			var err error
			if value, err = input(args[2]); err != nil {
				return err
			}
		}
		return s.withThing(ctx, args[0], func(t *thing.Client) error {
			t.Purpose = purpose
			if value == nil {
				return s.listOffers(ctx, t, "set", args[0], writable)
			}
			return s.orList(ctx, t, args[0], args[1], t.Write(ctx, args[1], value))
		})
	})
}

// input checks that an argument is JSON.
func input(text string) (json.RawMessage, error) {
	if !json.Valid([]byte(text)) {
		return nil, hinted(usage("%q is no JSON", text), `a string takes double quotes within single ones: '"closed"'`)
	}
	return json.RawMessage(text), nil
}

func writable(d thing.Description) (offers []offer) {
	for name, p := range d.Properties {
		if !p.ReadOnly {
			offers = append(offers, offer{name, p.Description, schemaName(&p.Schema)})
		}
	}
	return offers
}
