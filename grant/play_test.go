package grant

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Invariant: whatever is granted, passed on, taken back, paused, used and checked again, in whatever order, however the
// clock moves and whenever the thing starts anew,
//
//   - a request is allowed, and a description shown, if and only if the model allows it;
//   - what is allowed stays allowed until Until;
//   - what is allowed and does not count stays allowed however often something is used; what counts is not allowed where
//     nobody counts, nor taken where what does not count allows as much;
//   - the view of what is allowed shows what the model's grant shows;
//   - nothing was used more often, more often within its time, or longer, than was granted.
//
// KINDRED_TEST_PLAYS is how many histories are played, then other ones each time.
func TestDecideAgainstModel(t *testing.T) {
	h := newHousehold(t)
	plays, first := uint64(24), uint64(0)
	if n, err := strconv.ParseUint(os.Getenv("KINDRED_TEST_PLAYS"), 10, 32); err == nil {
		plays, first = n, rand.Uint64()
	}
	var sum tally
	for seed := first; seed != first+plays; seed++ {
		p := play{household: h, Rand: rand.New(rand.NewPCG(seed, 7)), t: t, seed: seed, stand: map[tree.GrantID]Terms{}, made: map[tree.GrantID]Opened{}}
		p.zone = zones[seed%uint64(len(zones))]
		p.now = p.moment()
		p.known, p.fresh, p.offline = p.now, time.Hour, 24*time.Hour
		for range 60 {
			p.step()
			p.ask(&sum)
		}
		p.settle()
	}
	if sum.allowed < 1000 || sum.denied < 1000 || sum.changed < 500 || sum.counted < 100 || sum.seen < 500 || sum.unseen < 500 || sum.chained < 100 || sum.described < 1000 {
		t.Errorf("%+v: too few to tell anything", sum)
	}
}

// tally is what was asked in all plays.
type tally struct {
	allowed, denied int
	changed         int // at Until it was otherwise
	counted         int // allowed, and used up something
	seen, unseen    int // moments of the past
	chained         int // allowed by what was passed on
	described       int
}

// play is one history: the model of the world, and beside it the real grants.
type play struct {
	household
	*rand.Rand
	world
	t     *testing.T
	seed  uint64
	zone  string
	stand map[tree.GrantID]Terms
	made  map[tree.GrantID]Opened // of those terms, by the thing
	over  []*given                // taken back
}

var (
	leaves   = []identity.Path{"sam/phone", "sam/laptop", "sam/anna/phone", "carl/phone", "home/gateway", "home/porch/doorbell", "bank"}
	members  = append([]identity.Path{"sam", "sam/anna", "carl", "home", "home/porch"}, leaves...)
	things   = []identity.Path{"home/lock", "home/porch/doorbell", "barn/scale"}
	objects  = append([]identity.Path{"home", "home/porch", "barn"}, things...)
	zones    = []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"}
	names    = []string{"state", "picture"}
	purposes = []string{"", "heating-advice", "milk-delivery"}
	letters  = map[Action]string{Read: "r", Write: "w", Invoke: "i", Observe: "o"}
	routes   = map[Route]string{AnyRoute: "", DirectRoute: "direct", GatewayRoute: "gateway"}
)

func pick[T any](p *play, from []T) T { return from[p.IntN(len(from))] }

// changes are when clocks change within the lives of the certificates.
var changes = map[string]time.Time{
	"Europe/Berlin":       time.Date(2027, 3, 28, 1, 0, 0, 0, time.UTC),
	"America/New_York":    time.Date(2027, 3, 14, 7, 0, 0, 0, time.UTC),
	"Australia/Lord_Howe": time.Date(2027, 4, 3, 15, 0, 0, 0, time.UTC),
	"Pacific/Apia":        time.Date(2027, 1, 1, 10, 0, 0, 0, time.UTC),
	"Africa/Casablanca":   time.Date(2027, 2, 7, 2, 0, 0, 0, time.UTC), // back, for Ramadan
}

