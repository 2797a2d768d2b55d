package grant

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// crowd returns a household with so many grants, three of them for anna.
func crowd(b *testing.B, n int) (household, []Grant) {
	h := newHousehold(b)
	var grants []Grant
	for i := range n - 3 {
		terms := h.usual()
		terms.Subject.Member = identity.MemberID{byte(i), byte(i >> 8), byte(i >> 16), 1}
		grants = append(grants, stands(terms, now))
	}
	for _, what := range []identity.Path{"home/porch", "home/lock", "home"} {
		terms := h.usual()
		terms.Thing.Member = h.At(what).Member()
		grants = append(grants, stands(terms, now))
	}
	return h, grants
}

func BenchmarkDecide(b *testing.B) {
	h, grants := crowd(b, 1000)
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
	anna, sam := h.principal("sam/anna/phone", now), h.principal("sam/phone", now)
	b.Run("owner", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mustDecide(b, req, sam, nil, fresh(now))
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

// One guest's requests, one by one, in a home with so many grants in all.
func BenchmarkDecideAmong(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		h, grants := crowd(b, n)
		var index Index
		for _, g := range grants {
			index.Set(g)
		}
		req := Request{Thing: h.At("home/lock").Chain, Affordance: "state", Action: Read}
		anna := h.principal("sam/anna/phone", now)
		b.Run(fmt.Sprintf("grants-%d", n), func(b *testing.B) {
			b.ReportAllocs()
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				if d := mustDecide(b, req, anna, index.For(anna.Chain), fresh(now)); !d.Allowed {
					b.Fatal(d.Reason)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2]), "ns/p50")
			b.ReportMetric(float64(took[len(took)*99/100]), "ns/p99")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	h := newHousehold(b)
	raw := h.sign(b, "sam/laptop", h.usual())
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
		terms := h.usual()
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
