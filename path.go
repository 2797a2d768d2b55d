package kindred

import (
	"context"
	"fmt"
	"net/http"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
)

// probePath is asked for to have a member answer. No thing is there, so that the member decides nothing, does nothing and
// writes nothing down. Members of its own tree are told what its router forwards to it (forwardedHeader).
const probePath = "/kindred/v1/path"

// forwardedHeader names a port that the router in front of a member lets callers in at, as peer.Forward has it. There is
// one for each.
const forwardedHeader = "Kindred-Forwarded"

// tellPath answers whoever wants to know which way leads here.
func (n *Node) tellPath(w http.ResponseWriter, r *http.Request) {
	if who, ok := n.caller(r.Context()); ok {
		for _, f := range forwardsTold(who, n.self.ID.Tree, n.Reach().Mapped) {
			w.Header().Add(forwardedHeader, f)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// forwardsTold is what a caller is told of what the router forwards to a member of a tree: by what routers can be asked
// is nothing that others have to know.
func forwardsTold(who credential.Principal, tree identity.TreeID, mapped []peer.Forward) (told []string) {
	if who.ID.Tree != tree {
		return nil
	}
	for _, f := range mapped {
		told = append(told, f.String())
	}
	return told
}

// forwardedAt reads in an answer's header how the router was asked to let callers in at an address; "" if it was not.
func forwardedAt(address string, told http.Header) string {
	for _, text := range told.Values(forwardedHeader) {
		if f, err := peer.ParseForward(text); err == nil && f.Address == address {
			return f.By
		}
	}
	return ""
}

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
	way := callee.Path
	if !way.Near { // else no router is in between
		way.Forwarded = forwardedAt(way.Address, resp.Header)
	}
	return way, nil
}
