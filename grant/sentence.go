package grant

import (
	"strings"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// Sentence says the terms in plain English, to whoever gave them: "anna may use home/lock on Saturdays 14:00–16:00
// (Berlin) until you take it back." Names gives the name of a member, such as its path.
func (t Terms) Sentence(names func(identity.TreeMember) string) string {
	return English.Sentence(t, names)
}

// Sentence says the terms in plain words, to whoever gave them. Names gives the name of a member, such as its path.
func (l Language) Sentence(t Terms, names func(identity.TreeMember) string) string {
	s := saying{words: l.words, Terms: t, zone: time.UTC}
	if h, err := hoursOf(t); err == nil {
		s.zone = h.zone
	}
	what := names(t.ThingMember())
	if t.Thing.Affordance != "" {
		what = fill(s.of, "part", t.Thing.Affordance, "what", what)
	}
	main := s.may
	if t.Subject.Below {
		main = s.mayBelow
	}
	hours := s.hours()
	span, end := s.term()
	text := fill(main, "who", names(t.Subject.TreeMember()), "do", s.doing(), "what", what, "hours", hours, "span", span, "end", end)
	return strings.Join(append([]string{text}, s.clauses()...), "; ") + "."
}

// saying is a sentence in the making.
type saying struct {
	*words
	Terms
	zone *time.Location
	said bool // where the clock stands, which is said once
}

// where says the city of the zone, the first time.
func (s *saying) where() string {
	if s.said {
		return ""
	}
	s.said = true
	return " (" + city(s.zone.String()) + ")"
}

func (s *saying) moment(unix int64) string { return clock(unix, s.zone, s.layout) }

func (s *saying) doing() string {
	if s.Actions == 0 {
		return fill(s.letOthers, "do", s.verb(s.HandOn))
	}
	return s.verb(s.Actions)
}

func (s *saying) verb(of Actions) string {
	switch of {
	case See:
		return s.see
	case Use:
		return s.use
	}
	var verbs []string
	for i, a := range actions {
		if of.Has(a) {
			verbs = append(verbs, s.verbs[i])
		}
	}
	return s.list(verbs)
}

func (s *saying) hours() string {
	if len(s.Windows) == 0 {
		return ""
	}
	phrase := s.onDays
	if s.Windows[0].Days == AllDays {
		phrase = s.everyDayAt
	}
	return fill(phrase, "windows", s.windows(s.Windows), "where", s.where())
}

// term says from when until when, and how it ends.
func (s *saying) term() (span, end string) {
	if s.From > s.Time {
		span = fill(s.from, "moment", s.moment(s.From))
	}
	end = s.untilTaken
	if s.Until != 0 {
		span += fill(s.until, "moment", s.moment(s.Until))
		end = s.unlessTaken
	}
	if span != "" {
		span += s.where()
	}
	return span, end
}

// clauses are what else is to be said. Each stands alone, so that no language has to join one to another.
func (s *saying) clauses() (all []string) {
	say := func(is bool, phrase string, names ...string) {
		if is {
			all = append(all, fill(phrase, names...))
		}
	}
	say(s.Actions != 0 && s.HandOn != 0, s.handOn, "do", s.verb(s.HandOn))
	say(s.Depth > 1 || s.Depth == 1 && s.HandOn == 0, s.passOn, "times", s.times(uint32(s.Depth)))
	say(s.Uses != 0, s.inAll, "times", s.times(s.Uses))
	say(s.Rate.Uses != 0, s.rate, "times", s.times(s.Rate.Uses), "span", s.exactly(s.Rate.Seconds))
	say(s.Budget != 0, s.lasting, "span", s.exactly(s.Budget))
	say(s.Home, s.atHome)
	say(s.Route == DirectRoute, s.direct)
	say(s.Route == GatewayRoute, s.byGateway)
	say(s.Purpose != "", s.purpose, "purpose", s.Purpose)
	all = append(all, s.past()...)
	say(s.Detail.Step != Full, s.steps[s.Detail.Step])
	say(s.Detail.Area, s.area)
	say(len(s.Agreement.Clear) > 0 && s.Agreement.Recipient != "", s.clearTo, "who", s.Agreement.Recipient, "fields", s.list(s.Agreement.Clear))
	say(len(s.Agreement.Clear) > 0 && s.Agreement.Recipient == "", s.clear, "fields", s.list(s.Agreement.Clear))
	say(len(s.Agreement.Clear) == 0 && s.Agreement.Recipient != "", s.agreed, "who", s.Agreement.Recipient)
	say(s.Agreement.Place != "", s.keptIn, "place", s.Agreement.Place)
	say(s.Retention != 0, s.kept, "span", s.exactly(s.Retention))
	say(s.Offline != 0, s.offline, "span", s.exactly(s.Offline))
	return all
}

// past says which recorded moments may be looked at, where that is not simply while the grant stands.
func (s *saying) past() (all []string) {
	m := s.Moments
	switch {
	case m.From > 1 && m.Until != 0:
		all = append(all, fill(s.recordedBetween, "from", s.moment(m.From), "until", s.moment(m.Until)+s.where()))
	case m.From > 1:
		all = append(all, fill(s.recordedFrom, "from", s.moment(m.From)+s.where()))
	case m.From == 1 && m.Until == 0:
		all = append(all, s.recordedEver)
	case m.Until != 0:
		phrase := s.recordedUntil
		if m.From == 1 {
			phrase = s.recordedEverUntil
		}
		all = append(all, fill(phrase, "until", s.moment(m.Until)+s.where()))
	}
	if m.Always && len(s.Windows) > 0 {
		all = append(all, s.recordedAlways)
	}
	return all
}

// fill puts values into a phrase, in place of their names in braces.
func fill(phrase string, names ...string) string {
	for i := 0; i+1 < len(names); i += 2 {
		names[i] = "{" + names[i] + "}"
	}
	return strings.NewReplacer(names...).Replace(phrase)
}

// String returns the window in plain words: "Saturdays 14:00–16:00". One that closes when it opens goes round the
// clock, and from midnight to midnight only its days are said.
func (w Window) String() string { return English.words.window(w) }

// hoursText lists windows: "Saturdays 14:00–16:00 and Mondays to Fridays 08:00–12:00".
func hoursText(windows []Window) string { return English.words.windows(windows) }

// and joins words as a list in a sentence.
func and(words []string) string { return English.words.list(words) }
