package compare

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/grant"
)

// An engine answers whether somebody may do something now.
type engine interface {
	name() string
	allows(a ask) bool
}

// Whatever is asked, all engines give the same answer: what is measured beside each other is the same.
func TestSameAnswers(t *testing.T) {
	h := newHome(t, 40)
	all := engines(t, h)
	ours := kindred{h}
	allowed, denied := 0, 0
	for hours := range 24 * 7 {
		for _, who := range []string{"sam/anna/phone", "carl/phone"} {
			for _, affordance := range []string{"state", "battery"} {
				a := ask{h.principals[who], "home/porch/lock", affordance, []grant.Action{grant.Read, grant.Invoke}[hours%2], now.Add(time.Duration(hours)*time.Hour + 17*time.Minute)}
				want := ours.allows(a)
				if want {
					allowed++
				} else {
					denied++
				}
				for _, e := range all {
					if got := e.allows(a); got != want {
						t.Fatalf("%s: %s asks to %s %s at %s: %t, Kindred %t", e.name(), who, a.action, affordance, a.at, got, want)
					}
				}
			}
		}
	}
	if allowed < 20 || denied < 20 {
		t.Errorf("%d allowed, %d denied: too few to tell anything", allowed, denied)
	}
}

// Each engine and Kindred in turn. The ratio is how many times longer the engine takes, by the medians.
func BenchmarkAgainst(b *testing.B) {
	for _, grants := range []int{10, 1000} {
		h := newHome(b, grants)
		ours := kindred{h}
		a := ask{h.principals["sam/anna/phone"], "home/porch/lock", "state", grant.Read, now}
		for _, e := range engines(b, h) {
			b.Run(fmt.Sprintf("%s/grants-%d", e.name(), grants), func(b *testing.B) {
				if !ours.allows(a) || !e.allows(a) {
					b.Fatal("it is not allowed")
				}
				var own, others []time.Duration
				for b.Loop() {
					start := time.Now()
					ours.allows(a)
					between := time.Now()
					e.allows(a)
					own, others = append(own, between.Sub(start)), append(others, time.Since(between))
				}
				mine, its := median(own), median(others)
				b.ReportMetric(float64(mine), "kindred-ns")
				b.ReportMetric(float64(its), "its-ns")
				b.ReportMetric(float64(its)/float64(mine), "ratio")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
