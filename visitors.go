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

// A visit is what a caller showed of another tree than the node's: of its own, or of that of somebody who passed on what it
// was given.
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

// ownTree returns the tree that a hello says its bearer is of: that of the first proof, and the node's own if there is none.
func (n *Node) ownTree(hello credential.Hello) identity.TreeID {
	if len(hello.Proofs) > 0 {
		if id, err := hello.Proofs[0].Tree(); err == nil {
			return id
		}
	}
	return n.self.ID.Tree
}

// beside verifies what a hello proves of other trees than the node's own, whose live entries here proves: that it recognizes
// them, and what they gave. What does not hold is left out, and the reason returned if it is of the tree asked about.
func (n *Node) beside(ctx context.Context, hello credential.Hello, here credential.Live, of identity.TreeID) (visits []visit, err error) {
	for _, p := range hello.Proofs {
		id, perr := p.Tree()
		if perr != nil || id == n.self.ID.Tree || slices.ContainsFunc(visits, func(v visit) bool { return v.live.Tree == id }) {
			continue
		}
		v, verr := n.verifyBeside(ctx, id, p, here)
		switch {
		case verr == nil:
			visits = append(visits, v)
		case id == of:
			return nil, verr
		default:
			n.log.Info("a proof of another tree does not count", "tree", id, "error", verr)
		}
	}
	return visits, nil
}

func (n *Node) verifyBeside(ctx context.Context, of identity.TreeID, p credential.Proof, here credential.Live) (visit, error) {
	r, err := here.Recognition(of)
	if err != nil {
		return visit{}, err
	}
	home, err := n.trustOf(ctx, of, r.Charter)
	if err != nil {
		return visit{}, err
	}
	live, err := n.verifyOf(ctx, home, p)
	if err == nil {
		err = here.Admits(live)
	}
	if err == nil {
		err = lately(live, n.now())
	}
	return visit{live, home}, err
}

// renewBeside returns here with what is beside it, as of what is trusted by now. What does not hold any more is left out;
// of the tree asked about the reason is returned.
func (n *Node) renewBeside(visits []visit, here credential.Live, now time.Time, of identity.TreeID) (credential.Live, error) {
	var lives []credential.Live
	for _, v := range visits {
		live, err := v.live.Renew(v.home.snapshot(), now)
		if err == nil {
			err = lately(live, now)
		}
		if err == nil {
			lives = append(lives, live)
		} else if v.live.Tree == of {
			return here, err
		}
	}
	return here.Beside(lives...), nil
}

// examineVisitor verifies somebody of another tree. here proves the node's own tree's part: that it recognizes the other,
// and the visitor's grants; and what stands beside it is proved of others. Who has no business here is a stranger like all
// others.
func (n *Node) examineVisitor(key crypto.PublicKey, hello credential.Hello, here credential.Live, visits []visit, of identity.TreeID) (*session, error) {
	if _, err := here.Recognition(of); err != nil {
		return nil, err
	}
	at, ok := here.Of(of)
	if !ok {
		return nil, errNoProof
	}
	who, err := credential.VerifyVisitor(hello.Chain, key, at, here)
	if err != nil {
		return nil, err
	}
	s := &session{who: who, live: here, grants: hello.Grants, agreed: n.consented(hello.Consents, here), visits: visits}
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
		err = lately(live, n.now())
	}
	if err != nil {
		return fmt.Errorf("kindred: looking whether %s is live: %w", who.ID, err)
	}
	return nil
}

// lately checks that another tree was checked within the last day.
func lately(live credential.Live, now time.Time) error {
	if age := now.Sub(live.AsOf); age >= grant.VisitorMaxAge {
		return fmt.Errorf("kindred: a proof of tree %s, %s old, %w", live.Tree, age.Round(time.Minute), credential.ErrTooOld)
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

// version counts the changes of all that is trusted of the trees that a session rests on.
func (s *session) version(own uint64) uint64 {
	for _, v := range s.visits {
		_, theirs := v.home.versioned()
		own += theirs
	}
	return own
}

// callerName tells callers apart, whatever ID a member of another tree has.
func callerName(c identity.Chain, own identity.TreeID) string {
	if c.ID.Tree == own {
		return c.Member().String()
	}
	return c.Member().String() + "." + c.ID.Tree.String()
}
