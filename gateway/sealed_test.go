package gateway_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
	"github.com/kindred-iot/kindred/vault"
)

// recipient returns to whom is sealed for a node, by what the gateway keeps of it.
func recipient(t *testing.T, h *gatewaytest.Home, n *kindred.Node) vault.Recipient {
	t.Helper()
	self := n.Self()
	raw, ok := h.Gateway.Keeper().Recipient(self.Member())
	if !ok {
		t.Fatalf("nobody knows to which key to seal for %s", self.ID.Path)
	}
	said, err := tree.OpenRecipient(raw, self.ID.Tree, self.Member(), self.Key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := vault.ParseRecipient(said.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// opens reports whether a node opens what is sealed to a recipient.
func opens(t *testing.T, n *kindred.Node, r vault.Recipient) bool {
	t.Helper()
	sealed, err := vault.Seal([]byte("hello"), []vault.Recipient{r})
	if err != nil {
		t.Fatal(err)
	}
	got, err := n.SealedKey().Open(sealed)
	return err == nil && string(got) == "hello"
}

// Apps are sealed to from the moment they are members, devices are not; and an app that lost its key has another one.
func TestAppsSayToWhichKeyToSeal(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	lock := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	if !opens(t, laptop, recipient(t, h, laptop)) || !opens(t, anna, recipient(t, h, anna)) {
		t.Error("an app does not open what is sealed to it")
	}
	if opens(t, laptop, recipient(t, h, anna)) {
		t.Error("an app opens what is sealed to another")
	}
	if _, ok := h.Gateway.Keeper().Recipient(lock.Self().Member()); ok || lock.SealedKey() != (vault.Key{}) {
		t.Error("a device is sealed to")
	}

	lost := recipient(t, h, anna)
	if err := os.Remove(filepath.Join(h.Path("annaphone"), kindred.KeysDir, vault.KeyFile)); err != nil {
		t.Fatal(err)
	}
	anna = h.Reopen("annaphone", anna)
	if err := anna.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := recipient(t, h, anna); r.String() == lost.String() || !opens(t, anna, r) {
		t.Error("a key that was lost is still sealed to")
	}
	h.Restart()
	if err := anna.Refresh(t.Context()); err != nil || !opens(t, anna, recipient(t, h, anna)) {
		t.Errorf("after the gateway was started anew: %v", err)
	}
}
