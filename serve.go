package kindred

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
)

type peerKey = crypto.PublicKey

// A session is a peer that was verified, and what it showed. It is renewed for every request.
type session struct {
	who    credential.Principal
	live   credential.Live
	grants [][]byte
	agreed []grant.Consented // consents to the grants

	visit   *visit   // of a caller of another tree; nil: it is of the node's own
	vouched *vouched // for a caller that showed nothing but certificates; nil: it showed all of this itself
	last    atomic.Pointer[renewed]

	naming sync.Once
	named  string
}

// name is what the things of a tree call the caller.
func (s *session) name(own identity.TreeID) string {
	s.naming.Do(func() { s.named = callerName(s.who.Chain, own) })
	return s.named
}

// An arrival is how a request came, whichever way that was.
type arrival struct {
	session *session
	base    string // of the URLs that the caller uses; "": those of the peer network
}

type arrivalKey struct{}

func withArrival(ctx context.Context, a arrival) context.Context {
	return context.WithValue(ctx, arrivalKey{}, a)
}

// arrivalOf tells who sent a request: over HTTPS by what was put into its context, else by what package peer has from
// admit.
func arrivalOf(ctx context.Context) (arrival, bool) {
	if a, ok := ctx.Value(arrivalKey{}).(arrival); ok {
		return a, true
	}
	remote, _ := peer.Caller(ctx)
	s, ok := remote.Value.(*session)
	return arrival{session: s}, ok
}

// renewed is a session as it was brought up to date last.
type renewed struct {
	who     credential.Principal
	live    credential.Live
	version uint64 // of what was trusted
	at      time.Time
	stands  standing
}

// renewFor is how long a session stays as it was renewed while nothing is learnt of the tree.
const renewFor = time.Second

// since reports whether the session is as of that version of what is trusted, and not older than renewFor.
func (r *renewed) since(version uint64, now time.Time) bool {
	age := now.Sub(r.at)
	return r.version == version && age >= 0 && age < renewFor && now.Before(r.who.NotAfter)
}

// sessions remembers peers by what they showed. The same bytes from the same key say the same again: only what was
// learnt in between is looked at.
type sessions struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]*session
}

// maxSessions is how many peers are remembered. Whoever is forgotten is verified from the start.
const maxSessions = 128

func (ss *sessions) find(id [sha256.Size]byte) (*session, bool) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s, ok := ss.known[id]
	return s, ok
}

func (ss *sessions) keep(id [sha256.Size]byte, s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.known == nil {
		ss.known = map[[sha256.Size]byte]*session{}
	}
	for old := range ss.known { // any will do
		if len(ss.known) < maxSessions {
			break
		}
		delete(ss.known, old)
	}
	ss.known[id] = s
}

// examine verifies a hello: rules 1 to 7.
func (n *Node) examine(ctx context.Context, key crypto.PublicKey, raw []byte) (*session, error) {
	if raw == nil {
		return nil, errNoHello
	}
	id := sha256.Sum256(raw)
	if s, ok := n.sessions.find(id); ok && identity.SameKey(s.who.Key, key) {
		if _, _, err := n.renew(s); err == nil {
			return s, nil
		}
	}
	s, err := n.examineNew(ctx, key, raw)
	if err == nil && n.cfg.Gateway == nil { // the gateway asks its roster every time
		n.sessions.keep(id, s)
	}
	return s, err
}

func (n *Node) examineNew(ctx context.Context, key crypto.PublicKey, raw []byte) (*session, error) {
	hello, err := credential.ParseHello(raw)
	if err != nil {
		return nil, err
	}
	return n.examineHello(ctx, key, hello)
}

