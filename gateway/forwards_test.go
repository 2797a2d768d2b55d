package gateway_test

import (
	"testing"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
)

// Owners are told what the router forwards, and others are not. A gateway that was not told to asks no router.
func TestForwardsAreForOwners(t *testing.T) {
	v := gatewaytest.New(t)
	laptop := v.Open("laptop")
	if f, err := laptop.Gateway().Forwards(t.Context()); err != nil || f.Asked || len(f.Ports) > 0 {
		t.Errorf("the owner is told %+v, %v", f, err)
	}
	device := v.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	if f, err := device.Gateway().Forwards(t.Context()); code2(err) != control.Refused {
		t.Errorf("a lock is told %+v, %v", f, err)
	}
}
