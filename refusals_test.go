package kindred

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

// TestRefusalsAreBounded has two callers be refused again and again: of each so many lines are written in a minute and
// one more, and nothing is missing of how often it was.
func TestRefusalsAreBounded(t *testing.T) {
	var rs refusals
	noon := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	anna, ben := journal.Party{Member: identity.MemberID{1}}, journal.Party{Member: identity.MemberID{2}}
	lines, times := map[journal.Party]int{}, map[journal.Party]int{}
	tell := func(entries []journal.Entry) {
		for _, e := range entries {
			lines[e.Caller]++
			times[e.Caller] += int(max(1, e.Count))
			if e.Outcome != journal.Refused {
				t.Errorf("it tells of %+v", e)
			}
		}
	}
	refuse := func(who journal.Party, at time.Time, what string) {
		tell(rs.take(journal.Entry{Time: at, Caller: who, Op: journal.Read, Affordance: what, Outcome: journal.Refused}, at))
	}
	for i := range 1000 {
		refuse(anna, noon.Add(time.Duration(i)*time.Millisecond), string(rune('a'+i%26)))
	}
	refuse(ben, noon, "power")
	if lines[anna] != maxRefusals || lines[ben] != 1 {
		t.Errorf("within the minute %d and %d lines are written", lines[anna], lines[ben])
	}
	tell(rs.over(noon.Add(30*time.Second), false))
	refuse(anna, noon.Add(time.Minute), "power") // another minute
	if lines[anna] != maxRefusals+2 || times[anna] != 1001 {
		t.Errorf("then %d lines are written, of %d times", lines[anna], times[anna])
	}
	for range 2 * maxRefusals {
		refuse(anna, noon.Add(time.Minute), "power")
	}
	tell(rs.over(noon.Add(time.Minute), true))
	if lines[anna] != 2*maxRefusals+2 || times[anna] != 1001+2*maxRefusals || times[ben] != 1 || len(rs.by) != 0 {
		t.Errorf("in the end %d lines are written, of %d times; %d of ben, %d are remembered", lines[anna], times[anna], times[ben], len(rs.by))
	}
}
