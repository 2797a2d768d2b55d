package compare

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"
	"github.com/cedar-policy/cedar-go"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/kindred-iot/kindred/grant"
)

// engines are the others, each given the rules of a home in the form that suits it best.
func engines(t testing.TB, h *home) []engine {
	return []engine{newOPA(t, h), newCasbin(t, h), newCedar(t, h)}
}

// opa is Open Policy Agent as a library, with a prepared query and the grants as data under whom they are for.
type opa struct {
	*home
	query rego.PreparedEvalQuery
}

const policy = `package kindred

default allow := false

allow if {
	some group in input.groups
	some g in data.grants[group]
	g.thing in input.places
	g.affordance == input.affordance
	input.action in g.actions
	input.now >= g.from
	input.now < g.until
	[hour, minute, _] := time.clock([input.now * 1000000000, g.zone])
	day := time.weekday([input.now * 1000000000, g.zone])
	some w in g.windows
	open(w, day, hour * 60 + minute)
}

open(w, day, minute) if {
	w.from < w.to
	day in w.days
	minute >= w.from
	minute < w.to
}

open(w, day, minute) if {
	w.from >= w.to
	day in w.days
	minute >= w.from
}

open(w, day, minute) if {
	w.from >= w.to
	day in w.after
	minute < w.to
}
`

