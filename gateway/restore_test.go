package gateway_test

import (
	"errors"
	"testing"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

// A gateway that was restored from an old copy of its whole directory, ledger and all, cannot tell by itself. The first
// member that comes with something newer tells it, and from then on it signs nothing.
func TestRestoredFromAnOldCopy(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())
	h.Invite(laptop, identity.Person, "sam/anna", "phone")
	dir := gateway.Dir(h.Path("laptop"))
	copied := t.TempDir()
	h.Down()
	copyDir(t, copied, dir)
	h.Up()
	laptop = h.Reopen("laptop", laptop)
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See})
	if err := laptop.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}

	h.Down()
	replace(t, dir, copied)
	h.Up()
	laptop = h.Reopen("laptop", laptop)
	err := laptop.Gateway().AddPlace(t.Context(), control.Place{Path: "home/porch"})
	var answer *control.Error
	if !errors.As(err, &answer) || answer.Code != control.Unavailable {
		t.Errorf("an old copy takes a change: %v", err)
	}
}
