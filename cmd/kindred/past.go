package main

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/thing"
)

// past is what of a property's history is asked for.
type past struct{ from, until, step string }

func (p *past) flags(c *cobra.Command) {
	c.Flags().StringVar(&p.from, "from", "", "of a history: from this `time` on, "+clocksHint+" ago")
	c.Flags().StringVar(&p.until, "until", "", "of a history: until this `time`")
	c.Flags().StringVar(&p.step, "step", "", "of a history: sums by `step`, quarter-hour, hour, day or month (default: as it was recorded)")
	hide(c.RegisterFlagCompletionFunc("step", cobra.FixedCompletions([]string{"quarter-hour", "hour", "day", "month"}, cobra.ShellCompDirectiveNoFileComp)))
}

func (p past) asked() bool { return p != past{} }

// query reads the flags, by the clock of the place.
func (s *session) query(p past) (q thing.Query, err error) {
	now := s.now()
	for flag, into := range map[string]struct {
		text string
		at   *time.Time
	}{"--from": {p.from, &q.From}, "--until": {p.until, &q.Until}} {
		if into.text == "" {
			continue
		}
		if *into.at, err = parsePast(into.text, now); err != nil {
			return q, usage("%s: %s", flag, err)
		}
	}
	if p.step == "" {
		return q, nil
	}
	if q.Step, err = thing.ParseStep(p.step); err != nil || q.Step == thing.Each {
		return q, usage("--step: %q is no step: want quarter-hour, hour, day or month", p.step)
	}
	q.Zone, _, err = s.zone("")
	return q, err
}

// hasHistory refuses flags that mean nothing to a property.
func hasHistory(ctx context.Context, t *thing.Client, path, property string) error {
	d, err := description(ctx, t)
	if err != nil {
		return err
	}
	p, ok := d.Properties[property]
	if !ok {
		return noOffer("property", path, property, d.Properties)
	}
	if _, ok := p.URIVariables[thing.StepVariable]; !ok {
		return usage("%s of %s is no history: --from, --until and --step say nothing of it", property, path)
	}
	return nil
}

// historic writes a list of spans for people, one a line.
func historic(raw []byte, now time.Time) (string, bool) {
	var spans []thing.Span[json.RawMessage]
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&spans); err != nil || len(spans) == 0 {
		return "", false
	}
	var rows [][]string
	for _, span := range spans {
		if span.From.IsZero() || span.Value == nil {
			return "", false
		}
		rows = append(rows, []string{stamp(span.From, now), stamp(span.Until, now), words(span.Value)})
	}
	return table(rows), true
}

// words writes a small JSON value in a line: of an object "in 120, out 0".
func words(raw json.RawMessage) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || len(fields) == 0 {
		return plain(raw, false)
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, name+" "+plain(fields[name], false))
	}
	return strings.Join(parts, ", ")
}
