package grant

import (
	"fmt"
	"iter"
	"math/bits"
	"sync"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/ast"
	expast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// policySchema is what policies may speak of (docs.cedarpolicy.com/schema). A member's ID is TREE/MEMBER. A leaf has as
// parents the members whose grants serve it, a thing the places above it. The day, Monday 0, and the minute are those
// on the wall of the grant's zone: Cedar's own times know UTC alone, and no weekday.
const policySchema = `
entity Member in [Member];
action read, write, invoke, observe appliesTo {
	principal: Member,
	resource: Member,
	context: { affordance: String, now: Long, day: Long, minute: Long },
};
`

var validator = sync.OnceValues(func() (*validate.Validator, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(policySchema)); err != nil {
		return nil, fmt.Errorf("grant: reading the schema: %w", err)
	}
	resolved, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("grant: reading the schema: %w", err)
	}
	return validate.New(resolved), nil
})

func memberUID(tree identity.TreeID, member identity.MemberID) cedar.EntityUID {
	return cedar.NewEntityUID("Member", cedar.String(tree.String()+"/"+member.String()))
}

func actionUID(a Action) cedar.EntityUID {
	return cedar.NewEntityUID("Action", cedar.String(a.String()))
}

// policyOf returns the one permit that terms are. It is built as a tree, never as text, so that no name in them can be
// taken for policy.
func policyOf(t Terms) *ast.Policy {
	var may []cedar.EntityUID
	for _, a := range actions {
		if t.Actions.Has(a) {
			may = append(may, actionUID(a))
		}
	}
	p := ast.Permit().
		PrincipalIn(memberUID(t.Subject.Tree, t.Subject.Member)).
		ActionInSet(may...).
		ResourceIn(memberUID(t.Tree, t.Thing.Member))
	context := ast.Context()
	if t.Thing.Affordance != "" {
		p.When(context.Access("affordance").Equal(ast.String(t.Thing.Affordance)))
	}
	if t.From != 0 {
		p.When(context.Access("now").GreaterThanOrEqual(ast.Long(t.From)))
	}
	if t.Until != 0 {
		p.When(context.Access("now").LessThan(ast.Long(t.Until)))
	}
	if len(t.Windows) > 0 {
		open := windowNode(t.Windows[0])
		for _, w := range t.Windows[1:] {
			open = open.Or(windowNode(w))
		}
		p.When(open)
	}
	return p
}

// windowNode is the condition that a window is open.
func windowNode(w Window) ast.Node {
	minute := ast.Context().Access("minute")
	started := dayNode(w.Days).And(minute.GreaterThanOrEqual(ast.Long(int(w.From))))
	before := minute.LessThan(ast.Long(int(w.To)))
	if !w.overnight() {
		return started.And(before)
	}
	return started.Or(dayNode(w.Days.after()).And(before))
}

func dayNode(days Days) ast.Node {
	var set []ast.Node
	for i := range dayNames {
		if days&(1<<i) != 0 {
			set = append(set, ast.Long(i))
		}
	}
	return ast.Set(set...).Contains(ast.Context().Access("day"))
}

// rules are terms and what is made of them once they are first asked.
type rules struct {
	terms     Terms
	statement signed.Digest

	once   sync.Once
	policy *cedar.Policy
	hours  hours
	err    error
}

func (r *rules) compile() error {
	r.once.Do(func() {
		if r.hours, r.err = hoursOf(r.terms); r.err != nil {
			return
		}
		v, err := validator()
		if err != nil {
			r.err = err
			return
		}
		p := policyOf(r.terms)
		if err := v.Policy(r.terms.ID.String(), (*expast.Policy)(p)); err != nil {
			r.err = fmt.Errorf("grant: compiling %s: %w", r.terms.ID, err)
			return
		}
		r.policy = cedar.NewPolicyFromAST(p)
	})
	return r.err
}

func hoursOf(t Terms) (hours, error) {
	h := hours{windows: t.Windows, zone: time.UTC}
	if t.Zone == "" {
		return h, nil
	}
	var err error
	h.zone, err = loadZone(t.Zone)
	return h, err
}

// All makes rules a set of policies with one policy in it.
func (r *rules) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) { yield("", r.policy) }
}

// permits asks the policy. Whatever goes wrong is an error, and so denies.
func (r *rules) permits(q *query, now time.Time) (bool, error) {
	q.at(r.hours.wall(now))
	decision, diagnostic := cedar.Authorize(r, q, q.cedar)
	if len(diagnostic.Errors) > 0 {
		return false, fmt.Errorf("grant: evaluating %s: %s", r.terms.ID, diagnostic.Errors[0].Message)
	}
	return decision == cedar.Allow, nil
}

// A query is a request in Cedar's terms, and the entities that it names.
type query struct {
	cedar      cedar.Request
	affordance cedar.String
	now        cedar.Long
	who, thing cedar.Entity

	day    Days // of the context
	second int
}

// at puts the time by the wall clock of a grant's zone into the context. Most grants of a home have the same zone.
func (q *query) at(day Days, second int) {
	if day == q.day && second == q.second {
		return
	}
	q.day, q.second = day, second
	q.cedar.Context = cedar.NewRecord(cedar.RecordMap{
		"affordance": q.affordance,
		"now":        q.now,
		"day":        cedar.Long(bits.TrailingZeros8(uint8(day))),
		"minute":     cedar.Long(second / 60),
	})
}

func (d *decider) newQuery() *query {
	q := &query{
		affordance: cedar.String(d.req.Affordance),
		now:        cedar.Long(d.facts.Now.Unix()),
		who:        entity(d.who.Chain, d.groups),
		thing:      entity(d.req.Thing, d.places),
	}
	q.cedar = cedar.Request{Principal: q.who.UID, Action: actionUID(d.req.Action), Resource: q.thing.UID}
	return q
}

func entity(c identity.Chain, parents []identity.MemberID) cedar.Entity {
	var uids []cedar.EntityUID
	for _, id := range parents {
		if id != c.Member() {
			uids = append(uids, memberUID(c.ID.Tree, id))
		}
	}
	return cedar.Entity{UID: memberUID(c.ID.Tree, c.Member()), Parents: cedar.NewEntityUIDSet(uids...)}
}

// Get returns the caller or the thing. All other members are only names.
func (q *query) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch uid {
	case q.who.UID:
		return q.who, true
	case q.thing.UID:
		return q.thing, true
	}
	return cedar.Entity{}, false
}
