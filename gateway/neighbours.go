package gateway

import (
	"cmp"
	"context"
	"slices"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/tree"
)

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
