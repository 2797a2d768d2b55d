package credential_test

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
)

var now = time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC)

// see is what a peer does with a hello: read it, verify its proof, find out who it is from.
func TestHello(t *testing.T) {
	h := credentialtest.New(t, now)
	h.Add(identity.Place, "home/porch")
	bell := h.Add(identity.Device, "home/porch/doorbell")
	hello, err := credential.ParseHello(h.Hello("home/porch/doorbell"))
	if err != nil {
		t.Fatal(err)
	}
	live, _, err := credential.VerifyProof(hello.Proofs[0], h.Trusted(), now)
	if err != nil {
		t.Fatal(err)
	}
	p, err := credential.Verify(hello.Chain, bell.Signer.Public(), live)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != bell.ID || p.Member() != bell.Member() || !p.AsOf.Equal(now) {
		t.Errorf("the doorbell is taken for %+v", p)
	}
}
