package grant

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// given is a grant as the model has it: paths, and the names of things spelled out.
type given struct {
	id         tree.GrantID
	who, what  identity.Path
	affordance string
	actions    string // letters of "rwio"
	from       time.Time
	until      time.Time // zero: open
	week       *week     // nil: always
	zone       *time.Location
	offline    time.Duration
	asOf       time.Time
}

// world is a home as the model has it.
type world struct {
	now      time.Time
	known    time.Time // as of when members are known
	fresh    time.Duration
	offline  time.Duration
	isolated bool
	grants   []given
}

// serves says, naively and by paths alone, whether a leaf that has the path by is meant by a grant to who.
func serves(who, by identity.Path) bool {
	if who == by {
		return true
	}
	if by.Name() == "phone" || by.Name() == "laptop" { // an app: whom it is right below
		return by.Parent() == who
	}
	return strings.HasPrefix(string(by), string(who)+"/")
}

// allowed is the naive model of rules 8 and 9.
func (w world) allowed(by, on identity.Path, affordance, action string) bool {
	young := func(asOf time.Time, term time.Duration) bool {
		age := w.now.Sub(asOf)
		return age < w.fresh || w.isolated && age < term && age < w.offline
	}
	if (by == "sam/phone" || by == "sam/laptop") && young(w.known, 7*24*time.Hour) {
		return true
	}
	for _, g := range w.grants {
		asOf := g.asOf
		if w.known.Before(asOf) {
			asOf = w.known
		}
		if serves(g.who, by) && (g.what == on || strings.HasPrefix(string(on), string(g.what)+"/")) &&
			(g.affordance == "" || g.affordance == affordance) && strings.Contains(g.actions, action) &&
			(by != "bank" || action == "w" || action == "i") &&
			!w.now.Before(g.from) && (g.until.IsZero() || w.now.Before(g.until)) &&
			(g.week == nil || g.week.open(w.now, g.zone)) && young(asOf, g.offline) {
			return true
		}
	}
	return false
}

// Invariant: whatever is granted, taken back and checked again, in whatever order, and however the clock moves, a
// request is allowed if and only if the model allows it, and what is allowed stays allowed until Until.
func TestDecideAgainstModel(t *testing.T) {
	h := newHousehold(t)
	allowed, denied, changed := 0, 0, 0
	for seed := range uint64(32) {
		p := play{household: h, Rand: rand.New(rand.NewPCG(seed, 7)), t: t, stand: map[tree.GrantID]*rules{}}
		p.zone = zones[seed%uint64(len(zones))]
		p.now = p.moment()
		p.known, p.fresh, p.offline = p.now, time.Hour, 24*time.Hour
		for range 60 {
			p.step()
			a, d, c := p.ask()
			allowed, denied, changed = allowed+a, denied+d, changed+c
		}
	}
	if allowed < 1000 || denied < 1000 || changed < 500 {
		t.Errorf("%d allowed, %d denied, %d changed at Until: too few to tell anything", allowed, denied, changed)
	}
}

// play is one history: the model of the world, and beside it the real grants.
type play struct {
	household
	*rand.Rand
	world
	t     *testing.T
	zone  string
	stand map[tree.GrantID]*rules
}

var (
	leaves  = []identity.Path{"sam/phone", "sam/laptop", "sam/anna/phone", "carl/phone", "home/gateway", "home/porch/doorbell", "bank"}
	members = append([]identity.Path{"sam", "sam/anna", "carl", "home", "home/porch"}, leaves...)
	things  = []identity.Path{"home/lock", "home/porch/doorbell", "barn/scale"}
	objects = append([]identity.Path{"home", "home/porch", "barn"}, things...)
	zones   = []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"}
	names   = []string{"state", "picture"}
	letters = map[Action]string{Read: "r", Write: "w", Invoke: "i", Observe: "o"}
)

func pick[T any](p *play, from []T) T { return from[p.IntN(len(from))] }

// changes are when clocks change within the lives of the certificates.
var changes = map[string]time.Time{
	"Europe/Berlin":       time.Date(2027, 3, 28, 1, 0, 0, 0, time.UTC),
	"America/New_York":    time.Date(2027, 3, 14, 7, 0, 0, 0, time.UTC),
	"Australia/Lord_Howe": time.Date(2027, 4, 3, 15, 0, 0, 0, time.UTC),
	"Pacific/Apia":        time.Date(2027, 1, 1, 10, 0, 0, 0, time.UTC),
}

// moment returns one within two days of a change of the clock.
func (p *play) moment() time.Time {
	return changes[p.zone].Add(time.Duration(p.Int64N(int64(96*time.Hour))) - 48*time.Hour)
}

