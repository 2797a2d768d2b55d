package kindred

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// PassOnAbroad gives somebody what the node was given at a thing of another tree and may pass on: somebody of its own tree,
// of the thing's, or of a third that the thing's tree recognizes. Those of other trees than the thing's are named by the path
// there. What the terms leave open is as the grant says that is passed on.
func (n *Node) PassOnAbroad(ctx context.Context, thing identity.ID, to grant.Subject, t grant.Terms) (grant.Terms, error) {
	fail := func(err error) (grant.Terms, error) {
		return t, fmt.Errorf("kindred: passing on what is shared at %s: %w", thing, err)
	}
	h, err := n.other(ctx, thing.Tree)
	if err != nil {
		return fail(err)
	}
	c, err := n.abroad(ctx, thing)
	if err != nil {
		return fail(err)
	}
	e, err := n.gatewayOf(h).Prove(ctx, control.ProofQuery{Thing: c.Member().String(), PassedOn: true})
	if err != nil {
		return fail(err)
	}
	if err := n.checkShown(ctx, h, e); err != nil {
		return fail(err)
	}
	if to.Tree == thing.Tree {
		to.Path = ""
	}
	t.Tree, t.GiverTree, t.Time, t.Subject = thing.Tree, n.self.ID.Tree, n.cfg.Clock().Unix(), to
	t.Thing.Member = c.Member()
	err = errors.New("nothing of it may be passed on so")
	for _, raw := range e.Grants {
		above, s, perr := grant.Parse(raw)
		if perr != nil || !above.To(n.self) || !above.On(c.Chain) || above.Depth <= t.Depth {
			continue
		}
		narrowed := t.Narrowed(above, s.Digest)
		if err = narrowed.Within(above); err != nil {
			continue
		}
		narrowed.Giver = above.GiverFor(n.self)
		return n.handAbroad(ctx, h, narrowed)
	}
	return fail(err)
}

// handAbroad signs a grant and hands it to the gateway of another home.
func (n *Node) handAbroad(ctx context.Context, h *otherHome, t grant.Terms) (_ grant.Terms, err error) {
	if t.ID, err = tree.NewGrantID(rand.Reader); err != nil {
		return t, err
	}
	raw, err := grant.Sign(n.key, n.self.Raw, t)
	if err != nil {
		return t, err
	}
	return t, n.gatewayOf(h).Grant(ctx, raw)
}

// UnshareAbroad takes back what the node, or whoever it acts for, passed on in another home. Things there hear of it with
// what their gateway tells them next, in seconds if they are connected.
func (n *Node) UnshareAbroad(ctx context.Context, home identity.TreeID, id tree.GrantID) error {
	h, err := n.other(ctx, home)
	if err == nil {
		err = n.gatewayOf(h).Unshare(ctx, id.String())
	}
	if err != nil {
		return fmt.Errorf("kindred: taking back %s in tree %s: %w", id, home, err)
	}
	return nil
}
