package gateway_test

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// A thing that asks for proofs younger than the ledger's blocks has the ledger make one: nobody who may is refused
// because nothing happened for a while.
func TestFreshLimitBelowTheBlockInterval(t *testing.T) {
	h := gatewaytest.New(t)
	h.Interval = time.Hour
	h.Restart()
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use})
	const fresh = time.Second
	if err := laptop.SetLimits(t.Context(), device.Self().Member(), []tree.Limit{{Fresh: int64(fresh / time.Second)}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		waitFor(t, func() bool { return time.Since(device.AsOf()) > 2*fresh })
		if _, err := h.State(anna, "home/lock"); err != nil {
			t.Errorf("with a proof %s old: %v", time.Since(device.AsOf()), err)
		}
	}
}
