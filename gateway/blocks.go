package gateway

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/kindred-iot/kindred/identity"
)

// blocks bound how often the ledger makes a block because somebody asks for a proof that is younger than the last: each is
// kept for good. Nobody has more than one a second made. A thing has them made as often as its owner set how fresh a proof it
// asks for; and beyond that, as all others, each only so many. Who asks more is given the proof there is.
type blocks struct {
	mu   sync.Mutex
	left map[identity.TreeMember]*rate.Limiter // by who has them made; of another tree as a whole, which can have as many members as it likes
}

const (
	leastAge  = time.Second     // of a block, for another to be made
	blockPace = 5 * time.Second // between blocks that one asker has made, in the long run
	blockRush = 60              // at once
	maxAskers = 1024
)

// young returns how old a proof may be that somebody asks for, who says that it may have an age; 0: as old as it is.
func (g *Gateway) young(who identity.Chain, age time.Duration) time.Duration {
	block := g.chain.Block().Time
	now := g.cfg.Clock()
	if age <= 0 || now.Sub(block) <= age { // none is made for it
		return age
	}
	if age < leastAge {
		age = leastAge
	}
	if !g.visits(who) && g.asksFor(who) <= age || g.blocks.take(g.askerOf(who), now) {
		return age
	}
	return 0
}

// asksFor returns how fresh a proof a thing asks for where it asks for the freshest, as its owner set it. A member that is
// none asks for nothing.
func (g *Gateway) asksFor(who identity.Chain) time.Duration {
	e, ok := g.member(who.Member())
	if !ok || who.Kind() != identity.Device {
		return math.MaxInt64
	}
	least, _ := e.LimitFor("")
	for _, l := range e.Limits {
		fresh, _ := e.LimitFor(l.Affordance)
		least = min(least, fresh)
	}
	return least
}

// askerOf returns who a block is made for.
func (g *Gateway) askerOf(who identity.Chain) identity.TreeMember {
	if g.visits(who) {
		return identity.TreeMember{Tree: who.ID.Tree}
	}
	return who.TreeMember()
}

// take reports whether one more block is made for somebody.
func (b *blocks) take(who identity.TreeMember, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.left[who]
	if l == nil {
		if b.left == nil {
			b.left = map[identity.TreeMember]*rate.Limiter{}
		}
		for other, l := range b.left { // those who have all they may
			if len(b.left) < maxAskers {
				break
			}
			if l.TokensAt(now) >= blockRush {
				delete(b.left, other)
			}
		}
		if len(b.left) >= maxAskers {
			return false
		}
		l = rate.NewLimiter(rate.Every(blockPace), blockRush)
		b.left[who] = l
	}
	return l.AllowN(now, 1)
}
