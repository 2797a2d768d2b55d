package relay

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
)

// networks are the lengths in bits of the networks that share the board, the greatest first: what is announced as one on
// the internet and given to a provider, what a provider gives a site, and what peer.Origin takes for one address.
var networks = []struct{ ip4, ip6 int }{{24, 32}, {32, 48}, {32, 56}}

// makeRoom drops notes of a full board until a sixteenth is free: sorting 60,000 takes some tenths of a second, and it takes
// thousands to fill the board again. What is left is shared: each network keeps all it has, or as much as any other, and so
// within it its parts and their addresses. Whoever wants others' notes gone has to come from so many networks that each
// one's share is less than theirs. Of one address those points go first that have been known for the shortest time. b.mu is
// held.
func (b *board) makeRoom() {
	if b.bytes <= b.room {
		return
	}
	left := b.room - b.room/16
	var all []*kept
	for _, k := range b.notes {
		all = append(all, &k)
	}
	for _, k := range lineUp(all, 0) {
		if left -= len(k.raw); left < 0 {
			b.drop(k.id)
		}
	}
}

// lineUp puts notes in the order in which they are kept. They are all from one network, whose parts are at a level of
// networks. Those of one address stand by age; then the parts' lines walk in side by side, byte by byte.
func lineUp(notes []*kept, level int) []*kept {
	if level == len(networks) {
		slices.SortFunc(notes, byAge)
		return notes
	}
	parts := make(map[netip.Prefix][]*kept)
	for _, k := range notes {
		part := networkOf(k.from, level)
		parts[part] = append(parts[part], k)
	}
	type placed struct {
		*kept
		end int // in its part's line, in bytes
	}
	var all []placed
	for _, part := range parts {
		end := 0
		for _, k := range lineUp(part, level+1) {
			end += len(k.raw)
			all = append(all, placed{k, end})
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return cmp.Or(cmp.Compare(a.end, b.end), byAge(a.kept, b.kept)) })
	for i, p := range all {
		notes[i] = p.kept
	}
	return notes
}

func byAge(a, b *kept) int { return cmp.Or(a.since.Compare(b.since), bytes.Compare(a.id[:], b.id[:])) }

func networkOf(from netip.Prefix, level int) netip.Prefix {
	bits := networks[level].ip4
	if from.Addr().Is6() {
		bits = networks[level].ip6
	}
	return netip.PrefixFrom(from.Addr(), bits).Masked()
}
