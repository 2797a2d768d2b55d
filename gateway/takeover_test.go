package gateway_test

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
)

// A guest makes a tool that has the ID of somebody else's app, and asks the home to let it in: that would take the owner's
// own phone off the tree.
func TestNoToolTakesAnothersPlace(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	a, err := anna.Authority()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	chain, err := a.Issue(identity.Subject{
		Kind: identity.App, Tool: true, Member: laptop.Self().Member(), Name: "tools", Key: identitytest.NewKey(t).Public(),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := anna.Gateway().AdmitTool(t.Context(), control.Tool{Chain: chain}); err == nil {
		t.Error("a guest's tool was let in as the owner's app")
	}
	if _, err := laptop.Gateway().Roster(t.Context()); err != nil {
		t.Errorf("the owner is locked out: %v", err)
	}
}
