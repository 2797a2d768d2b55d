package gateway

import (
	"context"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
)

// Forwards says what the router forwards to the gateway.
func (h *home) Forwards(_ context.Context, who credential.Principal, _ control.None) (control.Forwards, error) {
	if !who.Owner() {
		return control.Forwards{}, refused("only owners are told what the router forwards")
	}
	f := control.Forwards{Asked: h.cfg.MapPorts, Ports: []control.Forwarded{}}
	for _, p := range h.node.Reach().Mapped {
		f.Ports = append(f.Ports, control.Forwarded{Address: p.Address, By: p.By, Door: p.Door})
	}
	return f, nil
}
