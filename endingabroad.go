package kindred

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
)

// hear takes in where the gateway says that something ends soon in other homes.
func (es *endings) hear(in []control.EndingIn) {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.elsewhere = map[identity.TreeID]string{}
	for _, e := range in[:min(len(in), maxHomes)] {
		if id, err := identity.ParseTreeID(e.Tree); err == nil {
			es.elsewhere[id] = string(e.Tag)
		}
	}
	maps.DeleteFunc(es.asked, func(id identity.TreeID, _ string) bool { return es.elsewhere[id] == "" })
	if !maps.Equal(es.elsewhere, es.asked) {
		es.poke()
	}
}

// unasked returns the homes that are to be asked, with their tags; or all in which something ends soon.
func (es *endings) unasked(all bool) map[identity.TreeID]string {
	es.mu.Lock()
	defer es.mu.Unlock()
	homes := maps.Clone(es.elsewhere)
	maps.DeleteFunc(homes, func(id identity.TreeID, tag string) bool { return !all && es.asked[id] == tag })
	return homes
}

// answered notes that a home told all that a tag stands for.
func (es *endings) answered(id identity.TreeID, tag string) {
	es.mu.Lock()
	defer es.mu.Unlock()
	if es.asked == nil {
		es.asked = map[identity.TreeID]string{}
	}
	es.asked[id] = tag
}

// tellElsewhere tells what ends soon in other homes, and reports whether all of them answered.
func (n *Node) tellElsewhere(ctx context.Context, each func(Roster, RosterGrant) error) (all bool, err error) {
	homes := n.endings.unasked(false)
	if len(homes) == 0 {
		return true, nil
	}
	r, err := n.Roster(ctx) // for the names of homes
	if err != nil {
		n.log.Info("what ends soon elsewhere cannot be looked up", "error", err)
		return false, nil
	}
	all = true
	for id, tag := range homes {
		found, err := n.endingIn(ctx, id)
		if err != nil {
			n.log.Info("what ends soon elsewhere cannot be looked up", "tree", id, "error", err)
			all = false
			continue
		}
		if err := n.forgetEndings(ctx); err != nil {
			return all, err
		}
		told, err := n.toldIn(ctx, id)
		if err != nil {
			return all, err
		}
		if left := max(0, maxToldOf-told); len(found) > left {
			n.log.Warn("another home gave so much that ends soon that not all is told", "tree", id)
			found = found[:left]
		}
		for _, g := range found {
			notice := int64(g.Terms.Notice(n.cfg.Clock()) / time.Second)
			if err := n.tellEnding(ctx, r, g, notice, each); err != nil {
				return all, err
			}
		}
		n.endings.answered(id, tag)
	}
	return all, nil
}

// maxToldOf is how many grants of one other home the node remembers to have told of: that home has them end when it likes.
const maxToldOf = 256

// toldIn returns how many those are now.
func (n *Node) toldIn(ctx context.Context, of identity.TreeID) (told int, err error) {
	err = n.db.Scan(ctx, endingPrefix+of.String()+"/", func(string, []byte) error {
		told++
		return nil
	})
	return told, err
}

// EndingElsewhere returns what the node was given in other homes and ends soon, as these prove it; with an error, what those
// did that answered.
func (n *Node) EndingElsewhere(ctx context.Context) (found []RosterGrant, err error) {
	if err := n.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("kindred: asking what ends soon elsewhere: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*askGateway)
	defer cancel()
	var errs []error
	for id := range n.endings.unasked(true) {
		in, err := n.endingIn(ctx, id)
		found, errs = append(found, in...), append(errs, err)
	}
	slices.SortFunc(found, func(a, b RosterGrant) int { return int(a.Terms.Until - b.Terms.Until) })
	return found, errors.Join(errs...)
}

// noticed is how long before its end a grant is looked at that another home says was given: no notice comes earlier.
const noticed = 8 * 24 * time.Hour

// endingIn asks another home what the node was given there that ends soon.
func (n *Node) endingIn(ctx context.Context, of identity.TreeID) ([]RosterGrant, error) {
	now := n.cfg.Clock()
	found, err := n.given(ctx, of, func(g control.GivenGrant) bool {
		left := time.Unix(g.Until, 0).Sub(now)
		return g.Until != 0 && left > 0 && left < noticed
	})
	return slices.DeleteFunc(found, func(g RosterGrant) bool { return g.Terms.Notice(now) == 0 }), err
}

// GivenElsewhere returns what the node was given in another home, of the grants whose ID begins with a prefix such as
// "g-7kqm", as that home proves it.
func (n *Node) GivenElsewhere(ctx context.Context, of identity.TreeID, prefix string) ([]RosterGrant, error) {
	return n.given(ctx, of, func(g control.GivenGrant) bool { return strings.HasPrefix(g.ID, prefix) })
}

// maxGiven is of how many things it is looked up at once what another home gave.
const maxGiven = 16

// given returns what another home gave to the node, as far as it is wanted, proved by that home now.
func (n *Node) given(ctx context.Context, of identity.TreeID, wanted func(control.GivenGrant) bool) (found []RosterGrant, err error) {
	fail := func(err error) ([]RosterGrant, error) {
		return nil, fmt.Errorf("kindred: asking tree %s what was given there: %w", of, err)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*askGateway)
	defer cancel()
	h, err := n.other(ctx, of)
	if err != nil {
		return fail(err)
	}
	said, err := n.gatewayOf(h).Given(ctx)
	if err != nil {
		return fail(err)
	}
	if len(said.Grants) > control.MaxGiven {
		return fail(fmt.Errorf("it names %d grants, of at most %d", len(said.Grants), control.MaxGiven))
	}
	ids := map[string]bool{}
	var things []string
	for _, g := range said.Grants {
		if !wanted(g) {
			continue
		}
		if ids[g.ID] = true; !slices.Contains(things, g.Thing) {
			things = append(things, g.Thing)
		}
	}
	for _, thing := range things[:min(len(things), maxGiven)] {
		mine, err := n.givenAt(ctx, h, thing)
		if err != nil {
			return fail(err)
		}
		for _, g := range mine {
			if ids[g.Terms.ID.String()] {
				delete(ids, g.Terms.ID.String())
				found = append(found, g)
			}
		}
	}
	return found, nil
}

// givenAt returns what another home proves that the node was given at a thing, or a place, there.
func (n *Node) givenAt(ctx context.Context, h *otherHome, thing string) ([]RosterGrant, error) {
	member, err := identity.ParseMemberID(thing)
	if err != nil {
		return nil, err
	}
	at, err := n.gatewayOf(h).Resolve(ctx, control.Lookup{Member: thing})
	if err != nil {
		return nil, err
	}
	where, err := identity.Verify(at.Chain, h.tree, h.trust.charter().RootCertificate(), n.now())
	if err != nil {
		return nil, err
	}
	if where.Member() != member {
		return nil, fmt.Errorf("asked for %s, it tells of %s", thing, where.ID)
	}
	e, err := n.gatewayOf(h).Prove(ctx, control.ProofQuery{Thing: thing, PassedOn: true})
	if err != nil {
		return nil, err
	}
	mine, err := n.shownMine(ctx, h, e)
	if err != nil {
		return nil, err
	}
	mine = slices.DeleteFunc(mine, func(g RosterGrant) bool { return g.Terms.Thing.Member != member })
	for i := range mine {
		mine[i].At = where.ID
	}
	return mine, nil
}
