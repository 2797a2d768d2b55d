package grant

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// A link is one grant of a chain, and the leaf that it is asked for: the caller or, of a grant that was passed on, the
// leaf that signed the next.
//
//	sam ── link 2 ──▶ the adviser ── link 1 ──▶ eva ── link 0 ──▶ eva's phone, which calls
//	      signed by          signed by the           the grant that is for the caller
//	      sam's laptop       adviser's laptop
//
// Every link must allow the request. None is compared with the one above it to find out whether it is narrower, which
// policies are no good at; but what can be seen at a glance is refused when a chain is made (Opened.Under), so that
// people are not told of rights that nobody has.
type link struct {
	rules *rules
	who   identity.Chain
}

// links returns all of a chain, the grant for the caller first.
func (g Grant) links(who identity.Chain) []link {
	return append([]link{{g.rules, who}}, g.above...)
}

// Above returns the terms of the grants that g passes on, the nearest first.
func (g Grant) Above() []Terms {
	var above []Terms
	for _, l := range g.above {
		t := l.rules.terms
		t.Actions &^= t.HandOn
		above = append(above, t)
	}
	return above
}

// Serves reports whether the grant, and all that it passes on, allows a leaf to do something at a thing at some time.
func (g Grant) Serves(who, thing identity.Chain) bool {
	if g.rules == nil || g.rules.terms.Actions == 0 || !g.rules.terms.To(who) {
		return false
	}
	return !slices.ContainsFunc(g.links(who), func(l link) bool { return !l.rules.terms.On(thing) })
}

// VerifyAll checks grants that are shown together. Of each: that it was given by an owner of the tree, or passes on
// another one of them as that one allows (see Opened.Under), and so on up to an owner's; that for each of these the
// roster's entry is for this very statement, and its giver is still a member. A zero now says that the clock was not
// set since boot. The grants that stand are returned, and the error says why others do not.
func VerifyAll(raws [][]byte, live credential.Live, now time.Time) ([]Grant, error) {
	grants, errs := verifyAll(raws, live, now, openLive)
	return grants, errors.Join(errs...)
}

// openLive is OpenAny by what is proved.
func openLive(raw []byte, live credential.Live) (Opened, error) {
	return OpenAny(raw, live.VerifyChainOf)
}

func verifyAll(raws [][]byte, live credential.Live, now time.Time, open func([]byte, credential.Live) (Opened, error)) (grants []Grant, errs []error) {
	all := make([]Opened, 0, len(raws))
	for _, raw := range raws {
		if o, err := open(raw, live); err != nil {
			errs = append(errs, err)
		} else {
			all = append(all, o)
		}
	}
	grants = make([]Grant, 0, len(all))
	for _, o := range all {
		if g, err := o.join(all, live, now); err != nil {
			errs = append(errs, err)
		} else {
			grants = append(grants, g)
		}
	}
	return grants, errs
}

// alone returns the one grant that was shown.
func alone(grants []Grant, err error) (Grant, error) {
	if err != nil {
		return Grant{}, err
	}
	return grants[0], nil
}

// join makes a Grant of o and of what it passes on. That ends, since each step up is to a greater depth.
func (o Opened) join(all []Opened, live credential.Live, now time.Time) (Grant, error) {
	g := Grant{rules: o.rules}
	for below := o; !below.rules.terms.Parent.IsZero(); {
		i := slices.IndexFunc(all, func(p Opened) bool { return p.Digest() == below.rules.terms.Parent })
		if i < 0 {
			return Grant{}, fmt.Errorf("grant: verifying %s: what %s passes on is not shown", o.rules.terms.ID, below.rules.terms.ID)
		}
		above := all[i]
		if err := below.Under(above); err != nil {
			return Grant{}, err
		}
		g.above = append(g.above, link{above.above, below.signer})
		below = above
	}
	return g.verify(live, now)
}

// verify returns the grant as of what live says, if all of its chain stands.
func (g Grant) verify(live credential.Live, now time.Time) (Grant, error) {
	v := Grant{rules: g.rules, above: g.above, asOf: live.AsOf}
	for i := range len(g.above) + 1 {
		r := g.rules
		if i > 0 {
			r = g.above[i-1].rules
		}
		entry, err := r.verify(live, now)
		if errors.Is(err, errNoGiver) {
			err = &fallen{g, r.terms.ID, err}
		}
		if err != nil {
			return Grant{}, err
		}
		if i == 0 {
			v.entry = entry
		}
		v.paused = v.paused || entry.Paused
		if at, ok := live.Of(r.terms.GiverTree); ok && (v.givers.IsZero() || at.AsOf.Before(v.givers)) {
			v.givers = at.AsOf
		}
	}
	return v, nil
}

