package kindred

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A RosterOther is another tree that is recognized, in a Roster.
type RosterOther struct {
	tree.Recognized
	Value []byte // its roster entry: an encoded tree.Known
}

// readOthers reads the recognitions of a roster, of which each says who asked for it. That an owner signed them is
// verified when something rests on one.
func (n *Node) readOthers(others []control.Other) (out []RosterOther, err error) {
	for _, o := range others {
		r := RosterOther{Value: o.Value}
		if err := signed.Unmarshal(o.Value, &r.Known); err != nil {
			return nil, err
		}
		if r.Recognition, err = tree.ParseRecognition(r.Statement, n.self.ID.Tree); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// Called returns the tree that is recognized under a name.
func (r Roster) Called(name string) (RosterOther, bool) {
	for _, o := range r.Others {
		if o.Name == name {
			return o, true
		}
	}
	return RosterOther{}, false
}

// OtherTree returns the recognition of a tree.
func (r Roster) OtherTree(id identity.TreeID) (RosterOther, bool) {
	for _, o := range r.Others {
		if o.Other == id {
			return o, true
		}
	}
	return RosterOther{}, false
}

// Elsewhere returns what a member of another tree is called here, "birch:sam/anna"; or its ID if its tree has no name here.
func (r Roster) Elsewhere(id identity.ID) string {
	if o, ok := r.OtherTree(id.Tree); ok {
		return o.Name + ":" + string(id.Path)
	}
	return id.String()
}

// Of reports whether the roster is of a tree.
func (r Roster) Of(id identity.TreeID) bool { return r.Tree == id }

// Forget returns what takes the recognition of another tree away, with all that was granted to its members, and the
// things to tell.
func (r Roster) Forget(o RosterOther) Target {
	t := Target{Other: o.Other, Value: o.Value}
	for _, m := range r.Members {
		for _, g := range r.Grants {
			if r.isThing(m) && g.Terms.Subject.Tree == t.Other && g.Terms.On(m.Who) {
				t.Things = append(t.Things, m.Who.Member())
				break
			}
		}
	}
	return t
}

// TreeCalled returns the tree that the node's own recognizes under a name, as an owner has signed.
func (n *Node) TreeCalled(ctx context.Context, name string) (identity.TreeID, error) {
	r, err := n.Roster(ctx)
	if err != nil {
		return identity.TreeID{}, err
	}
	o, ok := r.Called(name)
	if !ok {
		return identity.TreeID{}, fmt.Errorf("kindred: looking for the home %q: it %w", name, credential.ErrStranger)
	}
	h, err := n.other(ctx, o.Other)
	if err != nil {
		return identity.TreeID{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.known.Name != name {
		return identity.TreeID{}, fmt.Errorf("kindred: looking for the home %q: it is called %q", name, h.known.Name)
	}
	return o.Other, nil
}

// Recognize has the node's tree recognize another, in the name of the owner that the node acts for. Tree, time and salt of
// the recognition are filled in.
func (n *Node) Recognize(ctx context.Context, r tree.Recognition) error {
	r.Tree, r.Time = n.self.ID.Tree, n.cfg.Clock().Unix()
	rand.Read(r.Salt[:]) // never fails: crypto/rand
	raw, err := signed.Sign(n.key, tree.RecognitionType, r, n.self.Raw...)
	if err == nil {
		_, err = tree.ParseRecognition(raw, r.Tree)
	}
	if err != nil {
		return fmt.Errorf("kindred: recognizing tree %s: %w", r.Other, err)
	}
	return n.Gateway().Recognize(ctx, raw)
}

// Face returns what another tree has to know of the node's own to recognize it: its charter, and where its gateway is.
func (n *Node) Face(ctx context.Context) (tree.Recognition, error) {
	gateway, err := n.contactFor(ctx, n.gateway.Member)
	if err != nil {
		return tree.Recognition{}, err
	}
	charter := n.Charter()
	r := tree.Recognition{Other: charter.Tree, Epoch: charter.Epoch, Charter: charter.Raw}
	r.Gateway, err = doorOf(gateway)
	return r, err
}

// doorOf returns where a gateway is, as a recognition has it.
func doorOf(gateway Contact) (tree.Door, error) {
	key, err := x509.MarshalPKIXPublicKey(gateway.Key)
	return tree.Door{
		Member: gateway.Member(), Key: key, Addresses: gateway.Addresses[:min(len(gateway.Addresses), tree.MaxAddresses)],
	}, err
}

// WhoIs returns whom a grant for a member of another tree is for. That home's gateway is asked who is there.
func (n *Node) WhoIs(ctx context.Context, id identity.ID) (grant.Subject, error) {
	fail := func(err error) (grant.Subject, error) {
		return grant.Subject{}, fmt.Errorf("kindred: asking who %s is: %w", id, err)
	}
	h, err := n.other(ctx, id.Tree)
	if err != nil {
		return fail(err)
	}
	c, err := n.lookUpAbroad(ctx, h, control.Lookup{Path: id.Path})
	if err != nil {
		return fail(err)
	}
	return grant.Subject{Tree: id.Tree, Member: c.Member(), Path: c.ID.Path}, nil
}
