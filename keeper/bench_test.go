package keeper

import (
	"testing"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// BenchmarkGrant is from a signed grant to its acknowledgement: checked and on disk.
func BenchmarkGrant(b *testing.B) {
	h := newHome(b)
	raws := make([][]byte, b.N)
	for i := range raws {
		_, raws[i] = h.sign()
	}
	b.ResetTimer()
	for _, raw := range raws {
		if _, _, err := h.Grant(b.Context(), h.laptop(), raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGrantAndProve is from a signed grant to a proof that it is live: on the ledger.
func BenchmarkGrantAndProve(b *testing.B) {
	h := newHome(b)
	raws, ids := make([][]byte, b.N), make([]tree.GrantID, b.N)
	for i := range raws {
		ids[i], raws[i] = h.sign()
	}
	phone := []identity.MemberID{h.member("sam/anna/phone")}
	b.ResetTimer()
	for i, raw := range raws {
		if _, _, err := h.Grant(b.Context(), h.laptop(), raw); err != nil {
			b.Fatal(err)
		}
		h.proof(phone, ids[i])
	}
}

// BenchmarkRevoke is from a verified revocation to its acknowledgement, with so many grants in the roster.
func BenchmarkRevoke(b *testing.B) {
	h := newHome(b)
	pending := make([]credential.Pending, b.N)
	for i := range pending {
		pending[i] = h.revokeGrant(h.share())
	}
	b.ResetTimer()
	for _, p := range pending {
		if already, err := h.Revoke(b.Context(), p); already || err != nil {
			b.Fatal(already, err)
		}
	}
}

// BenchmarkProve is a proof of an app and a grant, with nothing to wait for.
func BenchmarkProve(b *testing.B) {
	h := newHome(b)
	id := h.share()
	phone := []identity.MemberID{h.member("sam/anna/phone")}
	grants := []tree.GrantID{id}
	h.proof(phone, id)
	b.ReportAllocs()
	for b.Loop() {
		h.proof(phone, grants...)
	}
}

// BenchmarkOpen is a start with a thousand grants.
func BenchmarkOpen(b *testing.B) {
	h := newHome(b)
	for range 1000 {
		h.share()
	}
	h.proof(nil)
	h.stopRun()
	for b.Loop() {
		h.open()
	}
}
