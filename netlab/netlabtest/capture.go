//go:build linux

package netlabtest

import (
	"bytes"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/netlab"
)

// A Capture is a netlab.Capture of a test.
type Capture struct {
	lab     *Lab
	capture *netlab.Capture
	stop    func()
}

// Stop ends the capture before the test is over. It fails the test if packets were lost.
func (c *Capture) Stop() { c.stop() }

// Capture begins to keep the packets on the host's interfaces, until the test is over.
func (h *Host) Capture() *Capture {
	h.lab.t.Helper()
	c, err := h.Host.Capture()
	h.lab.check(err)
	stop := sync.OnceFunc(func() {
		if _, err := c.Stop(); err != nil {
			h.lab.t.Error(err)
		}
	})
	h.lab.t.Cleanup(stop)
	return &Capture{h.lab, c, stop}
}

// Watch is Capture at the home's router: what goes between the home and the public segment.
func (h *Home) Watch() *Capture {
	h.LAN.lab.t.Helper()
	router := &Host{Host: h.Router(), lab: h.LAN.lab}
	return router.Capture()
}

// Until waits for a packet of a kind.
func (c *Capture) Until(what string, is func(netlab.Packet) bool) {
	c.lab.t.Helper()
	late := time.After(Patience)
	for seen := 0; ; {
		packets := c.Packets()
		for _, frame := range packets[seen:] {
			if p, ok := netlab.ParsePacket(frame); ok && is(p) {
				return
			}
		}
		seen = len(packets)
		select {
		case <-c.capture.More():
		case <-late:
			c.lab.t.Fatalf("among %d packets is none %s", seen, what)
		}
	}
}

// Packets returns those captured so far.
func (c *Capture) Packets() [][]byte {
	c.lab.t.Helper()
	packets, err := c.capture.Packets()
	c.lab.check(err)
	return packets
}

// window is how many bytes in a row a packet must share with a secret to hold a part of it. That what is encrypted
// shares as many by chance is out of the question.
const window = 16

// Holds reports whether any packet holds a secret, or of a longer one any 16 bytes in a row.
func (c *Capture) Holds(secret []byte) bool {
	c.lab.t.Helper()
	parts := map[string]bool{}
	for i := 0; i+window <= len(secret); i++ {
		if part := secret[i : i+window]; bytes.Count(part, part[:1]) < window { // many a header has as many zeros
			parts[string(part)] = true
		}
	}
	for _, p := range c.Packets() {
		if len(secret) < window {
			if bytes.Contains(p, secret) {
				return true
			}
			continue
		}
		for i := 0; i+window <= len(p); i++ {
			if parts[string(p[i:i+window])] {
				return true
			}
		}
	}
	return false
}

// Size returns how many bytes were captured.
func (c *Capture) Size() int {
	c.lab.t.Helper()
	n := 0
	for _, p := range c.Packets() {
		n += len(p)
	}
	return n
}
