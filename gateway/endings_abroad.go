package gateway

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// That something ends soon, which a home gave to a member of another, it tells that one's gateway with the news: who is
// concerned, and a tag that changes with what there is to tell. What it is each member asks for itself, where it was given.
// So the gateway between them does not learn it, and cannot make it up.
//
//	the home's gateway ── News: anna, tag ──▶ her gateway ── Evidence: that home, tag ──▶ her app
//	       ▲                                                                                │
//	       └──────────────── Given, and the proof of each: Resolve, Prove ──────────────────┘

// tagLength is the length of a tag, in bytes.
const tagLength = 8

// latest is soon as of the newest head, and of lookEvery ago at most.
func (es *endings) latest(g *Gateway) []ending {
	es.mu.Lock()
	defer es.mu.Unlock()
	_, _, head := g.keeper.Head()
	if now := g.cfg.Clock(); head != es.head || now.Sub(es.at).Abs() >= lookEvery {
		es.soon(g.keeper, now)
	}
	return es.list
}

// endingsFor returns to which members of another tree something was given that ends soon: of those to whom it does first.
func (g *Gateway) endingsFor(of identity.TreeID) (told []control.EndingFor) {
	by := map[identity.MemberID][]ending{}
	for _, e := range g.endings.latest(g) {
		if e.terms.Subject.Tree == of {
			by[e.terms.Subject.Member] = append(by[e.terms.Subject.Member], e)
		}
	}
	first := func(id identity.MemberID) int64 {
		return slices.MinFunc(by[id], func(a, b ending) int { return cmp.Compare(a.terms.Until, b.terms.Until) }).terms.Until
	}
	members := slices.SortedFunc(maps.Keys(by), func(a, b identity.MemberID) int {
		return cmp.Or(cmp.Compare(first(a), first(b)), bytes.Compare(a[:], b[:]))
	})
	for _, id := range members[:min(len(members), control.MaxEndings)] {
		told = append(told, control.EndingFor{Member: id.String(), Tag: tagOfEndings(by[id])})
	}
	return told
}

// tagOfEndings is another for other grants, and for other notices of them.
func tagOfEndings(soon []ending) []byte {
	slices.SortFunc(soon, func(a, b ending) int { return bytes.Compare(a.terms.ID[:], b.terms.ID[:]) })
	sum := sha256.New()
	for _, e := range soon {
		sum.Write(binary.BigEndian.AppendUint64(slices.Clone(e.terms.ID[:]), uint64(e.notice)))
	}
	return sum.Sum(nil)[:tagLength]
}

// tagOfTold is another for everything else that a home may tell another of what ends soon; nil for nothing.
func tagOfTold(told []control.EndingFor) []byte {
	if len(told) == 0 {
		return nil
	}
	sum := sha256.New()
	for _, e := range told {
		sum.Write([]byte(e.Member))
		sum.Write(e.Tag)
	}
	return sum.Sum(nil)[:tagLength]
}

// Given lists what the caller was given here: what ends first before all else.
func (v visitors) Given(_ context.Context, who credential.Principal, _ control.None) (out control.Given, err error) {
	v.keeper.View(func(s *tree.State) {
		for a := range s.Grants() {
			if t, _, err := grant.Parse(a.Raw); err == nil && !a.Paused && t.To(who.Chain) {
				out.Grants = append(out.Grants, control.GivenGrant{ID: t.ID.String(), Thing: t.Thing.Member.String(), Until: t.Until})
			}
		}
	})
	slices.SortFunc(out.Grants, func(a, b control.GivenGrant) int {
		return cmp.Or(cmp.Compare(uint64(a.Until-1), uint64(b.Until-1)), cmp.Compare(a.ID, b.ID)) // 0, no end, comes last
	})
	out.Grants = out.Grants[:min(len(out.Grants), control.MaxGiven)]
	return out, nil
}

// heardEndings is what one home said last of what ends soon there. What it says is passed on so often and not more, for
// with every change it has apps here ask it.
type heardEndings struct {
	said, told map[identity.MemberID]string // tags: as the home said, and as members here were told
	left       int                          // how many changes are passed on at once
	at         time.Time                    // as of then
}

const (
	endingsRush = 16          // changes that are passed on at once
	endingsPace = time.Minute // between changes, in the long run
)

// hear takes in what a home said, and returns which members here are to be told.
func (h *heardEndings) hear(said []control.EndingFor, now time.Time) (changed []identity.MemberID) {
	h.said = map[identity.MemberID]string{}
	for _, e := range said[:min(len(said), control.MaxEndings)] {
		if id, err := identity.ParseMemberID(e.Member); err == nil && !id.IsZero() && len(e.Tag) == tagLength {
			h.said[id] = string(e.Tag)
		}
	}
	if maps.Equal(h.said, h.told) {
		return nil
	}
	if more := int(now.Sub(h.at) / endingsPace); h.at.IsZero() || more > 0 {
		h.left, h.at = min(endingsRush, h.left+max(more, 0)), now
	}
	if h.left == 0 {
		return nil // with one of the next answers
	}
	h.left--
	for id, tag := range h.said {
		if h.told[id] != tag {
			changed = append(changed, id)
		}
	}
	h.told = h.said
	return changed
}

// hearEndings takes in what another home says of what ends soon there, and tells those who are concerned.
func (ns *news) hearEndings(other identity.TreeID, said []control.EndingFor, now time.Time) {
	ns.mu.Lock()
	h := ns.endings[other]
	if h == nil {
		if ns.endings == nil {
			ns.endings = map[identity.TreeID]*heardEndings{}
		}
		h = &heardEndings{left: endingsRush}
		ns.endings[other] = h
	}
	changed := h.hear(said, now)
	ns.mu.Unlock()
	if len(changed) == 0 {
		return
	}
	for _, id := range ns.g.watchers.members() {
		who, ok := ns.g.member(id)
		if ok && (slices.Contains(changed, id) || slices.Contains(changed, who.Chain.ActsFor())) {
			ns.g.watchers.renew(id)
		}
	}
}

// endingsOf returns in which homes something ends soon that a leaf, or whoever it acts for, was given there.
func (ns *news) endingsOf(who identity.Chain) (in []control.EndingIn) {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	for other, h := range ns.endings {
		if tag := h.told[who.Member()] + h.told[who.ActsFor()]; tag != "" {
			in = append(in, control.EndingIn{Tree: other.String(), Tag: []byte(tag)})
		}
	}
	slices.SortFunc(in, func(a, b control.EndingIn) int { return cmp.Compare(a.Tree, b.Tree) })
	return in
}
