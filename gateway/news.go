package gateway

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// news is what the gateways of homes that recognize each other tell one another: that something was taken away, by the
// newest head. Each asks the others, and waits for the answer; nobody has to find anybody who does not look for them. What
// one learns it tells its things whose visitors are of that home.
//
//	         answered              wait at least newsPause
//	asking ───────────▶ told ───────────────────────────────▶ asking
//	   ▲                   failed                                │
//	   └──────── wait, twice as long each time ◀─────────────────┘
//	             or until the other one asks: then it is back
//
// With its question each says what it knows: so whoever took something away learns who was told.
type news struct {
	g *Gateway

	mu      sync.Mutex
	newest  map[identity.TreeID][]byte        // proofs of others, as they came
	turns   map[identity.TreeID]time.Time     // when each may be answered again
	changed chan struct{}                     // closed when the ledger has a newer head of this home's own, or something ends soon, and replaced
	knows   map[identity.TreeID]uint64        // up to which head each said that it knows what was taken away here
	told    chan struct{}                     // closed when one of them knows more, and replaced
	back    map[identity.TreeID]chan struct{} // capacity 1, of those that are asked: it asked itself, and so is there
	endings map[identity.TreeID]*heardEndings // of those that are asked
}

const (
	newsWait  = 50 * time.Second // how long the answer to a question may wait for something to tell
	newsPause = time.Second      // from one question to the next, and from one answer to the next
	newsRetry = 5 * time.Minute  // the longest pause, of a home that does not answer

	maxNeighbours = 64 // homes that are asked
)

// advanced returns a channel that is closed when the ledger has a newer head.
func (ns *news) advanced() <-chan struct{} {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.changed == nil {
		ns.changed = make(chan struct{})
	}
	return ns.changed
}

// advance says that the ledger has a newer head, or that there is something else to tell.
func (ns *news) advance() {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.changed != nil {
		close(ns.changed)
		ns.changed = nil
	}
}

func (ns *news) of(other identity.TreeID) []byte {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	return ns.newest[other]
}

func (ns *news) keep(other identity.TreeID, proof []byte) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.newest == nil {
		ns.newest = map[identity.TreeID][]byte{}
	}
	ns.newest[other] = proof
}

// asked notes that another home's gateway is there, and knows what was taken away up to a head.
func (ns *news) asked(other identity.TreeID, after uint64) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	select {
	case ns.back[other] <- struct{}{}:
	default: // it is known already, or nobody asks it
	}
	if ns.knows == nil {
		ns.knows = map[identity.TreeID]uint64{}
	}
	ns.knows[other] = after
	if ns.told != nil {
		close(ns.told)
		ns.told = nil
	}
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

// follows returns what says that a home which is being asked is there.
func (ns *news) follows(other identity.TreeID) <-chan struct{} {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.back == nil {
		ns.back = map[identity.TreeID]chan struct{}{}
	}
	ns.back[other] = make(chan struct{}, 1)
	return ns.back[other]
}

// forget forgets a home that is not recognized any more.
func (ns *news) forget(other identity.TreeID) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	delete(ns.newest, other)
	delete(ns.turns, other)
	delete(ns.knows, other)
	delete(ns.back, other)
	delete(ns.endings, other)
}

// turn returns how long a home has to wait for its answer: it gets one every newsPause, however often it asks.
func (ns *news) turn(other identity.TreeID, now time.Time) time.Duration {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.turns == nil {
		ns.turns = map[identity.TreeID]time.Time{}
	}
	at := ns.turns[other]
	if at.Before(now) {
		at = now
	}
	ns.turns[other] = at.Add(newsPause)
	return at.Sub(now)
}

// run asks the gateways of all homes that are recognized, until ctx ends.
func (ns *news) run(ctx context.Context) {
	asked := map[identity.TreeID]context.CancelFunc{}
	var asking sync.WaitGroup
	defer asking.Wait()
	defer func() {
		for _, stop := range asked {
			stop()
		}
	}()
	for {
		advanced := ns.advanced()
		known := ns.g.neighbours()
		for other, stop := range asked {
			if !slices.Contains(known, other) {
				stop()
				delete(asked, other)
				ns.forget(other)
			}
		}
		for _, other := range known {
			if asked[other] == nil {
				var one context.Context
				one, asked[other] = context.WithCancel(ctx)
				asking.Go(func() { ns.follow(one, other) })
			}
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return
		}
	}
}

