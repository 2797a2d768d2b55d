package kindred

import (
	"net/http"

	"github.com/kindred-iot/kindred/thing"
)

// ownersRoom is how much of its disk, or which part of a small one, a thing keeps for what its owners do.
const (
	ownersRoom = 64 << 20
	ownersPart = 20
)

// full returns a problem if the disk has too little left for what anybody but an owner does: each action takes room in the
// journal, and whoever may act as often as it likes could else lock the owners out of their thing.
func (c *call) full() *thing.Problem {
	n, who := c.calls.node, c.session.who
	if !c.counts || !acts(c.op) && !lasts(c.op) || who.Owner() && who.ID.Tree == n.self.ID.Tree {
		return nil
	}
	free, all, err := n.room()
	if err == nil && free >= min(ownersRoom, all/ownersPart) {
		return nil
	}
	n.log.Warn("what the disk has left is kept for owners", "who", who.ID.Path, "free", free, "error", err)
	return &thing.Problem{Status: http.StatusInsufficientStorage, Code: codeFull, Detail: "the disk is almost full, and what is left is kept for the owners"}
}
