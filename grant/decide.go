package grant

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// VisitorMaxAge is how old the proof of a visitor's own tree may be.
const VisitorMaxAge = 24 * time.Hour

// A Request is one use of one affordance.
type Request struct {
	Thing      identity.Chain // the thing's own certificates: grants for the places above it count
	Affordance string         // name of a property, action or event; "": the thing as such, for grants without one
	Action     Action
	Purpose    string // what for, as the caller says; "": it does not say
}

// A Way is how a request reached the thing.
type Way uint8

// The ways, from near to far. What is not known is taken for the farthest.
const (
	Relayed   Way = iota // some relay carried it
	ByGateway            // the home's own gateway carried it
	Direct               // nobody carried it, over the Internet
	AtHome               // nobody carried it, within the home's own network
)

// A Usage is what was done under a grant before a request.
type Usage struct {
	Uses   uint32        // in all
	Time   time.Duration // that streams lasted, in all
	Recent uint32        // uses within the last Rate.Seconds
	Free   time.Time     // when Recent goes down; zero: it does not
}

// A Limit says how fresh a proof a thing asks for.
type Limit struct {
	Fresh   time.Duration // a proof younger than this serves
	Offline time.Duration // the longest offline term that is honoured
}

// LimitFor returns the limit that a thing's roster entry sets for an affordance.
func LimitFor(m tree.Member, affordance string) Limit {
	fresh, offline := m.LimitFor(affordance)
	return Limit{Fresh: fresh, Offline: offline}
}

// Facts are what the thing knows of the moment. A zero Now says that the clock was not set since boot: nothing is
// allowed.
type Facts struct {
	Now      time.Time
	Limit    Limit
	Never    bool // the affordance is of the never class: see Class
	Isolated bool // within the last minute it tried the gateway and the owners' apps it knows, and got nothing newer
	Way      Way
	Usage    func(*Terms) Usage // nil: it is not known, and what has a Rate, Uses or Budget is denied
}

// A Decision is the answer to a request. The zero Decision denies.
//
// Whoever keeps decisions to give them again keeps only ones that are allowed and not Counts, each for what it was made
// from: the caller (its certificates), the Request, Facts.Way, Limit, Never and Isolated, and the very grants, each as of
// when it is known to stand. It serves from the moment it was made until Until, by a clock that was not set back.
type Decision struct {
	Allowed bool
	Offline bool           // the proof is not fresh: an offline term allowed it
	Grant   tree.GrantID   // what allowed it, or came nearest; zero for the right of owners
	Above   []tree.GrantID // what Grant passes on, up to an owner's
	At      tree.GrantID   // if denied: which of them, Grant or one above, did not allow it
	AsOf    time.Time      // as of when the right is known to have stood
	Until   time.Time      // if allowed: it holds before this moment, and may not hold from it on
	View    View           // if allowed: what of the values may be shown
	Counts  bool           // if allowed: it rests on what was used before, and so is good for this request alone
	Reason  Reason
}

// Counted returns the terms of the links that an allowed decision rests on and that limit how often, or for how long,
// something is used: what is done under the decision counts for each of them.
func (d Decision) Counted() []*Terms {
	var counted []*Terms
	for _, r := range d.View.links {
		if r.terms.counted() {
			counted = append(counted, &r.terms)
		}
	}
	return counted
}

// Decide answers whether a request may be served now. Owners' apps may do everything in their own tree; whoever else
// asks needs a grant that is for them, for this thing, affordance and action, and for this moment. The proof of it
// must be younger than the thing's fresh limit, or else than the offline term, and then only in isolation. Of several
// grants that allow it one is preferred that serves without an offline term, uses nothing up, shows more, holds longer.
//
// Grants must be ones that are not known to have been taken away: who learns of a revocation no longer passes the
// grant. Nothing is remembered from call to call. A stream is decided again at Until, when something is taken away,
// and, if the decision is an Offline one, when the thing is isolated no more.
//
// With an error the decision denies: something could not be evaluated.
func Decide(req Request, who credential.Principal, grants []Grant, facts Facts) (Decision, error) {
	return (&decider{req: req, who: who, facts: facts}).decision(grants)
}

