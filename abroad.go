package kindred

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

// An otherHome is a home of another tree, which the node visits: it asks the gateway there where things are and for the
// proofs of its grants, and shows these to the things beside what it shows at home.
type otherHome struct {
	tree  identity.TreeID
	trust *trust

	mu      sync.Mutex
	known   tree.Recognition
	live    credential.Live // proves that the node's own tree recognizes it
	fetched time.Time       // when the node's own gateway said so
	things  map[identity.MemberID]*otherThing
}

// An otherThing is what the node keeps of one thing of another tree.
type otherThing struct {
	Contact control.Contact
	Fetched time.Time        // when the gateway there said where it is
	Shown   control.Evidence // the node's grants for it, and their proof
	Proved  time.Time        // when the gateway there proved that; zero: never
	Self    control.Evidence // the own tree's proof, where it has to cover who passed on these grants; else nothing
	Used    bool             // it has proved that it is live before

	contact Contact
	givers  credential.Live // what Self proves
	showed  *session        // what it showed last; nil: nothing since the node began
}

const (
	otherPrefix      = "other/"     // TREE: what the own gateway proved of it
	otherThingPrefix = "abroad/"    // TREE/MEMBER: an otherThing
	otherPathPrefix  = "wayabroad/" // TREE/PATH: its member ID
)

// storedOther is the proof that the node's own tree recognizes another, on disk.
type storedOther struct {
	Proof   []byte
	Fetched time.Time
}

// other returns a home of another tree that the node's own recognizes: the error is credential.ErrStranger if it does not.
// What was known before serves while the node's own gateway is out of reach.
func (n *Node) other(ctx context.Context, id identity.TreeID) (*otherHome, error) {
	n.others.mu.Lock()
	h := n.others.homes[id]
	n.others.mu.Unlock()
	if h == nil {
		var err error
		if h, err = n.recallOther(ctx, id); err != nil {
			return nil, err
		}
	}
	if h != nil && n.stillKnown(h) == nil {
		if age := n.cfg.Clock().Sub(h.since()); age >= 0 && age < evidenceFor || n.isolated() {
			return h, nil
		}
	}
	now, err := n.askOther(ctx, id)
	var answered *control.Error
	if err != nil && h != nil && !errors.Is(err, credential.ErrStranger) && !errors.As(err, &answered) {
		return h, n.stillKnown(h)
	}
	return now, err
}

func (h *otherHome) since() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fetched
}

func (h *otherHome) door() tree.Door {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.known.Gateway
}

// stillKnown reports, as an error, that an owner took the recognition back.
func (n *Node) stillKnown(h *otherHome) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.live.Renew(n.trust.snapshot(), n.now()); err != nil {
		return fmt.Errorf("kindred: tree %s is not recognized any more: %w", h.tree, err)
	}
	return nil
}

// askOther asks the node's own gateway whether its tree recognizes another.
func (n *Node) askOther(ctx context.Context, id identity.TreeID) (*otherHome, error) {
	ctx, cancel := context.WithTimeout(ctx, askGateway)
	defer cancel()
	e, err := n.home.Prove(ctx, control.ProofQuery{Other: id.String()})
	n.link.tried(n.cfg.Clock(), err)
	if err != nil {
		return nil, err
	}
	s := storedOther{e.Proof, n.cfg.Clock()}
	h, err := n.openOther(ctx, id, s)
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return h, n.db.Save(ctx, map[string][]byte{otherPrefix + id.String(): data})
}

// recallOther returns what is kept of another tree; nil if nothing is.
func (n *Node) recallOther(ctx context.Context, id identity.TreeID) (*otherHome, error) {
	data, err := n.db.Load(ctx, otherPrefix+id.String())
	if err != nil || data == nil {
		return nil, err
	}
	var s storedOther
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("kindred: reading what is known of tree %s: %w", id, err)
	}
	h, err := n.openOther(ctx, id, s)
	if err != nil {
		n.log.Info("what was known of another tree is of no use any more", "tree", id, "error", err)
		return nil, nil
	}
	return h, nil
}

// openOther verifies the proof that the node's own tree recognizes another.
func (n *Node) openOther(ctx context.Context, id identity.TreeID, s storedOther) (*otherHome, error) {
	proof, err := credential.ParseProof(s.Proof)
	if err != nil {
		return nil, err
	}
	live, err := n.verify(ctx, proof)
	if err != nil {
		return nil, err
	}
	r, err := live.Recognition(id)
	if err != nil {
		return nil, err
	}
	t, err := n.trustOf(ctx, id, r.Charter)
	if err != nil {
		return nil, err
	}
	n.others.mu.Lock()
	defer n.others.mu.Unlock()
	h := n.others.homes[id]
	if h == nil {
		h = &otherHome{tree: id, trust: t, things: map[identity.MemberID]*otherThing{}}
	}
	if n.others.homes == nil {
		n.others.homes = map[identity.TreeID]*otherHome{}
	}
	n.others.homes[id] = h
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known, h.live, h.fetched = r, live, s.Fetched
	return h, nil
}

// gatewayOf returns the API of another home's gateway, of which members of other trees may use little.
func (n *Node) gatewayOf(h *otherHome) control.Client {
	return control.Client{HTTP: n.http, Base: urlOf(h.tree, h.door().Member)}
}

func urlOf(of identity.TreeID, member identity.MemberID) string {
	return peer.Scheme + "://" + member.String() + "." + of.String()
}

// otherThing returns what is kept of a thing of another tree, which nobody changes; nil if it is nothing.
func (n *Node) otherThing(ctx context.Context, h *otherHome, member identity.MemberID) (*otherThing, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t, ok := h.things[member]; ok {
		return t, nil
	}
	data, err := n.db.Load(ctx, otherThingKey(h.tree, member))
	if err != nil || data == nil {
		return nil, err
	}
	t := &otherThing{}
	if err := json.Unmarshal(data, t); err != nil {
		return nil, fmt.Errorf("kindred: reading what is known of %s: %w", urlOf(h.tree, member), err)
	}
	if t.contact, err = contactIn(h.tree, h.trust.charter(), t.Contact, t.Fetched); err != nil {
		return nil, err
	}
	h.things[member] = t
	return t, nil
}

func otherThingKey(of identity.TreeID, member identity.MemberID) string {
	return otherThingPrefix + of.String() + "/" + member.String()
}

// change changes what is kept of a thing, in memory and on disk.
func (n *Node) change(ctx context.Context, h *otherHome, member identity.MemberID, f func(*otherThing)) error {
	if _, err := n.otherThing(ctx, h, member); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var t otherThing
	if now, ok := h.things[member]; ok {
		t = *now // those who have the one from before keep it as it was
	}
	f(&t)
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	h.things[member] = &t
	return n.db.Save(ctx, map[string][]byte{
		otherThingKey(h.tree, member): data, otherPathKey(h.tree, t.contact.ID.Path): member[:],
	})
}

func otherPathKey(of identity.TreeID, path identity.Path) string {
	return otherPathPrefix + of.String() + "/" + string(path)
}

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
	resp, err := t.base.RoundTrip(req)
	if !repeatable(req) || err == nil && resp.StatusCode != http.StatusForbidden || !n.newerAbroad(ctx, h, member, resp, err) {
		return resp, err
	}
	again, rerr := repeat(req)
	if rerr != nil {
		return resp, err
	}
	if resp != nil {
		resp.Body.Close()
	}
	return t.base.RoundTrip(again)
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
