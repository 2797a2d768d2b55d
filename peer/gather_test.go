package peer

import (
	"runtime"
	"sync"
	"testing"
)

// Small requests that are made at once share QUIC's packets, in both directions: surely on one processor, for of others one
// may be idle and make a packet of each as it comes. The race detector has Go take goroutines in an order of chance, with
// which some share in any case.
func TestSmallOnesSharePackets(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	p := newPlace(t)
	meter := p.join("meter", answer, func(c *Config) { c.Listen = []string{"/ip4/127.0.0.1/udp/0/quic-v1"} })
	phone := p.join("phone", nil)
	client := phone.client(nil, meter)
	ask := func(each int) {
		var wait sync.WaitGroup
		for range maxIdle {
			wait.Go(func() {
				for range each {
					get(t, client, "kindred://meter/")
				}
			})
		}
		wait.Wait()
	}
	ask(2) // opens the streams
	sent, received, _ := phone.best(meter.id).wire.packets()
	const each = 50
	ask(each)
	asked, answered, _ := phone.best(meter.id).wire.packets()
	for direction, packets := range map[string]uint64{"requests": asked - sent, "answers": answered - received} {
		if packets*2 > maxIdle*each {
			t.Errorf("%d %s in %d packets", maxIdle*each, direction, packets)
		}
	}
}
