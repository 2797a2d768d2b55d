package gateway

import (
	"context"
	"fmt"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// What happened concerns a person who is no owner if they or their apps did it; if it was done under what they gave, or
// what rests on that; and if something was given to them or taken from them. A leaf that acts for nobody is its own person.
// What is sealed to somebody concerns nobody else.
type concern struct {
	tree  identity.TreeID
	self  map[identity.MemberID]bool // the person, and all that acts for them
	given map[string]bool            // grants by them, and what rests on these
}

// of reports whether something that happened concerns the person.
func (c concern) of(e journal.Entry) bool {
	if e.Sealed != nil {
		return false
	}
	return c.is(e.Caller) || c.is(e.With) || e.Grant != "" && c.given[e.Grant]
}

func (c concern) is(p journal.Party) bool { return p.ID.Tree == c.tree && c.self[p.Member] }

// maxLooked is how many entries are looked through for somebody who is no owner.
const maxLooked = 200_000

// only has a search in the journal return what concerns the person, and end when that takes too long.
func (c concern) only() func(journal.Item) (bool, error) {
	looked := 0
	return func(i journal.Item) (bool, error) {
		if looked++; looked > maxLooked {
			return false, invalid(fmt.Errorf("more than %d things happened in that time: ask for a shorter one", maxLooked))
		}
		return c.of(i.Entry), nil
	}
}

// concernOf tells what concerns a caller: of what they gave also what is gone, if they gave it in the time asked about.
func (h *home) concernOf(ctx context.Context, who credential.Principal, q control.HistoryQuery) (concern, error) {
	c := concern{who.ID.Tree, map[identity.MemberID]bool{who.Member(): true}, map[string]bool{}}
	if person := who.ActsFor(); !person.IsZero() {
		c.self[person] = true
	}
	apps := []identity.Chain{who.Chain}
	var gave []tree.GrantID
	h.keeper.View(func(s *tree.State) {
		for e := range s.Members() {
			if id := e.Chain.Member(); !c.self[id] && c.self[e.Chain.ActsFor()] {
				c.self[id], apps = true, append(apps, e.Chain)
			}
		}
		for a := range s.Grants() {
			if a.GiverTree.IsZero() && c.self[a.Giver] {
				gave = append(gave, a.ID)
			}
		}
	})
	for _, id := range gave {
		for _, a := range h.keeper.Resting(id) {
			c.given[a.ID.String()] = true
		}
	}
	self := h.started().Self().Member()
	for _, app := range apps {
		items, err := h.replica.Query(ctx, journal.Filter{
			Since: q.Since, Until: q.Until, Who: party(app), Limit: journal.MaxLimit,
			Match: func(i journal.Item) (bool, error) { // by the gateway: others may write what they like
				return i.Node == self && i.Entry.Op == journal.Share, nil
			},
		})
		if err != nil {
			return c, err
		}
		for _, i := range items {
			c.given[i.Entry.Grant] = true
		}
	}
	return c, nil
}
