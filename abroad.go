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
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
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
		if !repeatable(req) || err == nil && !turnedDown(resp) {
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
	return aerr == nil && (!sameProofs(before.Shown, after.Shown) || !sameProofs(before.Self, after.Self) || !sameProofs(own.Evidence, fresh.Evidence))
}

// sameProofs reports whether two pieces of evidence prove the same.
func sameProofs(a, b control.Evidence) bool {
	return bytes.Equal(a.Proof, b.Proof) && slices.EqualFunc(a.Beside, b.Beside, bytes.Equal)
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
