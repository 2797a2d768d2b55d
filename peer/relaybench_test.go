package peer

import (
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// relayed makes a meter that serves a film and a phone, with a relay between them that holds nobody back.
func relayedPair(b *testing.B) (relay, meter, phone *member) {
	p := newPlace(b)
	quiet := func(c *Config) { c.Log = nil }
	relay = p.join("relay", nil, quiet, func(c *Config) { c.Relay = &RelayLimits{HolderRate: 1 << 40} })
	meter, phone = p.join("meter", film(64<<20), quiet), p.join("phone", nil, quiet)
	if err := meter.reserve(relay); err != nil {
		b.Fatal(err)
	}
	return relay, meter, phone
}

// BenchmarkRelayBulk compares a download through a relay with one over QUIC without, taking turns, all on one machine:
// the relay, too, has its share of the processor.
func BenchmarkRelayBulk(b *testing.B) {
	relay, meter, phone := relayedPair(b)
	direct := phone.client(func(g *Target) { g.Addresses = meter.Addresses()[:1] }, meter)
	between := phone.client(through(relay), meter)
	rate := func(c *http.Client) float64 {
		if err := phone.Disconnect(meter.public()); err != nil {
			b.Fatal(err)
		}
		c.CloseIdleConnections()
		resp, err := c.Get("kindred://meter/")
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		start := time.Now()
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil {
			b.Fatal(err)
		}
		return float64(n) / 1e6 / time.Since(start).Seconds()
	}
	var with, without float64
	rounds := 0.0
	for b.Loop() {
		without += rate(direct)
		with += rate(between)
		rounds++
	}
	b.ReportMetric(with/rounds, "relayed-MB/s")
	b.ReportMetric(without/rounds, "direct-MB/s")
	b.ReportMetric(with/without, "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRelayFirst measures the first byte of an answer through a relay with which neither end's caller is connected
// yet, hellos and all.
func BenchmarkRelayFirst(b *testing.B) {
	relay, meter, phone := relayedPair(b)
	c := phone.client(through(relay), meter)
	var took []time.Duration
	for b.Loop() {
		for _, other := range []*member{meter, relay} {
			if err := phone.Disconnect(other.public()); err != nil {
				b.Fatal(err)
			}
		}
		c.CloseIdleConnections()
		for connected := true; connected; _, connected = relay.Path(phone.public()) {
			runtime.Gosched()
		}
		start := time.Now()
		resp, err := c.Get("kindred://meter/")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		resp.Body.Close()
	}
	b.ReportMetric(float64(median(took).Microseconds())/1000, "ms/first")
	b.ReportMetric(0, "ns/op")
}
