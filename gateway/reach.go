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
	mu     sync.Mutex
	open   map[*watcher]struct{}
	closed bool
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

// enter lets a member in, who is told first of the notices given.
func (ws *watchers) enter(member identity.MemberID, notices [][]byte) (*watcher, bool) {
	w := &watcher{member: member, events: make(chan control.Event, maxQueued), fresh: make(chan struct{}, 1), cut: make(chan struct{})}
	w.fresh <- struct{}{}
	for _, notice := range notices {
		w.events <- control.Event{Notice: notice}
	}
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

// members returns who watches.
func (ws *watchers) members() (members []identity.MemberID) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.open {
		members = append(members, w.member)
	}
	return members
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

// renew tells a member that newer news of itself are to be had.
func (ws *watchers) renew(member identity.MemberID) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.open {
		if w.member != member {
			continue
		}
		select {
		case w.fresh <- struct{}{}:
		default:
		}
	}
}

// tell sends an event to a member, if it watches.
func (ws *watchers) tell(member identity.MemberID, e control.Event) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.open {
		if w.member != member {
			continue
		}
		select {
		case w.events <- e:
		default:
			w.end()
		}
	}
}

// push sends a revocation to all watchers and returns those of the things named that are connected.
func (ws *watchers) push(notice []byte, things []identity.MemberID) (connected []identity.MemberID) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.open {
		if slices.Contains(things, w.member) {
			connected = append(connected, w.member)
		}
		select {
		case w.events <- control.Event{Notice: notice}:
		default:
			w.end()
		}
	}
	return connected
}

// notify is told by the keeper what happened to the roster.
func (g *Gateway) notify(e keeper.Event) {
	if e.Recorded != nil {
		g.watchers.refresh()
		g.news.advance()
	}
}

// mayWatch reports, as an error, that a leaf is no member any more under the key with which it began to watch, or that its
// certificates have ended. New ones for the same key it is handed by what it watches.
func (g *Gateway) mayWatch(who identity.Chain) error {
	e, ok := g.member(who.Member())
	switch {
	case !ok || !identity.SameKey(e.Chain.Key, who.Key):
		return refused("you are not a member of this home any more")
	case !g.cfg.Clock().Before(e.Chain.NotAfter):
		return refused("your certificates have ended")
	}
	return nil
}

// Watch streams news to the caller: revocations at once, a fresh proof of itself whenever there is one, and to apps which
// grants end soon. It ends with the caller's membership, its key or its certificates: when a proof is next due, at the
// latest.
func (h *home) Watch(ctx context.Context, who credential.Principal, send func(control.Event) error) error {
	w, ok := h.watchers.enter(who.Member(), h.takings.unheard(who.Member()))
	if !ok {
		return errors.New("gateway: closing")
	}
	defer h.watchers.leave(w)
	for _, e := range h.endings.of(who.Chain, h.keeper, h.cfg.Clock()) {
		if err := send(e); err != nil {
			return err
		}
	}
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
			if err := h.mayWatch(who.Chain); err != nil {
				return err
			}
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
// by its signer, whoever brings it. Brought again it is not told again, so that nobody floods the members with it: things
// that were out of reach are told when they come back, and every head names it.
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
	called := h.nameOf(pending.Other)
	resting := h.keeper.Resting(pending.Grant)
	already, err := h.keeper.Revoke(ctx, pending)
	if err != nil {
		return control.Report{}, answer(err)
	}
	if already {
		return h.reportAgain(ctx, pending, n.Notice, things), nil
	}
	t := h.takings.begin(pending, n.Notice, h.reaches(things))
	connected := h.watchers.push(n.Notice, t.things())
	op, name := journal.Remove, ""
	switch {
	case !pending.Other.IsZero():
		op, name = journal.Forget, called
	case pending.Pause:
		op = journal.Pause
	case !pending.Grant.IsZero():
		op = journal.Unshare
	}
	h.tellOf(ctx, op, pending.Signer, about, with, pending.Grant, name)
	if op == journal.Unshare && len(resting) > 0 {
		h.tellResting(ctx, pending.Signer, resting[1:])
	}
	return t.reportSoon(ctx, connected), nil
}

