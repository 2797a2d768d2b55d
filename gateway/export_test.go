package gateway

import (
	"context"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/keeper"
	"github.com/kindred-iot/kindred/pairing"
)

// Keeper returns the gateway's keeper, for tests to look at what it keeps.
func (g *Gateway) Keeper() *keeper.Keeper { return g.keeper }

// AnnounceEndings does what is done every 20 seconds.
func (g *Gateway) AnnounceEndings() { g.announceEndings() }

// Heard returns the newest proof that another home's gateway told of.
func (g *Gateway) Heard(other identity.TreeID) string { return string(g.news.of(other)) }

// BoundJournals has the gateway take so many bytes of each member's journal from now on, and hardly more by the day.
func (g *Gateway) BoundJournals(most int) {
	g.quota.mu.Lock()
	defer g.quota.mu.Unlock()
	g.quota.pace, g.quota.rush = 1e-3, most
	clear(g.quota.left)
}

// Young returns how young a proof somebody gets that asks for one of an age.
func (g *Gateway) Young(who identity.Chain, age time.Duration) time.Duration {
	return g.young(who, age)
}

// AsksFor returns how fresh a proof a thing asks for.
func (g *Gateway) AsksFor(who identity.Chain) time.Duration { return g.asksFor(who) }

// Admit lets a new member in, as the pairing desk has it done.
func (g *Gateway) Admit(ctx context.Context, e pairing.Entrance) error {
	_, err := host{g}.Admit(ctx, e)
	return err
}
