package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

func TestStrangerIsRefused(t *testing.T) {
	v, other := gatewaytest.New(t), gatewaytest.New(t)
	device := v.Invite(v.Open("laptop"), identity.Device, "home/lock", "", "127.0.0.1:0")
	v.Serve(device, lock.New().Thing())
	stranger := other.Open("laptop")
	if err := stranger.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	base, err := stranger.At(device.Self().ID, device.Addresses()[0])
	if err != nil {
		t.Fatal(err)
	}
	resp, err := stranger.HTTP().Get(base + "/properties/state")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger is answered %s", resp.Status)
	}
	if remote, ok := peer.Callee(resp); !ok || remote.Showed {
		t.Error("a stranger was shown the thing's hello")
	}
}

// Whoever copies a hello cannot use it: it is for another key than the one the connection proves.
func TestCopiedHelloIsRefused(t *testing.T) {
	v := gatewaytest.New(t)
	laptop := v.Open("laptop")
	device := v.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	v.Serve(device, lock.New().Thing())
	if _, err := v.State(laptop, "home/lock"); err != nil {
		t.Fatal(err)
	}
	hello := helloOf(t, laptop)
	_, thief, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	host, err := peer.New(peer.Config{Key: thief, Listen: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	client := http.Client{Transport: host.Transport(func(context.Context, string) (peer.Target, error) {
		return peer.Target{Key: device.Self().Key, Addresses: device.Addresses(), Hello: func() []byte { return hello }}, nil
	})}
	resp, err := client.Get("kindred://lock/properties/state")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("a copied hello is answered %s", resp.Status)
	}
}

// evidenceOf returns what a node was told of itself last, out of its database.
func evidenceOf(t *testing.T, n *kindred.Node) control.Evidence {
	t.Helper()
	data, err := n.Store().Load(t.Context(), "evidence/"+identity.MemberID{}.String())
	if err != nil {
		t.Fatal(err)
	}
	var kept struct{ Evidence control.Evidence }
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	return kept.Evidence
}

// helloOf returns what a node shows, out of its database.
func helloOf(t *testing.T, n *kindred.Node) []byte {
	t.Helper()
	kept := evidenceOf(t, n)
	proof, err := credential.ParseProof(kept.Proof)
	if err != nil {
		t.Fatal(err)
	}
	hello, err := credential.Hello{Chain: kept.Chain, Proofs: []credential.Proof{proof}}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return hello
}

func TestWindow(t *testing.T) {
	v := gatewaytest.New(t)
	laptop := v.Open("laptop")
	device := v.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	v.Serve(device, lock.New().Thing())
	anna := v.Invite(laptop, identity.Person, "sam/anna", "phone")
	now := time.Now().UTC()
	minute := func(t time.Time) uint16 { return uint16(t.Hour()*60 + t.Minute()) }
	closed := grant.Window{Days: grant.AllDays, From: minute(now.Add(2 * time.Hour)), To: minute(now.Add(3 * time.Hour))}
	open := grant.Window{Days: grant.AllDays, From: minute(now.Add(-time.Hour)), To: minute(now.Add(time.Hour))}
	v.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use, Windows: []grant.Window{closed}, Zone: "UTC"})
	if got, err := v.State(anna, "home/lock"); code(err) != "out-of-hours" {
		t.Errorf("outside the window anna reads %s, %v", got, err)
	}
	v.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use, Windows: []grant.Window{open}, Zone: "UTC"})
	if got, err := v.State(anna, "home/lock"); err != nil {
		t.Errorf("inside the window anna reads %s, %v", got, err)
	}
}

// A device that was removed is refused by everyone, and the one re-admitted under its path is another.
func TestRemovedDevice(t *testing.T) {
	v := gatewaytest.New(t)
	ctx := t.Context()
	laptop := v.Open("laptop")
	old := v.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	v.Serve(old, lock.New().Thing())
	if _, err := v.State(laptop, "home/lock"); err != nil {
		t.Fatal(err)
	}
	roster, err := laptop.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	entry, _ := roster.At("home/lock")
	if _, err := laptop.Revoke(ctx, roster.Member(entry)); err != nil {
		t.Fatal(err)
	}
	if got, err := v.State(laptop, "home/lock"); err == nil {
		t.Errorf("the owner still reads %s from the removed lock", got)
	}
	if err := old.Refresh(ctx); err == nil {
		t.Error("the gateway still proves the removed lock")
	}
	client, err := laptop.ThingOf(old.Self().Member())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(ctx, "state"); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("calling the removed lock itself: %v", err)
	}

	if err := old.Close(); err != nil {
		t.Log(err)
	}
	v.Dir = t.TempDir() // a new machine
	renewed := v.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	v.Serve(renewed, lock.New().Thing())
	if got, err := v.State(laptop, "home/lock"); err != nil || got != `"locked"` {
		t.Errorf("the owner reads %s, %v from the new lock", got, err)
	}
	if renewed.Self().Member() == old.Self().Member() {
		t.Error("the new lock is the old member")
	}
}

