package kindred

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/tree"
)

// Self is what a directory keeps of the member that lives in it, beside its keys and what it trusts.
type Self struct {
	Tree    identity.TreeID
	Chain   [][]byte // the member's certificates
	Gateway GatewayRef
}

// A GatewayRef is where the home's gateway was when the member joined. Its address record, once there is one, is newer.
type GatewayRef struct {
	Member    identity.MemberID
	Chain     [][]byte // its certificates
	Addresses []string
}

const selfKey = "self"

func loadSelf(ctx context.Context, db *store.DB) (Self, error) {
	var s Self
	data, err := db.Load(ctx, selfKey)
	if err != nil {
		return s, err
	}
	if data == nil {
		return s, ErrNoMember
	}
	return s, json.Unmarshal(data, &s)
}

// Settle writes a new member into a directory's database: who it is, and the charter of its tree.
func Settle(ctx context.Context, db *store.DB, s Self, charter []byte) error {
	trusted, err := credential.Trust(s.Tree, charter)
	if err != nil {
		return err
	}
	state, err := trusted.Marshal()
	if err != nil {
		return err
	}
	self, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("kindred: writing a member: %w", err)
	}
	return db.Save(ctx, map[string][]byte{selfKey: self, trustedKey(s.Tree): state})
}

// evidenceFor is how long evidence is shown without asking the gateway for newer.
const evidenceFor = 10 * time.Minute

// proofs are what the node can show of itself: one hello for whom no grants are needed, and one for each thing that
// it uses under grants.
type proofs struct {
	mu   sync.Mutex
	kept map[identity.MemberID]kept // by thing; the zero ID: for everyone else
	self tree.Member                // the node's own roster entry
	last kept                       // of them, the one fetched last
}

// kept is a piece of evidence as it is stored.
type kept struct {
	Evidence control.Evidence
	Fetched  time.Time

	hello []byte
}

// sameHead reports whether two proofs are of one and the same roster, and the same is proved of other trees: then the one
// allows nothing that the other does not.
func (k kept) sameHead(other kept) bool {
	a, aerr := credential.ParseProof(k.Evidence.Proof)
	b, berr := credential.ParseProof(other.Evidence.Proof)
	return aerr == nil && berr == nil && bytes.Equal(a.Head, b.Head) && slices.EqualFunc(k.Evidence.Beside, other.Evidence.Beside, bytes.Equal)
}

const evidencePrefix = "evidence/"

func (p *proofs) load(ctx context.Context, db *store.DB) error {
	p.kept = map[identity.MemberID]kept{}
	return db.Scan(ctx, evidencePrefix, func(key string, value []byte) error {
		thing, err := identity.ParseMemberID(key[len(evidencePrefix):])
		if err != nil {
			return err
		}
		var k kept
		if err := json.Unmarshal(value, &k); err != nil {
			return fmt.Errorf("kindred: reading %s: %w", key, err)
		}
		return p.set(thing, k)
	})
}

func (p *proofs) set(thing identity.MemberID, k kept) error {
	hello, err := helloOf(k.Evidence)
	if err != nil {
		return err
	}
	if k.hello, err = hello.Short().Marshal(); err != nil {
		return err
	}
	var self tree.Member
	if err := signed.Unmarshal(k.Evidence.Self, &self); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept[thing] = k
	p.self = self
	if !k.Fetched.Before(p.last.Fetched) {
		p.last = k
	}
	return nil
}

// helloOf returns the hello that shows what evidence has.
func helloOf(e control.Evidence) (credential.Hello, error) {
	hello := credential.Hello{Chain: e.Chain, Grants: e.Grants, Consents: e.Consents}
	for _, raw := range append([][]byte{e.Proof}, e.Beside...) {
		p, err := credential.ParseProof(raw)
		if err != nil {
			return credential.Hello{}, err
		}
		hello.Proofs = append(hello.Proofs, p)
	}
	return hello, nil
}

func (p *proofs) get(thing identity.MemberID) (kept, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.kept[thing]
	return k, ok
}

// fetched returns when what is kept for a thing was fetched.
func (p *proofs) fetched(thing identity.MemberID) (at time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.kept[thing]
	return k.Fetched, ok
}

// hello returns the one for a thing or, where that takes no grants, for all.
func (p *proofs) hello(thing identity.MemberID) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k, ok := p.kept[thing]; ok && !thing.IsZero() {
		return k.hello
	}
	return p.kept[identity.MemberID{}].hello
}

// latest returns the evidence that was fetched last.
func (p *proofs) latest() control.Evidence {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last.Evidence
}

