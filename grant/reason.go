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
	NoGrant     Code = iota // nothing is granted to this caller for this thing
	Affordance              // granted is another affordance of it
	Doing                   // granted are other actions
	Ended                   // granted until some time past
	NotYet                  // granted from some time to come
	OutOfHours              // granted for other hours
	Paused                  // granted, and paused for now
	Unaccepted              // granted to a service that has not accepted the terms
	Unseconded              // granted of the never class, by one owner alone
	Stale                   // granted, and known to have stood too long ago
	Expired                 // the caller's certificate has ended
	NoClock                 // the thing does not know what time it is
	Failed                  // something could not be evaluated
	Granted                 // allowed by a grant
	OwnersRight             // allowed because owners may
)

var codeNames = [...]string{
	NoGrant: "no-grant", Affordance: "affordance", Doing: "action", Ended: "ended", NotYet: "not-yet",
	OutOfHours: "out-of-hours", Paused: "paused", Unaccepted: "not-accepted", Unseconded: "not-approved",
	Stale: "stale", Expired: "expired", NoClock: "no-clock", Failed: "failed",
	Granted: "granted", OwnersRight: "owner",
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

// missing returns what the terms, which are for the caller and the thing, lack for a request now; Granted if nothing.
func (r *rules) missing(req Request, now time.Time) Reason {
	t := &r.terms
	switch {
	case t.Thing.Affordance != "" && t.Thing.Affordance != req.Affordance:
		return Reason{Affordance, fmt.Sprintf("granted is %s alone", t.Thing.Affordance)}
	case !t.Actions.Has(req.Action):
		return Reason{Doing, fmt.Sprintf("granted is to %s, not to %s", and(t.Actions.names()), req.Action)}
	case t.Until != 0 && now.Unix() >= t.Until:
		return Reason{Ended, fmt.Sprintf("it ended on %s", moment(t.Until, r.hours.zone))}
	case now.Unix() < t.From:
		return Reason{NotYet, fmt.Sprintf("it begins on %s", moment(t.From, r.hours.zone))}
	case !r.hours.open(now):
		return Reason{OutOfHours, fmt.Sprintf("outside its hours: %s (%s)", hoursText(t.Windows), city(t.Zone))}
	}
	return Reason{Code: Granted}
}

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

// clock writes a moment in a zone: "2 Jan 2006, 15:04".
func clock(unix int64, zone *time.Location) string {
	return time.Unix(unix, 0).In(zone).Format("2 Jan 2006, 15:04")
}

// moment is clock with the zone's city.
func moment(unix int64, zone *time.Location) string {
	return fmt.Sprintf("%s (%s)", clock(unix, zone), city(zone.String()))
}

// city returns the part of a zone's name that people know: "New York" of "America/New_York".
func city(zone string) string {
	return strings.ReplaceAll(zone[strings.LastIndexByte(zone, '/')+1:], "_", " ")
}
