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
	Keys         KeysOf    // with which signatures are verified; nil: no entry is told to be countersigned
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
	case Countersign: // but for a receipt that is not right, which is told
		return i.Entry.Sealed == nil && i.Entry.Outcome != Refused
	}
	return i.Entry.Op == MakeSeal
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
	signed := signatures{} // which come before what they are for where the newest do
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
			if f.Keys != nil {
				signed.add(item)
			}
			return nil
		}
		by := signed.take(item)
		if f.Match != nil {
			if ok, err := f.Match(item); !ok || err != nil {
				return err
			}
		}
		item.Entry.Countersigned = item.signedBy(by, f.Keys)
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

// signatures are what was signed about entries that are still to be met, by the log and the entry.
type signatures map[identity.MemberID]map[int64][]*Exchange

// Whose log it is could put there what it likes: so many entries of one log are waited for, with so many signatures each.
const (
	maxAwaited = 1024
	maxSigned  = 4
)

// add adds what an item carries that is signed by both ends, by its form, about an entry of its log.
func (s signatures) add(i Item) {
	x := i.Entry.Exchange
	if i.Entry.Op != Countersign || x == nil || len(x.Countersignature) == 0 {
		return
	}
	r, _, err := ReadReceipt(x.Receipt)
	if err != nil || r.Node != i.Node || r.Entries > 0 {
		return
	}
	of := s[i.Node]
	if of == nil {
		of = map[int64][]*Exchange{}
		s[i.Node] = of
	}
	if by, ok := of[r.Index]; len(by) < maxSigned && (ok || len(of) < maxAwaited) {
		of[r.Index] = append(by, x)
	}
}

// take returns what there is about an entry.
func (s signatures) take(i Item) []*Exchange {
	of := s[i.Node]
	by := of[i.Index]
	delete(of, i.Index)
	return by
}

// signedBy reports whether one of some exchanges is about an entry as it is, and was signed by both ends.
func (i Item) signedBy(exchanges []*Exchange, keys KeysOf) bool {
	for _, x := range exchanges {
		r, err := x.VerifyBy(keys)
		if err == nil && r.Leaf == LeafOf(i.Raw) && r.Caller == i.Entry.Caller.Member && r.CallerTree == i.Entry.Caller.ID.Tree {
			return true
		}
	}
	return false
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
