package kindred

import (
	"context"
	"fmt"
	"strconv"
)

// Whoever puts an old copy of a thing's database in place of the newer one gives back what was used, and what was taken
// away. The thing itself cannot tell; what bounds the harm is that its clock does not go back behind what is proved to
// it, and that no proof is older than the fresh limit. As soon as it is in touch with the gateway it learns how the
// tree stands, and that the gateway has more of its journal, or another, than it has itself. From then on grants that
// count, and were given before, allow nothing there.

// forkedKey is set where the gateway has another journal of this member than it has itself, and says since when.
const forkedKey = "forked"

// loadForked reads whether the database was found to be an older copy.
func (n *Node) loadForked(ctx context.Context) error {
	data, err := n.db.Load(ctx, forkedKey)
	if err != nil || data == nil {
		return err
	}
	at, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		return err
	}
	n.usage.lose(at)
	return nil
}

// forked notes that the database is an older copy.
func (n *Node) forked(ctx context.Context, why error) error {
	if n.usage.lostUntil() != 0 {
		return nil
	}
	n.log.Error("this directory is an older copy of itself: what is granted so many times, or for so long, is refused until it is given anew", "error", why)
	at := n.cfg.Clock().Unix()
	n.usage.lose(at)
	return n.db.Save(ctx, map[string][]byte{forkedKey: strconv.AppendInt(nil, at, 10)})
}

// compare looks whether the gateway has more of the node's journal than there is here.
func (n *Node) compare(ctx context.Context, replica int64) error {
	size, _, err := n.journal.Have(ctx)
	if err == nil && replica > size {
		err = n.forked(ctx, fmt.Errorf("the gateway has %d entries of its journal, and here are %d", replica, size))
	}
	return err
}
