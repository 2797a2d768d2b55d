package gateway_test

import (
	"net"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/journal"
)

// A stranger begins many connections and finishes none. The members' calls are answered as ever, and the owner finds one
// line about it.
func TestFlood(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	var at string
	for _, a := range h.Gateway.Node().Addresses() { // /ip4/IP/tcp/PORT/p2p/KEY
		if parts := strings.Split(a, "/"); len(parts) > 4 && parts[3] == "tcp" {
			at = net.JoinHostPort(parts[2], parts[4])
		}
	}
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	lines := func() (n int) {
		items, err := h.Gateway.Node().Journal().Query(t.Context(), journal.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			if strings.Contains(item.Entry.Reason, "more connections at once") {
				n++
			}
		}
		return n
	}
	for attempts := 0; lines() == 0; attempts++ {
		if attempts > 2000 {
			t.Fatal("the owner is told nothing")
		}
		c, err := from.DialContext(t.Context(), "tcp4", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := laptop.Roster(t.Context()); err != nil {
			t.Fatalf("after %d connections of a stranger: %v", attempts, err)
		}
	}
	if n := lines(); n > 2 { // a minute may have ended meanwhile
		t.Errorf("the owner is told %d times", n)
	}
}
