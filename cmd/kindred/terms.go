package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred/grant"
)

// termFlags are what a grant says beside who and what, as flags.
type termFlags struct {
	allow, days, between, from, until, tz, offline string
	when                                           []string
	below                                          bool

	uses, minutes          uint32
	rate, purpose, keep    string
	atHome                 bool
	route, moments, detail string
	anyHour                bool
}

// register adds the flags to a command.
func (o *termFlags) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.allow, "allow", "see", "`what` is allowed: see, use, or some of read,write,invoke,observe")
	f.BoolVar(&o.below, "below", false, "to everyone below WHO: an owner's people, all devices of a place")
	f.StringVar(&o.days, "days", "", "on these `days` of the week alone: sat,sun or mon-fri")
	f.StringVar(&o.between, "between", "", "within these `hours` alone: 14:00-16:00")
	f.StringArrayVar(&o.when, "when", nil, "on these days at these `hours` alone, as often as there are some: \"mon-fri 08:00-12:00\"")
	f.StringVar(&o.from, "from", "", "from this `time` on: "+clocksHint)
	f.StringVar(&o.until, "until", "", "until this `time`; a date is included")
	f.StringVar(&o.offline, "offline", "", "`how long` after its last check it serves while the gateway is out of reach: 7d")
	f.StringVar(&o.tz, "tz", "", "the place's time `zone`, where this directory does not know it")
	f.Var(countFlag{&o.uses, math.MaxUint32}, "uses", "at most this `number` of times in all")
	f.Var(countFlag{&o.minutes, uint32(grant.MaxOffline / time.Minute)}, "minutes", "at most this `number` of minutes of watching or being connected in all")
	f.StringVar(&o.rate, "rate", "", "at most `so often`: 4/1h")
	f.BoolVar(&o.atHome, "at-home", false, "only on the home's own network")
	f.StringVar(&o.route, "route", "", "only by this `route`: direct, by no relay; gateway, by none but the home's own gateway")
	f.StringVar(&o.purpose, "purpose", "", "only for this `purpose`, which a request must name: heating-advice")
	f.StringVar(&o.moments, "moments", "", "what was recorded at these `times`: FROM, FROM..UNTIL, or all; else while it is granted")
	f.BoolVar(&o.anyHour, "any-hour", false, "also what was recorded outside the hours in which one may look")
	f.StringVar(&o.detail, "detail", "", "only in this `detail`: one value for each 15m, 1h, 1d or 1mo; of a position the area")
	f.StringVar(&o.keep, "keep", "", "`how long` what is learnt may be kept: 30d")
	c.PreRunE = refuseEmpty
	for flag, values := range map[string][]string{
		"allow": {"see", "use", "read", "write", "invoke", "observe"}, "route": {grant.DirectRoute.String(), grant.GatewayRoute.String()},
		"detail": {"15m", "1h", "1d", "1mo", "area"}, "moments": {"all"},
	} {
		hide(c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
	}
}

// terms reads what the flags say.
func (s *session) terms(o termFlags, now time.Time) (t grant.Terms, err error) {
	t.Subject.Below, t.Home, t.Uses, t.Budget = o.below, o.atHome, o.uses, 60*int64(o.minutes)
	zone := now.Location()
	if o.zoned() {
		if zone, t.Zone, err = s.zone(o.tz); err != nil {
			return t, err
		}
	}
	now = now.In(zone)
	for _, read := range []struct {
		flag, text string
		into       func(string) error
	}{
		{"allow", o.allow, func(text string) (err error) { t.Actions, err = grant.ParseActions(text); return err }},
		{"from", o.from, func(text string) error { return startAt(&t, text, now) }},
		{"until", o.until, func(text string) error { return endAt(&t, text, o.from, now) }},
		{"offline", o.offline, func(text string) error { return lasting(&t.Offline, text, grant.MaxOffline) }},
		{"keep", o.keep, func(text string) error { return lasting(&t.Retention, text, 100*grant.MaxOffline) }},
		{"rate", o.rate, func(text string) (err error) { t.Rate, err = grant.ParseRate(text); return err }},
		{"route", o.route, func(text string) (err error) { t.Route, err = grant.ParseRoute(text); return err }},
		{"detail", o.detail, func(text string) (err error) { t.Detail, err = grant.ParseDetail(text); return err }},
		{"purpose", o.purpose, func(text string) (err error) { t.Purpose, err = grant.ParsePurpose(text); return err }},
		{"moments", o.moments, func(text string) (err error) { t.Moments, err = parseMoments(text, now); return err }},
	} {
		if read.text == "" && read.flag != "allow" {
			continue
		}
		if err := read.into(read.text); err != nil {
			return t, usage("--%s: %s", read.flag, strings.TrimPrefix(err.Error(), "grant: "))
		}
	}
	t.Moments.Always = t.Moments.Always || o.anyHour
	t.Windows, err = o.windows()
	return t, err
}

