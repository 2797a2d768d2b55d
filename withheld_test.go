package kindred_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

// A silent home says that all obey what is taken away, and tells nobody, while it is told to.
type silent struct {
	kindred.Home
	now *atomic.Bool
}

func (s silent) Revoke(ctx context.Context, notice []byte) (control.Report, error) {
	if !s.now.Load() {
		return s.Home.Revoke(ctx, notice)
	}
	return control.Report{Things: []control.Reach{{Path: "home/lock", Closed: true}}}, nil
}

// A gateway that withholds a taking-back can say what it likes: no head names it, and the owner's app says so, until the
// gateway hears of it again and does it.
func TestWithheldTakingBack(t *testing.T) {
	h := gatewaytest.New(t)
	var withholds atomic.Bool
	laptop := reopen(t, h.Open("laptop"), h.Config("laptop"), func(h kindred.Home) kindred.Home { return silent{h, &withholds} })
	h.Serve(h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0"), lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	terms, target := h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See})
	if _, err := h.State(anna, "home/lock"); err != nil {
		t.Fatal(err)
	}

	withholds.Store(true)
	things := target.Things
	target.Things = nil // out of the laptop's reach
	report, err := laptop.Revoke(t.Context(), target)
	if err != nil || len(report.Things) != 1 || !report.Things[0].Closed {
		t.Fatalf("%+v, %v", report, err)
	}
	if ok, err := laptop.Confirmed(t.Context(), report); ok || err != nil {
		t.Errorf("what is withheld is confirmed: %t, %v", ok, err)
	}
	open, err := laptop.Unconfirmed(t.Context())
	if err != nil || len(open) != 1 || open[0].Grant != terms.ID {
		t.Errorf("not confirmed are %+v, %v", open, err)
	}
	if _, err := h.State(anna, "home/lock"); err != nil {
		t.Errorf("the lock, which nobody told, refuses: %v", err)
	}

	// What the laptop can reach itself obeys, whatever the gateway does.
	target.Things = things
	if report, err = laptop.Revoke(t.Context(), target); err != nil || !slices.ContainsFunc(report.Things, func(r control.Reach) bool { return r.Closed }) {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := h.State(anna, "home/lock"); err == nil {
		t.Error("the lock, told by the owner's app, serves")
	}

	withholds.Store(false)
	if err := laptop.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	if ok, err := laptop.Confirmed(t.Context(), report); !ok || err != nil {
		t.Errorf("once the gateway does it: %t, %v", ok, err)
	}
	if open, err := laptop.Unconfirmed(t.Context()); err != nil || len(open) != 0 {
		t.Errorf("not confirmed are %+v, %v", open, err)
	}
}
