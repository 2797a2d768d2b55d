package gateway

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// givers are those of other homes who passed on what they were given here. That they are still members there, their home's
// gateway proves to this one, which hands the proof to whoever rests on them and is of yet another home, or of this: nobody
// of these could ask. What is proved holds for a day at the things, as of any visitor; it is fetched anew after givenFor,
// and once something was taken away there. Whoever asks for evidence does not wait long for another home that is away.
type givers struct {
	g *Gateway

	mu    sync.Mutex
	known map[string]provedGivers // by tree and members
}

// provedGivers is the proof of some givers of one home.
type provedGivers struct {
	proof   []byte // nil: there was none to be had yet
	err     error  // why no newer one was to be had
	fetched time.Time
	heard   string // the newest news of that home then
}

const (
	givenFor    = 10 * time.Minute
	givenWithin = 1500 * time.Millisecond // how long another home has to answer
	givenRetry  = 30 * time.Second        // when it is asked again that did not
	maxProved   = 64                      // sets of givers whose proof is kept
)

// stands reports whether what is kept is not to be asked for again.
func (p provedGivers) stands(now time.Time, heard string) bool {
	age, limit := now.Sub(p.fetched), givenFor
	if p.err != nil {
		limit = givenRetry
	}
	return age >= 0 && age < limit && p.heard == heard
}

// prove returns the trees of those who passed grants on, other than the trees given, and the proofs that these givers are
// live. A home that does not answer is left out: without its proof nothing that its members gave counts.
func (gs *givers) prove(ctx context.Context, grants []tree.Admitted, own ...identity.TreeID) (trees []identity.TreeID, proofs [][]byte) {
	given := map[identity.TreeID][]tree.Admitted{} // a grant of each giver
	for _, a := range grants {
		t, _, err := grant.Parse(a.Raw)
		if err != nil || t.GiverTree.IsZero() || slices.Contains(own, t.GiverTree) {
			continue
		}
		if !slices.Contains(trees, t.GiverTree) {
			trees = append(trees, t.GiverTree)
		}
		if !slices.ContainsFunc(given[t.GiverTree], func(b tree.Admitted) bool { return b.Giver == t.Giver }) {
			given[t.GiverTree] = append(given[t.GiverTree], a)
		}
	}
	found := make([][]byte, len(trees))
	var asking sync.WaitGroup
	for i, of := range trees {
		asking.Go(func() {
			var err error
			if found[i], err = gs.fetch(ctx, of, given[of]); err != nil {
				gs.g.cfg.Log.Info("another home does not say whether who passed something on is a member", "tree", of, "error", err)
			}
		})
	}
	asking.Wait()
	return trees, slices.DeleteFunc(found, func(p []byte) bool { return p == nil })
}

// fetch returns the proof that those of another home who gave these grants are live, as far as they are.
func (gs *givers) fetch(ctx context.Context, of identity.TreeID, given []tree.Admitted) ([]byte, error) {
	slices.SortFunc(given, func(a, b tree.Admitted) int { return bytes.Compare(a.Giver[:], b.Giver[:]) })
	key := of.String()
	grants := make([][]byte, len(given))
	for i, a := range given {
		key += " " + a.Giver.String()
		grants[i] = a.Raw
	}
	now, heard := gs.g.cfg.Clock(), string(gs.g.news.of(of))
	gs.mu.Lock()
	p, ok := gs.known[key]
	gs.mu.Unlock()
	if !ok || !p.stands(now, heard) {
		proof, err := gs.ask(ctx, of, grants)
		if err == nil {
			p.proof = proof // else how old the one from before may be is for the things to say
		}
		p.err, p.fetched, p.heard = err, now, heard
		gs.keep(key, p)
	}
	if p.proof == nil {
		return nil, p.err
	}
	return p.proof, nil
}

func (gs *givers) ask(ctx context.Context, of identity.TreeID, grants [][]byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), givenWithin) // whoever hangs up makes no home silent
	defer cancel()
	return gs.g.started().ProveAbroad(ctx, of, grants)
}

func (gs *givers) keep(key string, p provedGivers) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.known == nil || len(gs.known) >= maxProved {
		gs.known = map[string]provedGivers{}
	}
	gs.known[key] = p
}
