package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/keeper"
	"github.com/kindred-iot/kindred/tree"
)

// endings tell apps which grants end soon: those of owners, of whoever gave one, and of whom it is for. An app is told when
// it begins to watch, and again as a notice comes due; what it was told before it remembers itself.
type endings struct {
	mu    sync.Mutex
	ends  map[tree.GrantID]*grant.Terms  // of the live grants: nil for those that have no end
	noted map[tree.GrantID]time.Duration // which notice those are at that end soon, as of the last time it was looked for what is due

	list []ending // what soon returned last
	head uint64   // of the roster that it looked at, or before
	at   time.Time
}

const (
	lookEvery  = 20 * time.Second // for what ends soon
	maxEndings = 64               // that an app is told of when it comes
)

// An ending is a grant that ends soon.
type ending struct {
	terms  *grant.Terms
	notice time.Duration
}

func (e ending) event() control.Event {
	return control.Event{Ending: &control.Ending{Grant: e.terms.ID.String(), Notice: int64(e.notice / time.Second)}}
}

// concerns reports whether a leaf is told of it.
func (e ending) concerns(who identity.Chain) bool {
	if who.Kind() == identity.Device {
		return false // nobody reads there
	}
	t := e.terms
	return who.Owner() || t.To(who) || t.GivenBy(who)
}

// soon returns which grants end soon. The caller holds mu.
func (es *endings) soon(k *keeper.Keeper, now time.Time) (soon []ending) {
	ends := map[tree.GrantID]*grant.Terms{}
	_, _, es.head = k.Head()
	k.View(func(s *tree.State) {
		for a := range s.Grants() {
			terms, known := es.ends[a.ID]
			if !known {
				if t, _, err := grant.Parse(a.Raw); err == nil && t.Until != 0 {
					terms = &t
				}
			}
			ends[a.ID] = terms
			if terms == nil || a.Paused {
				continue
			}
			if notice := terms.Notice(now); notice != 0 {
				soon = append(soon, ending{terms, notice})
			}
		}
	})
	es.ends, es.list, es.at = ends, soon, now
	return soon
}

// of returns what a leaf that comes to watch is told of.
func (es *endings) of(who identity.Chain, k *keeper.Keeper, now time.Time) (told []control.Event) {
	es.mu.Lock()
	defer es.mu.Unlock()
	if who.Kind() == identity.Device {
		return nil
	}
	for _, e := range es.soon(k, now) {
		if e.concerns(who) && len(told) < maxEndings {
			told = append(told, e.event())
		}
	}
	return told
}

// due returns which grants are at another notice than when it was called last.
func (es *endings) due(k *keeper.Keeper, now time.Time) (due []ending) {
	es.mu.Lock()
	defer es.mu.Unlock()
	noted := map[tree.GrantID]time.Duration{}
	for _, e := range es.soon(k, now) {
		noted[e.terms.ID] = e.notice
		if es.noted[e.terms.ID] != e.notice {
			due = append(due, e)
		}
	}
	es.noted = noted
	return due
}

// announceEndings tells those who watch what has come due, and the gateways of homes whose members are concerned.
func (g *Gateway) announceEndings() {
	due := g.endings.due(g.keeper, g.cfg.Clock())
	if len(due) == 0 {
		return
	}
	g.news.advance()
	for _, id := range g.watchers.members() {
		who, ok := g.member(id)
		for _, e := range due {
			if ok && e.concerns(who.Chain) {
				g.watchers.tell(id, e.event())
			}
		}
	}
}

func (g *Gateway) runEndings(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.announceEndings()
		case <-ctx.Done():
			return
		}
	}
}
