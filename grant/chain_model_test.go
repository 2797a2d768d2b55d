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

// handed is a grant as whoever follows it by hand would write it down: who gave it to whom, and under what.
type handed struct {
	tree.Admitted
	above                 *handed // nil: it names no grant as its parent
	app, giver, who, what identity.Path
	actions, handOn       Actions
	depth                 uint8
	orphan                bool // it names as its parent what was never given
	takenBack             bool
}

// stands says, by paths alone, whether a grant gives what it says to anybody: it is there, and so is its giver; and an owner
// gave it, or whoever has the one above gave no more of it.
func (p *hands) stands(g *handed) bool {
	if g.takenBack || p.gone[g.giver] || g.orphan || !actsFor(g.app, g.giver) {
		return false
	}
	a := g.above
	if a == nil {
		return g.giver == "sam"
	}
	given := a.who == g.giver && a.who != g.who
	return p.stands(a) && given && g.depth < a.depth && (g.actions|g.handOn)&^(a.actions|a.handOn) == 0
}

func actsFor(app, giver identity.Path) bool { return app == giver || app.Parent() == giver }

// allows says whether somebody may do something at a thing by a grant and all above it.
func (p *hands) allows(g *handed, by, on identity.Path, action Action) bool {
	mine := func(g *handed) bool { return g.who == by || by.Parent() == g.who }
	if !p.stands(g) || !mine(g) || !g.actions.Has(action) {
		return false
	}
	for link := g; link != nil; link = link.above {
		if link.what != on && !strings.HasPrefix(string(on), string(link.what)+"/") {
			return false
		}
		if link != g && link.handOn.Has(action) && mine(link) {
			return false
		}
	}
	return true
}

// hands are those that grants go through.
type hands struct {
	company
	*rand.Rand
	given []*handed
	gone  map[identity.Path]bool
}

var (
	givers = []identity.Path{"sam", "sam/adviser", "sam/eva", "sam/tom", "sam/adviser/phone", "sam/eva/phone"}
	apps   = []identity.Path{"sam/laptop", "sam/adviser/laptop", "sam/adviser/phone", "sam/eva/phone", "sam/tom/phone"}
	askers = []identity.Path{"sam/adviser/phone", "sam/eva/phone", "sam/tom/phone"}
	abouts = []identity.Path{"home", "home/meter", "home/porch", "home/porch/bell"}
)

func one[T any](p *hands, from []T) T { return from[p.IntN(len(from))] }

// give has somebody give something, in order or not, and puts it into the roster as a keeper would that checks nothing.
func (p *hands) give() {
	g := &handed{who: one(p, givers[1:]), actions: Actions(p.IntN(16)), handOn: Actions(p.IntN(16)), depth: uint8(p.IntN(4))}
	var parent signed.Digest
	if n := len(p.given); n == 0 || p.IntN(4) == 0 {
		g.giver, g.app, g.what = "sam", "sam/laptop", one(p, abouts)
	} else {
		parent = p.passOn(g, p.given[n-1-min(p.IntN(n), p.IntN(n))])
	}
	if g.handOn &^= g.actions; g.depth == 0 {
		g.handOn = 0
	}
	if g.actions|g.handOn == 0 || p.gone[g.giver] || p.gone[g.app] || p.gone[g.who] {
		return
	}
	g.Admitted = p.company.give(g.app, g.giver, g.who, parent, func(t *Terms) {
		t.Thing.Member, t.Actions, t.HandOn, t.Depth = p.At(g.what).Member(), g.actions, g.handOn, g.depth
	})
	p.given = append(p.given, g)
}

