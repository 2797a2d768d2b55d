package control

import "context"

// Forwards says what the home's router forwards to the gateway. It is for owners.
type Forwards struct {
	Asked bool        `json:"asked"` // the gateway asks its router to forward ports
	Ports []Forwarded `json:"ports"`
}

// A Forwarded is a port that the router forwards to the gateway, as it says.
type Forwarded struct {
	Address string `json:"address"`        // a multiaddr: where a relay got in; or else where the router says, which may be wrong
	By      string `json:"by"`             // how the router was asked: PCP, NAT-PMP or UPnP
	Door    string `json:"door,omitempty"` // open or shut: whether relays got in there that tried; "": none did
}

// Forwards asks what the home's router forwards to the gateway.
func (c Client) Forwards(ctx context.Context) (Forwards, error) {
	return call[Forwards](ctx, c, "forwards", None{})
}