// Under checks that o passes on the grant above as that allows: it names it as its parent, its giver is whom that is for,
// signed by a leaf that this is for, and it says no more than that in what can be told from the two alone. Whether it is
// about the same thing or one below is for whoever knows the tree.
func (o Opened) Under(above Opened) error {
	t, a := &o.rules.terms, &above.rules.terms
	fail := func(format string, args ...any) error {
		return fmt.Errorf("grant: passing on %s with %s: %w", a.ID, t.ID, fmt.Errorf(format, args...))
	}
	switch {
	case t.Parent != above.Digest():
		return fail("it passes on statement %s, not %s", t.Parent, above.Digest())
	case t.Tree != a.Tree:
		return fail("it is about a thing of tree %s", t.Tree)
	case t.Depth >= a.Depth:
		return fail("it may be passed on %d times, and want fewer than %d", t.Depth, a.Depth)
	case !a.To(o.signer):
		return fail("it is signed by %s, whom that is not for", o.signer.ID)
	case t.Giver != a.GiverFor(o.signer):
		return fail("its giver is %s, and that is for %s", t.Giver, a.GiverFor(o.signer))
	}
	if err := t.Within(*a); err != nil {
		return fail("%w", err)
	}
	return nil
}

// GiverFor returns who passes the grant on when a leaf that it is for signs: the leaf itself if it is for that, or for a
// place and the leaf is no app; else the owner or person the leaf acts for.
func (t *Terms) GiverFor(signer identity.Chain) identity.MemberID {
	if whom := signer.ActsFor(); t.Subject.Member != signer.Member() && !whom.IsZero() {
		return whom
	}
	return signer.Member()
}

// Within reports, as an error, what t plainly allows that the grant above it does not.
func (t Terms) Within(above Terms) error {
	all := above.Actions | above.HandOn
	switch {
	case t.Subject == above.Subject:
		return errors.New("it is for whom that is for")
	case (t.Actions|t.HandOn)&^all != 0:
		return fmt.Errorf("it is to %s, and that is to %s", and(((t.Actions | t.HandOn) &^ all).names()), and(all.names()))
	case above.Thing.Affordance != "" && t.Thing.Affordance != above.Thing.Affordance:
		return fmt.Errorf("it is about %q, and that is about %q", t.Thing.Affordance, above.Thing.Affordance)
	case above.Until != 0 && (t.Until == 0 || t.Until > above.Until):
		return fmt.Errorf("it lasts longer than that, which ends at %s", time.Unix(above.Until, 0).UTC().Format(time.RFC3339))
	case above.Retention != 0 && (t.Retention == 0 || t.Retention > above.Retention): // which no thing can see to
		return fmt.Errorf("what is learnt by it may be kept for %s, and by that for %s", howLong(t.Retention), howLong(above.Retention))
	case t.Offline > above.Offline:
		return fmt.Errorf("it serves offline for %s, and that for %s", span(time.Duration(t.Offline)*time.Second), span(time.Duration(above.Offline)*time.Second))
	}
	for _, field := range t.Agreement.Clear {
		if !slices.Contains(above.Agreement.Clear, field) {
			return fmt.Errorf("it shows %q in clear, and that does not", field)
		}
	}
	return nil
}

// howLong says how long something may be kept.
func howLong(seconds int64) string {
	if seconds == 0 {
		return "ever"
	}
	return english.exactly(seconds)
}

// Narrowed returns t, which is to pass on the grant above, with all that this says and t leaves open: so that it says to
// people what it comes to.
func (t Terms) Narrowed(above Terms, parent signed.Digest) Terms {
	t.Parent = parent
	if t.Thing.Affordance == "" {
		t.Thing.Affordance = above.Thing.Affordance
	}
	if t.Until == 0 {
		t.Until = above.Until
	}
	if t.From == 0 {
		t.From = above.From
	}
	if len(t.Windows) == 0 {
		t.Windows = above.Windows
	}
	if t.Zone == "" {
		t.Zone = above.Zone
	}
	if t.Purpose == "" {
		t.Purpose = above.Purpose
	}
	if t.Retention == 0 {
		t.Retention = above.Retention
	}
	if t.Rate == (Rate{}) {
		t.Rate = above.Rate
	}
	if t.Uses == 0 {
		t.Uses = above.Uses
	}
	if t.Budget == 0 {
		t.Budget = above.Budget
	}
	if t.Route == AnyRoute {
		t.Route = above.Route
	}
	t.Offline = min(t.Offline, above.Offline)
	t.Home = t.Home || above.Home
	t.Detail = Detail{Step: max(t.Detail.Step, above.Detail.Step), Area: t.Detail.Area || above.Detail.Area}
	return t
}
