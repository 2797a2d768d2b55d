package keeper

import (
	"testing"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

func TestDay(t *testing.T) {
	h := newHome(t)
	id := h.share()
	h.verify(h.proof([]identity.MemberID{h.member("sam/anna/phone"), h.member("home/lock")}, id))
	already, err := h.Revoke(t.Context(), h.revokeGrant(id))
	if already || err != nil {
		t.Fatal(already, err)
	}
	h.restart()
	h.View(func(s *tree.State) {
		if _, ok := s.Grant(id); ok {
			t.Error("live")
		}
	})
	h.verify(h.proof([]identity.MemberID{h.member("sam/anna/phone"), h.member("home/lock")}))
}
