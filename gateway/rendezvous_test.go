package gateway_test

import (
	"crypto"
	"crypto/ed25519"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/relay"
	"github.com/kindred-iot/kindred/tree"
)

// startRelay starts a relay on loopback.
func startRelay(t *testing.T) relay.At {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.Start(relay.Config{Key: key, Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	all, err := relay.Relays(r.Addresses())
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// secretOf returns the secret that a node was told last.
func secretOf(t *testing.T, n *kindred.Node) relay.Secret {
	t.Helper()
	return relay.Secret(evidenceOf(t, n).Rendezvous)
}

// leftAt returns what a member left at a relay, as whoever knows a secret finds it; nil: nothing.
func leftAt(t *testing.T, at relay.At, s relay.Secret, who identity.Chain) (record []byte, addresses []string) {
	t.Helper()
	points, err := s.Points(who.Member(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := at.Find(t.Context(), points, time.Now())
	if err != nil {
		return nil, nil
	}
	a, err := tree.OpenAddress(raw, who.ID.Tree, who.Member(), crypto.PublicKey(who.Key))
	if err != nil {
		t.Fatal(err)
	}
	return raw, a.Addresses
}

// published waits until a node has left at a relay where it is.
func published(t *testing.T, at relay.At, s relay.Secret, n *kindred.Node) (record []byte) {
	t.Helper()
	waitFor(t, func() bool {
		var addresses []string
		record, addresses = leftAt(t, at, s, n.Self())
		return slices.Equal(addresses, without(n.Addresses()))
	})
	return record
}

// without returns addresses without the keys at their ends.
func without(addresses []string) (bare []string) {
	for _, a := range addresses {
		bare = append(bare, a[:len(a)-len("/p2p/12D3KooWAbcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH")])
	}
	return bare
}

// TestFoundAtARelay moves a lock and the gateway while the owner is away, who finds both by what they left at a relay.
// Whoever was removed does not find what moves afterwards.
func TestFoundAtARelay(t *testing.T) {
	at := startRelay(t)
	h := gatewaytest.New(t)
	h.Down()
	h.Relays = at.Addresses
	h.Up()
	laptop := h.Open("laptop")
	front := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(front, lock.New().Thing())
	eve := h.Invite(laptop, identity.Person, "sam/eve", "phone")
	if err := eve.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	secret := secretOf(t, eve)
	if _, err := h.State(laptop, "home/lock"); err != nil {
		t.Fatal(err)
	}
	gateway, was := h.Gateway.Node().Self(), h.Gateway.Node().Addresses()
	published(t, at, secret, h.Gateway.Node())
	published(t, at, secret, front)
	away := func(name string, listen ...string) *kindred.Node { // it knows where the gateway was, and no more
		t.Helper()
		cfg := kindred.Config{Dir: h.Path(name), Listen: listen, GatewayAddresses: was, Log: slog.New(slog.NewTextHandler(t.Output(), nil)).With("away", name)}
		n, err := kindred.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	closed := func(n *kindred.Node) {
		t.Helper()
		if err := n.Close(); err != nil {
			t.Log(err)
		}
	}

	// The gateway is gone, and the lock moves.
	closed(laptop)
	closed(front)
	h.Down()
	front = away("lock", "127.0.0.1:0")
	h.Serve(front, lock.New().Thing())
	published(t, at, secret, front)
	laptop = away("laptop")
	if got, err := h.State(laptop, "home/lock"); err != nil || got != `"locked"` {
		t.Errorf("the owner reads %s, %v from the lock that moved", got, err)
	}

	// The gateway comes back elsewhere.
	closed(laptop)
	closed(front)
	h.Address = "127.0.0.1:0"
	h.Up()
	published(t, at, secret, h.Gateway.Node())
	front = away("lock", "127.0.0.1:0")
	if err := front.InTouch(t.Context()); err != nil {
		t.Error(err)
	}
	laptop = away("laptop")
	roster, err := laptop.Roster(t.Context())
	if err != nil || roster.Fetched.Before(time.Now().Add(-time.Minute)) {
		t.Fatalf("the owner does not find the gateway: %v, %v", roster.Fetched, err)
	}

	// Eve is removed, and the gateway moves again.
	entry, _ := roster.At("sam/eve")
	if _, err := laptop.Revoke(t.Context(), roster.Member(entry)); err != nil {
		t.Fatal(err)
	}
	if err := laptop.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := secretOf(t, laptop)
	if next == secret {
		t.Fatal("the secret is the one that eve knows")
	}
	_, eveFinds := leftAt(t, at, secret, gateway)
	h.Down()
	h.Up()
	published(t, at, next, h.Gateway.Node())
	if _, got := leftAt(t, at, secret, gateway); !slices.Equal(got, eveFinds) || slices.Equal(got, without(h.Gateway.Node().Addresses())) {
		t.Errorf("eve finds %v, and found %v before", got, eveFinds)
	}
	if err := eve.Refresh(t.Context()); err == nil {
		t.Error("eve is told more")
	}
}

// TestOldNotesAreNotBelieved has a member, who may write where the lock does, leave again what the lock left before it
// moved.
func TestOldNotesAreNotBelieved(t *testing.T) {
	at := startRelay(t)
	h := gatewaytest.New(t)
	h.Down()
	h.Relays = []string{at.Addresses[0]}
	h.Up()
	laptop := h.Open("laptop")
	front := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	who := front.Self()
	if err := laptop.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	secret := secretOf(t, laptop)
	old := published(t, at, secret, front)
	if err := front.Close(); err != nil {
		t.Log(err)
	}
	a, err := tree.OpenAddress(old, who.ID.Tree, who.Member(), crypto.PublicKey(who.Key))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return time.Now().Unix() > a.Time }) // records have whole seconds
	front = h.Open("lock", "127.0.0.1:0")
	h.Serve(front, lock.New().Thing())
	if err := front.InTouch(t.Context()); err != nil {
		t.Fatal(err)
	}
	published(t, at, secret, front)
	waitFor(t, func() bool { _, err := h.State(laptop, "home/lock"); return err == nil })

	point, err := secret.Point(who.Member(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	note, err := point.Seal(old, time.Now().Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := at.Publish(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	if err := front.Close(); err != nil {
		t.Log(err)
	}
	h.Down() // which would know better
	if got, err := h.State(laptop, "home/lock"); err == nil {
		t.Fatalf("the lock, which is gone, says %s", got)
	}
	c, err := laptop.Resolve(t.Context(), "home/lock")
	if err != nil || c.Told.Unix() <= a.Time {
		t.Errorf("the owner takes the lock to be at %v, as of %v, %v: where it was before it moved", c.Addresses, c.Told, err)
	}
}