func newOPA(t testing.TB, h *home) opa {
	data := map[string]any{}
	for _, terms := range h.terms {
		var windows []any
		for _, w := range terms.Windows {
			windows = append(windows, map[string]any{"days": dayNames(w.Days, 0), "after": dayNames(w.Days, 1), "from": int(w.From), "to": int(w.To)})
		}
		key := terms.Subject.Member.String()
		list, _ := data[key].([]any)
		data[key] = append(list, map[string]any{
			"thing": terms.Thing.Member.String(), "affordance": terms.Thing.Affordance, "actions": []any{"read", "observe"},
			"from": terms.From, "until": terms.Until, "zone": terms.Zone, "windows": windows,
		})
	}
	query, err := rego.New(rego.Query("data.kindred.allow"), rego.Module("kindred.rego", policy),
		rego.Store(inmem.NewFromObject(map[string]any{"grants": data}))).PrepareForEval(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return opa{h, query}
}

// dayNames names days, each so many days later.
func dayNames(days grant.Days, later int) (names []any) {
	for d := range 7 {
		if days.Has(time.Weekday(d)) {
			names = append(names, time.Weekday((d+later)%7).String())
		}
	}
	return names
}

func (opa) name() string { return "opa" }

func (o opa) allows(a ask) bool {
	results, err := o.query.Eval(context.Background(), rego.EvalInput(map[string]any{
		"groups": groups(a.who.Chain), "places": places(o.At(a.thing).Chain), "affordance": a.affordance,
		"action": a.action.String(), "now": a.at.Unix(),
	}))
	if err != nil {
		panic(err)
	}
	return results.Allowed()
}

// casbins is casbin with roles for whom a grant serves and what it is about, and a function for the hours, which are
// read beforehand.
type casbins struct {
	*home
	enforcer *casbin.Enforcer
}

const casbinModel = `
[request_definition]
r = sub, obj, affordance, act, now
[policy_definition]
p = sub, obj, affordance, acts, hours
[role_definition]
g = _, _
g2 = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = g(r.sub, p.sub) && g2(r.obj, p.obj) && r.affordance == p.affordance && does(p.acts, r.act) && during(p.hours, r.now)
`

func newCasbin(t testing.TB, h *home) casbins {
	m, err := model.NewModelFromString(casbinModel)
	if err != nil {
		t.Fatal(err)
	}
	e, err := casbin.NewEnforcer(m)
	if err != nil {
		t.Fatal(err)
	}
	hours := map[string]grant.Terms{}
	e.AddFunction("does", func(args ...any) (any, error) { return strings.Contains(args[0].(string), args[1].(string)), nil })
	e.AddFunction("during", func(args ...any) (any, error) {
		terms := hours[args[0].(string)]
		return during(terms, int64(args[1].(float64))), nil // numbers are all floats there
	})
	for _, terms := range h.terms {
		id := terms.ID.String()
		hours[id] = terms
		if _, err := e.AddPolicy(terms.Subject.Member.String(), terms.Thing.Member.String(), terms.Thing.Affordance, "read observe", id); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range h.principals {
		for _, group := range groups(p.Chain)[1:] {
			_, err = e.AddRoleForUser(p.Member().String(), group)
		}
	}
	thing := places(h.At("home/porch/lock").Chain)
	for _, place := range thing[:len(thing)-1] {
		_, err = e.AddNamedGroupingPolicy("g2", thing[len(thing)-1], place)
	}
	if err != nil {
		t.Fatal(err)
	}
	return casbins{h, e}
}

// berlin is zone.
var berlin = func() *time.Location {
	l, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	return l
}()

// wall returns the day and the minute by the clock on the wall.
func wall(unix int64) (time.Weekday, int) {
	local := time.Unix(unix, 0).In(berlin)
	return local.Weekday(), local.Hour()*60 + local.Minute()
}

// during reports whether it is within the time and the hours of terms.
func during(t grant.Terms, unix int64) bool {
	day, minute := wall(unix)
	open := false
	for _, w := range t.Windows {
		from, to := int(w.From), int(w.To)
		if from < to {
			open = open || w.Days.Has(day) && from <= minute && minute < to
		} else {
			open = open || w.Days.Has(day) && from <= minute || w.Days.Has((day+6)%7) && minute < to
		}
	}
	return t.From <= unix && unix < t.Until && open
}

func (casbins) name() string { return "casbin" }

func (c casbins) allows(a ask) bool {
	ok, err := c.enforcer.Enforce(a.who.Member().String(), c.At(a.thing).Member().String(), a.affordance, a.action.String(), a.at.Unix())
	if err != nil {
		panic(err)
	}
	return ok
}

// cedars is Cedar with all grants as one set of policies.
type cedars struct {
	*home
	set      *cedar.PolicySet
	entities cedar.EntityMap
}

func newCedar(t testing.TB, h *home) cedars {
	var text strings.Builder
	for _, terms := range h.terms {
		fmt.Fprintf(&text, "permit (principal in Member::%q, action in [Action::\"read\", Action::\"observe\"], resource in Member::%q)\n",
			terms.Subject.Member, terms.Thing.Member)
		fmt.Fprintf(&text, "when { context.affordance == %q } when { context.now >= %d } when { context.now < %d }\nwhen { false", terms.Thing.Affordance, terms.From, terms.Until)
		for _, w := range terms.Windows {
			if w.From < w.To {
				fmt.Fprintf(&text, " || %s.contains(context.day) && context.minute >= %d && context.minute < %d", numbers(w.Days, 0), w.From, w.To)
			} else {
				fmt.Fprintf(&text, " || %s.contains(context.day) && context.minute >= %d || %s.contains(context.day) && context.minute < %d",
					numbers(w.Days, 0), w.From, numbers(w.Days, 1), w.To)
			}
		}
		text.WriteString(" };\n")
	}
	set, err := cedar.NewPolicySetFromBytes("grants.cedar", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	c := cedars{h, set, cedar.EntityMap{}}
	for _, p := range h.principals {
		c.add(groups(p.Chain))
	}
	thing := places(h.At("home/porch/lock").Chain)
	c.add(append(thing[len(thing)-1:], thing[:len(thing)-1]...))
	return c
}

// add makes an entity, which all others are parents of.
func (c cedars) add(ids []string) {
	var parents []cedar.EntityUID
	for _, id := range ids[1:] {
		parents = append(parents, uid(id))
	}
	c.entities[uid(ids[0])] = cedar.Entity{UID: uid(ids[0]), Parents: cedar.NewEntityUIDSet(parents...)}
}

func uid(id string) cedar.EntityUID { return cedar.NewEntityUID("Member", cedar.String(id)) }

// numbers lists days, Sunday 0, each so many days later.
func numbers(days grant.Days, later int) string {
	var all []string
	for d := range 7 {
		if days.Has(time.Weekday(d)) {
			all = append(all, fmt.Sprint((d+later)%7))
		}
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func (cedars) name() string { return "cedar" }

func (c cedars) allows(a ask) bool {
	day, minute := wall(a.at.Unix())
	decision, _ := cedar.Authorize(c.set, c.entities, cedar.Request{
		Principal: uid(a.who.Member().String()), Action: cedar.NewEntityUID("Action", cedar.String(a.action.String())),
		Resource: uid(c.At(a.thing).Member().String()),
		Context: cedar.NewRecord(cedar.RecordMap{
			"affordance": cedar.String(a.affordance), "now": cedar.Long(a.at.Unix()), "day": cedar.Long(day), "minute": cedar.Long(minute),
		}),
	})
	return decision == cedar.Allow
}
