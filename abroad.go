package kindred

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

// lookUpAbroad asks another home's gateway where a thing is that the node has a right to, and remembers it.
func (n *Node) lookUpAbroad(ctx context.Context, h *otherHome, q control.Lookup) (Contact, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*askGateway)
	defer cancel()
	found, err := n.gatewayOf(h).Resolve(ctx, q)
	if err != nil {
		return Contact{}, err
	}
	now := n.cfg.Clock()
	c, err := contactIn(h.tree, h.trust.charter(), found, now)
	if err != nil {
		return Contact{}, err
	}
	if q.Path != "" && c.ID.Path != q.Path || q.Member != "" && c.Member().String() != q.Member {
		return Contact{}, fmt.Errorf("kindred: asked for %s%s, the gateway of tree %s tells of %s", q.Path, q.Member, h.tree, c.ID.Path)
	}
	return c, n.change(ctx, h, c.Member(), func(t *otherThing) { t.Contact, t.Fetched, t.contact = found, now, c })
}

// Abroad finds the member with an ID of another tree, which must be recognized by the node's own: from memory if it is
// there, else at the gateway there. Of things the node is told that it has a right to; owners' apps also, at mutual
// recognition, who an owner, a person or a service is.
func (n *Node) Abroad(ctx context.Context, id identity.ID) (Contact, error) {
	c, err := n.abroad(ctx, id)
	if err != nil {
		return Contact{}, fmt.Errorf("kindred: looking for %s: %w", id, err)
	}
	return c, nil
}

func (n *Node) abroad(ctx context.Context, id identity.ID) (Contact, error) {
	h, err := n.other(ctx, id.Tree)
	if err != nil {
		return Contact{}, err
	}
	member, err := n.db.Load(ctx, otherPathKey(id.Tree, id.Path))
	if err != nil {
		return Contact{}, err
	}
	if len(member) == len(identity.MemberID{}) {
		t, err := n.otherThing(ctx, h, identity.MemberID(member))
		if err == nil && t != nil && t.contact.ID.Path == id.Path && len(t.contact.Addresses) > 0 {
			return t.contact, nil
		}
	}
	return n.lookUpAbroad(ctx, h, control.Lookup{Path: id.Path})
}

// UseID is Use for a thing of any tree: of another, what the node may do there, grants of that tree say.
func (n *Node) UseID(ctx context.Context, id identity.ID, do func(*thing.Client) error) error {
	if id.Tree == n.self.ID.Tree {
		return n.Use(ctx, id.Path, do)
	}
	c, err := n.abroad(ctx, id)
	if err != nil {
		return err
	}
	err = n.useAt(id.Tree, c.Member(), do)
	if !outOfReach(err) && !errors.Is(err, ErrDistrusted) {
		return err
	}
	h, lerr := n.other(ctx, id.Tree)
	if lerr != nil {
		return err
	}
	now, lerr := n.lookUpAbroad(ctx, h, control.Lookup{Path: id.Path})
	if lerr != nil || now.Member() == c.Member() {
		return err
	}
	return n.useAt(id.Tree, now.Member(), do)
}

func (n *Node) useAt(of identity.TreeID, member identity.MemberID, do func(*thing.Client) error) error {
	base, err := url.Parse(urlOf(of, member))
	if err != nil {
		return err
	}
	return do(n.Client(base))
}

// memberAbroad reads the host of a URL that names a member of another tree.
func (n *Node) memberAbroad(host string) (of identity.TreeID, member identity.MemberID, ok bool) {
	name, domain, _ := strings.Cut(host, ".")
	if domain == n.domain {
		return of, member, false
	}
	of, err := identity.ParseTreeID(domain)
	if err != nil || of == n.self.ID.Tree {
		return of, member, false
	}
	member, err = identity.ParseMemberID(name)
	return of, member, err == nil
}

