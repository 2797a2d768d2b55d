package kindred

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
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
	return control.Client{HTTP: n.http, Base: urlOf(h.tree, h.door().Member), Foreign: true}
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
