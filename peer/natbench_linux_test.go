package peer_test

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab"
	"github.com/kindred-iot/kindred/netlab/netlabtest"
)

// BenchmarkCones measures, between two homes behind NATs through which holes can be punched, how soon the first byte comes
// through the relay, and how long after the relayed connection there is a direct one.
func BenchmarkCones(b *testing.B) {
	var first, direct time.Duration
	rounds := 0
	for b.Loop() {
		p := newPair(b, netlab.Cone, netlab.Cone, 1)
		n := p.firstThrough(b)
		way := p.phone.wayTo(p.meter, "a direct way", isDirect)
		first, direct = first+n.Took, direct+way.Since.Sub(n.Path.Since)
		rounds++
	}
	b.ReportMetric(float64((first/time.Duration(rounds)).Microseconds())/1000, "ms/first")
	b.ReportMetric(float64((direct/time.Duration(rounds)).Microseconds())/1000, "ms/direct")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAddressChange measures how soon it is noticed that the address of a router has changed, and how soon a request
// is answered that was made then: of both ends, the slower.
func BenchmarkAddressChange(b *testing.B) {
	var noticed, healed time.Duration
	for b.Loop() {
		for _, home := range []func(*pair) *netlabtest.Home{
			func(p *pair) *netlabtest.Home { return &p.birch },
			func(p *pair) *netlabtest.Home { return &p.hotel },
		} {
			p := newPair(b, netlab.Cone, netlab.Cone, 1)
			p.firstThrough(b)
			p.phone.wayTo(p.meter, "a direct way", isDirect)
			p.watch(b)
			n, h := p.moves(b, home(p))
			noticed, healed = max(noticed, n), max(healed, h)
		}
	}
	b.ReportMetric(noticed.Seconds(), "s/noticed")
	b.ReportMetric(healed.Seconds(), "s/healed")
	b.ReportMetric(0, "ns/op")
}
