package kindred_test

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/thing"
)

// yesterday is a home that says of its members what it said of them before, once it has such.
type yesterday struct {
	kindred.Home
	said *atomic.Pointer[control.Evidence]
}

func (y yesterday) Prove(ctx context.Context, q control.ProofQuery) (control.Evidence, error) {
	if said := y.said.Load(); said != nil {
		return *said, nil
	}
	return y.Home.Prove(ctx, q)
}

// reopen opens a node again, with somebody between it and its home's gateway.
func reopen(t *testing.T, n *kindred.Node, cfg kindred.Config, between func(kindred.Home) kindred.Home) *kindred.Node {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Between(between)
	n, err := kindred.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// evidence returns what the gateway told a node last, of itself at a thing; or of itself alone.
func evidence(t *testing.T, n *kindred.Node, at identity.MemberID) control.Evidence {
	t.Helper()
	data, err := n.Store().Load(t.Context(), "evidence/"+at.String())
	if err != nil {
		t.Fatal(err)
	}
	var kept struct{ Evidence control.Evidence }
	if err := json.Unmarshal(data, &kept); err != nil {
		t.Fatal(err)
	}
	return kept.Evidence
}

// Whoever kept a grant, and how the tree stood when they had it, gets nothing for it once it is taken back: not at the
// thing, not at the gateway, and not by a gateway that tells the thing how the tree stood before.
func TestReplayOfWhatWasTakenBack(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	var said atomic.Pointer[control.Evidence]
	device := reopen(t, h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0"), h.Config("lock", "127.0.0.1:0"),
		func(h kindred.Home) kindred.Home { return yesterday{h, &said} })
	h.Serve(device, lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	_, target := h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use})
	if _, err := h.State(anna, "home/lock"); err != nil {
		t.Fatal(err)
	}
	before, locks := evidence(t, anna, device.Self().Member()), evidence(t, device, identity.MemberID{})
	proof, err := credential.ParseProof(before.Proof)
	if err != nil {
		t.Fatal(err)
	}
	hello, err := credential.Hello{Chain: before.Chain, Proofs: []credential.Proof{proof}, Grants: before.Grants}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.KeyDir(filepath.Join(h.Path("annaphone"), kindred.KeysDir)).Open(kindred.KeyLeaf)
	if err != nil {
		t.Fatal(err)
	}
	if err := anna.Close(); err != nil {
		t.Fatal(err)
	}
	// shown asks for the lock's state with anna's key and what she kept.
	shown := func() (int, string) {
		t.Helper()
		host, err := peer.New(peer.Config{Key: key, Listen: []string{}})
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
		var p thing.Problem
		_ = json.NewDecoder(resp.Body).Decode(&p) // what is served is none
		return resp.StatusCode, p.Code
	}
	if status, code := shown(); status != http.StatusOK {
		t.Fatalf("while it stands, it is answered %d, %s", status, code)
	}
	if report, err := laptop.Revoke(ctx, target); err != nil || len(report.Things) != 1 || !report.Things[0].Closed {
		t.Fatalf("%+v, %v", report, err)
	}
	refused := func(when string) {
		t.Helper()
		if status, code := shown(); status != http.StatusForbidden {
			t.Errorf("%s, it is answered %d, %s", when, status, code)
		}
	}
	refused("taken back")
	if err := laptop.Gateway().Grant(ctx, before.Grants[0]); err == nil {
		t.Error("the gateway takes a grant again that was taken back")
	}
	refused("handed in again")
	said.Store(&locks)
	knows := device.AsOf()
	if err := device.Refresh(ctx); err != nil || device.AsOf().Before(knows) { // of the lock itself it says the truth
		t.Errorf("what the lock knew as of %v it knows as of %v, %v", knows, device.AsOf(), err)
	}
	refused("with a gateway that tells of yesterday")
	device.ForgetPeers()
	refused("and to a lock that looks at it for the first time")
	if _, err := h.State(laptop, "home/lock"); err != nil {
		t.Errorf("the owner is answered %v", err)
	}
}