// step does one thing that may happen in a home.
func (p *play) step() {
	switch p.IntN(9) {
	case 0, 1, 2:
		p.give()
	case 3:
		if n := len(p.grants); n > 0 { // taken back
			i := p.IntN(n)
			delete(p.stand, p.grants[i].id)
			p.grants = append(p.grants[:i:i], p.grants[i+1:]...)
		}
	case 4:
		p.now = p.now.Add(time.Duration(p.Int64N(int64(3 * time.Hour))))
	case 5:
		p.now = p.moment() // forward or back
	case 6:
		p.isolated = !p.isolated
	case 7:
		p.fresh, p.offline = time.Duration(p.IntN(7200))*time.Second, time.Duration(p.IntN(72))*time.Hour
	case 8: // members, or one grant, are checked again; never in the future
		p.known = p.now
	}
	for i := range p.grants {
		if p.grants[i].asOf.After(p.now) || p.IntN(4) == 0 {
			p.grants[i].asOf = p.now
		}
	}
	if p.known.After(p.now) {
		p.known = p.now
	}
}

func (p *play) give() {
	g := given{id: newID(), who: pick(p, members), what: pick(p, objects), asOf: p.now, zone: time.UTC}
	t := p.terms(g.who, g.what)
	t.ID = g.id
	if p.IntN(3) == 0 {
		g.affordance = pick(p, names)
		t.Thing.Affordance = g.affordance
	}
	t.Actions = Actions(1 + p.IntN(15))
	for _, a := range actions {
		if t.Actions.Has(a) {
			g.actions += letters[a]
		}
	}
	if p.IntN(3) == 0 {
		g.from = p.now.Truncate(time.Second).Add(time.Duration(p.IntN(6)-3) * time.Hour)
		t.From = g.from.Unix()
	}
	if p.IntN(3) == 0 {
		g.until = p.now.Truncate(time.Second).Add(time.Duration(5+p.IntN(6)) * time.Hour)
		t.Until = g.until.Unix()
	}
	if p.IntN(2) == 0 {
		for range 1 + p.IntN(3) {
			t.Windows = append(t.Windows, randomWindow(p.Rand))
		}
		t.Zone = p.zone
		g.week = weekOf(t.Windows)
		zone, err := time.LoadLocation(p.zone)
		if err != nil {
			p.t.Fatal(err)
		}
		g.zone = zone
	}
	if p.IntN(2) == 0 {
		g.offline = time.Duration(p.IntN(72)) * time.Hour
		t.Offline = int64(g.offline / time.Second)
	}
	if err := t.Validate(); err != nil {
		p.t.Fatal(err)
	}
	p.grants = append(p.grants, g)
	p.stand[g.id] = &rules{terms: t}
}

// ask compares some requests with the model, and what is allowed with the moment just before Until.
func (p *play) ask() (allowed, denied, changed int) {
	for range 12 {
		by, on, affordance, action := pick(p, leaves), pick(p, things), pick(p, names), pick(p, actions[:])
		var index Index
		for _, g := range p.grants {
			index.Set(Grant{rules: p.stand[g.id], asOf: g.asOf})
		}
		who := p.principal(by, p.known)
		req := Request{Thing: p.At(on).Chain, Affordance: affordance, Action: action}
		decide := func(at time.Time) Decision {
			facts := Facts{Now: at, Limit: Limit{p.fresh, p.offline}, Isolated: p.isolated}
			return mustDecide(p.t, req, who, index.For(who.Chain), facts)
		}
		d := decide(p.now)
		if want := p.allowed(by, on, affordance, letters[action]); d.Allowed != want {
			p.t.Fatalf("at %s, %s asks to %s %s of %s: %t, %q, want %t", p.now, by, action, affordance, on, d.Allowed, d.Reason, want)
		}
		if !d.Allowed {
			denied++
			continue
		}
		allowed++
		if !d.Until.After(p.now) {
			p.t.Fatalf("allowed at %s until %s", p.now, d.Until)
		}
		for range 3 {
			at := p.now.Add(time.Duration(p.Int64N(int64(d.Until.Sub(p.now)))))
			later := p.world
			later.now = at
			if !later.allowed(by, on, affordance, letters[action]) || !decide(at).Allowed {
				p.t.Fatalf("allowed at %s until %s, and not at %s", p.now, d.Until, at)
			}
		}
		if next := decide(d.Until); !next.Allowed || next.Grant != d.Grant || next.Offline != d.Offline || next.Until.After(d.Until) {
			changed++
		} else {
			p.t.Fatalf("at Until, %s, everything is as before: %+v", d.Until, next)
		}
	}
	return allowed, denied, changed
}
