package grant

import (
	"fmt"
	"iter"
	"math/bits"
	"slices"
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
// parents the members whose grants serve it, and the branches it is on, which have the IDs of the members they begin at;
// a thing has the places above it. The day, Monday 0, and the minute are those on the wall of the grant's zone: Cedar's
// own times know UTC alone, and no weekday. The way is a Way. What was used, and the seconds that it lasted, are left
// out where nobody counted, and the purpose where none is named.
const policySchema = `
entity Branch;
entity Member in [Member, Branch];
action read, write, invoke, observe appliesTo {
	principal: Member,
	resource: Member,
	context: {
		affordance: String, service: Bool, way: Long, purpose?: String,
		now: Long, day: Long, minute: Long,
		uses?: Long, recent?: Long, seconds?: Long,
	},
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

func branchUID(tree identity.TreeID, member identity.MemberID) cedar.EntityUID {
	return cedar.NewEntityUID("Branch", memberUID(tree, member).ID)
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
	subject := memberUID(t.Subject.Tree, t.Subject.Member)
	if t.Subject.Below {
		subject = branchUID(t.Subject.Tree, t.Subject.Member)
	}
	p := ast.Permit().
		PrincipalIn(subject).
		ActionInSet(may...).
		ResourceIn(memberUID(t.Tree, t.Thing.Member))
	for _, condition := range conditions(t) {
		p.When(condition)
	}
	return p
}

// conditions are what the terms ask of the context.
func conditions(t Terms) (all []ast.Node) {
	when := func(is bool, condition ast.Node) {
		if is {
			all = append(all, condition)
		}
	}
	is := ast.Context().Access
	when(t.Thing.Affordance != "", is("affordance").Equal(ast.String(t.Thing.Affordance)))
	when(t.Actions&See != 0 && len(t.Agreement.Clear) == 0, ast.Not(is("service").And(ast.Action().In(seeing))))
	when(t.From != 0, is("now").GreaterThanOrEqual(ast.Long(t.From)))
	when(t.Until != 0, is("now").LessThan(ast.Long(t.Until)))
	when(t.Purpose != "", stated("purpose", is("purpose").Equal(ast.String(t.Purpose))))
	when(t.Uses != 0, stated("uses", is("uses").LessThan(ast.Long(int64(t.Uses)))))
	when(t.Budget != 0, stated("seconds", is("seconds").LessThan(ast.Long(t.Budget))))
	when(t.Rate.Uses != 0, stated("recent", is("recent").LessThan(ast.Long(int64(t.Rate.Uses)))))
	when(t.Home, is("way").Equal(ast.Long(int64(AtHome))))
	when(t.Route != AnyRoute, is("way").GreaterThanOrEqual(ast.Long(int64(t.Route.nearest()))))
	if len(t.Windows) > 0 {
		open := windowNode(t.Windows[0])
		for _, w := range t.Windows[1:] {
			open = open.Or(windowNode(w))
		}
		all = append(all, open)
	}
	return all
}

var seeing = ast.Set(ast.Value(actionUID(Read)), ast.Value(actionUID(Observe)))

// stated is a condition on what the context need not have, and which then is not met.
func stated(attribute string, condition ast.Node) ast.Node {
	return ast.Context().Has(cedar.String(attribute)).And(condition)
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
func (r *rules) permits(q *query, now time.Time, used *Usage) (bool, error) {
	q.at(r.hours.wall(now))
	if used != nil {
		q.count(used)
	}
	if r.terms.Subject.Below {
		q.branch()
	}
	decision, diagnostic := cedar.Authorize(r, q, q.cedar)
	if len(diagnostic.Errors) > 0 {
		return false, fmt.Errorf("grant: evaluating %s: %s", r.terms.ID, diagnostic.Errors[0].Message)
	}
	return decision == cedar.Allow, nil
}

// A query is a request in Cedar's terms, and the entities that it names.
type query struct {
	cedar      cedar.Request
	context    cedar.RecordMap // what Context is made of
	chain      identity.Chain  // the caller's
	who, thing cedar.Entity
	branches   bool // the caller is said to be on its branches

	day     Days // of the context
	second  int
	counted bool // the context has what was used, under one grant
}

// at puts the time by the wall clock of a grant's zone into the context. Most grants of a home have the same zone.
func (q *query) at(day Days, second int) {
	if day == q.day && second == q.second && !q.counted {
		return
	}
	q.day, q.second = day, second
	q.context["day"] = cedar.Long(bits.TrailingZeros8(uint8(day)))
	q.context["minute"] = cedar.Long(second / 60)
	if q.counted {
		q.counted = false
		delete(q.context, "uses")
		delete(q.context, "recent")
		delete(q.context, "seconds")
	}
	q.cedar.Context = cedar.NewRecord(q.context)
}

// count puts what was used under a grant into the context.
func (q *query) count(used *Usage) {
	q.counted = true
	q.context["uses"] = cedar.Long(used.Uses)
	q.context["recent"] = cedar.Long(used.Recent)
	q.context["seconds"] = cedar.Long(used.Time / time.Second)
	q.cedar.Context = cedar.NewRecord(q.context)
}

// branch says which branches the caller is on, which few grants ask.
func (q *query) branch() {
	if q.branches {
		return
	}
	q.branches = true
	parents := slices.Collect(q.who.Parents.All())
	for _, link := range q.chain.Line {
		parents = append(parents, branchUID(q.chain.ID.Tree, link.Member))
	}
	q.who.Parents = cedar.NewEntityUIDSet(parents...)
}

// newQuery puts the request for a leaf, which groups' grants serve.
func (d *decider) newQuery(who identity.Chain, groups []identity.MemberID) *query {
	q := &query{chain: who, who: entity(who, groups), thing: entity(d.req.Thing, d.places)}
	q.cedar = cedar.Request{Principal: q.who.UID, Action: actionUID(d.req.Action), Resource: q.thing.UID}
	q.context = cedar.RecordMap{
		"affordance": cedar.String(d.req.Affordance),
		"service":    cedar.Boolean(d.who.Kind() == identity.Service),
		"way":        cedar.Long(d.facts.Way),
		"now":        cedar.Long(d.facts.Now.Unix()),
	}
	if d.req.Purpose != "" {
		q.context["purpose"] = cedar.String(d.req.Purpose)
	}
	return q
}

func entity(c identity.Chain, parents []identity.MemberID) cedar.Entity {
	prefix := c.ID.Tree.String() + "/" // as in memberUID
	uid := func(id identity.MemberID) cedar.EntityUID {
		return cedar.NewEntityUID("Member", cedar.String(prefix+id.String()))
	}
	var uids []cedar.EntityUID
	for _, id := range parents {
		if id != c.Member() {
			uids = append(uids, uid(id))
		}
	}
	return cedar.Entity{UID: uid(c.Member()), Parents: cedar.NewEntityUIDSet(uids...)}
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