func (n *Node) examineHello(ctx context.Context, key crypto.PublicKey, hello credential.Hello) (*session, error) {
	proof, err := n.proofOf(ctx, hello)
	if err != nil {
		return nil, err
	}
	live, err := n.verify(ctx, proof)
	if err != nil {
		return nil, err
	}
	if _, _, ok := n.foreign(hello); ok {
		return n.examineVisitor(ctx, key, hello, live)
	}
	who, err := credential.Verify(hello.Chain, key, live)
	if err != nil {
		return nil, err
	}
	return &session{who: who, live: live, grants: hello.Grants, agreed: n.consented(hello.Consents, live)}, nil
}

// proofOf picks the proof about the node's own tree. The gateway needs none: it has the roster.
func (n *Node) proofOf(ctx context.Context, hello credential.Hello) (credential.Proof, error) {
	if g := n.cfg.Gateway; g != nil {
		return g.Live(ctx, hello)
	}
	for _, p := range hello.Proofs {
		if id, err := p.Tree(); err == nil && id == n.self.ID.Tree {
			return p, nil
		}
	}
	if len(hello.Proofs) == 0 {
		return credential.Proof{}, errNoProof
	}
	return credential.Proof{}, credential.ErrStranger
}

// admit is what package peer asks of every caller that shows a hello.
func (n *Node) admit(ctx context.Context, from crypto.PublicKey, hello []byte) (peer.Admission, error) {
	s, err := n.examine(ctx, from, hello)
	if err != nil {
		if hello != nil {
			n.countStranger(err)
		}
		return peer.Admission{}, err
	}
	return peer.Admission{Hello: func() []byte { return n.hello(identity.MemberID{}) }, Value: s}, nil
}

func (n *Node) countStranger(err error) {
	reason := "somebody who could not prove who they are"
	switch {
	case errors.Is(err, credential.ErrRevoked):
		reason = "somebody whose access was taken away"
	case errors.Is(err, credential.ErrStranger):
		reason = "somebody from another tree"
	case errors.Is(err, credential.ErrTooOld):
		reason = "somebody with a proof too old to be judged"
	}
	n.log.Debug("refused a caller", "error", err) // the journal counts them
	if err := n.journal.Stranger(n.cfg.Clock(), n.party(n.self), reason); err != nil {
		n.log.Error("counting a refusal", "error", err)
	}
}

// offences are what strangers did other than being strangers, for the owner to read.
var offences = map[peer.Offence]string{
	peer.Stalling:  "somebody who began more connections at once than one address may",
	peer.Crowding:  "somebody who opened more at a time than strangers may",
	peer.Silence:   "somebody who connected and did not say who they are",
	peer.Flooding:  "somebody who sent more than strangers may",
	peer.Malformed: "somebody who sent what no member sends",
}

// countOffence writes down what strangers were turned away for, and how often.
func (n *Node) countOffence(o peer.Offence, times int) {
	if err := n.journal.Strangers(n.cfg.Clock(), n.party(n.self), offences[o], uint32(min(times, math.MaxInt32))); err != nil {
		n.log.Error("counting a refusal", "error", err)
	}
}

// caller returns who a request is from, as of now.
func (n *Node) caller(ctx context.Context) (credential.Principal, bool) {
	a, ok := arrivalOf(ctx)
	if !ok {
		return credential.Principal{}, false
	}
	who, _, err := n.renew(a.session)
	return who, err == nil
}

// renew brings a session up to date with what is trusted by now.
func (n *Node) renew(s *session) (credential.Principal, credential.Live, error) {
	r, err := n.renewal(s, n.now())
	if err != nil {
		return credential.Principal{}, credential.Live{}, err
	}
	return r.who, r.live, nil
}

func (n *Node) renewal(s *session, now time.Time) (*renewed, error) {
	trusted, version := n.trust.versioned()
	version = s.version(version)
	if r := s.last.Load(); r != nil && r.since(version, now) {
		return r, nil
	}
	live, err := s.live.Renew(trusted, now)
	if err != nil {
		return nil, err
	}
	var who credential.Principal
	if s.visit != nil {
		var at credential.Live
		who, at, err = n.renewVisitor(s, now)
		live = live.Beside(at)
	} else {
		who, err = s.who.Renew(live)
	}
	if err != nil {
		return nil, err
	}
	r := &renewed{who: who, live: live, version: version, at: now}
	if !now.IsZero() {
		s.last.Store(r)
	}
	return r, nil
}

