package credential_test

import (
	"testing"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
)

// crowd is how many other trees the ledger of the benchmarks has records of.
const crowd = 100_000

// A device three levels down shows its hello to a member of its home that has the charter and never saw the device,
// its head or its block.
func BenchmarkHelloCold(b *testing.B) {
	h := credentialtest.NewOn(b, now, credentialtest.NewCrowdedLedger(b, 1, crowd))
	h.Add(identity.Place, "home/porch")
	bell := h.Add(identity.Device, "home/porch/doorbell")
	raw := h.Hello("home/porch/doorbell")
	trusted := h.Trusted()
	key := bell.Signer.Public()
	b.ReportAllocs()
	for b.Loop() {
		hello, err := credential.ParseHello(raw)
		if err != nil {
			b.Fatal(err)
		}
		live, _, err := credential.VerifyProof(hello.Proofs[0], trusted, now)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := credential.Verify(hello.Chain, key, live); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(raw)), "bytes")
}
