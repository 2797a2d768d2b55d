package gateway

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/keeper"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/tree"
)

// watchers are the members that keep a stream of events open.
type watchers struct {
	mu      sync.Mutex
	open    map[*watcher]struct{}
	waiting map[merkle.Hash]map[identity.MemberID]chan struct{} // who has yet to obey what
	closed  bool
}

// A watcher is one open stream. What is queued for it is bounded: a watcher that does not keep up is cut off and
// learns what it missed when it comes back.
type watcher struct {
	member identity.MemberID
	events chan control.Event
	fresh  chan struct{} // a newer proof is to be had
	cut    chan struct{}
	once   sync.Once
}

const maxQueued = 256

func (w *watcher) end() { w.once.Do(func() { close(w.cut) }) }

func (ws *watchers) enter(member identity.MemberID) (*watcher, bool) {
	w := &watcher{member: member, events: make(chan control.Event, maxQueued), fresh: make(chan struct{}, 1), cut: make(chan struct{})}
	w.fresh <- struct{}{}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.closed {
		return nil, false
	}
	if ws.open == nil {
		ws.open = map[*watcher]struct{}{}
	}
	for old := range ws.open { // a member that comes back has lost its old stream
		if old.member == member {
			old.end()
			delete(ws.open, old)
		}
	}
	ws.open[w] = struct{}{}
	return w, true
}

func (ws *watchers) leave(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.open, w)
}

func (ws *watchers) close() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.closed = true
	for w := range ws.open {
		w.end()
	}
}

func (ws *watchers) online(member identity.MemberID) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.open {
		if w.member == member {
			return true
		}
	}
	return false
}

// refresh tells every watcher that a newer proof is to be had.
func (ws *watchers) refresh() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.open {
		select {
		case w.fresh <- struct{}{}:
		default:
		}
	}
}

// push sends a revocation to all watchers and returns, for those of the things named that are connected, a channel
// that is closed when the thing says that it obeys.
func (ws *watchers) push(leaf merkle.Hash, notice []byte, things []identity.MemberID) map[identity.MemberID]chan struct{} {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	waiting := map[identity.MemberID]chan struct{}{}
	for w := range ws.open {
		if slices.Contains(things, w.member) {
			waiting[w.member] = make(chan struct{})
		}
	}
	if ws.waiting == nil {
		ws.waiting = map[merkle.Hash]map[identity.MemberID]chan struct{}{}
	}
	ws.waiting[leaf] = waiting
	for w := range ws.open {
		select {
		case w.events <- control.Event{Notice: notice}:
		default:
			w.end()
		}
	}
	out := make(map[identity.MemberID]chan struct{}, len(waiting))
	for id, c := range waiting {
		out[id] = c
	}
	return out
}

func (ws *watchers) obeyed(leaf merkle.Hash, member identity.MemberID) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if c, ok := ws.waiting[leaf][member]; ok {
		close(c)
		delete(ws.waiting[leaf], member)
	}
}

func (ws *watchers) forget(leaf merkle.Hash) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.waiting, leaf)
}

// notify is told by the keeper what happened to the roster.
func (g *Gateway) notify(e keeper.Event) {
	if e.Recorded != nil {
		g.watchers.refresh()
	}
}