func TestWithoutGateway(t *testing.T) {
	v := gatewaytest.New(t)
	ctx := t.Context()
	laptop := v.Open("laptop")
	front := v.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	v.Serve(front, lock.New().Thing())
	camera := v.Invite(laptop, identity.Device, "home/camera", "", "127.0.0.1:0")
	v.Serve(camera, lock.New().Thing()) // what it is does not matter here
	anna := v.Invite(laptop, identity.Person, "sam/anna", "phone")
	v.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use})
	_, sight := v.Share(laptop, "sam/anna", "home/camera", grant.Terms{Actions: grant.See})
	const fresh = 3 * time.Second
	if err := laptop.SetLimits(ctx, front.Self().Member(), []tree.Limit{{Fresh: int64(fresh / time.Second)}}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []identity.Path{"home/lock", "home/camera"} {
		for _, n := range []*kindred.Node{laptop, anna} {
			if _, err := v.State(n, path); err != nil {
				t.Fatalf("before: %s: %v", path, err)
			}
		}
	}
	address := v.Gateway.Node().Addresses()[0]
	v.Down()

	if _, err := v.State(anna, "home/camera"); err != nil {
		t.Errorf("anna does not see the camera without the gateway: %v", err)
	}
	report, err := laptop.Revoke(ctx, sight)
	if err != nil || len(report.Things) != 1 || !report.Things[0].Closed {
		t.Errorf("taking the camera back at the camera: %+v, %v", report, err)
	}
	if _, err := v.State(anna, "home/camera"); err == nil {
		t.Error("anna still sees the camera")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := v.State(anna, "home/lock")
		if code(err) == "stale" {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("anna at the lock, whose proof grows stale: %v", err)
		}
	}
	if _, err := v.State(laptop, "home/lock"); err != nil {
		t.Errorf("the owner is not served by the offline term: %v", err)
	}

	v.Address = address[:strings.Index(address, "/p2p/")]
	v.Up()
	waitFor(t, func() bool {
		roster, err := laptop.Roster(ctx)
		return err == nil && len(roster.GrantsNamed(sight.Grant.String())) == 0
	})
	waitFor(t, func() bool { _, err := v.State(anna, "home/lock"); return err == nil })
	if _, err := v.State(anna, "home/camera"); err == nil {
		t.Error("anna sees the camera again")
	}
	waitFor(t, func() bool {
		h, err := laptop.Gateway().History(ctx, control.HistoryQuery{Limit: 1000})
		if err != nil {
			return false
		}
		stale, offline := false, false
		for _, e := range h.Entries {
			stale = stale || e.Caller.ID.Path == "sam/anna/phone" && strings.Contains(e.Reason, "stale")
			offline = offline || e.Caller.ID.Path == "sam/laptop" && e.Offline
		}
		return stale && offline
	})
}

// waitFor polls what another process, or goroutine, brings about in its own time.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatal("it did not come about within 20 s")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestTwoSharesAtOnce(t *testing.T) {
	v := gatewaytest.New(t)
	laptop := v.Open("laptop")
	device := v.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	v.Serve(device, lock.New().Thing())
	v.Invite(laptop, identity.Person, "sam/anna", "phone")
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() { v.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See}) })
	}
	wait.Wait()
	roster, err := laptop.Roster(t.Context())
	if err != nil || len(roster.Grants) != 8 {
		t.Errorf("%d grants, %v; want 8", len(roster.Grants), err)
	}
}

func TestTwoGatewaysOnOneDirectory(t *testing.T) {
	v := gatewaytest.New(t)
	_, err := gateway.Open(t.Context(), gateway.Config{Dir: gateway.Dir(v.Path("laptop")), Listen: []string{"127.0.0.1:0"}})
	if !errors.Is(err, store.ErrInUse) {
		t.Errorf("a second gateway on one directory: %v", err)
	}
	if _, err := kindred.Open(t.Context(), kindred.Config{Dir: gateway.Dir(v.Path("laptop"))}); !errors.Is(err, store.ErrInUse) {
		t.Errorf("a second process on one directory: %v", err)
	}
}

// Only what a grant names may be used, and what is refused says why to whoever holds the grant.
func TestAffordanceAndAction(t *testing.T) {
	v := gatewaytest.New(t)
	laptop := v.Open("laptop")
	device := v.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	v.Serve(device, lock.New().Thing())
	anna := v.Invite(laptop, identity.Person, "sam/anna", "phone")
	v.Share(laptop, "sam/anna", "home/lock", grant.Terms{Thing: grant.Thing{Affordance: "state"}, Actions: grant.See})
	client, err := anna.Thing(t.Context(), "home/lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Read(t.Context(), "state"); err != nil {
		t.Errorf("reading the state: %v", err)
	}
	if _, err := client.Describe(t.Context()); err != nil {
		t.Errorf("describing: %v", err)
	}
	if _, err := client.Invoke(t.Context(), "unlock", nil); code(err) != "affordance" {
		t.Errorf("unlocking: %v (%s)", err, code(err))
	}
	var base *url.URL = client.Base
	if base.Scheme != peer.Scheme {
		t.Errorf("a thing's base is %s", base)
	}
	var p *thing.Problem
	if _, err := client.Read(t.Context(), "nothing"); !errors.As(err, &p) || p.Status != http.StatusForbidden {
		t.Errorf("a property that is not there: %v", err)
	}
}
