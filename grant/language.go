package grant

import (
	"fmt"
	"strings"
	"time"
)

// A Language is one that grants can be said in: a table of words. Another one is one more table, and its tag in
// Languages.
type Language struct {
	Tag   string // BCP 47: "en"
	words *words
}

// The languages.
var (
	English = Language{"en", &english}
	German  = Language{"de", &german}
)

// Languages are all languages.
var Languages = []Language{English, German}

// LanguageOf finds a language by a tag of BCP 47 or by what LANG holds: "de", "de-AT", "de_DE.UTF-8".
func LanguageOf(tag string) (Language, error) {
	primary := tag
	if i := strings.IndexAny(tag, "-_.@"); i >= 0 {
		primary = tag[:i]
	}
	var tags []string
	for _, l := range Languages {
		if strings.EqualFold(primary, l.Tag) {
			return l, nil
		}
		tags = append(tags, l.Tag)
	}
	return Language{}, fmt.Errorf("grant: %.40q is no language that grants are said in: want %s", tag, strings.Join(tags, " or "))
}

// words are what a language says. In braces are what is put in, by name; each language says all that English does.
type words struct {
	may      string // {who} {do} {what} {hours} {span} {end}
	mayBelow string // the same, of everyone below {who}
	of       string // {part} {what}

	see, use string
	verbs    [len(actions)]string

	onDays, everyDayAt string // {windows} {where}
	days               [7]string
	everyDay           string
	dayStretch         string // {first} {last}
	nextDay            string // {hours}
	comma, and         string

	from, until             string // {moment}
	untilTaken, unlessTaken string

	letOthers string // {do}
	handOn    string // {do}
	passOn    string // {times}

	inAll             string // {times}
	rate              string // {times} {span}
	lasting           string // {span}
	atHome            string
	direct, byGateway string
	purpose           string // {purpose}

	recordedBetween   string // {from} {until}
	recordedFrom      string // {from}
	recordedUntil     string // {until}
	recordedEver      string
	recordedEverUntil string // {until}
	recordedAlways    string

	steps [Month + 1]string
	area  string

	clearTo string // {who} {fields}
	clear   string // {fields}
	agreed  string // {who}
	keptIn  string // {place}
	kept    string // {span}
	offline string // {span}

	once, twice string
	nTimes      string // {n}
	day, nDays  string // {n}
	layout      string // of a moment, for package time
}

var english = words{
	may:      "{who} may {do} {what}{hours}{span}{end}",
	mayBelow: "everyone below {who} may {do} {what}{hours}{span}{end}",
	of:       "{part} of {what}",

	see: "see", use: "use", verbs: [...]string{"read", "write", "invoke", "observe"},

	onDays: " on {windows}{where}", everyDayAt: " {windows}{where}",
	days:     [...]string{"Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays"},
	everyDay: "every day", dayStretch: "{first} to {last}", nextDay: "{hours} the next day",
	comma: ", ", and: " and ",

	from: " from {moment}", until: " until {moment}",
	untilTaken: " until you take it back", unlessTaken: ", unless you take it back before",

	letOthers: "let others {do}", handOn: "may let others {do} it", passOn: "may be passed on {times}",

	inAll: "{times} in all", rate: "at most {times} in {span}", lasting: "for {span} in all",
	atHome: "only on the home's own network",
	direct: "only directly, by no relay", byGateway: "only directly or by the home's own gateway",
	purpose: "only for {purpose}",

	recordedBetween: "what was recorded from {from} until {until}", recordedFrom: "what was recorded from {from} on",
	recordedUntil: "what was recorded until {until}", recordedEver: "with all that was recorded before",
	recordedEverUntil: "all that was recorded until {until}", recordedAlways: "also what was recorded at other hours",

	steps: [...]string{
		QuarterHour: "one value for each quarter of an hour", Hour: "one value for each hour",
		Day: "one value for each day", Month: "one value for each month",
	},
	area: "of a position the area alone",

	clearTo: "in clear to {who}: {fields}", clear: "in clear: {fields}", agreed: "agreed with {who}",
	keptIn: "kept in {place}", kept: "kept for {span} at most",
	offline: "offline for up to {span} after the last check",

	once: "once", twice: "twice", nTimes: "{n} times", day: "1 day", nDays: "{n} days",
	layout: "2 Jan 2006, 15:04",
}