// roundTripAbroad calls a member of another tree. Before, it sees to it that the node has something to show; after a
// refusal, or when nobody answered, it asks the gateway there for newer and tries once more.
func (t transport) roundTripAbroad(req *http.Request, of identity.TreeID, member identity.MemberID) (*http.Response, error) {
	n, ctx := t.node, req.Context()
	h, err := n.other(ctx, of)
	if err != nil {
		return nil, err
	}
	if err := n.prepare(ctx, identity.MemberID{}); err != nil {
		return nil, err
	}
	if member == h.door().Member {
		return t.askDoor(req)
	}
	if err := n.prepareAbroad(ctx, h, member); err != nil {
		return nil, err
	}
	return t.tell(req, func(req *http.Request) (*http.Response, error) {
		resp, err := t.base.RoundTrip(req)
		if !repeatable(req) || err == nil && resp.StatusCode != http.StatusForbidden {
			return resp, err
		}
		if err == nil && t.settles(req, resp) || n.newerAbroad(ctx, h, member, resp, err) {
			return t.again(req, resp, err)
		}
		return resp, err
	})
}

// askDoor calls the gateway of another home. One that let the node in, and refuses it now, may rest on what was so when the
// connection began: it is asked once more on a new one.
func (t transport) askDoor(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusForbidden || !repeatable(req) {
		return resp, err
	}
	callee, ok := peer.Callee(resp)
	if !ok || !callee.Showed || t.node.host.Disconnect(callee.Key) != nil {
		return resp, nil
	}
	again, err := repeat(req)
	if err != nil {
		return resp, nil
	}
	resp.Body.Close()
	return t.base.RoundTrip(again)
}

// prepareAbroad sees to it that the node knows a thing and has grants to show to it. What it has serves while the gateway
// there cannot be asked.
func (n *Node) prepareAbroad(ctx context.Context, h *otherHome, member identity.MemberID) error {
	t, err := n.otherThing(ctx, h, member)
	if err != nil {
		return err
	}
	if t == nil {
		if _, err := n.lookUpAbroad(ctx, h, control.Lookup{Member: member.String()}); err != nil {
			return err
		}
		t = &otherThing{}
	}
	if t.showed != nil {
		if _, err := t.showed.live.Renew(h.trust.snapshot(), n.now()); err != nil {
			if err := n.host.Disconnect(t.showed.who.Key); err != nil {
				n.log.Warn("hanging up", "error", err)
			}
		}
	}
	if age := n.cfg.Clock().Sub(t.Proved); age >= 0 && age < evidenceFor && n.giversStand(t) {
		return nil
	}
	err = n.proveAbroad(ctx, h, member, 0)
	var answered *control.Error
	if err != nil && !t.Proved.IsZero() && !errors.As(err, &answered) {
		n.log.Info("going on with an older proof", "error", err)
		return nil
	}
	return err
}

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
	var givers []string
	for _, raw := range shown.Grants {
		t, _, err := grant.Parse(raw)
		if err == nil && t.GiverTree == n.self.ID.Tree && !slices.Contains(givers, t.Giver.String()) {
			givers = append(givers, t.Giver.String())
		}
	}
	if len(givers) == 0 {
		return self, live, nil
	}
	self, err = n.home.Prove(ctx, control.ProofQuery{Also: givers})
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
	p, err := credential.ParseProof(e.Proof)
	if err != nil {
		return err
	}
	live, err := n.verifyOf(ctx, h.trust, p)
	if err != nil {
		return err
	}
	if _, err := live.Recognition(n.self.ID.Tree); err != nil {
		return err
	}
	mine := func(raw []byte) bool {
		t, _, err := grant.Parse(raw)
		if err != nil {
			return false
		}
		_, ok := live.Grant(t.ID)
		return ok && t.To(n.self)
	}
	if !slices.ContainsFunc(e.Grants, mine) {
		return errors.New("none of the grants is for this member")
	}
	return nil
}

