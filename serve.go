package kindred

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/thing"
)

// handler serves the node's own paths and, once there is one, its thing.
func (n *Node) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+revokePath, n.takeNotice)
	mux.HandleFunc("HEAD "+probePath, n.tellPath)
	if g := n.cfg.Gateway; g != nil {
		mux.Handle("/", g.Handler(n.caller))
		return mux
	}
	mux.HandleFunc("GET "+receiptsPath, n.receipts.show)
	mux.HandleFunc("POST "+receiptsPath, n.receipts.receive)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, ownPaths) {
			mux.ServeHTTP(w, r)
			return
		}
		n.calls.serve(w, r)
	})
}

// ownPaths is what the paths between members begin with. All others are the thing's.
const ownPaths = "/kindred/v1/"

// Serve offers a thing to whoever has a right to it, until ctx ends.
func (n *Node) Serve(ctx context.Context, t *thing.Thing) error {
	t.ID = n.self.ID.String()
	t.Base = n.url(n.self.Member()) + "/"
	d := t.Describe()
	n.apart.describes(d)
	n.calls.offer(t.Handler(n.authorize), func(op thing.Op, affordance string) bool { return offers(d, op, affordance) })
	defer n.calls.offer(nil, nil)
	<-ctx.Done()
	return nil
}

// offers reports whether a thing has an affordance for an operation.
func offers(d thing.Description, op thing.Op, affordance string) (ok bool) {
	switch op {
	case thing.OpDescribe:
		return true
	case thing.OpInvokeAction, thing.OpConnect:
		var a thing.ActionAffordance
		a, ok = d.Actions[affordance]
		_, _, service := a.Service()
		ok = ok && service == (op == thing.OpConnect)
	case thing.OpSubscribeEvent:
		_, ok = d.Events[affordance]
	default:
		_, ok = d.Properties[affordance]
	}
	return ok
}

// revokePath is where a node takes revocations from their signers: an encoded credential.Notice.
const revokePath = "/kindred/v1/revoke"

func (n *Node) takeNotice(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, credential.MaxHello))
	if err == nil {
		_, err = n.obey(r.Context(), raw)
	}
	if err != nil {
		n.log.Warn("a revocation was not obeyed", "error", err)
		problem(w, &thing.Problem{Status: http.StatusForbidden, Code: codeRefused, Detail: "the revocation is not in order"})
		return
	}
	n.link.poke()
	w.WriteHeader(http.StatusNoContent)
}

// The codes of problems that a node answers with. Others are grant.Code names.
const (
	codeRefused = "refused"
	codeStale   = "stale"
	codeFull    = "full"
)

// maxAgeHeader tells a caller whose proof was too old how young it has to be, in milliseconds.
const maxAgeHeader = "Kindred-Max-Age"

// countsHeader tells a caller that a use was counted, so that it is not asked for once more without need.
const countsHeader = "Kindred-Counts"

func problem(w http.ResponseWriter, p *thing.Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the caller has gone away, and nothing is left to tell it
}

var actions = map[thing.Op]grant.Action{
	thing.OpReadProperty:    grant.Read,
	thing.OpReadFile:        grant.Read,
	thing.OpWriteProperty:   grant.Write,
	thing.OpInvokeAction:    grant.Invoke,
	thing.OpConnect:         grant.Invoke,
	thing.OpObserveProperty: grant.Observe,
	thing.OpSubscribeEvent:  grant.Observe,
}