// reportAgain says how far has got what was taken away before: a moment before, perhaps, by somebody else who brought the
// same. Where nobody has to be told, nothing of it is remembered.
func (h *home) reportAgain(ctx context.Context, p credential.Pending, notice []byte, things []tree.Entry) control.Report {
	t, ok := h.takings.find(p.Leaf)
	switch {
	case !ok && len(things) == 0:
		return control.Report{Already: true, Leaf: p.Leaf[:], Things: []control.Reach{}}
	case !ok:
		t = h.takings.begin(p, notice, h.reaches(things))
	}
	report := t.reportSoon(ctx, slices.DeleteFunc(t.things(), func(m identity.MemberID) bool { return !h.watchers.online(m) }))
	report.Already = true
	return report
}

// concerned returns the things to which a revocation matters, what a grant that it takes away is about, and whom it
// takes something from.
func (g *Gateway) concerned(p credential.Pending) (things []tree.Entry, about, with journal.Party) {
	g.keeper.View(func(s *tree.State) {
		var lost []grant.Terms
		everything := false
		target, isMember := s.Member(p.Member)
		if isMember {
			with, everything = party(target.Chain), target.Chain.Owner() || p.MadeSince > 0
		}
		for a := range s.Grants() {
			t, _, err := grant.Parse(a.Raw)
			if err != nil {
				continue
			}
			var subject tree.Entry // one of another tree is nowhere in this one
			if t.Subject.Tree == s.Tree() {
				subject, _ = s.Member(t.Subject.Member)
			}
			switch {
			case a.ID == p.Grant:
				place, _ := s.Member(t.Thing.Member)
				lost, about, with = append(lost, t), party(place.Chain), subjectOf(s, t)
			case !p.Other.IsZero() && (t.Subject.Tree == p.Other || t.GiverTree == p.Other):
				lost = append(lost, t)
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

// reaches says of things that were told of nothing yet until when they may serve.
func (g *Gateway) reaches(things []tree.Entry) map[identity.MemberID]control.Reach {
	now, out := g.cfg.Clock(), make(map[identity.MemberID]control.Reach, len(things))
	for _, t := range things {
		fresh, offline := t.LimitFor("")
		out[t.Chain.Member()] = control.Reach{Path: t.Path(), Refuses: now.Add(fresh), Offline: now.Add(offline)}
	}
	return out
}

// followFor is how long a question about a taking-back waits for news.
const followFor = 5 * time.Second

// Follow tells how far a taking-back has got, once that is further than the caller knows.
func (h *home) Follow(ctx context.Context, who credential.Principal, q control.Following) (control.Report, error) {
	leaf, err := leafOf(q.Leaf)
	if err != nil {
		return control.Report{}, err
	}
	t, ok := h.takings.find(leaf)
	own := ok && !t.by.IsZero() && (who.ActsFor() == t.by || who.Member() == t.by)
	if !ok || !own && !who.Owner() {
		return control.Report{}, &control.Error{Code: control.NotFound, Message: "nothing is known any more of what was taken back"}
	}
	soon, cancel := context.WithTimeout(ctx, followFor)
	defer cancel()
	t.wait(soon, func() bool {
		closed, all := t.closed()
		return closed > q.Closed || closed == all
	})
	return t.report(), nil
}

// Resume lets a paused grant allow again what it says.
func (h *home) Resume(ctx context.Context, who credential.Principal, g control.GrantRef) (control.None, error) {
	id, err := tree.ParseGrantID(g.ID)
	if err != nil {
		return control.None{}, invalid(err)
	}
	_, about, with := h.concerned(credential.Pending{Revocation: tree.Revocation{Grant: id}})
	already, err := h.keeper.Resume(ctx, who.Chain, id)
	if err != nil {
		return control.None{}, answer(err)
	}
	if !already {
		h.tell(ctx, journal.Resume, who.Chain, about, with, id)
	}
	return control.None{}, nil
}

// Obeyed notes that the caller obeys a revocation.
func (h *home) Obeyed(_ context.Context, who credential.Principal, o control.Obeyed) (control.None, error) {
	leaf, err := leafOf(o.Leaf)
	if err == nil {
		h.takings.obeyed(leaf, who.Member())
	}
	return control.None{}, err
}

func leafOf(raw []byte) (merkle.Hash, error) {
	if len(raw) != len(merkle.Hash{}) {
		return merkle.Hash{}, invalid(errors.New("a leaf hash has 32 bytes"))
	}
	return merkle.Hash(raw), nil
}
