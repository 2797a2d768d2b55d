package kindred

import (
	"context"
	"crypto"
	"sync"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

// MemberKeys returns with which keys members of the node's tree sign, by what is known of them here and at the gateway;
// owners are told of those of removed members too. It may be used from one goroutine, until ctx ends.
func (n *Node) MemberKeys(ctx context.Context) journal.KeysOf {
	known := map[identity.MemberID][]crypto.PublicKey{n.self.Member(): {n.self.Key}}
	roster := sync.OnceValue(func() Roster {
		r, err := n.Roster(ctx)
		if err != nil {
			n.log.Info("nobody tells with what members sign", "error", err)
		}
		return r
	})
	return func(of identity.TreeID, member identity.MemberID) []crypto.PublicKey {
		if of != n.self.ID.Tree {
			return nil
		}
		keys, ok := known[member]
		if !ok {
			keys = n.keysOf(ctx, roster(), member)
			known[member] = keys
		}
		return keys
	}
}

func (n *Node) keysOf(ctx context.Context, r Roster, member identity.MemberID) (keys []crypto.PublicKey) {
	for _, m := range r.Members {
		if m.Who.Member() == member {
			keys = append(keys, m.Who.Key)
		}
	}
	if c, err := n.remembered(ctx, member); err == nil {
		keys = append(keys, c.Key)
	}
	if len(keys) > 0 || !n.self.Owner() || len(r.Members) == 0 {
		return keys
	}
	found, err := n.certificatesEver(ctx, []string{member.String()})
	if err != nil {
		n.log.Info("nobody tells with what a removed member signed", "error", err)
	}
	root := n.Charter().RootCertificate()
	for _, raw := range found {
		at, err := identity.ValidFrom(raw)
		if err != nil {
			continue
		}
		if c, err := identity.Verify(raw, n.self.ID.Tree, root, at); err == nil { // else of a root before
			keys = append(keys, c.Key)
		}
	}
	return keys
}