// moment returns one within two days of a change of the clock.
func (p *play) moment() time.Time {
	return changes[p.zone].Add(time.Duration(p.Int64N(int64(96*time.Hour))) - 48*time.Hour)
}

// step does one thing that may happen in a home.
func (p *play) step() {
	switch p.IntN(13) {
	case 0, 1, 2, 3:
		p.give()
	case 4:
		if n := len(p.grants); n > 0 { // taken back
			p.takeBack(p.grants[p.IntN(n)])
		}
	case 5:
		p.now = p.now.Add(time.Duration(p.Int64N(int64(3 * time.Hour))))
	case 6:
		p.now = p.moment() // forward or back
	case 7:
		p.isolated = !p.isolated
	case 8:
		p.fresh, p.offline = time.Duration(p.IntN(7200))*time.Second, time.Duration(p.IntN(72))*time.Hour
	case 9: // members, or one grant, are checked again; never in the future
		p.known = p.now
	case 10:
		if len(p.grants) > 0 {
			g := pick(p, p.grants)
			g.paused, g.accepted, g.seconded = p.IntN(4) == 0, p.IntN(4) > 0, p.IntN(2) == 0
		}
	case 11:
		p.never = !p.never
	case 12:
		p.restart()
	}
	for _, g := range p.grants {
		if g.asOf.After(p.now) || p.IntN(4) == 0 {
			g.asOf = p.now
		}
	}
	if p.known.After(p.now) {
		p.known = p.now
	}
}

// takeBack ends a grant, and all that rests on it.
func (p *play) takeBack(g *given) {
	rests := func(on *given) bool { return slices.Contains(on.chain(), g) }
	for _, on := range p.grants {
		if rests(on) {
			p.over = append(p.over, on)
			delete(p.stand, on.id)
		}
	}
	p.grants = slices.DeleteFunc(p.grants, rests)
}

// restart has the thing forget all but what was signed.
func (p *play) restart() {
	p.made = map[tree.GrantID]Opened{}
	for id, terms := range p.stand {
		raw, err := signed.Marshal(terms)
		var again Terms
		if err == nil {
			err = signed.Unmarshal(raw, &again)
		}
		if err != nil {
			p.t.Fatal(err)
		}
		p.stand[id] = again
	}
}

// open returns what Open would, but for what a chain plainly may not be: Decide does not rest on that.
func (p *play) open(g *given) Opened {
	o, ok := p.made[g.id]
	if !ok {
		terms := p.stand[g.id]
		o = Opened{rules: &rules{terms: terms}}
		o.above = o.rules
		if terms.HandOn != 0 {
			terms.Actions |= terms.HandOn
			o.above = &rules{terms: terms}
		}
		p.made[g.id] = o
	}
	return o
}

// real returns the grant as Verify would.
func (p *play) real(g *given) Grant {
	made := Grant{rules: p.open(g).rules, asOf: g.asOf, paused: g.paused, accepted: g.accepted, seconded: g.seconded && g.above == nil}
	for below := g; below.above != nil; below = below.above {
		made.above = append(made.above, link{p.open(below.above).above, p.At(below.by).Chain})
		made.paused = made.paused || below.above.paused
	}
	return made
}

// passOn has a grant pass on one of those that may be, in the hand of a leaf that it is for.
func (p *play) passOn(g *given) {
	if p.IntN(3) == 0 || len(p.grants) == 0 {
		return
	}
	above := pick(p, p.grants)
	hands := slices.DeleteFunc(slices.Clone(leaves), func(leaf identity.Path) bool { return !above.serves(leaf) })
	if len(above.chain()) < MaxDepth && len(hands) > 0 {
		g.above, g.by = above, pick(p, hands)
		if p.IntN(4) > 0 { // about the same thing, as is right
			g.what = above.what
		}
	}
}