// DecideDescription answers whether somebody may read now what there is at a thing: whoever may do anything at it, at
// whatever hours, in whatever way and however often, by a grant that has begun, is not over and not paused, and that a
// service has accepted. How old the proof may be is as for every request. What it allows has no View, and does not count.
func DecideDescription(thing identity.Chain, who credential.Principal, grants []Grant, facts Facts) (Decision, error) {
	return (&decider{req: Request{Thing: thing, Action: Read}, describes: true, who: who, facts: facts}).decision(grants)
}

func (d *decider) decision(grants []Grant) (Decision, error) {
	d.facts.Now = d.facts.Now.Round(0) // by the wall clock, which all else is measured by
	if d.facts.Way > AtHome {
		d.facts.Way = Relayed
	}
	if err := d.decide(grants); err != nil {
		return Decision{Reason: Reason{Code: Failed, text: err.Error()}}, err
	}
	return d.best, nil
}

type decider struct {
	req       Request
	describes bool // the request is for what there is, and not for an affordance
	who       credential.Principal
	facts     Facts
	best      Decision

	groups []identity.MemberID // whose grants serve the caller
	places []identity.MemberID // grants about which are about the thing
	query  *query              // made when first needed
}

func (d *decider) decide(grants []Grant) error {
	switch now := d.facts.Now; {
	case len(d.who.Line) == 0 || len(d.req.Thing.Line) == 0:
		return errors.New("grant: deciding: no verified caller, or no thing")
	case !d.req.Action.Valid():
		return fmt.Errorf("grant: deciding: %s is no action", d.req.Action)
	case now.IsZero():
		d.best.Reason = Reason{Code: NoClock}
		return nil
	case !now.Before(d.who.NotAfter):
		d.best.Reason = Reason{Code: Expired, text: fmt.Sprintf("its certificate ended at %s", clock(d.who.NotAfter.Unix(), time.UTC, english.layout))}
		return nil
	}
	if d.visits() {
		if d.best.Reason = d.lately("its own tree", d.who.AsOf); d.best.Reason.Code != Granted {
			return nil
		}
		d.best.Reason = Reason{}
	}
	if d.who.Owner() && !d.visits() {
		d.consider(d.age(d.who.AsOf, tree.DefaultOffline, Decision{Reason: Reason{Code: OwnersRight}, View: View{whole: true}}))
	}
	if len(grants) == 0 {
		return nil
	}
	d.groups, d.places = groups(d.who.Chain, d.visits()), places(d.req.Thing)
	for _, g := range grants {
		if !d.concerned(g) {
			continue
		}
		decision, err := d.one(g)
		if err != nil {
			return err
		}
		d.consider(decision)
	}
	return nil
}

// concerned reports whether a grant is for the caller (Terms.To) and for the thing (Terms.On).
func (d *decider) concerned(g Grant) bool {
	if g.rules == nil {
		return false
	}
	t := &g.rules.terms
	return t.Subject.Tree == d.who.ID.Tree && (slices.Contains(d.groups, t.Subject.Member) || t.Subject.Below && t.below(d.who.Chain)) &&
		t.Tree == d.req.Thing.ID.Tree && slices.Contains(d.places, t.Thing.Member)
}

// shown reports whether the request is to show something to a service, which is shown what was agreed in clear alone.
func (d *decider) shown() bool {
	return !d.describes && d.who.Kind() == identity.Service && See&Actions(d.req.Action) != 0
}

// visits reports whether the caller is of another tree than the thing.
func (d *decider) visits() bool { return d.who.ID.Tree != d.req.Thing.ID.Tree }

