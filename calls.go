package kindred

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/thing"
)

// calls are the requests that the node's thing serves at the moment.
//
//	         decided: no                     response written
//	begun ───────────────▶ refused     ┌─────────────────────────▶ done
//	   │                               │
//	   └── decided: yes ──▶ served ────┤  decided again, when the decision's time is up
//	                          ▲  │     │  or something was taken away: no
//	                          └──┘     └─────────────────────────▶ ended
//	                   decided again: yes
type calls struct {
	node   *Node
	stream atomic.Uint64

	mu      sync.Mutex
	open    map[*call]struct{}
	handler http.Handler // nil: nothing is offered
	offers  func(op thing.Op, affordance string) bool

	wake chan struct{} // something was taken away, or a budget runs down faster
	done chan struct{}
	wait sync.WaitGroup
}

// maxCalls bounds how many requests of one caller are served at once.
const maxCalls = 64

// A call is one request being served.
type call struct {
	calls      *calls
	session    *session
	w          http.ResponseWriter
	op         thing.Op
	affordance string
	purpose    string          // what for, as the caller says
	ctx        context.Context // of the request, from which arrivalOf tells where the caller is
	counts     bool            // if it is served, something is done, which counts as a use
	cancel     context.CancelCauseFunc
	caller     thing.Caller
	copies     *copying // of what a service is shown; nil: it is none

	number  uint64                        // by which its caller knows it; 0: it does not
	entry   *journal.Entry                // that was written when it was allowed; nil: of what is over soon
	place   atomic.Pointer[journal.Place] // where that stands; nil: nowhere yet
	request *digested                     // the body of an action; nil: of anything else
	began   time.Time

	telling      sync.Mutex // one receipt for it, or of what it showed in clear, after the other
	part         uint32     // receipts there were for the stream
	count, bytes uint64     // what the last of them said,
	until        time.Time  // and as of when
	told         bool       // all that there was

	shares, left bool // guarded by usage: whether it has shares, and is over

	mu       sync.Mutex
	way      grant.Way     // how the request came, or where its caller is by now
	id       uint64        // pairs begin and end of a stream in the journal; 0 for what is none
	lasts    bool          // it is a stream, or a file that may be long, and is decided again
	seal     *journal.Seal // of what is written of it; nil: it stands there in clear
	decision grant.Decision
	timer    *time.Timer
	ended    bool
}

type callKey struct{}

func callOf(ctx context.Context) (*call, bool) {
	c, ok := ctx.Value(callKey{}).(*call)
	return c, ok
}

func (cs *calls) start(n *Node) error {
	cs.node, cs.open = n, map[*call]struct{}{}
	cs.wake, cs.done = make(chan struct{}, 1), make(chan struct{})
	wake := func() {
		select {
		case cs.wake <- struct{}{}:
		default:
		}
	}
	n.trust.changed = wake
	n.usage.start(n.db, n.log, wake)
	cs.wait.Go(func() {
		minutes := time.NewTicker(receiptEvery)
		defer minutes.Stop()
		for {
			select {
			case <-minutes.C:
				cs.everyMinute()
			case <-cs.wake:
				cs.recheck()
				n.recheckCallees()
				if err := n.usage.forget(context.Background(), n.trust.snapshot()); err != nil {
					n.log.Error("forgetting what was used", "error", err)
				}
			case <-cs.done:
				if n.journal != nil { // else the node was never up
					n.noteRefusals(true)
				}
				return
			}
		}
	})
	return nil
}

// everyMinute does what nothing else calls for. What lasts is decided again: its caller may have gone elsewhere, and the
// clock have been set, which no timer tells.
func (cs *calls) everyMinute() {
	cs.recheck()
	cs.tellStreams(receiptEvery)
	cs.node.noteRefusals(false)
}

func (cs *calls) stop() {
	if cs.done != nil {
		close(cs.done)
	}
	cs.wait.Wait()
}

// offer makes h what is served, which has the affordances that offers says; nil: nothing.
func (cs *calls) offer(h http.Handler, offers func(thing.Op, string) bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.handler, cs.offers = h, offers
}

// has reports whether what is served has an affordance for an operation.
func (cs *calls) has(op thing.Op, affordance string) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.offers != nil && cs.offers(op, affordance)
}

// serve hands a request to the thing, in a context that ends when the right to it does.
func (cs *calls) serve(w http.ResponseWriter, r *http.Request) {
	a, ok := arrivalOf(r.Context())
	if !ok {
		http.Error(w, http.StatusText(http.StatusForbidden), http.StatusForbidden)
		return
	}
	ctx, cancel := r.Context(), func(error) {}
	if !isPlainRead(r) { // which is over before it could be decided again
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
	}
	c := &call{calls: cs, session: a.session, w: w, purpose: purposeOf(r), ctx: r.Context(), way: cs.node.wayOf(a), cancel: cancel}
	c.caller = thing.Caller{Name: a.session.name(cs.node.self.ID.Tree), Base: a.base, View: c.view}
	c.watchCopies(&w)
	if end := c.account(&w, r); end != nil {
		defer end()
	}
	handler := cs.enter(c)
	if handler == nil {
		problem(w, &thing.Problem{Status: http.StatusServiceUnavailable, Detail: "there is nothing here, or too many of your calls at once"})
		return
	}
	defer cs.leave(c)
	ctx = thing.WithCaller(context.WithValue(ctx, callKey{}, c), &c.caller)
	handler.ServeHTTP(w, r.WithContext(ctx))
}

