package gateway

import "github.com/kindred-iot/kindred/keeper"

// Keeper returns the gateway's keeper, for tests to look at what it keeps.
func (g *Gateway) Keeper() *keeper.Keeper { return g.keeper }
