package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/thing"
)

func newGet(s *session) *cobra.Command {
	var file, purpose string
	var past past
	c := &cobra.Command{
		Use:   "get PATH [PROPERTY [FILE]]",
		Short: "Read a property of a thing, or list them all, or fetch a file that one lists",
		Long: `Read a property of a thing. Without one, list all there are with their values.

A picture goes into a file (-o) or a pipe, never to a terminal. A file of those that a
property lists is fetched by its name there. A connection that is lost meanwhile is made
again for up to a minute each time, and the download goes on where it was. What arrived of
it when the command ends before its end is kept beside FILE, and the same command goes on
with it later, unless the file was changed.

Of a history, such as that of a meter, --from and --until tell the time that is wanted, and
--step the sums.`,
		Example: "  kindred get home/meter power\n  kindred get home/porch/doorbell picture -o porch.jpg\n" +
			"  kindred get home/porch/doorbell recordings monday.mp4 -o monday.mp4\n" +
			"  kindred get home/meter history --from 7d --step day",
		Args:              cobra.RangeArgs(1, 3),
		ValidArgsFunction: s.completeThing(propertiesOf),
	}
	c.Flags().StringVarP(&file, "output", "o", "", "write the value to a `file`, as a whole or not at all")
	past.flags(c)
	forPurpose(c, &purpose)
	return s.does(c, func(ctx context.Context, args []string) error {
		if file != "" && len(args) < 2 {
			return usage("-o takes a property to read")
		}
		if past.asked() && len(args) != 2 {
			return usage("--from, --until and --step take a property that is a history")
		}
		query, err := s.query(past)
		if err != nil {
			return err
		}
		return s.withThing(ctx, args[0], func(t *thing.Client) error {
			t.Purpose = purpose
			if len(args) < 2 {
				return s.getAll(ctx, t, args[0])
			}
			if len(args) == 3 {
				return s.download(ctx, t, args[0], args[1], args[2], file)
			}
			if past.asked() {
				if err := hasHistory(ctx, t, args[0], args[1]); err != nil {
					return err
				}
			}
			v, err := t.History(ctx, args[1], query) // of any other property its value
			if err != nil {
				return s.orList(ctx, t, args[0], args[1], err)
			}
			return s.printValue(v, file)
		})
	})
}

// forPurpose lets a command say what it uses a thing for.
func forPurpose(c *cobra.Command, purpose *string) {
	c.Flags().StringVar(purpose, "for", "", "say what for, where a grant asks for that: a `purpose` such as billing")
}

// orList turns "no such property" into one that says which there are.
func (s *session) orList(ctx context.Context, t *thing.Client, path, name string, err error) error {
	if !missing(err) {
		return err
	}
	d, derr := description(ctx, t)
	if derr != nil {
		return err
	}
	return noOffer("property", path, name, d.Properties)
}

const jsonType = "application/json"

// isText reports whether a value of a media type may go to a terminal.
func isText(contentType string) bool {
	return contentType == jsonType || strings.HasPrefix(contentType, "text/") || contentType == ""
}

// printValue writes a value to a file or to standard output: JSON strings without their quotes.
func (s *session) printValue(v thing.Value, file string) error {
	switch {
	case file != "":
		if err := writeFile(file, v.Body); err != nil {
			return err
		}
		s.say("%s: %s", file, media(v))
		if s.json {
			return s.object(map[string]any{"file": file, "contentType": v.ContentType, "size": len(v.Body)})
		}
		return nil
	case v.ContentType == jsonType && s.json:
		return s.object(json.RawMessage(v.Body))
	case v.ContentType == "" && s.json:
		return s.object(nil)
	case s.json:
		return s.object(map[string]any{
			"contentType": v.ContentType, "size": len(v.Body), "data": base64.StdEncoding.EncodeToString(v.Body),
		})
	case v.ContentType == jsonType:
		if text, ok := listing(v.Body, s.now()); ok {
			return s.print(nil, text)
		}
		if text, ok := historic(v.Body, s.now()); ok {
			return s.print(nil, text)
		}
		return s.print(nil, plain(v.Body, true))
	case isText(v.ContentType):
		return s.print(nil, string(v.Body))
	case s.outTerm:
		return hinted(usage("this is %s, nothing for a terminal", media(v)), "-o FILE writes it to a file, and a pipe takes it")
	}
	_, err := s.out.Write(v.Body)
	return err
}

// plain writes a JSON value for people: a string without quotes, an object over several lines if there is room.
func plain(raw []byte, room bool) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return printable(text)
	}
	var indented bytes.Buffer
	if !room || json.Indent(&indented, raw, "", "  ") != nil {
		return printable(string(raw))
	}
	return printable(indented.String())
}

// media names a value that is not shown: "image/jpeg, 12 kB".
func media(v thing.Value) string { return v.ContentType + ", " + size(len(v.Body)) }

// size writes a number of bytes for people.
func size[N int | int64 | uint64](n N) string {
	switch {
	case n == 1:
		return "1 byte"
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10*1000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1000*1000:
		return fmt.Sprintf("%d kB", (n+500)/1000)
	case n < 1000*1000*1000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}

// getAll lists a thing's properties with their values. One that cannot be read says why.
func (s *session) getAll(ctx context.Context, t *thing.Client, path string) error {
	d, err := description(ctx, t)
	if err != nil {
		return err
	}
	if len(d.Properties) == 0 {
		s.say("%s has no properties.", path)
	}
	values := map[string]json.RawMessage{}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(d.Properties)) {
		p := d.Properties[name]
		v, err := t.Read(ctx, name)
		var problem *thing.Problem
		if err != nil && !errors.As(err, &problem) {
			return err
		}
		raw, text := summary(v, problem, p.Unit)
		values[name] = raw
		rows = append(rows, []string{name, text, p.Description})
	}
	return s.print(values, table(rows))
}

// maxCell is how much of a value a list shows, in characters.
const maxCell = 60

// summary tells a value, or why there is none, as JSON and in a few words.
func summary(v thing.Value, problem *thing.Problem, unit string) (json.RawMessage, string) {
	if problem != nil {
		raw, _ := json.Marshal(map[string]*failure{"error": explain(problem)}) // three strings
		return raw, "(" + flat(problem.Error()) + ")"
	}
	if v.ContentType != jsonType {
		raw, _ := json.Marshal(map[string]any{"contentType": v.ContentType, "size": len(v.Body)}) // a string and a number
		return raw, media(v)
	}
	text := []rune(plain(v.Body, false))
	if len(text) > maxCell {
		text = append(text[:maxCell-1], '…')
	}
	if unit != "" {
		text = append(text, []rune(" "+unit)...)
	}
	return v.Body, string(text)
}
