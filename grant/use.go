package grant

import (
	"fmt"
	"time"
)

// counted reports whether the terms limit how often, or for how long, something is used.
func (t *Terms) counted() bool { return t.Rate.Uses != 0 || t.Uses != 0 || t.Budget != 0 }

// budget is how long something may be used in all.
func (t *Terms) budget() time.Duration { return time.Duration(t.Budget) * time.Second }

// nearest returns the least of the ways that a route lets through.
func (r Route) nearest() Way {
	switch r {
	case AnyRoute:
		return Relayed
	case GatewayRoute:
		return ByGateway
	}
	return Direct
}

// String returns "any", "direct" or "gateway".
func (r Route) String() string {
	switch r {
	case AnyRoute:
		return "any"
	case DirectRoute:
		return "direct"
	case GatewayRoute:
		return "gateway"
	}
	return fmt.Sprintf("route(%d)", uint8(r))
}

// String returns how a request came: "relayed", "by the gateway", "direct" or "at home".
func (w Way) String() string {
	switch w {
	case Relayed:
		return "relayed"
	case ByGateway:
		return "by the gateway"
	case Direct:
		return "direct"
	case AtHome:
		return "at home"
	}
	return fmt.Sprintf("way(%d)", uint8(w))
}
