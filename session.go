package kindred

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
)

type peerKey = crypto.PublicKey

// A session is a peer that was verified, and what it showed. It is renewed for every request.
type session struct {
	who    credential.Principal
	live   credential.Live
	grants [][]byte
	agreed []grant.Consented // consents to the grants

	visits  []visit  // what it proved of other trees: a visitor of its own, and of any who passed on what it shows
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
	base    string    // of the URLs that the caller uses; "": those of the peer network
	at      string    // where over HTTPS the caller is: IP:PORT
	path    peer.Path // over the peer network
}

type arrivalKey struct{}

func withArrival(ctx context.Context, a arrival) context.Context {
	return context.WithValue(ctx, arrivalKey{}, a)
}

// arrivalOf tells who sent a request: over the peer network by what package peer has from admit, else by what was put into
// its context.
func arrivalOf(ctx context.Context) (arrival, bool) {
	if remote, ok := peer.Caller(ctx); ok {
		s, ok := remote.Value.(*session)
		return arrival{session: s, path: remote.Path}, ok
	}
	a, ok := ctx.Value(arrivalKey{}).(arrival)
	return a, ok
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
	of := n.ownTree(hello)
	visits, err := n.beside(ctx, hello, live, of)
	if err == nil {
		live, err = n.renewBeside(visits, live, n.now(), of)
	}
	if err != nil {
		return nil, err
	}
	if of != n.self.ID.Tree {
		return n.examineVisitor(key, hello, live, visits, of)
	}
	who, err := credential.Verify(hello.Chain, key, live)
	if err != nil {
		return nil, err
	}
	return &session{who: who, live: live, grants: hello.Grants, agreed: n.consented(hello.Consents, live), visits: visits}, nil
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
	of := s.who.ID.Tree
	if live, err = n.renewBeside(s.visits, live, now, of); err != nil {
		return nil, err
	}
	at := live
	if of != live.Tree {
		at, _ = live.Of(of) // else nobody on it is proved
	}
	who, err := s.who.Renew(at)
	if err != nil {
		return nil, err
	}
	r := &renewed{who: who, live: live, version: version, at: now}
	if !now.IsZero() {
		s.last.Store(r)
	}
	return r, nil
}
