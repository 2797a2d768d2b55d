package gateway_test

import (
	"math"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// TestNobodyHasBlocksMadeWithoutEnd has a guest ask again and again for a proof that is younger than any.
func TestNobodyHasBlocksMadeWithoutEnd(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	height := func(q control.ProofQuery, as control.Client) uint64 {
		t.Helper()
		e, err := as.Prove(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		p, err := credential.ParseProof(e.Proof)
		if err != nil {
			t.Fatal(err)
		}
		return p.Block.Height
	}
	began := time.Now()
	first := height(control.ProofQuery{}, anna.Gateway())
	for range 200 {
		height(control.ProofQuery{MaxAge: 1}, anna.Gateway())
	}
	most := uint64(time.Since(began)/time.Second) + 20 // as many seconds, and what comes of itself
	if made := height(control.ProofQuery{}, anna.Gateway()) - first; made > most {
		t.Errorf("a guest had %d blocks made, of at most %d", made, most)
	}
}

// A device that turned bad asks for younger proofs than its owner had it ask for: it has no more blocks made than others.
func TestDevicesHaveNoBlocksMadeWithoutEnd(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	lock := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0").Self()
	if got := h.Gateway.AsksFor(lock); got != tree.DefaultFresh {
		t.Errorf("a lock asks for a proof of %s, want %s", got, tree.DefaultFresh)
	}
	if got := h.Gateway.AsksFor(laptop.Self()); got != math.MaxInt64 {
		t.Errorf("a laptop asks for a proof of %s", got)
	}
	made := 0
	for h.Gateway.Young(lock, 1) != 0 {
		if made++; made > 1000 {
			t.Fatal("a lock has blocks made without end")
		}
	}
	limits := []tree.Limit{{Fresh: 60}, {Affordance: "unlock", Fresh: 2}}
	if err := laptop.SetLimits(t.Context(), lock.Member(), limits); err != nil {
		t.Fatal(err)
	}
	if got := h.Gateway.AsksFor(lock); got != 2*time.Second {
		t.Errorf("a lock that is to ask for 2 s asks for %s", got)
	}
}
