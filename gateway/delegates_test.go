package gateway_test

import (
	"errors"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

// says fails unless a gateway's answer is an error with a code.
func says(t *testing.T, what string, err error, code control.Code) {
	t.Helper()
	var e *control.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
	}
}

// Whoever may pass something on sees what they need for it and no more; and nobody has the gateway do for them what only
// another may.
func TestDelegatesAtTheGateway(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	h.Serve(h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0"), lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	tom := h.Invite(laptop, identity.Person, "sam/tom", "phone")
	eve := h.Invite(laptop, identity.Person, "sam/eve", "phone")
	ctx := t.Context()
	roster := func(n *kindred.Node) kindred.Roster {
		r, err := n.Roster(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use, Depth: 1})

	// Who is at a path, for those who may give something on, and not where; by ID nobody is found.
	if c, err := anna.Gateway().Resolve(ctx, control.Lookup{Path: "sam/tom"}); err != nil || len(c.Chain) == 0 || c.Address != nil {
		t.Errorf("anna finds tom as %+v, %v", c, err)
	}
	_, err := anna.Gateway().Resolve(ctx, control.Lookup{Member: tom.Self().Member().String()})
	says(t, "anna looks for tom by ID", err, control.NotFound)
	_, err = eve.Gateway().Resolve(ctx, control.Lookup{Path: "sam/tom"})
	says(t, "eve looks for tom", err, control.NotFound)
	_, err = anna.Gateway().Prove(ctx, control.ProofQuery{Member: tom.Self().Member().String()})
	says(t, "anna asks how tom stands", err, control.Refused)

	found := roster(anna)
	thing, ok := found.At("home/lock")
	if !ok {
		t.Fatal("anna does not see the lock")
	}
	c, err := anna.Resolve(ctx, "sam/tom")
	if err != nil {
		t.Fatal(err)
	}
	terms := grant.Terms{Subject: grant.Subject{Tree: c.ID.Tree, Member: c.Member()}, Actions: grant.See}
	terms.Thing.Member = thing.Who.Member()
	under := anna.Passable(found, terms, thing)
	if len(under) != 1 || len(eve.Passable(found, terms, thing)) != 0 {
		t.Fatalf("anna may pass it on under %d grants, eve under %d", len(under), len(eve.Passable(found, terms, thing)))
	}
	passed, err := anna.PassOn(ctx, under[0], terms)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.State(tom, "home/lock"); err != nil {
		t.Errorf("tom reads the lock: %v", err)
	}

	// Both ends of a chain see all of it, and others nothing.
	for name, test := range map[string]struct {
		node         *kindred.Node
		grants       int
		annas, apart bool // is anna seen, is eve
	}{"anna": {anna, 2, true, false}, "tom": {tom, 2, true, false}, "eve": {eve, 0, false, true}, "sam": {laptop, 2, true, true}} {
		r := roster(test.node)
		_, annas := r.At("sam/anna")
		_, apart := r.At("sam/eve")
		if len(r.Grants) != test.grants || annas != test.annas || apart != test.apart {
			t.Errorf("%s sees %d grants, anna %t, eve %t", name, len(r.Grants), annas, apart)
		}
	}

	// The gateway does for nobody what another signed, and takes back for nobody what another gave.
	all := roster(laptop)
	for _, g := range all.Grants {
		if g.Terms.ID == passed.ID {
			says(t, "eve hands in what anna signed", eve.Gateway().Grant(ctx, g.Raw), control.Refused)
			if _, err := eve.Revoke(ctx, all.Grant(g)); err == nil {
				t.Error("eve takes back what anna gave")
			}
			if _, err := tom.Revoke(ctx, all.Grant(g)); err == nil {
				t.Error("tom takes back what anna gave")
			}
			if _, err := h.State(tom, "home/lock"); err != nil {
				t.Errorf("tom reads the lock still: %v", err)
			}
			if _, err := anna.Revoke(ctx, all.Grant(g)); err != nil {
				t.Errorf("anna takes it back: %v", err)
			}
		}
	}
	if _, err := h.State(tom, "home/lock"); err == nil {
		t.Error("tom reads the lock after it was taken back")
	}
}