// enter counts a call in and returns what serves it, nil if it has to go.
func (cs *calls) enter(c *call) http.Handler {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	same := 0
	for other := range cs.open {
		if a, b := other.session.who, c.session.who; a.Member() == b.Member() && a.ID.Tree == b.ID.Tree {
			same++
		}
	}
	if same >= maxCalls {
		return nil
	}
	cs.open[c] = struct{}{}
	return cs.handler
}

func (cs *calls) leave(c *call) {
	cs.mu.Lock()
	delete(cs.open, c)
	cs.mu.Unlock()
	cs.node.usage.leave(c)
	if c.caller.Failed != "" {
		c.finish(journal.Failed, c.caller.Failed)
	} else {
		c.end(c.caller.Ended)
	}
	c.tellStream(journal.Ended)
	c.tellCopies(false)
}

// recheck decides again on all that is being served.
func (cs *calls) recheck() {
	cs.mu.Lock()
	open := make([]*call, 0, len(cs.open))
	for c := range cs.open {
		open = append(open, c)
	}
	cs.mu.Unlock()
	for _, c := range open {
		c.recheck()
	}
}

// view tells what the call's caller may be shown by now. Before it is decided, that is nothing.
func (c *call) view() thing.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, service := &c.decision.View, c.session.who.Kind() == identity.Service
	if v.Whole() && !service {
		return thing.View{Now: c.calls.node.now()}
	}
	shown := thing.View{
		Now: c.calls.node.now(), Sees: v.SeesAll,
		Step: thing.Step(v.Detail.Step), Zone: v.Zone, Area: v.Detail.Area, Fields: v.Clear,
	}
	if shown.Fields == nil && service {
		shown.Fields = []string{} // where nothing was agreed, nothing is shown
	}
	return shown
}

// mayLast reports whether an operation may last, and is decided again while it does.
func mayLast(op thing.Op) bool {
	switch op {
	case thing.OpObserveProperty, thing.OpSubscribeEvent, thing.OpConnect, thing.OpReadFile:
		return true
	}
	return false
}

// begin notes that the call is served under d, and returns the number of the stream, 0 if it is none.
func (c *call) begin(d grant.Decision) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decision = d
	if !mayLast(c.op) {
		return 0
	}
	if c.op != thing.OpReadFile { // which is a read in the journal, however long it takes
		c.id = c.calls.stream.Add(1)
	}
	c.lasts = true
	c.arm(d)
	return c.id
}

// sealWith notes what is written of the call is sealed with.
func (c *call) sealWith(with *journal.Seal) *journal.Seal {
	if with != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seal = with
	}
	return with
}

// arm sets the clock for deciding again. Callers hold mu.
func (c *call) arm(d grant.Decision) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = time.AfterFunc(max(0, d.Until.Sub(c.calls.node.now())), c.recheck)
}

// recheck decides again on what lasts, and ends it if the answer is no.
func (c *call) recheck() {
	c.mu.Lock()
	serving := c.lasts && !c.ended
	c.mu.Unlock()
	if !serving {
		return
	}
	n := c.calls.node
	c.locate()
	d, _, err := n.decide(c)
	if err == nil && d.Reason.Code == grant.Stale {
		n.freshen(context.Background(), c.affordance)
		d, _, err = n.decide(c)
	}
	if err != nil || !d.Allowed {
		c.cut(refusal(d, err))
		return
	}
	c.mu.Lock()
	if !c.ended {
		c.decision = d
		c.arm(d)
	}
	c.mu.Unlock()
	if c.op == thing.OpConnect { // of what goes through it nothing can be left out
		var p *thing.Problem
		if err := c.view().Whole(c.affordance); errors.As(err, &p) {
			c.cut(p)
		}
	}
}

// locate notes where the caller is by now.
func (c *call) locate() {
	a, _ := arrivalOf(c.ctx) // without one nothing is served
	way := c.calls.node.wayOf(a)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.way = way
}

// came tells which way the call comes.
func (c *call) came() grant.Way {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.way
}

// cut ends the call against its caller's wish.
func (c *call) cut(p *thing.Problem) {
	c.end(p.Detail)
	c.cancel(p)
}

// end writes down that a stream ended, and why if it was not the caller's wish. Of other calls it tells only the latter.
func (c *call) end(reason string) { c.finish(journal.Ended, reason) }

func (c *call) finish(outcome journal.Outcome, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.lasts || c.ended {
		return
	}
	c.ended = true
	c.timer.Stop()
	if c.id == 0 && reason == "" {
		return
	}
	n := c.calls.node
	e := n.entry(c.session.who, c.op, c.affordance, c.decision)
	e.Outcome, e.Reason, e.Stream, e.Call, e.Seal = outcome, reason, c.id, c.number, c.seal
	if c.caller.Sent != nil {
		e.Bytes = c.caller.Sent.Bytes()
	}
	n.note(e)
}
