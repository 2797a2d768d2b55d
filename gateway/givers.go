package gateway

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// givers are those of other homes who passed on what they were given here. That they are still members there, their home's
// gateway proves to this one, which hands the proof to whoever rests on them and is of yet another home, or of this: nobody
// of these could ask. What is proved holds for a day at the things, as of any visitor; it is fetched anew after givenFor,
// and once something was taken away there.
type givers struct {
	g *Gateway

	mu    sync.Mutex
	known map[string]provedGivers // by tree and members
}

// provedGivers is the proof of some givers of one home.
type provedGivers struct {
	of      identity.TreeID
	proof   []byte
	fetched time.Time
	heard   string // the newest news of that home then
}

const (
	givenFor  = 10 * time.Minute
	maxProved = 64 // sets of givers whose proof is kept
)

// prove returns the trees of those who passed grants on, other than the trees given, and the proofs that these givers are
// live. A home that does not answer is left out: without its proof nothing that its members gave counts.
func (gs *givers) prove(ctx context.Context, grants []tree.Admitted, own ...identity.TreeID) (trees []identity.TreeID, proofs [][]byte) {
	members := map[identity.TreeID][]string{}
	for _, a := range grants {
		t, _, err := grant.Parse(a.Raw)
		if err != nil || t.GiverTree.IsZero() || slices.Contains(own, t.GiverTree) {
			continue
		}
		if !slices.Contains(trees, t.GiverTree) {
			trees = append(trees, t.GiverTree)
		}
		if id := t.Giver.String(); !slices.Contains(members[t.GiverTree], id) {
			members[t.GiverTree] = append(members[t.GiverTree], id)
		}
	}
	for _, of := range trees {
		proof, err := gs.fetch(ctx, of, members[of])
		if err != nil {
			gs.g.cfg.Log.Info("another home does not say whether who passed something on is a member", "tree", of, "error", err)
			continue
		}
		proofs = append(proofs, proof)
	}
	return trees, proofs
}

// fetch returns the proof that members of another home are live, as far as they are.
func (gs *givers) fetch(ctx context.Context, of identity.TreeID, members []string) ([]byte, error) {
	slices.Sort(members)
	key := of.String() + " " + strings.Join(members, " ")
	now, heard := gs.g.cfg.Clock(), string(gs.g.news.of(of))
	gs.mu.Lock()
	p, ok := gs.known[key]
	gs.mu.Unlock()
	if age := now.Sub(p.fetched); ok && age >= 0 && age < givenFor && p.heard == heard {
		return p.proof, nil
	}
	proof, err := gs.g.started().ProveAbroad(ctx, of, members)
	if err != nil {
		if ok {
			return p.proof, nil // how old it may be is for the things to say
		}
		return nil, err
	}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.known == nil || len(gs.known) >= maxProved {
		gs.known = map[string]provedGivers{}
	}
	gs.known[key] = provedGivers{of, proof, now, heard}
	return proof, nil
}
