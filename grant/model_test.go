package grant

import (
	"slices"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// The naive model of rules 8 and 9: all that a grant says, spelled out, by paths and minutes alone. TestDecideAgainstModel
// holds Decide against it.

// given is a grant as the model has it: paths, and the names of things spelled out.
type given struct {
	id         tree.GrantID
	who, what  identity.Path
	below      bool
	affordance string
	actions    string // letters of "rwio"
	signed     time.Time
	from       time.Time
	until      time.Time // zero: open
	week       *week     // nil: always
	zone       *time.Location
	offline    time.Duration
	asOf       time.Time
	paused     bool

	above  *given        // what it passes on
	by     identity.Path // the leaf that passed it on
	handOn string        // letters: what may be passed on and not done by whom it is for

	purpose            string
	home               bool
	route              string // "", "direct", "gateway"
	uses, often        int    // 0: any number
	per, budget        time.Duration
	agreed             bool // it is an agreement
	accepted, seconded bool
	clear              []string

	seeFrom, seeUntil time.Time // zero: as the grant
	anyHour           bool
	step              Step
	area              bool

	done  []time.Time // when it was used
	spent time.Duration
}

// asked is a request as the model has it.
type asked struct {
	by, on             identity.Path
	affordance, letter string
	purpose            string
	way                Way
}

// world is a home as the model has it.
type world struct {
	now      time.Time
	known    time.Time // as of when members are known
	fresh    time.Duration
	offline  time.Duration
	isolated bool
	never    bool
	grants   []*given
}

// serves says, naively and by paths alone, whether a leaf that has the path by is meant by a grant.
func (g given) serves(by identity.Path) bool {
	if g.who == by {
		return true
	}
	under := strings.HasPrefix(string(by), string(g.who)+"/")
	if !g.below && (by.Name() == "phone" || by.Name() == "laptop") { // an app: whom it is right below
		return by.Parent() == g.who
	}
	return under
}

func (g given) recent(now time.Time) (n int, free time.Time) {
	for _, use := range g.done {
		if now.Sub(use) >= g.per {
			continue
		}
		n++
		if end := use.Add(g.per); free.IsZero() || end.Before(free) {
			free = end
		}
	}
	return n, free
}

// within says whether a moment is from one, and before another; zero: there is no other.
func within(at, from, until time.Time) bool {
	return !at.Before(from) && (until.IsZero() || at.Before(until))
}

// shows says whether what was recorded at a moment may be looked at.
func (g given) shows(at time.Time) bool {
	from, until := g.from, g.until
	if from.Before(g.signed) {
		from = g.signed
	}
	if !g.seeFrom.IsZero() {
		from = g.seeFrom
	}
	if !g.seeUntil.IsZero() {
		until = g.seeUntil
	}
	return within(at, from, until) && (g.anyHour || g.week == nil || g.week.open(at, g.zone))
}

func (w world) young(asOf time.Time, term time.Duration) bool {
	age := w.now.Sub(asOf)
	return age < w.fresh || w.isolated && age < term && age < w.offline
}

// chain is a grant and all that it passes on.
func (g *given) chain() (all []*given) {
	for ; g != nil; g = g.above {
		all = append(all, g)
	}
	return all
}

// clearOf are the fields that all of a chain show in clear.
func (g *given) clearOf() []string {
	return slices.DeleteFunc(slices.Clone(g.clear), func(field string) bool {
		return slices.ContainsFunc(g.chain(), func(l *given) bool { return !slices.Contains(l.clear, field) })
	})
}

// lets says whether one grant allows a request now: all of its chain does, and whoever passed it on may pass that on.
func (w world) lets(g *given, a asked) bool {
	if !g.serves(a.by) || !strings.Contains(g.actions, a.letter) {
		return false
	}
	offline := g.offline
	for i, l := range g.chain() {
		if i > 0 && strings.Contains(l.handOn, a.letter) && l.serves(a.by) {
			return false
		}
		if i > 0 && !strings.Contains(l.actions+l.handOn, a.letter) || l.paused || !w.linkLets(l, a) {
			return false
		}
		offline = min(offline, l.offline)
	}
	if a.by == "bank" && (a.letter == "r" || a.letter == "o") && len(g.clearOf()) == 0 {
		return false
	}
	if g.agreed && (!g.accepted || w.never && len(g.clear) > 0 && !(g.seconded && g.above == nil)) {
		return false
	}
	asOf := g.asOf
	if w.known.Before(asOf) {
		asOf = w.known
	}
	return w.young(asOf, offline)
}

// describes says whether a leaf may read what there is at a thing now.
func (w world) describes(by, on identity.Path) bool {
	if (by == "sam/phone" || by == "sam/laptop") && w.young(w.known, 7*24*time.Hour) {
		return true
	}
	return slices.ContainsFunc(w.grants, func(g *given) bool {
		if !g.serves(by) || g.actions == "" || g.agreed && !g.accepted {
			return false
		}
		offline, asOf := g.offline, g.asOf
		for _, l := range g.chain() {
			if l.paused || !within(w.now, l.from, l.until) || l.what != on && !strings.HasPrefix(string(on), string(l.what)+"/") {
				return false
			}
			offline = min(offline, l.offline)
		}
		if w.known.Before(asOf) {
			asOf = w.known
		}
		return w.young(asOf, offline)
	})
}

// linkLets says whether one link allows what is asked, whoever asks.
func (w world) linkLets(g *given, a asked) bool {
	if g.what != a.on && !strings.HasPrefix(string(a.on), string(g.what)+"/") || g.affordance != "" && g.affordance != a.affordance {
		return false
	}
	if !within(w.now, g.from, g.until) || g.week != nil && !g.week.open(w.now, g.zone) {
		return false
	}
	if g.purpose != "" && g.purpose != a.purpose || g.home && a.way != AtHome {
		return false
	}
	if g.route == "direct" && a.way != Direct && a.way != AtHome || g.route == "gateway" && a.way == Relayed {
		return false
	}
	if g.uses != 0 && len(g.done) >= g.uses || g.budget != 0 && g.spent >= g.budget {
		return false
	}
	n, _ := g.recent(w.now)
	return g.often == 0 || n < g.often
}

func (w world) allowed(a asked) bool {
	if (a.by == "sam/phone" || a.by == "sam/laptop") && w.young(w.known, 7*24*time.Hour) {
		return true
	}
	return slices.ContainsFunc(w.grants, func(g *given) bool { return w.lets(g, a) })
}

func (w world) grant(id tree.GrantID) *given {
	return w.grants[slices.IndexFunc(w.grants, func(g *given) bool { return g.id == id })]
}