// consider keeps the better decision: one that allows, is fresh, uses nothing up, shows more, and holds longer; or the
// reason that comes nearest to being allowed.
func (d *decider) consider(next Decision) {
	better := next.Reason.Code > d.best.Reason.Code || d.best.Reason == Reason{}
	switch {
	case next.Allowed != d.best.Allowed:
		better = next.Allowed
	case next.Allowed && next.Offline != d.best.Offline:
		better = !next.Offline
	case next.Allowed && next.Counts != d.best.Counts:
		better = !next.Counts
	case next.Allowed:
		shows := next.View.compare(d.best.View)
		better = shows > 0 || shows == 0 && next.Until.After(d.best.Until)
	}
	if better {
		d.best = next
	}
}

// one decides on a grant that is for the caller and the thing: all its links have to allow the request, and what they
// open is what all of them do.
func (d *decider) one(g Grant) (Decision, error) {
	decision := Decision{Grant: g.rules.terms.ID, AsOf: g.asOf, Reason: Reason{Code: Granted}}
	offline, until := MaxOffline, d.who.NotAfter
	for i, l := range g.links(d.who.Chain) {
		r := l.rules
		if i > 0 {
			decision.Above = append(decision.Above, r.terms.ID)
		}
		reason, left, err := d.link(l, i > 0)
		if err != nil {
			return Decision{}, err
		}
		if reason.Code < decision.Reason.Code {
			decision.Reason, decision.At = reason, r.terms.ID
		}
		if reason.Code != Granted {
			continue
		}
		if !d.describes {
			decision.View = decision.View.narrow(r, d.who.Kind() == identity.Service)
			decision.Counts = decision.Counts || r.terms.counted()
		}
		offline = min(offline, time.Duration(r.terms.Offline)*time.Second)
		until = earlier(until, left)
	}
	if d.shown() && decision.Reason.Code == Granted && len(decision.View.Clear) == 0 {
		decision.Reason = Reason{NotShown, "its grants have no field in common that is shown in clear"}
	}
	if decision.Reason.Code == Granted {
		decision.Reason = g.lacks(d.facts.Never && !d.describes)
	}
	if decision.Reason.Code == Granted && !g.givers.IsZero() {
		decision.Reason = d.lately("the home of who passed it on", g.givers)
		until = earlier(until, g.givers.Add(VisitorMaxAge))
	}
	if decision.Reason.Code != Granted {
		return Decision{Grant: decision.Grant, Above: decision.Above, At: decision.At, AsOf: decision.AsOf, Reason: decision.Reason}, nil
	}
	asOf := g.asOf
	if !d.visits() && d.who.AsOf.Before(asOf) {
		asOf = d.who.AsOf
	}
	if decision = d.age(asOf, offline, decision); decision.Allowed {
		decision.Until = earlier(decision.Until, until)
	}
	return decision, nil
}

// lately is what another tree lacks that was last checked as of a moment: Granted if that is less than a day ago.
func (d *decider) lately(what string, asOf time.Time) Reason {
	if age := d.facts.Now.Sub(asOf); age >= VisitorMaxAge {
		return Reason{Stale, fmt.Sprintf("%s was last checked %s ago, want less than %s: stale", what, span(age), span(VisitorMaxAge))}
	}
	return Reason{Code: Granted}
}

// lacks is what a grant that otherwise allows something lacks of itself; Granted if nothing.
func (g Grant) lacks(never bool) Reason {
	if g.paused {
		return Reason{Code: Paused}
	}
	return g.consented(&g.rules.terms, never)
}

// link decides on one link of a grant: what it lacks, and until when it lasts if that is nothing. What its policy says
// and what its terms say have to be the same.
func (d *decider) link(l link, above bool) (Reason, time.Time, error) {
	r := l.rules
	if reason := d.apart(&r.terms, above); reason.Code != Granted {
		return reason, time.Time{}, nil
	}
	if err := r.compile(); err != nil {
		return Reason{}, time.Time{}, err
	}
	if d.describes {
		return r.outside(d.facts.Now), r.ends(d.who.NotAfter), nil
	}
	var used *Usage
	if r.terms.counted() && d.facts.Usage != nil {
		usage := d.facts.Usage(&r.terms)
		used = &usage
	}
	permitted, err := r.permits(d.queryFor(l.who), d.facts.Now, used)
	if err != nil {
		return Reason{}, time.Time{}, err
	}
	reason := d.missing(r, used)
	if permitted != (reason.Code == Granted) {
		return Reason{}, time.Time{}, fmt.Errorf("grant: evaluating %s: its policy says %t, its terms do not", r.terms.ID, permitted)
	}
	if !permitted {
		return reason, time.Time{}, nil
	}
	return reason, r.until(d.facts.Now, d.who.NotAfter, used), nil
}

