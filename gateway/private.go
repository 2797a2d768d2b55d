package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// Conceal changes whose doings at a thing are sealed to them in its journal.
func (h *home) Conceal(ctx context.Context, who credential.Principal, p control.Privacy) (control.None, error) {
	e, err := h.find("", p.Member)
	if err != nil {
		return control.None{}, err
	}
	if len(p.People) > tree.MaxPrivate {
		return control.None{}, invalid(fmt.Errorf("private for %d, of at most %d", len(p.People), tree.MaxPrivate))
	}
	var people []identity.MemberID
	for _, text := range p.People {
		id, err := identity.ParseMemberID(text)
		if err != nil {
			return control.None{}, invalid(err)
		}
		people = append(people, id)
	}
	if err := h.keeper.Conceal(ctx, who.Chain, e.Chain.Member(), people); err != nil {
		return control.None{}, answer(err)
	}
	h.tell(ctx, journal.Conceal, who.Chain, party(e.Chain), journal.Party{}, tree.GrantID{})
	return control.None{}, nil
}

// sealedHistory tells of the things that are private for whom the caller acts for what is sealed there: also what is sealed
// to others, which nobody here can tell apart.
func (h *home) sealedHistory(ctx context.Context, who credential.Principal, q control.HistoryQuery) (control.History, error) {
	var things []journal.Party
	h.keeper.View(func(s *tree.State) {
		for e := range s.Members() {
			if slices.Contains(e.Private, who.ActsFor()) && (q.Thing == "" || q.Thing == e.Chain.Member().String()) {
				things = append(things, party(e.Chain))
			}
		}
	})
	if err := h.started().Journal().Sync(ctx); err != nil {
		return control.History{}, err
	}
	var found []journal.Item
	for _, thing := range things {
		items, err := h.replica.Query(ctx, journal.Filter{
			Since: q.Since, Until: q.Until, Thing: thing, Limit: min(q.Limit, control.MaxHistory), Sealed: true,
		})
		if err != nil {
			return control.History{}, err
		}
		found = append(found, items...)
	}
	slices.SortStableFunc(found, func(a, b journal.Item) int {
		return cmp.Or(a.Entry.Time.Compare(b.Entry.Time), cmp.Compare(a.Index, b.Index))
	})
	limit := cmp.Or(min(q.Limit, control.MaxHistory), journal.DefaultLimit)
	found = found[max(0, len(found)-limit):]
	var out control.History
	for _, item := range found {
		out.Entries = append(out.Entries, item.Entry)
	}
	seals, err := h.replica.Seals(ctx, found)
	out.Seals = seals
	return out, err
}