// newerAbroad asks for what could change the outcome of a call, and reports whether there is any.
func (n *Node) newerAbroad(ctx context.Context, h *otherHome, member identity.MemberID, resp *http.Response, err error) bool {
	before, berr := n.otherThing(ctx, h, member)
	if berr != nil || before == nil {
		return false
	}
	switch {
	case outOfReach(err):
		c, err := n.lookUpAbroad(ctx, h, control.Lookup{Member: member.String()})
		return err == nil && !slices.Equal(c.Addresses, before.contact.Addresses)
	case err != nil:
		return false
	}
	var maxAge time.Duration
	if ms, err := strconv.ParseInt(resp.Header.Get(maxAgeHeader), 10, 64); err == nil {
		maxAge = time.Duration(ms) * time.Millisecond
	}
	own, _ := n.proofs.get(identity.MemberID{})
	if err := n.refresh(ctx, identity.MemberID{}, 0); err != nil {
		n.log.Info("no fresh proof to be had", "error", err)
	}
	if err := n.proveAbroad(ctx, h, member, maxAge); err != nil {
		n.log.Info("no fresh proof to be had of another tree", "error", err)
		return false
	}
	after, aerr := n.otherThing(ctx, h, member)
	fresh, _ := n.proofs.get(identity.MemberID{})
	return aerr == nil && (!bytes.Equal(before.Shown.Proof, after.Shown.Proof) || !bytes.Equal(before.Self.Proof, after.Self.Proof) || !bytes.Equal(own.Evidence.Proof, fresh.Evidence.Proof))
}

// partyAbroad returns who a thing of another tree is; zero where that is not known yet.
func (n *Node) partyAbroad(ctx context.Context, of identity.TreeID, member identity.MemberID) journal.Party {
	h, err := n.other(ctx, of)
	if err != nil {
		return journal.Party{}
	}
	t, err := n.otherThing(ctx, h, member)
	if err != nil || t == nil {
		return journal.Party{}
	}
	return n.party(t.contact.Chain)
}

// targetAbroad tells package peer how to call a member of another tree.
func (n *Node) targetAbroad(ctx context.Context, of identity.TreeID, member identity.MemberID) (peer.Target, error) {
	h, err := n.other(ctx, of)
	if err != nil {
		return peer.Target{}, err
	}
	t, err := n.otherThing(ctx, h, member)
	if err != nil {
		return peer.Target{}, err
	}
	var c Contact
	if t != nil {
		c = t.contact
	}
	var key crypto.PublicKey = c.Key
	if door := h.door(); member == door.Member {
		if key, err = identity.ParseKey(door.Key); err != nil {
			return peer.Target{}, err
		}
		c.Addresses = slices.Concat(c.Addresses, door.Addresses)
	}
	if key == nil || len(c.Addresses) == 0 {
		return peer.Target{}, fmt.Errorf("kindred: %s: it never said where it can be reached: %w", urlOf(of, member), peer.ErrUnreachable)
	}
	return peer.Target{
		Key:       key,
		Addresses: c.Addresses,
		Hello:     func() []byte { return n.helloAbroad(h, member) },
		Check:     func(_ peerKey, hello []byte) error { return n.checkAbroad(h, member, key, hello) },
		Hold:      member != h.door().Member && n.cfg.Clock().Sub(c.Fetched) > recordFor,
	}, nil
}

// helloAbroad returns what the node shows to a member of another tree: its own certificates and their proof, and to a
// thing the grants it has there and theirs. Charters stay at home: who recognizes a tree has its charter.
func (n *Node) helloAbroad(h *otherHome, member identity.MemberID) []byte {
	own, ok := n.proofs.get(identity.MemberID{})
	if !ok {
		return nil
	}
	t, err := n.otherThing(context.Background(), h, member)
	self := own.Evidence
	if t != nil && t.Self.Proof != nil {
		self = t.Self
	}
	var hello credential.Hello
	if err == nil {
		hello, err = helloOf(self)
	}
	if err == nil {
		hello.Grants, hello.Consents = nil, nil
		if t != nil && !t.Proved.IsZero() {
			var p credential.Proof
			p, err = credential.ParseProof(t.Shown.Proof)
			hello.Grants, hello.Consents, hello.Proofs = t.Shown.Grants, t.Shown.Consents, append(hello.Proofs, p)
		}
	}
	var raw []byte
	if err == nil {
		raw, err = hello.Short(n.self.ID.Tree).Short(h.tree).Marshal()
	}
	if err != nil {
		n.log.Error("making a hello for another tree", "error", err)
		return nil
	}
	return raw
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
