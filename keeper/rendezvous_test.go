package keeper

import (
	"bytes"
	"context"
	"testing"

	"github.com/kindred-iot/kindred/identity"
)

// TestRendezvousChanges: whoever is taken away, or loses a key, knows nothing of the secret that follows; any other
// change leaves it as it is.
func TestRendezvousChanges(t *testing.T) {
	h := newHome(t)
	ctx := context.Background()
	was := h.Rendezvous()
	if len(was) != rendezvousLen {
		t.Fatalf("the secret has %d bytes", len(was))
	}
	expect := func(what string, changes bool) {
		t.Helper()
		now := h.Rendezvous()
		if bytes.Equal(now, was) == changes {
			t.Errorf("%s: changed is %v", what, !changes)
		}
		was = now
	}
	id, raw := h.sign()
	if _, _, err := h.Grant(ctx, h.laptop(), raw); err != nil {
		t.Fatal(err)
	}
	h.Add(identity.Device, "home/camera")
	if err := h.admit("home/camera"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Revoke(ctx, h.revokeGrant(id)); err != nil {
		t.Fatal(err)
	}
	expect("a grant, a member more, a grant less", false)
	h.restart()
	expect("a restart", false)
	if _, err := h.Revoke(ctx, h.revokeMember("home/camera")); err != nil {
		t.Fatal(err)
	}
	expect("a member less", true)
	h.restart()
	expect("a restart after that", false)
}

// TestRendezvousIsMade opens a roster from before there were secrets.
func TestRendezvousIsMade(t *testing.T) {
	h := newHome(t)
	if err := h.store.Save(t.Context(), map[string][]byte{rendezvousKey: nil}); err != nil {
		t.Fatal(err)
	}
	h.restart()
	made := h.Rendezvous()
	if len(made) != rendezvousLen {
		t.Fatalf("the secret has %d bytes", len(made))
	}
	h.restart()
	if !bytes.Equal(h.Rendezvous(), made) {
		t.Error("it is made anew on every start")
	}
}
