package gateway

import (
	"testing"

	"github.com/kindred-iot/kindred/identity"
)

// A home that asks is there, and says with its question what it knows; of one that is forgotten nothing is kept.
func TestWhoeverAsksIsBack(t *testing.T) {
	ns, other := &news{}, identity.TreeID{1}
	ns.asked(other, 3) // nobody asks it yet
	back := ns.follows(other)
	select {
	case <-back:
		t.Error("it is back before it has asked")
	default:
	}
	knows, more := ns.knowing()
	if knows[other] != 3 {
		t.Errorf("it knows head %d, want 3", knows[other])
	}
	ns.asked(other, 4)
	ns.asked(other, 5) // which nobody has to take before
	select {
	case <-back:
	default:
		t.Error("it has asked and is not back")
	}
	select {
	case <-more:
	default:
		t.Error("nobody is told that it knows more")
	}
	if knows, _ := ns.knowing(); knows[other] != 5 {
		t.Errorf("it knows head %d, want 5", knows[other])
	}
	ns.forget(other)
	if knows, _ := ns.knowing(); len(knows) != 0 {
		t.Errorf("of a home that was forgotten is kept %v", knows)
	}
}