// Watch streams news to the caller: revocations at once, and a fresh proof of itself whenever there is one.
func (h *home) Watch(ctx context.Context, who credential.Principal, send func(control.Event) error) error {
	w, ok := h.watchers.enter(who.Member())
	if !ok {
		return errors.New("gateway: closing")
	}
	defer h.watchers.leave(w)
	for {
		select { // revocations first
		case e := <-w.events:
			if err := send(e); err != nil {
				return err
			}
			continue
		default:
		}
		select {
		case e := <-w.events:
			if err := send(e); err != nil {
				return err
			}
		case <-w.fresh:
			e, err := h.evidence(ctx, who.Chain, control.ProofQuery{})
			if err != nil {
				return err
			}
			if err := send(control.Event{Evidence: &e}); err != nil {
				return err
			}
		case <-w.cut:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// obeyWithin is how long a report waits for things that are connected.
const obeyWithin = 2 * time.Second

// Revoke takes something away: on disk first, then pushed to all who are connected, then reported. The notice counts
// by its signer, whoever brings it.
func (h *home) Revoke(ctx context.Context, _ credential.Principal, n control.SignedNotice) (control.Report, error) {
	notice, err := credential.ParseNotice(n.Notice)
	if err != nil {
		return control.Report{}, invalid(err)
	}
	pending, err := credential.AcceptNotice(notice, h.keeper.Charter(), h.checkLive, h.cfg.Clock())
	if err != nil {
		return control.Report{}, &control.Error{Code: control.Refused, Message: err.Error()}
	}
	things, about, with := h.concerned(pending)
	already, err := h.keeper.Revoke(ctx, pending)
	if err != nil {
		return control.Report{}, answer(err)
	}
	ids := make([]identity.MemberID, len(things))
	for i, t := range things {
		ids[i] = t.Chain.Member()
	}
	waiting := h.watchers.push(pending.Leaf, n.Notice, ids)
	defer h.watchers.forget(pending.Leaf)
	if !already {
		op := journal.Remove
		switch {
		case pending.Pause:
			op = journal.Pause
		case !pending.Grant.IsZero():
			op = journal.Unshare
		}
		h.tell(ctx, op, pending.Signer, about, with, pending.Grant)
	}
	return h.report(ctx, already, things, waiting), nil
}

// concerned returns the things to which a revocation matters, what a grant that it takes away is about, and whom it
// takes something from.
func (g *Gateway) concerned(p credential.Pending) (things []tree.Entry, about, with journal.Party) {
	g.keeper.View(func(s *tree.State) {
		var lost []grant.Terms
		everything := false
		target, isMember := s.Member(p.Member)
		if isMember {
			with, everything = party(target.Chain), target.Chain.Owner()
		}
		for a := range s.Grants() {
			t, _, err := grant.Parse(a.Raw)
			if err != nil {
				continue
			}
			subject, _ := s.Member(t.Subject.Member)
			switch {
			case a.ID == p.Grant:
				place, _ := s.Member(t.Thing.Member)
				lost, about, with = append(lost, t), party(place.Chain), party(subject.Chain)
			case isMember && len(subject.Chain.Line) > 0 && subject.Path().Within(target.Path()):
				lost = append(lost, t)
			}
		}
		for e := range s.Members() {
			named := slices.ContainsFunc(lost, func(t grant.Terms) bool { return t.On(e.Chain) })
			if e.Chain.Kind() == identity.Device && (named || everything) && e.Chain.Member() != g.started().Self().Member() {
				things = append(things, e)
			}
		}
	})
	return things, about, with
}

// report waits a moment for the things that are connected, and says honestly of the others until when they may serve.
func (g *Gateway) report(ctx context.Context, already bool, things []tree.Entry, waiting map[identity.MemberID]chan struct{}) control.Report {
	ctx, cancel := context.WithTimeout(ctx, obeyWithin)
	defer cancel()
	r := control.Report{Already: already, Things: []control.Reach{}}
	for _, t := range things {
		reach := control.Reach{Path: t.Path()}
		if c, ok := waiting[t.Chain.Member()]; ok {
			select {
			case <-c:
				reach.Closed = true
			case <-ctx.Done():
			}
		}
		if !reach.Closed {
			fresh, offline := t.LimitFor("")
			reach.Refuses, reach.Offline = g.cfg.Clock().Add(fresh), g.cfg.Clock().Add(offline)
		}
		r.Things = append(r.Things, reach)
	}
	return r
}

// Resume lets a paused grant allow again what it says.
func (h *home) Resume(ctx context.Context, who credential.Principal, g control.GrantRef) (control.None, error) {
	id, err := tree.ParseGrantID(g.ID)
	if err != nil {
		return control.None{}, invalid(err)
	}
	_, about, with := h.concerned(credential.Pending{Revocation: tree.Revocation{Grant: id}})
	if err := h.keeper.Resume(ctx, who.Chain, id); err != nil {
		return control.None{}, answer(err)
	}
	h.tell(ctx, journal.Resume, who.Chain, about, with, id)
	return control.None{}, nil
}

// Obeyed notes that the caller obeys a revocation.
func (h *home) Obeyed(_ context.Context, who credential.Principal, o control.Obeyed) (control.None, error) {
	if len(o.Leaf) != len(merkle.Hash{}) {
		return control.None{}, invalid(errors.New("a leaf hash has 32 bytes"))
	}
	h.watchers.obeyed(merkle.Hash(o.Leaf), who.Member())
	return control.None{}, nil
}