// neighbours returns the homes that are recognized, as many as are asked.
func (g *Gateway) neighbours() (known []identity.TreeID) {
	g.keeper.View(func(s *tree.State) {
		for r := range s.Recognitions() {
			if len(known) < maxNeighbours {
				known = append(known, r.Other)
			}
		}
	})
	return known
}

// follow asks one home's gateway again and again.
func (ns *news) follow(ctx context.Context, other identity.TreeID) {
	var q control.NewsQuery
	pause, back := newsPause, ns.follows(other)
	for ctx.Err() == nil {
		said, sequence, err := ns.g.started().News(ctx, other, q)
		if err == nil && ctx.Err() == nil {
			q.Ending = tagOfTold(said.Ending)
			ns.hearEndings(other, said.Ending, ns.g.cfg.Clock())
		}
		switch {
		case err != nil:
			ns.g.cfg.Log.Debug("another home tells no news", "tree", other, "error", err)
			pause = min(2*pause, newsRetry)
		case said.Proof != nil:
			q.After, pause = sequence, newsPause
			ns.keep(other, said.Proof)
			ns.g.tellNews(other)
		default:
			pause = newsPause
		}
		select {
		case <-time.After(newsPause + rand.N(newsPause/4)):
		case <-ctx.Done():
		}
		if err == nil {
			continue
		}
		select {
		case <-time.After(pause - newsPause + rand.N(pause/4)):
		case <-back:
		case <-ctx.Done():
		}
	}
}

// tellNews has the things told that serve visitors from a home.
func (g *Gateway) tellNews(other identity.TreeID) {
	for _, member := range g.watchers.members() {
		if e, ok := g.member(member); ok && slices.Contains(g.keeper.Across(e.Chain), other) {
			g.watchers.renew(member)
		}
	}
}

// homes returns what a device has to know of other homes; nil if it serves none of their members.
func (g *Gateway) homes(ctx context.Context, device identity.Chain) (*control.Homes, error) {
	trees := g.keeper.Across(device)
	if len(trees) == 0 {
		return nil, nil
	}
	trees = trees[:min(len(trees), maxHomes)]
	proof, err := g.keeper.Prove(ctx, nil, nil, 0, trees...)
	if err != nil {
		return nil, err
	}
	out := &control.Homes{}
	if out.Proof, err = proof.Marshal(); err != nil {
		return nil, err
	}
	for _, other := range trees {
		if p := g.news.of(other); p != nil {
			out.News = append(out.News, p)
		}
	}
	return out, nil
}

// maxHomes is how many homes a device is told of: each takes some 2 KB in the proof.
const maxHomes = 16

// News tells the gateway of a home that is recognized when something was taken away here, by the head alone, which names
// nobody; and which of its members were given something here that ends soon.
func (v visitors) News(ctx context.Context, who credential.Principal, q control.NewsQuery) (said control.News, err error) {
	if !v.isDoor(who.Chain) {
		return said, refused("gateways ask for news")
	}
	v.news.asked(who.ID.Tree, q.After)
	said.Ending = v.endingsFor(who.ID.Tree)
	wait, cancel := context.WithTimeout(ctx, newsWait)
	defer cancel()
	select {
	case <-time.After(v.news.turn(who.ID.Tree, time.Now())):
	case <-wait.Done():
		return said, nil
	}
	for {
		advanced := v.news.advanced()
		said.Ending = v.endingsFor(who.ID.Tree)
		if v.takenSince(q.After) {
			p, err := v.keeper.Prove(ctx, nil, nil, 0)
			if err != nil {
				return said, answer(err)
			}
			said.Proof, err = p.Marshal()
			return said, err
		}
		if !bytes.Equal(tagOfTold(said.Ending), q.Ending) {
			return said, nil
		}
		select {
		case <-advanced:
		case <-wait.Done():
			return said, nil
		}
	}
}

// takenSince reports whether something was taken away after the head with a sequence; of what is asked for the first time
// there is always something to tell.
func (g *Gateway) takenSince(after uint64) bool {
	_, _, sequence := g.keeper.Head()
	if after == 0 || sequence <= after {
		return after == 0
	}
	last, err := g.lastTaken()
	return err != nil || last > after // of an error it is for the keeper to say so
}

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

// isDoor reports whether somebody of another tree is the gateway of a home that is recognized, as its owner was told when
// the homes were introduced.
func (g *Gateway) isDoor(who identity.Chain) (door bool) {
	g.keeper.View(func(s *tree.State) {
		r, ok := s.Recognized(who.ID.Tree)
		door = ok && r.Gateway.Member == who.Member()
	})
	return door
}