// authorize decides on one request to the thing, and writes down what it decided before anything is done.
func (n *Node) authorize(r *http.Request, op thing.Op, affordance string) error {
	c, ok := callOf(r.Context())
	if !ok {
		return &thing.Problem{Status: http.StatusForbidden, Code: codeRefused, Detail: "refused"}
	}
	c.op, c.affordance = op, affordance
	c.counts = r.Method != http.MethodOptions && n.calls.has(op, affordance)
	// Whoever has to wait does so before it is decided, and uses nothing up that it does not get.
	unsigned := c.unsigned(r.Context())
	c.counts = c.counts && unsigned == nil
	d, who, err := n.decide(c)
	if err == nil && d.Reason.Code == grant.Stale {
		n.freshen(r.Context(), affordance)
		d, who, err = n.decide(c)
	}
	if (err != nil || !d.Allowed) && n.vouchAgain(r.Context(), c) {
		d, who, err = n.decide(c)
	}
	if err != nil {
		n.log.Warn("a request could not be decided", "who", c.session.who.ID.Path, "error", err)
	}
	entry := n.entry(who, op, affordance, d)
	if err != nil || !d.Allowed {
		n.noteRefused(entry)
		if d.Reason.Code == grant.Stale {
			fresh, _ := n.proofs.entry().LimitFor(affordance)
			c.w.Header().Set(maxAgeHeader, strconv.FormatInt(fresh.Milliseconds(), 10))
		}
		return refusal(d, err)
	}
	if unsigned != nil {
		entry.Outcome, entry.Reason = journal.Refused, "did not sign the receipt for what it did before"
		n.noteRefused(entry)
		return unsigned
	}
	if full := c.full(); full != nil {
		entry.Outcome, entry.Reason = journal.Refused, full.Detail
		n.noteRefused(entry)
		return full
	}
	if !c.counts {
		return nil // it was asked alone, or is not there, which whoever may use it is told: nothing is done
	}
	if d.Counts {
		c.w.Header().Set(countsHeader, "1")
	}
	entry.Stream = c.begin(d)
	entry.Seal = c.sealWith(n.sealFor(c.session.who))
	return c.write(r.Context(), entry)
}

// refusal explains a refusal to a verified caller: the reason is about the caller's own rights.
func refusal(d grant.Decision, err error) *thing.Problem {
	p := &thing.Problem{Status: http.StatusForbidden, Code: d.Reason.Code.String(), Detail: d.Reason.String()}
	switch {
	case errors.Is(err, credential.ErrRevoked):
		p.Code, p.Detail = codeRefused, "access was taken away"
	case err != nil:
		p.Code, p.Detail = codeRefused, "refused"
	}
	return p
}

// decide is rules 4 and 8 to 10 for one call. What was decided of the same question a moment ago, and
// still holds, is not worked out again.
func (n *Node) decide(c *call) (grant.Decision, credential.Principal, error) {
	s, op, affordance := c.session, c.op, c.affordance
	now := n.now()
	r, err := n.renewal(s, now)
	if err != nil {
		return grant.Decision{}, s.who, err
	}
	action, ok := actions[op]
	if !ok && op != thing.OpDescribe {
		return grant.Decision{}, r.who, fmt.Errorf("kindred: no rule for %q", op)
	}
	req, facts := grant.Request{Thing: n.self, Affordance: affordance, Action: action, Purpose: c.purpose}, n.facts(affordance, now)
	facts.Way = c.came()
	q := question{op, affordance, req.Purpose, facts.Way, facts.Limit, facts.Never, facts.Isolated}
	if d, ok := r.stands.find(q, now); ok {
		return d, r.who, nil
	}
	grants := n.liveGrants(s, r, now)
	var d grant.Decision
	if op == thing.OpDescribe {
		d, err = grant.DecideDescription(n.self, r.who, grants, facts)
	} else {
		k := taking{usage: &n.usage, call: c, live: r.live, now: now}
		facts.Usage = k.used
		d, err = grant.Decide(req, r.who, grants, facts)
		err = errors.Join(err, k.settle(&d))
	}
	if err == nil {
		r.stands.keep(q, d)
	}
	return d, r.who, err
}

// liveGrants returns the grants of a session that stand now.
func (n *Node) liveGrants(s *session, r *renewed, now time.Time) []grant.Grant {
	grants, err := n.grants.VerifyAll(s.grants, r.live, now)
	if err != nil {
		n.log.Info("a grant does not count", "who", r.who.ID.Path, "error", err)
	}
	for i := range grants {
		grants[i] = grants[i].With(s.agreed, r.live, now)
	}
	return grants
}

func (n *Node) facts(affordance string, now time.Time) grant.Facts {
	return grant.Facts{
		Now: now, Limit: grant.LimitFor(n.proofs.entry(), affordance), Never: n.apart.never(n.self, affordance), Isolated: n.isolated(),
	}
}

// freshen gets a newer proof from the gateway, for a caller whose proof is too old by what the node knows.
func (n *Node) freshen(ctx context.Context, affordance string) {
	if n.isolated() {
		return
	}
	fresh, _ := n.proofs.entry().LimitFor(affordance)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askGateway) // whoever hangs up does not isolate the node
	defer cancel()
	if err := n.refresh(ctx, identity.MemberID{}, fresh); err != nil {
		n.log.Info("no fresh proof to be had", "error", err)
	}
}
