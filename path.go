package kindred

import (
	"context"
	"fmt"
	"net/http"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
)

// probePath is asked for to have a member answer. Nothing is served there, so that the member decides nothing, does
// nothing and writes nothing down: an answer is all that is wanted.
const probePath = "/kindred/v1/path"

// Path tells which way the node reaches the member at a path of its own tree; see PathTo.
func (n *Node) Path(ctx context.Context, path identity.Path) (peer.Path, error) {
	return n.PathTo(ctx, identity.ID{Tree: n.self.ID.Tree, Path: path})
}

// PathTo tells which way the node reaches a member of any tree: over the connection that there is, else over one that it
// makes. The member has proved who it is by then. One that admits nobody like this node is
// [peer.ErrRefused], and one that nobody answers for [peer.ErrUnreachable].
func (n *Node) PathTo(ctx context.Context, id identity.ID) (way peer.Path, err error) {
	err = n.UseID(ctx, id, func(c *thing.Client) error {
		way, err = pathTo(ctx, c)
		return err
	})
	if err != nil {
		return peer.Path{}, fmt.Errorf("kindred: finding the way to %s: %w", id.Path, err)
	}
	return way, nil
}

func pathTo(ctx context.Context, c *thing.Client) (peer.Path, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, c.Base.JoinPath(probePath).String(), nil)
	if err != nil {
		return peer.Path{}, err
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return peer.Path{}, err
	}
	defer resp.Body.Close()
	callee, ok := peer.Callee(resp)
	if !ok || !callee.Showed {
		return peer.Path{}, peer.ErrRefused
	}
	return callee.Path, nil
}