func (p *play) give() {
	g := &given{id: newID(), who: pick(p, members), what: pick(p, objects), asOf: p.now, zone: time.UTC}
	p.passOn(g)
	t := p.terms(g.who, g.what)
	t.ID = g.id
	g.signed = time.Unix(t.Time, 0)
	if p.IntN(3) == 0 {
		g.affordance = pick(p, names)
		t.Thing.Affordance = g.affordance
	}
	t.Actions = Use
	if p.IntN(2) == 0 {
		t.Actions = Actions(1 + p.IntN(15))
	}
	if p.IntN(3) == 0 {
		t.HandOn = Actions(1+p.IntN(15)) &^ t.Actions
	}
	for _, a := range actions {
		if t.Actions.Has(a) {
			g.actions += letters[a]
		}
		if t.HandOn.Has(a) {
			g.handOn += letters[a]
		}
	}
	t.Depth = uint8(MaxDepth + 1 - len(g.chain()))
	if p.IntN(2) == 0 {
		p.giveTime(g, &t)
	}
	if p.IntN(2) == 0 {
		p.giveUse(g, &t)
	}
	p.giveView(g, &t)
	if err := t.Validate(); err != nil {
		p.t.Fatal(err)
	}
	p.grants = append(p.grants, g)
	p.stand[g.id] = t
}

func (p *play) giveTime(g *given, t *Terms) {
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
}

func (p *play) giveUse(g *given, t *Terms) {
	g.below = p.IntN(4) == 0
	t.Subject.Below = g.below
	if p.IntN(5) == 0 {
		g.purpose = purposes[1+p.IntN(2)]
		t.Purpose = g.purpose
	}
	g.home = p.IntN(6) == 0
	t.Home = g.home
	if p.IntN(4) == 0 {
		t.Route = Route(p.IntN(3))
		g.route = routes[t.Route]
	}
	if p.IntN(4) == 0 {
		g.uses = 1 + p.IntN(4)
		t.Uses = uint32(g.uses)
	}
	if p.IntN(4) == 0 {
		g.often, g.per = 1+p.IntN(2), time.Duration(1+p.IntN(7200))*time.Second
		t.Rate = Rate{uint32(g.often), int64(g.per / time.Second)}
	}
	if p.IntN(4) == 0 {
		g.budget = time.Duration(1+p.IntN(3600)) * time.Second
		t.Budget = int64(g.budget / time.Second)
	}
	if g.who == "bank" || p.IntN(4) == 0 {
		if p.IntN(4) > 0 {
			g.clear = [][]string{names, names[:1], names[1:]}[p.IntN(3)]
			t.Agreement.Clear = slices.Clone(g.clear)
		}
		t.Agreement.Recipient = []string{"", "Bank plc"}[p.IntN(2)]
		g.agreed = len(g.clear) > 0 || t.Agreement.Recipient != ""
		g.accepted, g.seconded = p.IntN(4) > 0, p.IntN(2) == 0
	}
}

func (p *play) giveView(g *given, t *Terms) {
	if p.IntN(3) == 0 {
		g.seeFrom = p.now.Truncate(time.Second).Add(-time.Duration(p.IntN(72)) * time.Hour)
		t.Moments.From = g.seeFrom.Unix()
	}
	if p.IntN(4) == 0 {
		g.seeUntil = p.now.Truncate(time.Second).Add(time.Duration(p.IntN(72)) * time.Hour)
		t.Moments.Until = g.seeUntil.Unix()
		if t.Moments.Until <= t.Moments.From {
			g.seeUntil, t.Moments.Until = time.Time{}, 0
		}
	}
	g.anyHour = p.IntN(3) == 0
	t.Moments.Always = g.anyHour
	g.step, g.area = Step(p.IntN(5)), p.IntN(3) == 0
	t.Detail = Detail{g.step, g.area}
}

// usage counts what was done under a grant by a moment.
func (p *play) usage(t *Terms, at time.Time) Usage {
	g := p.grant(t.ID)
	n, free := g.recent(at)
	return Usage{Uses: uint32(len(g.done)), Time: g.spent, Recent: uint32(n), Free: free}
}

