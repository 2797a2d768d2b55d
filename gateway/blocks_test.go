package gateway

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// TestBlocksAreShared has one member use up what it may, which others do not notice, and wait until it may again; and more
// ask than are remembered.
func TestBlocksAreShared(t *testing.T) {
	var b blocks
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	anna, ben := identity.TreeMember{}, identity.TreeMember{}
	anna.Member[0], ben.Member[0] = 1, 2
	made := 0
	for range 10 * blockRush {
		if b.take(anna, now) {
			made++
		}
	}
	if made != blockRush {
		t.Errorf("%d blocks are made for one at once", made)
	}
	if !b.take(ben, now) {
		t.Error("another has none made for that")
	}
	if now = now.Add(blockPace); !b.take(anna, now) || b.take(anna, now) {
		t.Error("it is not one more after a while")
	}
	for i := range 2 * maxAskers {
		var who identity.TreeMember
		who.Tree[0], who.Tree[1], who.Tree[2] = 1, byte(i>>8), byte(i)
		b.take(who, now)
	}
	if len(b.left) > maxAskers {
		t.Errorf("%d are remembered", len(b.left))
	}
	if now = now.Add(blockRush * blockPace); !b.take(identity.TreeMember{Member: identity.MemberID{3}}, now) {
		t.Error("nobody is forgotten who has all that it may")
	}
}
