package grant

import (
	"fmt"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// Sentence says the terms in plain words, to whoever gave them: "anna may use home/lock on Saturdays 14:00–16:00
// (Berlin) until you take it back." Names gives the name of a member, such as its path.
func (t Terms) Sentence(names func(identity.MemberID) string) string {
	var s strings.Builder
	what := names(t.Thing.Member)
	if t.Thing.Affordance != "" {
		what = t.Thing.Affordance + " of " + what
	}
	fmt.Fprintf(&s, "%s may %s %s", names(t.Subject.Member), t.Actions.verb(), what)
	if len(t.Windows) > 0 {
		on := ""
		if t.Windows[0].Days != AllDays {
			on = "on "
		}
		fmt.Fprintf(&s, " %s%s (%s)", on, hoursText(t.Windows), city(t.Zone))
	}
	s.WriteString(t.termText())
	if t.Offline != 0 {
		fmt.Fprintf(&s, "; offline for up to %s after the last check", span(time.Duration(t.Offline)*time.Second))
	}
	s.WriteByte('.')
	return s.String()
}

// termText says from when until when. The city stands once in a sentence, with the hours if there are any.
func (t Terms) termText() string {
	zone, where := time.UTC, "UTC"
	if h, err := hoursOf(t); err == nil {
		zone, where = h.zone, city(h.zone.String())
	}
	where = " (" + where + ")"
	if len(t.Windows) > 0 {
		where = ""
	}
	from := ""
	if t.From > t.Time {
		from = " from " + clock(t.From, zone)
	}
	switch {
	case t.Until != 0:
		return from + " until " + clock(t.Until, zone) + where + ", unless you take it back before"
	case from != "":
		return from + where + " until you take it back"
	}
	return " until you take it back"
}

func (s Actions) verb() string {
	if s == See || s == Use {
		return s.String()
	}
	return and(s.names())
}

// hoursText lists windows: "Saturdays 14:00–16:00 and Mondays to Fridays 08:00–12:00".
func hoursText(windows []Window) string {
	texts := make([]string, len(windows))
	for i, w := range windows {
		texts[i] = w.String()
	}
	return and(texts)
}

// String returns the window in plain words: "Saturdays 14:00–16:00". One that closes when it opens goes round the
// clock, and from midnight to midnight only its days are said.
func (w Window) String() string {
	days := w.Days.text()
	if w.From == 0 && w.To == 0 {
		return days
	}
	to := int(w.To)
	if to == 0 {
		to = dayMinutes
	}
	text := fmt.Sprintf("%s %02d:%02d–%02d:%02d", days, w.From/60, w.From%60, to/60, to%60)
	if w.From == w.To {
		text += " the next day"
	}
	return text
}

// text names days: "every day", "Mondays to Fridays", "Saturdays and Sundays".
func (d Days) text() string {
	if d == AllDays {
		return "every day"
	}
	var names []string
	stretch := true
	last := -1
	for i, name := range dayNames {
		if d&(1<<i) == 0 {
			continue
		}
		stretch = stretch && (last < 0 || last == i-1)
		last = i
		names = append(names, name+"s")
	}
	if stretch && len(names) > 2 {
		return names[0] + " to " + names[len(names)-1]
	}
	return and(names)
}

// and joins words as a list in a sentence.
func and(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
