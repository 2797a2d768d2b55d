package grant

import (
	"fmt"
	"strings"
	"time"
)

// A Code says why a request was allowed or denied. Those that deny come first, what is nearer to being allowed later:
// of several grants that do not allow a request, the reason of the nearest is told.
type Code uint8

// The codes. The numbers are not stored anywhere; String is.
const (
	NoGrant      Code = iota // nothing is granted to this caller for this thing
	Unknown                  // the caller is of another tree, which is not recognized
	Removed                  // the caller was removed from its own tree
	TakenBack                // something shown was taken back
	GiverRemoved             // whoever gave it, or passed it on, was removed
	Affordance               // granted is another affordance of it
	Doing                    // granted are other actions
	NotShown                 // nothing of it may be shown to a service
	Ended                    // granted until some time past
	UsedUp                   // it was used as often, or for as long, as was granted
	WrongPurpose             // granted for another purpose than the caller names
	Uncounted                // granted a number of times, and the thing does not know how often it was used
	WrongWay                 // granted for requests that come another way
	Away                     // granted at home alone
	NotYet                   // granted from some time to come
	OutOfHours               // granted for other hours
	TooOften                 // granted less often
	Paused                   // granted, and paused for now
	Unaccepted               // granted to a service that has not accepted the terms
	Unseconded               // granted of the never class, by one owner alone
	Stale                    // granted, and known to have stood too long ago
	Expired                  // the caller's certificate has ended
	NoClock                  // the thing does not know what time it is
	Failed                   // something could not be evaluated
	Granted                  // allowed by a grant
	OwnersRight              // allowed because owners may
)

var codeNames = [...]string{
	NoGrant: "no-grant", Unknown: "not-known", Removed: "removed", TakenBack: "taken-back", GiverRemoved: "giver-removed", Affordance: "affordance", Doing: "action", NotShown: "not-shown", Ended: "ended",
	UsedUp: "used-up", WrongPurpose: "purpose", Uncounted: "uncounted", WrongWay: "way", Away: "away",
	NotYet: "not-yet", OutOfHours: "out-of-hours", TooOften: "too-often", Paused: "paused",
	Unaccepted: "not-accepted", Unseconded: "not-approved", Stale: "stale", Expired: "expired",
	NoClock: "no-clock", Failed: "failed", Granted: "granted", OwnersRight: "owner",
}

// String returns the code's name: lower case, with hyphens.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code(%d)", uint8(c))
}

// A Reason is a code and a sentence for the owner. It tells what is granted, so it is not for whoever was refused.
type Reason struct {
	Code Code
	text string
}

// String returns the sentence, without a full stop.
func (r Reason) String() string {
	if r.text != "" {
		return r.text
	}
	switch r.Code {
	case NoGrant:
		return "nothing was granted"
	case Unknown:
		return "its home is not known here"
	case Removed:
		return "it is no member of its own home any more"
	case GiverRemoved:
		return "who passed this on is not proved to be a member of their home still"
	case Paused:
		return "it is paused"
	case NoClock:
		return "the clock is not set"
	case Granted:
		return "granted"
	case OwnersRight:
		return "an owner's app"
	}
	return r.Code.String()
}

// missing returns what the terms, which are for the caller and the thing, lack for the request; Granted if nothing. Of
// several it is the one that is farthest from being allowed.
func (d *decider) missing(r *rules, used *Usage) Reason {
	t, now := &r.terms, d.facts.Now
	switch {
	case t.Thing.Affordance != "" && t.Thing.Affordance != d.req.Affordance:
		return Reason{Affordance, fmt.Sprintf("granted is %s alone", t.Thing.Affordance)}
	case !t.Actions.Has(d.req.Action):
		return Reason{Doing, fmt.Sprintf("granted is to %s, not to %s", and(t.Actions.names()), d.req.Action)}
	case d.shown() && len(t.Agreement.Clear) == 0:
		return Reason{NotShown, fmt.Sprintf("%s is a service, and nothing is granted in clear", d.who.ID.Path)}
	case r.outside(now).Code == Ended:
		return r.outside(now)
	case used != nil && t.Uses != 0 && used.Uses >= t.Uses:
		return Reason{UsedUp, fmt.Sprintf("it was used %s, as often as was granted", english.times(t.Uses))}
	case used != nil && t.Budget != 0 && used.Time >= t.budget():
		return Reason{UsedUp, fmt.Sprintf("it was used for %s, as long as was granted", english.exactly(t.Budget))}
	case t.Purpose != "" && d.req.Purpose == "":
		return Reason{WrongPurpose, fmt.Sprintf("granted for %s alone, and the request names no purpose", t.Purpose)}
	case t.Purpose != "" && t.Purpose != d.req.Purpose:
		return Reason{WrongPurpose, fmt.Sprintf("granted for %s alone, not for %.80q", t.Purpose, d.req.Purpose)}
	case used == nil && t.counted():
		return Reason{Uncounted, "it is granted so many times, or for so long, and nobody has counted"}
	}
	return d.missingNow(r, used)
}

// outside says that a moment is before a link begins, or that it is over by then; Granted if neither.
func (r *rules) outside(now time.Time) Reason {
	t := &r.terms
	switch {
	case t.Until != 0 && now.Unix() >= t.Until:
		return Reason{Ended, fmt.Sprintf("it ended on %s", moment(t.Until, r.hours.zone))}
	case now.Unix() < t.From:
		return Reason{NotYet, fmt.Sprintf("it begins on %s", moment(t.From, r.hours.zone))}
	}
	return Reason{Code: Granted}
}

// missingNow is what may change by itself: missing goes on with it.
func (d *decider) missingNow(r *rules, used *Usage) Reason {
	t, now := &r.terms, d.facts.Now
	switch {
	case d.facts.Way < t.Route.nearest():
		return Reason{WrongWay, fmt.Sprintf("granted %s, and it came %s", wayNames[t.Route], d.facts.Way)}
	case t.Home && d.facts.Way != AtHome:
		return Reason{Away, "granted within the home's own network alone"}
	case r.outside(now).Code == NotYet:
		return r.outside(now)
	case !r.hours.open(now):
		return Reason{OutOfHours, fmt.Sprintf("outside its hours: %s (%s)", hoursText(t.Windows), city(t.Zone))}
	case used != nil && t.Rate.Uses != 0 && used.Recent >= t.Rate.Uses:
		text := fmt.Sprintf("it was used %s within %s, as often as was granted", english.times(t.Rate.Uses), english.exactly(t.Rate.Seconds))
		if !used.Free.IsZero() {
			text += ": again from " + moment(used.Free.Unix(), r.hours.zone)
		}
		return Reason{TooOften, text}
	}
	return Reason{Code: Granted}
}

var wayNames = map[Route]string{DirectRoute: "without any relay", GatewayRoute: "without any relay but the home's own gateway"}

// span writes a duration as people do, in its largest unit, rounded down: "7 s", "2 h", "8 days".
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d/time.Second))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d/time.Hour))
	}
	return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
}

// clock writes a moment in a zone.
func clock(unix int64, zone *time.Location, layout string) string {
	return time.Unix(unix, 0).In(zone).Format(layout)
}

// moment writes a moment with the zone's city: "2 Jan 2006, 15:04 (Berlin)".
func moment(unix int64, zone *time.Location) string {
	return fmt.Sprintf("%s (%s)", clock(unix, zone, english.layout), city(zone.String()))
}

// city returns the part of a zone's name that people know: "New York" of "America/New_York".
func city(zone string) string {
	return strings.ReplaceAll(zone[strings.LastIndexByte(zone, '/')+1:], "_", " ")
}