// ask compares some requests with the model, and what is allowed with the moments until Until.
func (p *play) ask(sum *tally) {
	for range 12 {
		a, action := p.question()
		var index Index
		for _, g := range p.grants {
			index.Set(p.real(g))
		}
		who := p.principal(a.by, p.known)
		req := Request{Thing: p.At(a.on).Chain, Affordance: a.affordance, Action: action, Purpose: a.purpose}
		decide := func(at time.Time, usage func(*Terms) Usage) Decision {
			facts := Facts{Now: at, Limit: Limit{p.fresh, p.offline}, Isolated: p.isolated, Never: p.never, Way: a.way, Usage: usage}
			return mustDecide(p.t, req, who, index.For(who.Chain), facts)
		}
		counting := func(at time.Time) func(*Terms) Usage { return func(t *Terms) Usage { return p.usage(t, at) } }
		d := decide(p.now, counting(p.now))
		if want := p.allowed(a); d.Allowed != want {
			p.t.Fatalf("seed %d, at %s, %+v: %t, %q, want %t", p.seed, p.now, a, d.Allowed, d.Reason, want)
		}
		p.describe(a, index.For(who.Chain), sum)
		switch blind := decide(p.now, nil); {
		case blind.Allowed && blind.Counts:
			p.t.Fatalf("seed %d, at %s, %+v: allowed by what nobody counted", p.seed, p.now, a)
		case blind.Allowed && d.Counts && blind.Offline == d.Offline:
			p.t.Fatalf("seed %d, at %s, %+v: it counts, and what does not allows as much", p.seed, p.now, a)
		}
		if !d.Allowed {
			sum.denied++
			continue
		}
		sum.allowed++
		p.last(d, a, func(at time.Time) Decision { return decide(at, counting(at)) }, sum)
		p.look(d, a, sum)
		spent := func(*Terms) Usage { return Usage{Uses: 1 << 31, Recent: 1 << 31, Time: 1 << 60} }
		if !d.Counts && !decide(p.now, spent).Allowed {
			p.t.Fatalf("seed %d, at %s, %+v: it does not count, and is used up", p.seed, p.now, a)
		}
		p.use(d, action, sum)
	}
}

// describe compares whether what there is may be read with the model, now and until Until.
func (p *play) describe(a asked, grants []Grant, sum *tally) {
	decide := func(at time.Time) Decision {
		facts := Facts{Now: at, Limit: Limit{p.fresh, p.offline}, Isolated: p.isolated, Never: p.never, Way: a.way}
		d, err := DecideDescription(p.At(a.on).Chain, p.principal(a.by, p.known), grants, facts)
		if err != nil {
			p.t.Fatal(err)
		}
		return d
	}
	d := decide(p.now)
	if want := p.describes(a.by, a.on); d.Allowed != want {
		p.t.Fatalf("seed %d, at %s, %s reads what there is at %s: %t, %q, want %t", p.seed, p.now, a.by, a.on, d.Allowed, d.Reason, want)
	}
	if !d.Allowed {
		return
	}
	sum.described++
	later := p.world
	later.now = d.Until.Add(-1)
	if !later.describes(a.by, a.on) || !decide(later.now).Allowed {
		p.t.Fatalf("seed %d: described at %s until %s, and not at %s", p.seed, p.now, d.Until, later.now)
	}
}

// question is anything that may be asked or, every other time, what some grant may be about.
func (p *play) question() (asked, Action) {
	action := pick(p, actions[:])
	a := asked{pick(p, leaves), pick(p, things), pick(p, names), letters[action], pick(p, purposes), Way(p.IntN(4))}
	if len(p.grants) == 0 || p.IntN(2) == 0 {
		return a, action
	}
	g := pick(p, p.grants)
	for _, link := range g.chain() {
		if link.purpose != "" {
			a.purpose = link.purpose
		}
		if link.affordance != "" {
			a.affordance = link.affordance
		}
	}
	for range 20 { // by chance, somebody and something that it is for and about
		leaf, thing := pick(p, leaves), pick(p, things)
		if g.serves(leaf) {
			a.by = leaf
		}
		if g.what == thing || strings.HasPrefix(string(thing), string(g.what)+"/") {
			a.on = thing
		}
	}
	if p.IntN(2) == 0 {
		a.way = AtHome
	}
	return a, action
}

