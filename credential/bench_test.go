package credential_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// crowd is how many other trees the ledger of the benchmarks has records of.
const crowd = 100_000

// threeDown is a home of so many devices, on an embedded ledger beside a crowd, and the hello of one three levels
// down: in full, as a stranger needs it, or without the charter, as a member of the home does.
func threeDown(b testing.TB, devices int, short bool) (*credentialtest.Home, []byte) {
	b.Helper()
	h := credentialtest.NewOn(b, now, credentialtest.NewCrowdedLedger(b, 1, crowd))
	h.Add(identity.Place, "home/porch")
	h.Add(identity.Device, "home/porch/doorbell")
	var u tree.Update
	for i := range devices {
		m := h.Tree.Add(identity.Device, identity.Path(fmt.Sprintf("home/d%d", i)))
		u.Members = append(u.Members, tree.Admission{Chain: m.Chain})
	}
	h.Apply(u)
	hello, err := credential.ParseHello(h.Hello("home/porch/doorbell"))
	if err != nil {
		b.Fatal(err)
	}
	if short {
		hello = hello.Short()
	}
	raw, err := hello.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	return h, raw
}

// The hello of a device three levels down is 4 KiB at most, for a member of the home.
func TestHelloSize(t *testing.T) {
	h, raw := threeDown(t, 100, true)
	if len(raw) > 4<<10 {
		t.Errorf("%d bytes, want at most %d, in a home of %d devices", len(raw), 4<<10, 100)
	}
	hello, err := credential.ParseHello(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := credential.VerifyProof(hello.Proofs[0], h.Trusted(), now); err != nil {
		t.Error(err)
	}
}

// Cold: by somebody who has the charter and never saw the device, its head or its block. Warm: who trusts that head
// and that block already.
func BenchmarkHello(b *testing.B) {
	for _, bench := range []struct {
		name    string
		devices int
		short   bool
		warm    bool
	}{
		{"cold/short", 100, true, false},
		{"cold/full", 100, false, false},
		{"warm/short", 100, true, true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			h, raw := threeDown(b, bench.devices, bench.short)
			key := h.At("home/porch/doorbell").Signer.Public()
			v := verifier{h.Trusted()}
			if bench.warm {
				if _, err := v.see(h.Prove(nil), now); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				hello, err := credential.ParseHello(raw)
				if err != nil {
					b.Fatal(err)
				}
				live, _, err := credential.VerifyProof(hello.Proofs[0], v.trusted, now)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := credential.Verify(hello.Chain, key, live); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(raw)), "bytes")
		})
	}
}

// A verifier that learned of a newer block judges a session again.
func BenchmarkRenew(b *testing.B) {
	h, _ := threeDown(b, 100, true)
	bell := h.At("home/porch/doorbell")
	v := verifier{h.Trusted()}
	p, err := v.meet(bell, h.Prove(nil, bell), now)
	if err != nil {
		b.Fatal(err)
	}
	live := h.Live(now, nil, bell)
	h.Block(now.Add(time.Minute))
	if _, err := v.see(h.Prove(nil), h.Clock); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		renewed, err := live.Renew(v.trusted, h.Clock)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Renew(renewed); err != nil {
			b.Fatal(err)
		}
	}
}
