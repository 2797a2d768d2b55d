package gateway

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// lastTaken returns the newest head with which something was taken away, as far as its list goes back.
func (g *Gateway) lastTaken() (uint64, error) {
	raw, list, _ := g.keeper.Head()
	head, _, err := tree.OpenHead(raw, g.keeper.Charter().Tree, g.keeper.Charter().KeeperKey())
	if err != nil {
		return 0, err
	}
	l, err := tree.OpenRevocationList(list, head)
	if err != nil {
		return 0, err
	}
	last := l.From
	if n := len(l.Revoked); n > 0 {
		last = max(last, l.Revoked[n-1].Sequence)
	}
	return last, nil
}

// Neighbours tells an owner which of the homes that are recognized know of all that was taken away here.
func (h *home) Neighbours(ctx context.Context, who credential.Principal, q control.NeighboursQuery) (out control.Neighbours, err error) {
	if !who.Owner() {
		return out, refused("only owners ask what other homes know")
	}
	last, err := h.lastTaken()
	if err != nil {
		return out, err
	}
	soon, cancel := context.WithTimeout(ctx, followFor)
	defer cancel()
	for {
		knows, more := h.news.knowing()
		told := 0
		out.Homes = []control.Neighbour{}
		h.keeper.View(func(s *tree.State) {
			for r := range s.Recognitions() {
				n := control.Neighbour{Name: r.Name, Tree: r.Other.String(), Told: knows[r.Other] >= last}
				if n.Told {
					told++
				} else {
					n.Until = h.cfg.Clock().Add(grant.VisitorMaxAge).UTC()
				}
				out.Homes = append(out.Homes, n)
			}
		})
		if told > q.Told || told == len(out.Homes) {
			break
		}
		select {
		case <-more:
			continue
		case <-soon.Done():
		}
		break
	}
	slices.SortFunc(out.Homes, func(a, b control.Neighbour) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// knowing returns up to which head each home knows what was taken away here, and what is closed when that is more.
func (ns *news) knowing() (knows map[identity.TreeID]uint64, more <-chan struct{}) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.told == nil {
		ns.told = make(chan struct{})
	}
	return maps.Clone(ns.knows), ns.told
}
