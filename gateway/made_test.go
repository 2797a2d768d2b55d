package gateway_test

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
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
