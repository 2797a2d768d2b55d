package gateway

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
)

// takings are what was taken away lately, so that things which were out of reach are told when they come back, and
// whoever took it away can follow that. They are in memory: what matters is on disk, and in every head.
type takings struct {
	mu     sync.Mutex
	recent []*taking // the oldest first
}

// maxTakings is how many takings are remembered. All of them fit into a watcher's queue.
const maxTakings = 64

// A taking is one revocation on its way to the things it concerns.
type taking struct {
	leaf   merkle.Hash
	by     identity.MemberID // who took it away; zero: an owner
	notice []byte

	mu    sync.Mutex
	reach map[identity.MemberID]control.Reach
	news  chan struct{} // closed when a thing obeys, and replaced
}

// begin notes what is being taken away. What was taken away before goes on.
func (ts *takings) begin(p credential.Pending, notice []byte, reach map[identity.MemberID]control.Reach) *taking {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if i := ts.index(p.Leaf); i >= 0 {
		return ts.recent[i]
	}
	t := &taking{leaf: p.Leaf, by: p.Giver(), notice: notice, reach: reach, news: make(chan struct{})}
	ts.recent = append(ts.recent, t)
	if more := len(ts.recent) - maxTakings; more > 0 {
		ts.recent = slices.Delete(ts.recent, 0, more)
	}
	return t
}

func (ts *takings) index(leaf merkle.Hash) int {
	return slices.IndexFunc(ts.recent, func(t *taking) bool { return t.leaf == leaf })
}

func (ts *takings) find(leaf merkle.Hash) (*taking, bool) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	i := ts.index(leaf)
	if i < 0 {
		return nil, false
	}
	return ts.recent[i], true
}

// unheard returns the notices that a thing has to be told of.
func (ts *takings) unheard(member identity.MemberID) (notices [][]byte) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.recent {
		if !t.obeyedBy([]identity.MemberID{member}) {
			notices = append(notices, t.notice)
		}
	}
	return notices
}

// obeyed notes that a thing obeys.
func (ts *takings) obeyed(leaf merkle.Hash, member identity.MemberID) {
	if t, ok := ts.find(leaf); ok {
		t.close(member)
	}
}

func (t *taking) close(member identity.MemberID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, ok := t.reach[member]; ok && !r.Closed {
		t.reach[member] = control.Reach{Path: r.Path, Closed: true}
		close(t.news)
		t.news = make(chan struct{})
	}
}

// wait waits until enough is the case, or ctx ends.
func (t *taking) wait(ctx context.Context, enough func() bool) {
	for {
		t.mu.Lock()
		news := t.news
		t.mu.Unlock()
		if enough() {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

// reportSoon is report once those who are connected obey, or in a moment.
func (t *taking) reportSoon(ctx context.Context, connected []identity.MemberID) control.Report {
	soon, cancel := context.WithTimeout(ctx, obeyWithin)
	defer cancel()
	t.wait(soon, func() bool { return t.obeyedBy(connected) })
	return t.report()
}

// things returns the members that it concerns.
func (t *taking) things() []identity.MemberID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.reach))
}

// obeyedBy reports whether those of the members that it concerns obey.
func (t *taking) obeyedBy(members []identity.MemberID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !slices.ContainsFunc(members, func(m identity.MemberID) bool {
		r, ok := t.reach[m]
		return ok && !r.Closed
	})
}

// closed returns how many things obey, and how many there are.
func (t *taking) closed() (n, all int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.reach {
		if r.Closed {
			n++
		}
	}
	return n, len(t.reach)
}

// report says how far it has got, and honestly of the others until when they may serve.
func (t *taking) report() control.Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := control.Report{Leaf: t.leaf[:], Things: []control.Reach{}}
	r.Things = append(r.Things, slices.SortedFunc(maps.Values(t.reach), func(a, b control.Reach) int { return cmp.Compare(a.Path, b.Path) })...)
	return r
}
