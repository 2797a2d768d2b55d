package grant

import (
	"fmt"
	"testing"

	"github.com/kindred-iot/kindred/identity"
)

// crowd returns a household with 1,000 grants, three of them for anna.
func crowd(b *testing.B) (household, []Grant) {
	h := newHousehold(b)
	var grants []Grant
	for i := range 997 {
		terms := h.full()
		terms.Subject.Member = identity.MemberID{byte(i), byte(i >> 8), 1}
		grants = append(grants, stands(terms, now))
	}
	for _, what := range []identity.Path{"home/porch", "home/lock", "home"} {
		terms := h.full()
		terms.Thing.Member = h.At(what).Member()
		grants = append(grants, stands(terms, now))
	}
	return h, grants
}

func BenchmarkDecide(b *testing.B) {
	h, grants := crowd(b)
	var index Index
	for _, g := range grants {
		index.Set(g)
	}
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
	anna, sam := h.principal("sam/anna/phone", now), h.principal("sam/phone", now)
	b.Run("owner", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mustDecide(b, req, sam, index.For(sam.Chain), fresh(now))
		}
	})
	b.Run("guest-indexed-1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if d := mustDecide(b, req, anna, index.For(anna.Chain), fresh(now)); !d.Allowed {
				b.Fatal(d.Reason)
			}
		}
	})
	b.Run("guest-scanned-1000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if d := mustDecide(b, req, anna, grants, fresh(now)); !d.Allowed {
				b.Fatal(d.Reason)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	h := newHousehold(b)
	raw := h.sign(b, "sam/laptop", h.full())
	b.ReportMetric(float64(len(raw)), "bytes")
	for b.Loop() {
		o, err := Open(raw, h.verify)
		if err != nil {
			b.Fatal(err)
		}
		if err := o.rules.compile(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	h := newHousehold(b)
	for _, windows := range []int{1, MaxWindows} {
		terms := h.full()
		for len(terms.Windows) < windows {
			terms.Windows = append(terms.Windows, terms.Windows[0])
		}
		terms.Windows = terms.Windows[:windows]
		b.Run(fmt.Sprintf("windows-%d", windows), func(b *testing.B) {
			for b.Loop() {
				if err := (&rules{terms: terms}).compile(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