// handler serves the node's own paths and, once there is one, its thing.
func (n *Node) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+revokePath, n.takeNotice)
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
)

// maxAgeHeader tells a caller whose proof was too old how young it has to be, in milliseconds.
const maxAgeHeader = "Kindred-Max-Age"

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
		n.note(entry)
		if d.Reason.Code == grant.Stale {
			fresh, _ := n.proofs.entry().LimitFor(affordance)
			c.w.Header().Set(maxAgeHeader, strconv.FormatInt(fresh.Milliseconds(), 10))
		}
		return refusal(d, err)
	}
	if unsigned != nil {
		entry.Outcome, entry.Reason = journal.Refused, "did not sign the receipt for what it did before"
		n.note(entry)
		return unsigned
	}
	if !c.counts {
		return nil // it was asked alone, or is not there, which whoever may use it is told: nothing is done
	}
	entry.Stream = c.begin(d)
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
	facts.Way = c.way
	q := question{op, affordance, req.Purpose, facts.Way, facts.Limit, facts.Never, facts.Isolated}
	if d, ok := r.stands.find(q, now); ok {
		return d, r.who, nil
	}
	grants := n.liveGrants(s, r, now)
	var d grant.Decision
	if op == thing.OpDescribe {
		d, err = n.decideDescribe(r.who, grants, facts)
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

// decideDescribe lets whoever may do anything at the thing, at some time, read what there is.
func (n *Node) decideDescribe(who credential.Principal, grants []grant.Grant, facts grant.Facts) (grant.Decision, error) {
	for _, g := range grants {
		if g.Serves(who.Chain, n.self) {
			return grant.Decision{Allowed: true, Grant: g.Terms().ID, AsOf: who.AsOf, Until: who.NotAfter}, nil
		}
	}
	return grant.Decide(grant.Request{Thing: n.self, Action: grant.Read}, who, nil, facts)
}

func (n *Node) facts(affordance string, now time.Time) grant.Facts {
	return grant.Facts{
		Now: now, Limit: grant.LimitFor(n.proofs.entry(), affordance), Never: n.apart.never(affordance), Isolated: n.isolated(),
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

// The journal.

func (n *Node) party(c identity.Chain) journal.Party {
	return journal.Party{Member: c.Member(), ID: c.ID}
}

var journalOps = map[grant.Action]journal.Op{
	grant.Read: journal.Read, grant.Write: journal.Write, grant.Invoke: journal.Invoke, grant.Observe: journal.Observe,
}

func (n *Node) entry(who credential.Principal, op thing.Op, affordance string, d grant.Decision) journal.Entry {
	e := journal.Entry{
		Time: n.cfg.Clock(), Thing: n.party(n.self), Caller: n.party(who.Chain),
		Op: journal.Read, Affordance: affordance, Outcome: journal.Served, AsOf: d.AsOf, Offline: d.Offline,
	}
	if action, ok := actions[op]; ok {
		e.Op = journalOps[action]
	}
	if !d.Grant.IsZero() {
		e.Grant = d.Grant.String()
	}
	if !d.Allowed {
		e.Outcome, e.Reason = journal.Refused, d.Reason.String()
	}
	if d.AsOf.IsZero() {
		e.AsOf = who.AsOf
	}
	return e
}

func (n *Node) note(e journal.Entry) {
	write := n.journal.Note
	if e.Op == journal.Read && e.Outcome == journal.Served {
		write = n.journal.Tally
	}
	if err := write(e); err != nil {
		n.log.Error("writing the journal", "error", err)
	}
	n.link.poke()
}
