package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/thing"
)

func newDescribe(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:               "describe PATH",
		Short:             "Print a thing's W3C Thing Description",
		Example:           "  kindred describe home/lock",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeThing(nil),
	}
	return s.does(c, func(ctx context.Context, args []string) error {
		return s.withThing(ctx, args[0], func(t *thing.Client) error {
			raw, err := t.Describe(ctx)
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := json.Indent(&text, raw, "", "  "); err != nil {
				return fmt.Errorf("the description of %s is no JSON: %w", args[0], err)
			}
			return s.print(raw, text.String())
		})
	})
}

// description fetches and reads what a thing says it can do.
func description(ctx context.Context, t *thing.Client) (thing.Description, error) {
	var d thing.Description
	raw, err := t.Describe(ctx)
	if err != nil {
		return d, err
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, fmt.Errorf("reading the thing's description: %w", err)
	}
	return d, nil
}

// An offer is an affordance, as lists of them show it.
type offer struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Takes       string `json:"takes,omitempty"` // the type of its input
}

// printOffers lists affordances.
func (s *session) printOffers(what, path string, offers []offer) error {
	slices.SortFunc(offers, func(a, b offer) int { return cmp.Compare(a.Name, b.Name) })
	if len(offers) == 0 {
		s.say("There is nothing to %s at %s.", what, path)
		return s.print([]offer{}, "")
	}
	rows := make([][]string, len(offers))
	for i, o := range offers {
		rows[i] = []string{o.Name, o.Takes, o.Description}
	}
	return s.print(offers, table(rows))
}

// listOffers lists what a thing says that it has of a kind.
func (s *session) listOffers(ctx context.Context, t *thing.Client, what, path string, of func(thing.Description) []offer) error {
	d, err := description(ctx, t)
	if err != nil {
		return err
	}
	return s.printOffers(what, path, of(d))
}

// noOffer says that a thing has no such affordance, and what it has.
func noOffer[V any](what, path, name string, there map[string]V) error {
	names := slices.Sorted(maps.Keys(there))
	err := notFound("%s has no %s %q", path, what, name)
	if len(names) == 0 {
		return err
	}
	return hinted(err, "there is "+strings.Join(names, ", "))
}

func schemaName(s *thing.Schema) string {
	if s == nil {
		return ""
	}
	if len(s.Enum) > 0 {
		return strings.Join(s.Enum, "|")
	}
	return s.Type
}

// table lays out rows in columns, two spaces apart. Empty columns vanish, and a cell has one line.
func table(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for len(widths) < len(row) {
			widths = append(widths, 0)
		}
		for i := range row {
			row[i] = oneLine(row[i])
			widths[i] = max(widths[i], len([]rune(row[i])))
		}
	}
	var out strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if widths[i] > 0 {
				line.WriteString(cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+2))
			}
		}
		out.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return out.String()
}

// missing reports whether a thing said that it has no such affordance.
func missing(err error) bool {
	var p *thing.Problem
	return errors.As(err, &p) && p.Status == 404
}
