package keeper

import (
	"reflect"
	"testing"

	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/tree"
)

// Certificates outlive a key, and a member; a renewal with the same key leaves none behind.
func TestPast(t *testing.T) {
	h := village(t)
	lock := h.At("home/lock")
	want := func(what string, chains ...[][]byte) {
		t.Helper()
		got, err := h.Past(t.Context(), lock.Member())
		if err != nil || !reflect.DeepEqual(got, chains) {
			t.Errorf("%s: %d chains of the past, %v, want %d", what, len(got), err, len(chains))
		}
	}
	want("at first")
	same := h.renew(lock.Chain, "home/lock", lock.Signer)
	must(t, h.Admit(t.Context(), h.laptop(), []tree.Admission{{Chain: same}}))
	want("renewed")
	next := h.renew(lock.Chain, "home/lock", identitytest.NewKey(t))
	must(t, h.Admit(t.Context(), h.laptop(), []tree.Admission{{Chain: next}}))
	want("with another key", same.Raw)
	_, err := h.Revoke(t.Context(), h.revokeMember("home/lock"))
	must(t, err)
	want("removed", same.Raw, next.Raw)
	h.restart()
	want("after a restart", same.Raw, next.Raw)
}
