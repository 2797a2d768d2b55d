package gateway_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// heard returns the revocations that a member is told of, from when it is in touch.
func heard(t *testing.T, n *kindred.Node) <-chan []byte {
	t.Helper()
	notices, ready := make(chan []byte, 64), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(notices)
		up := false
		n.Gateway().Watch(ctx, func(e control.Event) error {
			if e.Notice != nil {
				notices <- e.Notice
			} else if !up {
				up = true
				close(ready)
			}
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	<-ready
	return notices
}

// A guest takes back what never was, and brings what was taken back again and again. The home's members are told neither: each
// would keep it, hand it in and be cut off for not keeping up.
func TestGuestFloodsWithRevocations(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	door := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(door, lock.New().Thing())
	eve := h.Invite(laptop, identity.Person, "sam/eve", "phone")
	_, first := h.Share(laptop, "sam/eve", "home/lock", grant.Terms{Actions: grant.See})
	_, second := h.Share(laptop, "sam/eve", "home/lock", grant.Terms{Actions: grant.Use})
	told := heard(t, laptop)

	value, err := signed.Marshal(tree.Grant{Statement: signed.Sum([]byte("nothing")), Giver: eve.Self().ActsFor()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = eve.Revoke(ctx, kindred.Target{Grant: tree.GrantID{1}, Value: value})
	says(t, "eve takes back what never was", err, control.Refused)
	if open, err := door.Unconfirmed(ctx); err != nil || len(open) != 0 {
		t.Errorf("the lock keeps %+v, %v", open, err)
	}

	if _, err := laptop.Revoke(ctx, first); err != nil {
		t.Fatal(err)
	}
	notice := <-told
	for range 3 {
		if r, err := eve.Gateway().Revoke(ctx, notice); err != nil || !r.Already {
			t.Errorf("brought again: %+v, %v", r, err)
		}
	}
	if _, err := laptop.Revoke(ctx, second); err != nil {
		t.Fatal(err)
	}
	if next := <-told; bytes.Equal(next, notice) {
		t.Error("the members are told again of what they were told")
	}
}

// Whoever has the phone of an owner, which was removed, takes something back at a thing that has not heard of that. The home
// turns it down; and an owner who means it is obeyed there all the same, without the gateway.
func TestRevocationTurnedDownStopsNoOther(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	door := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(door, lock.New().Thing())
	stolen := h.Invite(laptop, identity.App, "sam/phone", "")
	eve := h.Invite(laptop, identity.Person, "sam/eve", "phone")
	_, given := h.Share(laptop, "sam/eve", "home/lock", grant.Terms{Actions: grant.See})
	for _, n := range []*kindred.Node{laptop, stolen, eve} {
		if _, err := h.State(n, "home/lock"); err != nil {
			t.Fatal(err)
		}
	}
	roster, err := laptop.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	phone, _ := roster.At("sam/phone")
	at := listensAt(door)
	door.Close()
	if _, err := laptop.Revoke(ctx, roster.Member(phone)); err != nil {
		t.Fatal(err)
	}
	home, cfg := listensAt(h.Gateway.Node()), h.Config("lock", at)
	h.Down()
	if door, err = kindred.Open(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { door.Close() })
	h.Serve(door, lock.New().Thing())
	if r, err := stolen.Revoke(ctx, given); err != nil || len(r.Things) != 1 || !r.Things[0].Closed {
		t.Fatalf("the lock, which has not heard that the phone is removed: %+v, %v", r, err)
	}
	h.Address = home
	h.Up()
	waitFor(t, func() bool {
		open, err := door.Unconfirmed(ctx)
		return err == nil && len(open) == 0
	})
	if _, err := h.State(eve, "home/lock"); err != nil {
		t.Fatalf("eve, from whom nobody took anything who may: %v", err)
	}
	h.Down()
	if r, err := laptop.Revoke(ctx, given); err != nil || len(r.Things) != 1 || !r.Things[0].Closed {
		t.Errorf("an owner takes it back at the lock: %+v, %v", r, err)
	}
	if _, err := h.State(eve, "home/lock"); err == nil {
		t.Error("eve reads the lock after an owner took that back there")
	}
}
