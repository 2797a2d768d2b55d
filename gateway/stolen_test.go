package gateway_test

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

// A thief with the laptop lets in an app, gives something by way of it, and takes it off the tree again. The owner, who has a
// phone that the laptop let in before, is shown what goes with the laptop, all of it and nothing else.
func TestStolenLaptopHidesWhatItMade(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	phone := h.Invite(laptop, identity.App, "sam/phone", "")
	h.Invite(phone, identity.Device, "home/lock", "")
	h.Invite(phone, identity.Device, "home/bell", "")
	mine, _ := h.Share(phone, "home/bell", "home/lock", grant.Terms{Actions: grant.See})
	between := h.Invite(laptop, identity.App, "sam/between", "")
	given, _ := h.Share(between, "home/bell", "home/lock", grant.Terms{Actions: grant.Use})
	roster, err := laptop.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := roster.At("sam/between")
	if _, err := laptop.Revoke(ctx, roster.Member(m)); err != nil {
		t.Fatal(err)
	}

	if roster, err = phone.Roster(ctx); err != nil {
		t.Fatal(err)
	}
	m, _ = roster.At("sam/laptop")
	since := time.Now().Add(-time.Hour)
	made, err := roster.MadeSince(phone.Self(), m, since)
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range made.Members {
		if other.Who.Member() == phone.Self().Member() {
			t.Error("the phone that removes it is said to go with it")
		}
	}
	if len(made.Grants) != 1 || made.Grants[0].Terms.ID != given.ID {
		t.Errorf("with the laptop go %d grants, want %s", len(made.Grants), given.ID)
	}
	if _, err := phone.Revoke(ctx, roster.Takes(m, since)); err != nil {
		t.Fatal(err)
	}
	if roster, err = phone.Roster(ctx); err != nil || len(roster.Grants) != 1 || roster.Grants[0].Terms.ID != mine.ID {
		t.Errorf("%d grants are left, want %s, %v", len(roster.Grants), mine.ID, err)
	}
	if _, ok := roster.At("home/gateway"); !ok {
		t.Error("the gateway, which the laptop made, went along")
	}
}
