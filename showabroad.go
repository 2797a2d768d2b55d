package kindred

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// proveAbroad fetches the proof of the node's grants for a thing from the gateway there, and verifies it.
func (n *Node) proveAbroad(ctx context.Context, h *otherHome, member identity.MemberID, maxAge time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 2*askGateway)
	defer cancel()
	e, err := n.gatewayOf(h).Prove(ctx, control.ProofQuery{Thing: member.String(), MaxAge: maxAge})
	if err != nil {
		return err
	}
	if err := n.checkShown(ctx, h, e); err != nil {
		return fmt.Errorf("kindred: what the gateway of tree %s proves does not hold: %w", h.tree, err)
	}
	self, givers, err := n.proveGivers(ctx, e)
	if err != nil {
		return err
	}
	now := n.cfg.Clock()
	return n.change(ctx, h, member, func(t *otherThing) { t.Shown, t.Self, t.givers, t.Proved = e, self, givers, now })
}

// giversStand reports whether nobody is known to have been removed who passed on what the node shows to a thing.
func (n *Node) giversStand(t *otherThing) bool {
	if t.Self.Proof == nil {
		return true
	}
	_, err := t.givers.Renew(n.trust.snapshot(), n.now())
	return err == nil
}

// proveGivers fetches the proof that those of the node's own tree are live who passed on what it was given elsewhere;
// nothing if nobody did.
func (n *Node) proveGivers(ctx context.Context, shown control.Evidence) (self control.Evidence, live credential.Live, err error) {
	given := givenIn(shown.Grants, n.self.ID.Tree)
	if len(given) == 0 {
		return self, live, nil
	}
	self, err = n.home.Prove(ctx, control.ProofQuery{Signed: given})
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		return self, live, err
	}
	p, err := credential.ParseProof(self.Proof)
	if err == nil {
		live, err = n.verify(ctx, p)
	}
	if err == nil {
		_, err = credential.Verify(self.Chain, n.key.Public(), live)
	}
	return self, live, err
}

// checkShown verifies what a gateway of another tree proves: who rules there, and that each grant is live and for the node.
func (n *Node) checkShown(ctx context.Context, h *otherHome, e control.Evidence) error {
	mine, err := n.shownMine(ctx, h, e)
	if err == nil && len(mine) == 0 {
		err = errors.New("none of the grants is for this member")
	}
	return err
}

// shownMine verifies what a gateway of another tree proves, and returns those of the grants that are live and for the node.
func (n *Node) shownMine(ctx context.Context, h *otherHome, e control.Evidence) (mine []RosterGrant, err error) {
	p, err := credential.ParseProof(e.Proof)
	if err != nil {
		return nil, err
	}
	live, err := n.verifyOf(ctx, h.trust, p)
	if err != nil {
		return nil, err
	}
	if _, err := live.Recognition(n.self.ID.Tree); err != nil {
		return nil, err
	}
	for _, raw := range e.Grants {
		t, s, err := grant.Parse(raw)
		if err != nil || !t.To(n.self) || t.Tree != h.tree {
			continue
		}
		if g, ok := live.Grant(t.ID); ok && g.Statement == s.Digest {
			mine = append(mine, RosterGrant{Grant: control.Grant{Raw: raw}, Terms: t, Statement: s.Digest})
		}
	}
	return mine, nil
}

// helloAbroad returns what the node shows to a member of another tree: its own certificates and their proof, and to a
// thing the grants it has there and theirs. Charters stay at home: who recognizes a tree has its charter.
func (n *Node) helloAbroad(h *otherHome, member identity.MemberID) []byte {
	hello, err := n.shownAbroad(h, member)
	if err == nil && len(hello.Proofs) == 0 {
		return nil
	}
	var raw []byte
	if err == nil {
		raw, err = hello.Marshal()
	}
	if err != nil {
		n.log.Error("making a hello for another tree", "error", err)
		return nil
	}
	return raw
}

// shownAbroad returns the hello of helloAbroad; it has no proof if the node has none to show.
func (n *Node) shownAbroad(h *otherHome, member identity.MemberID) (hello credential.Hello, err error) {
	own, ok := n.proofs.get(identity.MemberID{})
	if !ok {
		return hello, nil
	}
	t, err := n.otherThing(context.Background(), h, member)
	if err != nil {
		return hello, err
	}
	self := own.Evidence
	if t != nil && t.Self.Proof != nil {
		self = t.Self
	}
	if hello, err = helloOf(self); err != nil {
		return hello, err
	}
	hello.Grants, hello.Consents = nil, nil
	if t != nil && !t.Proved.IsZero() {
		there, err := helloOf(t.Shown)
		if err != nil {
			return hello, err
		}
		hello.Grants, hello.Consents, hello.Proofs = there.Grants, there.Consents, append(hello.Proofs, there.Proofs...)
	}
	return hello.Short(), nil
}

// checkAbroad is checkCallee for a member of another tree, by what is trusted of that.
func (n *Node) checkAbroad(h *otherHome, member identity.MemberID, key crypto.PublicKey, raw []byte) error {
	if raw == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askGateway)
	defer cancel()
	fail := func(err error) error {
		return fmt.Errorf("kindred: %s: %w: %w", urlOf(h.tree, member), ErrDistrusted, err)
	}
	s, err := n.examineAbroad(ctx, h, key, raw)
	if err != nil {
		return fail(err)
	}
	if s.who.Member() != member {
		return fail(fmt.Errorf("it is %s", s.who.ID))
	}
	t, err := n.otherThing(ctx, h, member)
	if err != nil || t == nil { // the gateway there, of which nothing is kept
		return err
	}
	if age := n.now().Sub(s.who.AsOf); !t.Used && age > tree.DefaultFresh {
		return fail(fmt.Errorf("its proof is %s old", age.Round(time.Minute)))
	}
	return n.change(ctx, h, member, func(t *otherThing) { t.Used, t.showed = true, s })
}

func (n *Node) examineAbroad(ctx context.Context, h *otherHome, key crypto.PublicKey, raw []byte) (*session, error) {
	hello, err := credential.ParseHello(raw)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(hello.Proofs, func(p credential.Proof) bool {
		id, err := p.Tree()
		return err == nil && id == h.tree
	})
	if at < 0 {
		return nil, errNoProof
	}
	live, err := n.verifyOf(ctx, h.trust, hello.Proofs[at])
	if err != nil {
		return nil, err
	}
	who, err := credential.Verify(hello.Chain, key, live)
	if err != nil {
		return nil, err
	}
	return &session{who: who, live: live}, nil
}
