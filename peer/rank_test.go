package peer

import (
	"testing"
)

// A command line opens and closes a host for every command, of one key and to a callee on every interface it has. None
// of them may find the way blocked by what those before left behind.
func TestManyShortCallers(t *testing.T) {
	p := newPlace(t)
	callee := p.join("gateway", greet, func(c *Config) { c.Listen = nil })
	caller := p.join("laptop", nil)
	for i := range 120 {
		if err := caller.Close(); err != nil {
			t.Fatal(err)
		}
		caller.Host = p.start(caller, nil, func(c *Config) { c.Listen = []string{} })
		resp, err := caller.client(nil, callee).Get("kindred://gateway/")
		if err != nil {
			t.Fatalf("caller %d: %v", i, err)
		}
		resp.Body.Close()
	}
}