// passOn has whoever has the grant above pass it on, at times with one thing not in order.
func (p *hands) passOn(g, above *handed) (parent signed.Digest) {
	g.above, g.giver, g.what = above, above.who, above.what
	all := above.actions | above.handOn
	g.actions, g.handOn, g.depth = g.actions&all, g.handOn&all, max(min(g.depth, above.depth), 1)-1
	switch p.IntN(16) {
	case 0:
		g.giver = one(p, givers)
	case 1:
		g.actions = Actions(1 + p.IntN(15))
	case 2:
		g.depth = min(above.depth, MaxDepth-1)
	case 3:
		g.who = above.who
	case 4:
		g.what = one(p, abouts)
	case 5:
		g.what, g.actions = "home/meter", all
	}
	g.app = one(p, slices.DeleteFunc(slices.Clone(apps), func(app identity.Path) bool { return !actsFor(app, g.giver) }))
	switch p.IntN(16) {
	case 0:
		g.app = one(p, apps)
	case 1:
		g.giver = g.app
	case 2:
		g.orphan = true
		return signed.Sum([]byte("never given"))
	}
	return above.Statement
}

// shownBy returns what a leaf shows: some grants, with all that is above them and is still in the roster.
func (p *hands) shownBy(by identity.Path) (shown []tree.Admitted, whole []*handed) {
	for _, g := range slices.Backward(p.given) {
		var chain []tree.Admitted
		for link := g; link != nil; link = link.above {
			if !link.takenBack && !slices.ContainsFunc(shown, func(s tree.Admitted) bool { return s.ID == link.ID }) {
				chain = append(chain, link.Admitted)
			}
		}
		if len(shown)+len(chain) <= 12 {
			shown, whole = append(shown, chain...), append(whole, g)
		}
	}
	return shown, whole
}

// Invariant: whatever is given, passed on, taken back and removed, by whomever and signed with whatever key they have, in
// whatever order, evidence shows that a request may be served if and only if somebody who follows the grants by hand, from
// the owner on, finds one that allows it. KINDRED_TEST_PLAYS is how many histories are played, then other ones each time.
func TestChainsAgainstModel(t *testing.T) {
	plays, first := uint64(10), uint64(0)
	if n, err := strconv.ParseUint(os.Getenv("KINDRED_TEST_PLAYS"), 10, 32); err == nil {
		plays, first = n, rand.Uint64()
	}
	allowed, deep, denied := 0, 0, 0
	for seed := first; seed != first+plays; seed++ {
		p := &hands{newCompany(t), rand.New(rand.NewPCG(seed, 11)), nil, map[identity.Path]bool{}}
		for range 60 {
			switch n := len(p.given); p.IntN(12) {
			case 0:
				if n > 0 {
					if g := one(p, p.given); !g.takenBack {
						g.takenBack = true
						p.Revoke(g.ID)
					}
				}
			case 1:
				if who := one(p, givers[1:]); p.IntN(6) == 0 && !p.gone[who] {
					p.Remove(who)
					for _, path := range append(apps, givers...) {
						p.gone[path] = p.gone[path] || path.Within(who)
					}
				}
			case 2:
				p.Block(p.Clock.Add(time.Duration(p.IntN(40)) * time.Minute))
			default:
				p.give()
			}
			by, on, action := one(p, askers), one(p, abouts[1:2]), one(p, actions[:])
			if p.IntN(3) == 0 {
				on = "home/porch/bell"
			}
			if p.gone[by] {
				continue
			}
			shown, whole := p.shownBy(by)
			links := 0
			for _, g := range whole {
				if p.allows(g, by, on, action) {
					n := 0
					for link := g; link != nil; link = link.above {
						n++
					}
					links = max(links, n)
				}
			}
			req := Request{Thing: p.At(on).Chain, Affordance: "power", Action: action}
			d, _, err := Judge(p.evidence(by, shown...), p.Trusted(), req, fresh(p.Clock))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if d.Allowed != (links > 0) {
				t.Fatalf("seed %d: %s asks to %s %s: %t, %q, want %t, under %d grants", seed, by, action, on, d.Allowed, d.Reason, links > 0, len(shown))
			}
			switch {
			case links > 1:
				deep++
			case links == 1:
				allowed++
			default:
				denied++
			}
		}
	}
	if allowed < 30 || deep < 10 || denied < 60 {
		t.Errorf("%d allowed, %d by what was passed on, %d denied: too few to tell anything", allowed, deep, denied)
	}
}
