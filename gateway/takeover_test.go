package gateway_test

import (
	"crypto"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/pairing"
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

// Whoever is invited certifies their own first app, and could give it the ID of the owner's.
func TestNobodyJoinsInAnothersPlace(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	sam, err := laptop.Authority()
	if err != nil {
		t.Fatal(err)
	}
	mallory := identitytest.NewKey(t)
	issue := func(a *identity.Authority, kind identity.Kind, name string, id identity.MemberID, key crypto.PublicKey) identity.Chain {
		t.Helper()
		chain, err := a.Issue(identity.Subject{
			Kind: kind, Member: id, Name: name, Key: key, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour * 48),
		})
		if err != nil {
			t.Fatal(err)
		}
		c, err := identity.Verify(chain, laptop.Self().ID.Tree, laptop.Charter().RootCertificate(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	newID := func() identity.MemberID {
		id, err := identity.NewMemberID(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	person := issue(sam, identity.Person, "mallory", newID(), mallory.Public())
	own, err := identity.NewAuthority(person, mallory)
	if err != nil {
		t.Fatal(err)
	}
	entrance := pairing.Entrance{By: laptop.Self().Member(), Member: person}
	entrance.App = issue(own, identity.App, "phone", laptop.Self().Member(), identitytest.NewKey(t).Public())
	if err := h.Gateway.Admit(t.Context(), entrance); !errors.Is(err, pairing.ErrRefused) {
		t.Errorf("somebody joined as the owner's app: %v", err)
	}
	if _, err := laptop.Gateway().Roster(t.Context()); err != nil {
		t.Errorf("the owner is locked out: %v", err)
	}
	entrance.App = issue(own, identity.App, "phone", newID(), identitytest.NewKey(t).Public())
	for _, what := range []string{"joining", "joining again, after a crash"} {
		if err := h.Gateway.Admit(t.Context(), entrance); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
