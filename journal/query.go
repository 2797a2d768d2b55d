package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// Limits of [Filter.Limit].
const (
	DefaultLimit = 100
	MaxLimit     = 10_000
)

// Filter says which entries to return. The zero Filter is the newest 100.
type Filter struct {
	Since, Until time.Time // from Since up to but not including Until; zero for no bound
	Who          Party     // only of this caller: member and tree count, not the path; zero for everyone, strangers too
	Thing        Party     // only at this thing, likewise
	Limit        int       // at most so many, MaxLimit at most; 0 for DefaultLimit
	Oldest       bool      // oldest first
	Sealed       bool      // only what is sealed
	Accounts     bool      // also what nodes say of what they did elsewhere, what signs for what was done, and seals

	// Match says of what is all of the above whether to return it; its error ends the search. Nil takes all.
	Match func(Item) (bool, error)
}

// account reports whether an entry is a node's own account of what it did at another, who has an entry of it too; or what
// only those need who look closer. Of a sealed receipt nobody else can say what it is for.
func (i Item) account() bool {
	switch i.Entry.Op {
	case Read, Write, Invoke, Observe:
		return i.Entry.Caller.Member == i.Node
	}
	return i.Entry.Op == Countersign && i.Entry.Sealed == nil || i.Entry.Op == MakeSeal
}

// Item is an entry with the place it has in a log.
type Item struct {
	Node  identity.MemberID // whose log
	Index int64             // which entry of it
	Raw   []byte            // the entry as it stands in the tree; see [ParseEntry]
	Entry Entry
}

// query returns what matches f, of all logs in the port.
func query(ctx context.Context, port Port, tree identity.TreeID, f Filter) ([]Item, error) {
	limit := f.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if limit < 0 || limit > MaxLimit {
		return nil, fmt.Errorf("journal: searching: limit %d is not 0 to %d", f.Limit, MaxLimit)
	}
	since, until := f.bounds()
	var items []Item
	signed := map[entryKey]bool{} // those that a receipt was signed for, which come first where the newest do
	err := port.LogQuery(ctx, since, until, f.Who.tag(), f.Thing.tag(), !f.Oldest, func(name []byte, index int64, row Row) error {
		item, err := readItem(tree, name, index, row)
		if err != nil {
			return err
		}
		// Two parties may share a tag.
		if !f.Who.IsZero() && !f.Who.same(item.Entry.Caller) || !f.Thing.IsZero() && !f.Thing.same(item.Entry.Thing) {
			return nil
		}
		if f.Sealed && (item.Entry.Sealed == nil || item.Entry.Op == MakeSeal) {
			return nil
		}
		if !f.Accounts && item.account() {
			signed[item.signs()] = true
			return nil
		}
		item.Entry.Countersigned = signed[entryKey{item.Node, index}]
		if f.Match != nil {
			if ok, err := f.Match(item); !ok || err != nil {
				return err
			}
		}
		if items = append(items, item); len(items) == limit {
			return errEnough
		}
		return nil
	})
	if err != nil && err != errEnough {
		return nil, fmt.Errorf("journal: searching: %w", err)
	}
	return items, nil
}

// bounds returns the filter's times as a Port takes them.
func (f Filter) bounds() (since, until int64) {
	if !f.Since.IsZero() {
		since = f.Since.UnixMilli()
	}
	if !f.Until.IsZero() {
		until = max(1, f.Until.UnixMilli()) // 0 would be no bound
	}
	return since, until
}

// span returns between which of the first size entries of a log all lie that match f. Clocks are set, so later entries may
// tell of earlier times: what lies between is to be looked at.
func (f Filter) span(ctx context.Context, port Port, node identity.MemberID, size int64) (from, to int64, err error) {
	since, until := f.bounds()
	if since == 0 && until == 0 && f.Who.IsZero() && f.Thing.IsZero() {
		return 0, size, nil
	}
	from, to, err = port.LogSpan(ctx, node[:], since, until, f.Who.tag(), f.Thing.tag())
	return from, min(to, size), err
}

// entryKey names an entry of any log.
type entryKey struct {
	node  identity.MemberID
	index int64
}

// signs returns which entry a receipt is for that an item carries with its countersignature; zero for none.
func (i Item) signs() entryKey {
	x := i.Entry.Exchange
	if i.Entry.Op != Countersign || x == nil || len(x.Countersignature) == 0 {
		return entryKey{}
	}
	r, _, err := ReadReceipt(x.Receipt)
	if err != nil || r.Node != i.Node || r.Entries > 0 {
		return entryKey{}
	}
	return entryKey{r.Node, r.Index}
}

func readItem(tree identity.TreeID, name []byte, index int64, row Row) (Item, error) {
	item := Item{Index: index, Raw: row.Data}
	if len(name) != len(item.Node) {
		return item, fmt.Errorf("log %x is not called by a member ID", name)
	}
	item.Node = identity.MemberID(name)
	var err error
	if item.Entry, err = ParseEntry(tree, row.Data); err != nil {
		return item, &TamperError{Node: item.Node, Index: index, What: err.Error()}
	}
	return item, nil
}
