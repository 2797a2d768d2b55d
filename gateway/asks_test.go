package gateway_test

import (
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

// TestNobodyCrowdsOutWhoAsks has a guest ask, and take that back, without end: others can ask still.
func TestNobodyCrowdsOutWhoAsks(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	ben := h.Invite(laptop, identity.Person, "sam/ben", "phone")
	ask := func(n *kindred.Node) (grant.Ask, error) {
		return n.Ask(t.Context(), grant.Ask{Path: "home/lock", Terms: grant.Terms{Actions: grant.See}})
	}
	asked := 0
	for range 300 { // as many as there may be of all are fewer
		a, err := ask(anna)
		if err != nil {
			if code2(err) != control.Unavailable {
				t.Fatal(err)
			}
			break
		}
		asked++
		if err := anna.TurnDown(t.Context(), kindred.Ask{Ask: a}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if asked < 8 {
		t.Errorf("it may ask %d times", asked)
	}
	if _, err := ask(ben); err != nil {
		t.Errorf("after %d of anna's, ben is told %v", asked, err)
	}
}
