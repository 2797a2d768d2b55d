package main

import (
	"fmt"
	"strings"
	"time"
)

// text tells it to people.
func (a *account) text(s *session) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n", s.tint(bold, "Agreed, and happened since "+stamp(a.Since, a.teller.now)))
	if len(a.Grants) == 0 {
		out.WriteString("Nothing is shared.\n")
	}
	for _, g := range a.Grants {
		fmt.Fprintf(&out, "%s  %s%s\n", g.short, g.indent(), g.line())
		for _, line := range g.lines(s, a.teller.now) {
			fmt.Fprintf(&out, "        %s\n", line)
		}
	}
	list := func(title string, tallies []tally) {
		if len(tallies) > 0 {
			fmt.Fprintf(&out, "%s\n", s.tint(bold, title))
		}
		for _, t := range tallies {
			fmt.Fprintf(&out, "        %s (%s)\n", t.What, often(t.Count))
		}
	}
	list("Owners, by their own right", a.Owners)
	list("Sealed to whoever did it", a.Private)
	list("Refused, and rests on nothing that was given", a.Refused)
	if a.Unknown > 0 {
		fmt.Fprintf(&out, "Strangers were turned away %s.\n", often(a.Unknown))
	}
	if len(a.Outside) == 0 {
		out.WriteString(s.tint(green, "Nothing happened outside of what was agreed.") + "\n")
		return out.String()
	}
	fmt.Fprintf(&out, "%s\n", s.tint(red, "Outside of what was agreed"))
	for _, d := range a.Outside {
		fmt.Fprintf(&out, "        %s\n", s.tint(red, fmt.Sprintf("%s %s: %s", stamp(d.Time, a.teller.now), d.Sentence, d.Why)))
	}
	return out.String()
}

// lines tell what was done under a grant.
func (g *accounted) lines(s *session, now time.Time) (lines []string) {
	switch {
	case g.Gone != nil:
		lines = append(lines, "taken back "+stamp(*g.Gone, now)+" by "+g.GoneBy)
	case g.terms == nil:
		lines = append(lines, "taken back before, or gone with whom or what it was for")
	}
	if g.Used > 0 {
		lines = append(lines, fmt.Sprintf("used %s, last %s", often(g.Used), stamp(*g.Last, now)))
	}
	if g.Passed > 0 {
		lines = append(lines, fmt.Sprintf("passed on %s", often(g.Passed)))
	}
	for _, c := range g.Copies {
		lines = append(lines, fmt.Sprintf("left in clear %s, %s: %s", often(c.Count), size(c.Bytes), c.What))
	}
	for _, r := range g.Refused {
		lines = append(lines, fmt.Sprintf("refused %s: %s", often(r.Count), r.Reason))
	}
	if g.Advice != "" {
		never := "never used"
		if g.Over {
			never = "its time is over"
		}
		lines = append(lines, s.tint(faint, fmt.Sprintf("%s: \"%s\" takes it back", never, g.Advice)))
	}
	return lines
}

func often(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}
