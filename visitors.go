package kindred

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// A visit is what a caller of another tree showed of that.
type visit struct {
	live credential.Live
	home *trust // what the node remembers of that tree
}

// others are what the node remembers of trees that are not its own: of those that its own recognizes, whose members
// call it or whose things it uses. No other tree gets into it.
type others struct {
	mu    sync.Mutex
	trust map[identity.TreeID]*trust
	homes map[identity.TreeID]*otherHome // that the node has called
}

// trustOf returns what the node remembers of another tree: at first its charter, which an owner of the node's own tree
// has signed for.
func (n *Node) trustOf(ctx context.Context, other identity.TreeID, charter []byte) (*trust, error) {
	n.others.mu.Lock()
	defer n.others.mu.Unlock()
	if t, ok := n.others.trust[other]; ok {
		return t, nil
	}
	t := &trust{db: n.db, changed: n.trust.changed}
	data, err := n.db.Load(ctx, trustedKey(other))
	switch {
	case err != nil:
		return nil, err
	case data == nil:
		t.known, err = credential.Trust(other, charter)
	default:
		t.known, err = credential.ParseTrusted(data)
	}
	if err != nil {
		return nil, err
	}
	if n.others.trust == nil {
		n.others.trust = map[identity.TreeID]*trust{}
	}
	n.others.trust[other] = t
	return t, nil
}

// verifyOf checks a proof of another tree and learns from it. No clock is moved by another tree: until the node's own has
// told the time, nothing of others is believed.
func (n *Node) verifyOf(ctx context.Context, t *trust, p credential.Proof) (live credential.Live, err error) {
	if n.now().IsZero() {
		return live, errors.New("kindred: verifying another tree's proof: the clock was not set since boot")
	}
	err = t.update(ctx, n.now, func(known credential.Trusted, _ time.Time) (next credential.Trusted, err error) {
		live, next, err = credential.VerifyProof(p, known, n.now())
		return next, err
	})
	return live, err
}

// foreign returns the proof of another tree than the node's own that a hello has: a visitor's, of its own tree.
func (n *Node) foreign(hello credential.Hello) (p credential.Proof, of identity.TreeID, ok bool) {
	for _, p := range hello.Proofs {
		if id, err := p.Tree(); err == nil && id != n.self.ID.Tree {
			return p, id, true
		}
	}
	return credential.Proof{}, identity.TreeID{}, false
}

// examineVisitor verifies somebody of another tree. here proves the node's own tree's part: that it recognizes the other,
// and the visitor's grants. Who has no business here is a stranger like all others.
func (n *Node) examineVisitor(ctx context.Context, key crypto.PublicKey, hello credential.Hello, here credential.Live) (*session, error) {
	p, of, _ := n.foreign(hello)
	r, err := here.Recognition(of)
	if err != nil {
		return nil, err
	}
	home, err := n.trustOf(ctx, of, r.Charter)
	if err != nil {
		return nil, err
	}
	live, err := n.verifyOf(ctx, home, p)
	if err != nil {
		return nil, err
	}
	who, err := credential.VerifyVisitor(hello.Chain, key, live, here)
	if err == nil {
		err = lately(who, n.now())
	}
	if err != nil {
		return nil, err
	}
	here = here.Beside(live) // who passed on what it was given may be of the visitor's tree
	s := &session{who: who, live: here, grants: hello.Grants, agreed: n.consented(hello.Consents, here), visit: &visit{live, home}}
	return s, n.welcome(s)
}

// LiveAbroad verifies that somebody of another tree, which r recognizes, was live there within the last day, and learns from
// the proof.
func (n *Node) LiveAbroad(ctx context.Context, r tree.Recognition, p credential.Proof, who identity.Chain) error {
	t, err := n.trustOf(ctx, r.Other, r.Charter)
	if err != nil {
		return err
	}
	live, err := n.verifyOf(ctx, t, p)
	if err == nil {
		err = live.Under(r)
	}
	if err == nil {
		err = live.Check(who)
	}
	if err == nil {
		err = lately(credential.Principal{Chain: who, AsOf: live.AsOf}, n.now())
	}
	if err != nil {
		return fmt.Errorf("kindred: looking whether %s is live: %w", who.ID, err)
	}
	return nil
}

// lately checks that a visitor's own tree was checked within the last day.
func lately(who credential.Principal, now time.Time) error {
	if age := now.Sub(who.AsOf); age >= grant.VisitorMaxAge {
		return fmt.Errorf("kindred: a proof of %s, %s old, %w", who.ID, age.Round(time.Minute), credential.ErrTooOld)
	}
	return nil
}

// welcome reports, as an error, that a visitor has no business here: it is shown nothing then, not even who this is.
func (n *Node) welcome(s *session) error {
	if g := n.cfg.Gateway; g != nil {
		return g.Welcome(s.who)
	}
	grants, err := n.grants.VerifyAll(s.grants, s.live, n.now())
	if slices.ContainsFunc(grants, func(g grant.Grant) bool { return g.Serves(s.who.Chain, n.self) }) {
		return nil
	}
	if err != nil {
		n.log.Info("a visitor's grant does not count", "who", s.who.ID, "error", err)
	}
	return fmt.Errorf("kindred: nothing here is shared with %s: it %w", s.who.ID, credential.ErrStranger)
}

// renewVisitor is Principal.Renew for a visitor, by what is trusted of its own tree. It returns what that proves too.
func (n *Node) renewVisitor(s *session, now time.Time) (credential.Principal, credential.Live, error) {
	live, err := s.visit.live.Renew(s.visit.home.snapshot(), now)
	if err != nil {
		return credential.Principal{}, live, err
	}
	who, err := s.who.Renew(live)
	if err == nil {
		err = lately(who, now)
	}
	return who, live, err
}

// version counts the changes of all that is trusted of the trees that a session rests on.
func (s *session) version(own uint64) uint64 {
	if s.visit == nil {
		return own
	}
	_, theirs := s.visit.home.versioned()
	return own + theirs
}

// callerName tells callers apart, whatever ID a member of another tree has.
func callerName(c identity.Chain, own identity.TreeID) string {
	if c.ID.Tree == own {
		return c.Member().String()
	}
	return c.Member().String() + "." + c.ID.Tree.String()
}
