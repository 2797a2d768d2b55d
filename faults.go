package kindred

import (
	"context"
	"fmt"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

// Faults returns what the node's own journal tells of receipts that it did not sign, the oldest first: a thing gave them, and
// they were not so. An app keeps its journal to itself, so the home does not tell it. Of the query, Limit, Since, Until,
// Caller and Thing count.
func (n *Node) Faults(ctx context.Context, q control.HistoryQuery) ([]journal.Entry, error) {
	self := n.party(n.self)
	if q.Caller != "" && q.Caller != self.Member.String() {
		return nil, nil
	}
	f := journal.Filter{Since: q.Since, Until: q.Until, Who: self, Limit: q.Limit, Accounts: true, Match: func(i journal.Item) (bool, error) {
		return i.Node == self.Member && i.Entry.Op == journal.Countersign && i.Entry.Outcome == journal.Refused, nil
	}}
	if q.Thing != "" {
		member, err := identity.ParseMemberID(q.Thing)
		if err != nil {
			return nil, fmt.Errorf("kindred: looking for receipts that were not signed: %w", err)
		}
		f.Thing = journal.Party{Member: member, ID: identity.ID{Tree: n.self.ID.Tree}}
	}
	items, err := n.journal.Query(ctx, f)
	entries := make([]journal.Entry, len(items))
	for i, item := range items {
		entries[len(items)-1-i] = item.Entry
	}
	return entries, err
}
