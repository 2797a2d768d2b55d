package gateway

import (
	"context"
	"crypto"
	"crypto/x509"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// memberKeys returns with which keys members sign and signed, also those that are removed. It looks each up once.
func (g *Gateway) memberKeys(ctx context.Context) journal.KeysOf {
	own, known := g.started().Self().ID.Tree, map[identity.MemberID][]crypto.PublicKey{}
	return func(of identity.TreeID, member identity.MemberID) []crypto.PublicKey {
		if of != own {
			return nil
		}
		keys, ok := known[member]
		if !ok {
			keys = g.keysOf(ctx, member)
			known[member] = keys
		}
		return keys
	}
}

func (g *Gateway) keysOf(ctx context.Context, member identity.MemberID) (keys []crypto.PublicKey) {
	g.keeper.View(func(s *tree.State) {
		if e, ok := s.Member(member); ok {
			keys = append(keys, e.Chain.Key)
		}
	})
	past, err := g.keeper.Past(ctx, member)
	if err != nil {
		g.cfg.Log.Error("looking for the keys that a member had", "error", err)
	}
	for _, chain := range past {
		if c, err := x509.ParseCertificate(chain[0]); err == nil {
			keys = append(keys, c.PublicKey)
		}
	}
	return keys
}

// isFault reports whether a member tells of a receipt that it was given and did not sign, and the thing that it names did
// sign that: what a thing said itself, everybody may tell.
func isFault(i journal.Item, keys journal.KeysOf) bool {
	e := i.Entry
	if e.Op != journal.Countersign || e.Outcome != journal.Refused || e.Exchange == nil || e.Caller.Member != i.Node {
		return false
	}
	for _, key := range keys(e.Thing.ID.Tree, e.Thing.Member) {
		if r, _, err := journal.OpenReceipt(e.Exchange.Receipt, key); err == nil && r.Node == e.Thing.Member && r.Caller == i.Node {
			return true
		}
	}
	return false
}