// entry returns the node's own roster entry.
func (p *proofs) entry() tree.Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.self
}

// hello returns what the node shows to a member: without evidence only its certificates, which is enough for the
// gateway, who knows the roster.
func (n *Node) hello(thing identity.MemberID) []byte {
	if hello := n.proofs.hello(thing); hello != nil {
		return hello
	}
	data, err := credential.Hello{Chain: n.self.Raw}.Marshal()
	if err != nil {
		n.log.Error("making a hello", "error", err)
	}
	return data
}

// scope says under which thing's name evidence for it is kept. Owners' apps need no grants, and the gateway knows them.
func (n *Node) scope(thing identity.MemberID) identity.MemberID {
	if n.self.Owner() || thing == n.gateway.Member {
		return identity.MemberID{}
	}
	return thing
}

// refresh fetches evidence for a thing, proved no longer than maxAge ago if that is not 0.
func (n *Node) refresh(ctx context.Context, thing identity.MemberID, maxAge time.Duration) error {
	thing = n.scope(thing)
	q := control.ProofQuery{MaxAge: maxAge}
	if !thing.IsZero() {
		q.Thing = thing.String()
	}
	e, err := n.home.Prove(ctx, q)
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		return err
	}
	if err := n.keep(ctx, thing, e); err != nil {
		return err
	}
	if accepted, err := n.accept(ctx, e); err != nil {
		n.log.Warn("what was agreed cannot be accepted", "error", err)
	} else if accepted {
		if e, err = n.home.Prove(ctx, q); err == nil {
			err = n.keep(ctx, thing, e)
		}
		if err != nil {
			return err
		}
	}
	n.compareRecipient(ctx, e)
	n.whereGateway(ctx)
	return nil
}

// Refresh fetches a fresh proof of the node itself. A node that listens is sent one whenever there is news.
func (n *Node) Refresh(ctx context.Context) error {
	return n.refresh(ctx, identity.MemberID{}, 0)
}

// keep verifies evidence about the node itself, learns from it, and stores it.
func (n *Node) keep(ctx context.Context, thing identity.MemberID, e control.Evidence) error {
	proof, err := credential.ParseProof(e.Proof)
	if err != nil {
		return err
	}
	live, err := n.verify(ctx, proof)
	if err != nil {
		return err
	}
	if _, err := credential.Verify(e.Chain, n.key.Public(), live); err != nil {
		return err
	}
	if e.Homes != nil {
		if err := n.hear(ctx, *e.Homes); err != nil {
			n.log.Info("news of other homes do not verify", "error", err)
		}
		e.Homes = nil // which is not shown, and not kept
	}
	if thing.IsZero() {
		n.endings.hear(e.Elsewhere)
	}
	e.Elsewhere = nil // likewise
	k := kept{Evidence: e, Fetched: n.cfg.Clock()}
	if err := n.proofs.set(thing, k); err != nil {
		return err
	}
	if err := n.setApart(ctx, e.Classes, live); err != nil {
		return err
	}
	if err := n.takeDemands(ctx, e.Demands); err != nil {
		return err
	}
	n.rendezvous.again()
	data, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return n.db.Save(ctx, map[string][]byte{evidencePrefix + thing.String(): data})
}

// prepare sees to it that the node has something to show to a thing. What it has is shown when the gateway cannot be
// asked: whether that is good enough is for the thing to say.
func (n *Node) prepare(ctx context.Context, thing identity.MemberID) error {
	fetched, ok := n.proofs.fetched(n.scope(thing))
	if age := n.cfg.Clock().Sub(fetched); ok && age >= 0 && age < evidenceFor {
		return nil
	}
	if thing == n.gateway.Member {
		return nil
	}
	limit := askGateway
	if ok && n.isolated() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := n.refresh(ctx, thing, 0)
	if ok && err != nil {
		n.log.Info("going on with an older proof", "error", err)
		return nil
	}
	return err
}

// askGateway bounds how long a call waits for the gateway before it goes on without.
const askGateway = 2 * time.Second

// What a peer did not show.
var (
	errNoHello = errors.New("it showed nothing of itself")
	errNoProof = errors.New("it showed no proof that it is live")
)

// Settled reads back what Settle wrote.
func Settled(ctx context.Context, db *store.DB) (Self, tree.Ruled, error) {
	s, err := loadSelf(ctx, db)
	if err != nil {
		return s, tree.Ruled{}, err
	}
	var t trust
	err = t.load(ctx, db, s.Tree)
	return s, t.charter(), err
}