// apart is what a link lacks that no policy says.
func (d *decider) apart(t *Terms, above bool) Reason {
	switch {
	case !t.On(d.req.Thing):
		return Reason{NoGrant, "what was passed on is about something else"}
	case d.describes && t.Actions != 0:
		return Reason{Code: Granted}
	case above && t.HandOn.Has(d.req.Action) && t.To(d.who.Chain):
		return Reason{Doing, fmt.Sprintf("granted is to let others %s alone", d.req.Action)}
	case t.Actions == 0:
		return Reason{Doing, fmt.Sprintf("granted is to let others %s, not to %s", and(t.HandOn.names()), d.req.Action)}
	}
	return Reason{Code: Granted}
}

// queryFor returns the request as it is put for a leaf: the caller, whose question is kept, or one who passed a grant on.
func (d *decider) queryFor(who identity.Chain) *query {
	if who.Member() != d.who.Member() || who.ID.Tree != d.who.ID.Tree {
		return d.newQuery(who, groups(who, who.ID.Tree != d.req.Thing.ID.Tree))
	}
	if d.query == nil {
		d.query = d.newQuery(d.who.Chain, d.groups)
	}
	return d.query
}

// until returns when a link that allows something now stops allowing it by itself, or limit if that is earlier.
func (r *rules) until(now, limit time.Time, used *Usage) time.Time {
	t := &r.terms
	limit = r.ends(limit)
	if t.Budget != 0 {
		limit = earlier(limit, now.Add(t.budget()-used.Time))
	}
	return r.hours.until(now, limit)
}

// ends returns when a link is over, or limit if that is earlier.
func (r *rules) ends(limit time.Time) time.Time {
	if r.terms.Until == 0 {
		return limit
	}
	return earlier(limit, time.Unix(r.terms.Until, 0))
}

// age is rule 9: it allows the decision if the proof as of asOf still serves, and says until when.
func (d *decider) age(asOf time.Time, offline time.Duration, decision Decision) Decision {
	now, limit := d.facts.Now, d.facts.Limit
	offline = min(offline, limit.Offline)
	decision.AsOf = asOf
	switch {
	case asOf.After(now.Add(credential.MaxSkew)):
		decision.Reason = Reason{Code: Stale, text: "it was checked in the future: the clocks differ"}
		return decision
	case now.Before(asOf.Add(limit.Fresh)):
		decision.Until = asOf.Add(limit.Fresh)
	case d.facts.Isolated && now.Before(asOf.Add(offline)):
		decision.Until, decision.Offline = asOf.Add(offline), true
	default:
		decision.Reason = d.stale(now.Sub(asOf), offline)
		return decision
	}
	decision.Allowed = true
	decision.Until = earlier(decision.Until, d.who.NotAfter)
	if d.visits() {
		decision.Until = earlier(decision.Until, d.who.AsOf.Add(VisitorMaxAge))
	}
	return decision
}

func (d *decider) stale(age, offline time.Duration) Reason {
	text := fmt.Sprintf("checked %s ago, %s asks for %s: stale", span(age), d.req.Thing.ID.Path, span(d.facts.Limit.Fresh))
	switch {
	case !d.facts.Isolated:
	case offline > d.facts.Limit.Fresh:
		text += fmt.Sprintf(", and offline it serves %s", span(offline))
	default:
		text += ", and it does not serve offline"
	}
	return Reason{Code: Stale, text: text}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
