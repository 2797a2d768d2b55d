package tree

import (
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// A Making is an entry of a roster, as far as it tells who asked for it: of a member, a grant or a recognition; or who
// stands behind a grant as its second. Or it is what the entry of a member that is gone told.
type Making struct {
	By    identity.MemberID // the leaf that asked for it
	Since int64             // when it was put there, by the keeper's clock: Unix time, seconds
	Made  identity.Chain    // of a member: its certificates
	Gone  identity.MemberID // of one that is gone: who it was
}

// MadeSince returns which of makings were asked for by leaves since a moment, or by what these made, and so on: the
// indexes, in their order. With a member goes all below it.
func MadeSince(makings []Making, leaves []identity.MemberID, since time.Time) (found []int) {
	by := map[identity.MemberID]bool{}
	for _, id := range leaves {
		by[id] = true
	}
	in := make([]bool, len(makings))
	for grown := true; grown; {
		grown = false
		for i, m := range makings {
			if in[i] || m.Since < since.Unix() || !by[m.By] {
				continue
			}
			in[i], grown = true, true
			if !m.Gone.IsZero() {
				by[m.Gone] = true
			}
			if len(m.Made.Line) == 0 {
				continue
			}
			for j, below := range makings {
				if len(below.Made.Line) > 0 && below.Made.ID.Path.Within(m.Made.ID.Path) {
					in[j], by[below.Made.Member()] = true, true
				}
			}
		}
	}
	for i, ok := range in {
		if ok {
			found = append(found, i)
		}
	}
	return found
}