// refuseEmpty refuses a flag that was given with nothing in it, which is more likely a slip than a wish to give without
// bounds.
func refuseEmpty(c *cobra.Command, _ []string) error {
	for _, name := range []string{
		"days", "between", "from", "until", "tz", "offline", "rate", "route", "purpose", "moments", "detail", "keep",
	} {
		if f := c.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
			return usage("--%s: there is nothing in it", name)
		}
	}
	return nil
}

// zoned reports whether the flags say something by a clock or a calendar.
func (o termFlags) zoned() bool {
	return o.days+o.between+o.from+o.until+o.tz+o.moments+o.detail+o.rate != "" || len(o.when) > 0
}

// windows reads --when, as often as it is given, and --days with --between as one more.
func (o termFlags) windows() (all []grant.Window, err error) {
	fail := func(flag string, err error) ([]grant.Window, error) {
		return nil, usage("--%s: %s", flag, strings.TrimPrefix(err.Error(), "grant: "))
	}
	for _, text := range o.when {
		w, err := grant.ParseWhen(text)
		if err != nil {
			return fail("when", err)
		}
		all = append(all, w)
	}
	if o.days == "" && o.between == "" {
		return all, nil
	}
	w := grant.Window{Days: grant.AllDays}
	if o.days != "" {
		if w.Days, err = grant.ParseDays(o.days); err != nil {
			return fail("days", err)
		}
	}
	if o.between != "" {
		if w.From, w.To, err = grant.ParseWindow(o.between); err != nil {
			return fail("between", err)
		}
	}
	return append(all, w), nil
}

func startAt(t *grant.Terms, text string, now time.Time) error {
	from, err := parseMoment(text, now, false)
	t.From = from.Unix()
	return err
}

func endAt(t *grant.Terms, text, from string, now time.Time) error {
	until, err := parseMoment(text, now, true)
	switch t.Until = until.Unix(); {
	case err != nil:
		return err
	case !until.After(now):
		return fmt.Errorf("%q is over", text)
	case t.Until <= t.From:
		return fmt.Errorf("%q is not after %q", text, from)
	}
	return nil
}

// lasting reads a duration of at least a second.
func lasting(into *int64, text string, most time.Duration) error {
	d, err := grant.ParseDuration(text)
	if err == nil && (d < time.Second || d > most) {
		err = fmt.Errorf("%q is out of range", text)
	}
	*into = int64(d / time.Second)
	return err
}

// parseMoments reads which recorded moments may be looked at: "all", "2026-01-31", "7d..18:00", "..2026-01-31".
func parseMoments(text string, now time.Time) (m grant.Moments, err error) {
	if text == "all" {
		return grant.Moments{From: 1, Always: true}, nil
	}
	from, until, bounded := strings.Cut(text, "..")
	if from != "" {
		at, err := parsePast(from, now)
		if err != nil {
			return m, err
		}
		m.From = max(at.Unix(), 1)
	}
	if !bounded {
		return m, nil
	}
	at, err := parsePast(until, now)
	if day, dayErr := time.ParseInLocation(time.DateOnly, until, now.Location()); dayErr == nil {
		at = time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, day.Location()) // a date is included
	}
	if err != nil {
		return m, err
	}
	if m.Until = at.Unix(); m.Until <= m.From {
		return m, errors.New("it ends before it begins")
	}
	return m, nil
}