var german = words{
	may:      "{who} darf {what}{hours}{span} {do}{end}",
	mayBelow: "alle unter {who} dürfen {what}{hours}{span} {do}{end}",
	of:       "{part} von {what}",

	see: "ansehen", use: "benutzen", verbs: [...]string{"lesen", "schreiben", "auslösen", "verfolgen"},

	onDays: " {windows}{where}", everyDayAt: " {windows}{where}",
	days:     [...]string{"montags", "dienstags", "mittwochs", "donnerstags", "freitags", "samstags", "sonntags"},
	everyDay: "täglich", dayStretch: "{first} bis {last}", nextDay: "{hours} am nächsten Tag",
	comma: ", ", and: " und ",

	from: " ab {moment}", until: " bis {moment}",
	untilTaken: ", bis du es zurücknimmst", unlessTaken: ", sofern du es nicht vorher zurücknimmst",

	letOthers: "andere {do} lassen", handOn: "darf es andere {do} lassen", passOn: "darf {times} weitergegeben werden",

	inAll: "insgesamt {times}", rate: "höchstens {times} je {span}", lasting: "insgesamt {span} lang",
	atHome: "nur im eigenen Netz des Hauses",
	direct: "nur direkt, über keine Zwischenstelle", byGateway: "nur direkt oder über das eigene Gateway des Hauses",
	purpose: "nur zum Zweck {purpose}",

	recordedBetween: "was vom {from} bis {until} aufgezeichnet wurde", recordedFrom: "was ab {from} aufgezeichnet wurde",
	recordedUntil: "was bis {until} aufgezeichnet wurde", recordedEver: "auch alles, was vorher aufgezeichnet wurde",
	recordedEverUntil: "alles, was bis {until} aufgezeichnet wurde", recordedAlways: "auch was zu anderen Zeiten aufgezeichnet wurde",

	steps: [...]string{
		QuarterHour: "ein Wert je Viertelstunde", Hour: "ein Wert je Stunde", Day: "ein Wert je Tag", Month: "ein Wert je Monat",
	},
	area: "von einer Position nur die Gegend",

	clearTo: "im Klartext für {who}: {fields}", clear: "im Klartext: {fields}", agreed: "vereinbart mit {who}",
	keptIn: "aufbewahrt in {place}", kept: "aufbewahrt für höchstens {span}",
	offline: "ohne Verbindung bis zu {span} nach der letzten Prüfung",

	once: "einmal", twice: "zweimal", nTimes: "{n}-mal", day: "1 Tag", nDays: "{n} Tage",
	layout: "2.1.2006, 15:04",
}

// windows lists windows.
func (l *words) windows(windows []Window) string {
	texts := make([]string, len(windows))
	for i, w := range windows {
		texts[i] = l.window(w)
	}
	return l.list(texts)
}

func (l *words) window(w Window) string {
	days := l.daysOf(w.Days)
	if w.From == 0 && w.To == 0 {
		return days
	}
	to := int(w.To)
	if to == 0 {
		to = dayMinutes
	}
	text := fmt.Sprintf("%s %02d:%02d–%02d:%02d", days, w.From/60, w.From%60, to/60, to%60)
	if w.From == w.To {
		text = fill(l.nextDay, "hours", text)
	}
	return text
}

// daysOf names days: "every day", "Mondays to Fridays", "Saturdays and Sundays".
func (l *words) daysOf(d Days) string {
	if d == AllDays {
		return l.everyDay
	}
	var names []string
	stretch := true
	last := -1
	for i, name := range l.days {
		if d&(1<<i) == 0 {
			continue
		}
		stretch = stretch && (last < 0 || last == i-1)
		last = i
		names = append(names, name)
	}
	if stretch && len(names) > 2 {
		return fill(l.dayStretch, "first", names[0], "last", names[len(names)-1])
	}
	return l.list(names)
}

// list joins words as a list in a sentence.
func (l *words) list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], l.comma) + l.and + words[last]
}

// times says how often: "once", "twice", "5 times".
func (l *words) times(n uint32) string {
	switch n {
	case 1:
		return l.once
	case 2:
		return l.twice
	}
	return fill(l.nTimes, "n", fmt.Sprint(n))
}

// exactly says how long in the largest unit that it is a whole number of: "90 s", "1 h", "36 h", "7 days".
func (l *words) exactly(seconds int64) string {
	const day = int64(24 * time.Hour / time.Second)
	switch {
	case seconds == day:
		return l.day
	case seconds%day == 0:
		return fill(l.nDays, "n", fmt.Sprint(seconds/day))
	case seconds%3600 == 0:
		return fmt.Sprintf("%d h", seconds/3600)
	case seconds%60 == 0:
		return fmt.Sprintf("%d min", seconds/60)
	}
	return fmt.Sprintf("%d s", seconds)
}
