package grant

import (
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/ast"
)

// The policy that terms are, in Cedar's own words.
func TestPolicy(t *testing.T) {
	h := newHousehold(t)
	terms := h.usual()
	terms.From, terms.Until = 1000, 2000
	terms.Windows[1] = Window{1 << 6, 22 * 60, 6 * 60}
	terms.Subject.Below = true
	terms.Purpose, terms.Home, terms.Route = "heating-advice", true, GatewayRoute
	terms.Uses, terms.Budget, terms.Rate = 5, 600, Rate{2, 3600}
	uid := func(path string) string { return h.ID.String() + "/" + path }
	want := `permit (
    principal in Branch::"` + uid(terms.Subject.Member.String()) + `",
    action in [Action::"read", Action::"observe"],
    resource in Member::"` + uid(terms.Thing.Member.String()) + `"
)
when { context.affordance == "state" }
when { !(context.service && action in [Action::"read", Action::"observe"]) }
when { context.now >= 1000 }
when { context.now < 2000 }
when { context has purpose && context.purpose == "heating-advice" }
when { context has uses && context.uses < 5 }
when { context has seconds && context.seconds < 600 }
when { context has recent && context.recent < 2 }
when { context.way == 3 }
when { context.way >= 1 }
when { [5].contains(context.day) && context.minute >= 840 && context.minute < 960 || ([6].contains(context.day) && context.minute >= 1320 || [0].contains(context.day) && context.minute < 360) };`
	got := string(cedar.NewPolicyFromAST(policyOf(terms)).MarshalCedar())
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if p := cedar.NewPolicyFromAST(policyOf(terms)); p.Effect() != cedar.Permit {
		t.Error("not a permit")
	}
}

// Names are data: even one that Validate would refuse cannot become policy.
func TestPolicyInjection(t *testing.T) {
	h := newHousehold(t)
	terms := h.terms("sam/anna", "home/lock")
	terms.Thing.Affordance = `x" || true || "`
	text := string(cedar.NewPolicyFromAST(policyOf(terms)).MarshalCedar())
	if !strings.Contains(text, `context.affordance == "x\" || true || \""`) {
		t.Errorf("%s", text)
	}
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
	if d := mustDecide(t, req, h.principal("sam/anna/phone", now), []Grant{stands(terms, now)}, fresh(now)); d.Allowed {
		t.Error("a name was taken for policy")
	}
}

// A policy that fails, or that says other than the terms, denies with an error that tells which.
func TestPolicyFails(t *testing.T) {
	h := newHousehold(t)
	terms := h.terms("sam/anna", "home/lock")
	terms.Actions = Actions(Read)
	for _, test := range []struct {
		name   string
		policy *ast.Policy
		action Action
		want   string
	}{
		{"fails", ast.Permit().When(ast.Context().Access("missing")), Read, "the attribute `missing`"},
		{"permits too much", ast.Permit(), Invoke, "its policy says true"},
		{"permits too little", ast.Permit().When(ast.False()), Read, "its policy says false"},
	} {
		r := &rules{terms: terms, hours: hours{zone: time.UTC}, policy: cedar.NewPolicyFromAST(test.policy)}
		r.once.Do(func() {}) // compiled already
		req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: test.action}
		d, err := Decide(req, h.principal("sam/anna/phone", now), []Grant{{rules: r, asOf: now}}, fresh(now))
		if err == nil || !strings.Contains(err.Error(), test.want) || d.Allowed || d.Reason.Code != Failed {
			t.Errorf("%s: %+v, error %v, want one with %q", test.name, d, err, test.want)
		}
	}
}