// last checks that what is allowed stays so until Until, and no longer.
func (p *play) last(d Decision, a asked, decide func(time.Time) Decision, sum *tally) {
	if !d.Until.After(p.now) {
		p.t.Fatalf("seed %d: allowed at %s until %s", p.seed, p.now, d.Until)
	}
	for range 3 {
		at := p.now.Add(time.Duration(p.Int64N(int64(d.Until.Sub(p.now)))))
		later := p.world
		later.now = at
		if !later.allowed(a) || !decide(at).Allowed {
			p.t.Fatalf("seed %d: allowed at %s until %s, and not at %s", p.seed, p.now, d.Until, at)
		}
	}
	if next := decide(d.Until); !next.Allowed || next.Grant != d.Grant || next.Offline != d.Offline || next.Until.After(d.Until) {
		sum.changed++
	} else {
		p.t.Fatalf("seed %d: at Until, %s, everything is as before: %+v", p.seed, d.Until, next)
	}
}

// look compares what a decision opens with what the model's grant does.
func (p *play) look(d Decision, a asked, sum *tally) {
	if d.Grant.IsZero() {
		if !d.View.Sees(p.now.Add(-1000 * time.Hour)) {
			p.t.Fatalf("seed %d: an owner does not see the past", p.seed)
		}
		return
	}
	g := p.grant(d.Grant)
	if g.above != nil {
		sum.chained++
	}
	clear, detail := g.clearOf(), Detail{}
	for _, l := range g.chain() {
		detail = Detail{max(detail.Step, l.step), detail.Area || l.area}
	}
	if a.by != "bank" {
		clear = nil
	}
	if d.View.Detail != detail || !slices.Equal(d.View.Clear, clear) {
		p.t.Fatalf("seed %d: %+v opens %+v", p.seed, g, d.View)
	}
	for range 4 {
		at := p.now.Add(time.Duration(p.Int64N(int64(120*time.Hour))) - 100*time.Hour)
		got := d.View.Sees(at)
		if want := !slices.ContainsFunc(g.chain(), func(l *given) bool { return !l.shows(at) }); got != want {
			p.t.Fatalf("seed %d: %s is seen: %t, want %t, by %+v", p.seed, at, got, want, g)
		}
		if got {
			sum.seen++
		} else {
			sum.unseen++
		}
	}
}

// use does what was allowed: a stream goes on for a while, and ends at Until at the latest.
func (p *play) use(d Decision, action Action, sum *tally) {
	counted := d.Counted()
	if len(counted) == 0 || p.IntN(2) == 0 {
		return
	}
	sum.counted++
	var lasted time.Duration
	if action == Observe {
		lasted = time.Duration(p.Int64N(int64(d.Until.Sub(p.now)) + 1))
	}
	for _, t := range counted {
		g := p.grant(t.ID)
		g.done = append(g.done, p.now)
		g.spent += lasted
	}
}

// settle checks that nothing was used more than was granted.
func (p *play) settle() {
	for _, g := range append(p.over, p.grants...) {
		if g.uses != 0 && len(g.done) > g.uses || g.budget != 0 && g.spent > g.budget {
			p.t.Errorf("seed %d: used %d times, for %s: more than %+v", p.seed, len(g.done), g.spent, g)
		}
		slices.SortFunc(g.done, time.Time.Compare)
		for i := range g.done {
			if g.often != 0 && i >= g.often && g.done[i].Sub(g.done[i-g.often]) < g.per {
				p.t.Errorf("seed %d: used at %s: more often than %+v", p.seed, g.done, g)
			}
		}
	}
}
