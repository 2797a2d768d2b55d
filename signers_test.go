package kindred_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

// A bank is a service to which sam shows whether the door is locked, once kim, another owner, agrees.
type bank struct {
	*gatewaytest.Home
	t      *testing.T
	laptop *kindred.Node
	lock   *kindred.Node
	kim    *kindred.Node // her phone
	tablet *kindred.Node // and her tablet
	node   *kindred.Node // the service's
	grant  kindred.RosterGrant
}

func newBank(t *testing.T) *bank {
	t.Helper()
	b := &bank{Home: gatewaytest.New(t), t: t}
	b.laptop = b.Open("laptop")
	b.lock = b.Invite(b.laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	b.Serve(b.lock, lock.New().Thing())
	b.kim = b.Invite(b.laptop, identity.Owner, "kim", "phone")
	b.tablet = b.Invite(b.kim, identity.App, "kim/tablet", "")
	b.node = b.Invite(b.laptop, identity.Service, "sam/bank", "")
	terms, _ := b.Share(b.laptop, "sam/bank", "home/lock", grant.Terms{
		Thing: grant.Thing{Affordance: "state"}, Actions: grant.See,
		Agreement: grant.Agreement{Clear: []string{"state"}, Recipient: "First Bank"},
	})
	roster, err := b.laptop.Roster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b.grant = roster.GrantsNamed(terms.ID.String())[0]
	return b
}

// target is what takes the member at a path off the tree.
func (b *bank) target(path identity.Path) kindred.Target {
	b.t.Helper()
	roster, err := b.laptop.Roster(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	m, _ := roster.At(path)
	return roster.Member(m)
}

// remove takes the member at a path off the tree, as stolen since a moment; or for another reason, if that is zero.
func (b *bank) remove(path identity.Path, since time.Time) {
	b.t.Helper()
	target := b.target(path)
	target.Since = since
	if _, err := b.laptop.Revoke(b.t.Context(), target); err != nil {
		b.t.Fatal(err)
	}
}

// read has the bank read the lock's state, by the usual way, and returns as what it is refused.
func (b *bank) read() string {
	b.t.Helper()
	_, err := b.State(b.node, "home/lock")
	var p *thing.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return ""
}

// show asks for the lock's state with the bank's key and a hello of its own making: what the home proves of it and of
// kim, and consents besides those that it has.
func (b *bank) show(consents ...[]byte) (status int, code string) {
	b.t.Helper()
	ctx := b.t.Context()
	e, err := b.laptop.Gateway().Prove(ctx, control.ProofQuery{
		Member: b.node.Self().Member().String(), Thing: b.lock.Self().Member().String(), Also: []string{b.kim.Self().ActsFor().String()},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	e.Consents = append(e.Consents, consents...)
	return b.ask("bank", e)
}

// ask asks for the lock's state with the key of whoever has a directory, and a hello that shows some evidence.
func (b *bank) ask(name string, e control.Evidence) (status int, code string) {
	b.t.Helper()
	proof, err := credential.ParseProof(e.Proof)
	if err != nil {
		b.t.Fatal(err)
	}
	hello, err := credential.Hello{Chain: e.Chain, Grants: e.Grants, Proofs: []credential.Proof{proof}, Consents: e.Consents}.Marshal()
	if err != nil {
		b.t.Fatal(err)
	}
	host, err := peer.New(peer.Config{Key: b.key(name), Listen: []string{}})
	if err != nil {
		b.t.Fatal(err)
	}
	defer host.Close()
	client := http.Client{Transport: host.Transport(func(context.Context, string) (peer.Target, error) {
		return peer.Target{Key: b.lock.Self().Key, Addresses: b.lock.Addresses(), Hello: func() []byte { return hello }}, nil
	})}
	resp, err := client.Get("kindred://lock/properties/state")
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var p thing.Problem
	_ = json.NewDecoder(resp.Body).Decode(&p) // what is served is none
	return resp.StatusCode, p.Code
}

// key opens the key of whose directory has a name: whoever has that has the key.
func (b *bank) key(name string) crypto.Signer {
	b.t.Helper()
	key, err := identity.KeyDir(filepath.Join(b.Path(name), kindred.KeysDir)).Open(kindred.KeyLeaf)
	if err != nil {
		b.t.Fatal(err)
	}
	return key
}

// backdated is a consent by whoever has kim's tablet, as if it were of before that was stolen.
func (b *bank) backdated() []byte {
	b.t.Helper()
	self := b.tablet.Self()
	s, err := signed.Parse(b.grant.Raw)
	if err != nil {
		b.t.Fatal(err)
	}
	raw, err := grant.SignConsent(b.key("tablet"), self.Raw, grant.Consent{
		Tree: self.ID.Tree, Grant: b.grant.Terms.ID, Statement: s.Digest, By: self.ActsFor(), Time: time.Now().Add(-time.Minute).Unix(),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return raw
}

// Whoever has a phone that was stolen and removed cannot stand behind a grant as its second owner, whatever date they
// write: not at the thing, with the service at their side, and not at the gateway.
func TestStolenSecond(t *testing.T) {
	b := newBank(t)
	if code := b.read(); code != "not-approved" {
		t.Fatalf("before anybody approves, it is answered %q", code)
	}
	b.remove("kim/tablet", time.Now().Add(-time.Hour))
	forged := b.backdated()
	if status, code := b.show(forged); status != http.StatusForbidden || code != "not-approved" {
		t.Errorf("with a consent by a phone that was removed, it is answered %d, %s", status, code)
	}
	if err := b.node.Gateway().Consent(t.Context(), forged); err == nil {
		t.Error("the gateway files a consent by a phone that was removed")
	}
	if err := b.kim.Approve(t.Context(), b.grant.Terms.ID, b.grant.Raw, false); err != nil {
		t.Fatal(err)
	}
	if code := b.read(); code != "" {
		t.Errorf("approved, it is answered %q", code)
	}
	if status, code := b.show(); status != http.StatusOK {
		t.Errorf("approved, and shown by hand, it is answered %d, %s", status, code)
	}
}

// What a phone approved before it was stolen stays when it is removed, and goes with what it made since if it was stolen
// before that.
func TestStolenAfterApproving(t *testing.T) {
	b := newBank(t)
	if err := b.tablet.Approve(t.Context(), b.grant.Terms.ID, b.grant.Raw, false); err != nil {
		t.Fatal(err)
	}
	if code := b.read(); code != "" {
		t.Fatalf("approved, it is answered %q", code)
	}
	roster, err := b.laptop.Roster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m, _ := roster.At("kim/tablet")
	for since, want := range map[time.Duration]int{-time.Hour: 1, time.Hour: 0} {
		made, err := roster.MadeSince(b.laptop.Self(), m, time.Now().Add(since))
		if err != nil || len(made.Approved) != want {
			t.Errorf("made since %s: %d grants are approved, %v", since, len(made.Approved), err)
		}
	}
	b.remove("kim/tablet", time.Now().Add(-time.Hour))
	if err := b.lock.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code := b.read(); code != "not-approved" {
		t.Errorf("stolen before, it is answered %q", code)
	}
}

// A lying home tells a thing that two owners took something out of what is never shown on one's word, and proves that these
// owners are members.
type lying struct {
	kindred.Home
	member string        // the thing
	by     *kindred.Node // an owner's app, which may ask for anything
	class  *atomic.Pointer[control.Class]
	owners []string
}

func (l lying) Prove(ctx context.Context, q control.ProofQuery) (control.Evidence, error) {
	q.Member, q.Also = l.member, l.owners
	e, err := l.by.Gateway().Prove(ctx, q)
	if c := l.class.Load(); c != nil {
		e.Classes = append(e.Classes, *c)
	}
	return e, err
}

// Two phones that were stolen and removed, of two owners, take nothing out, with a gateway's front at their side.
func TestStolenClass(t *testing.T) {
	b := newBank(t)
	ctx := t.Context()
	phone := b.Invite(b.laptop, identity.App, "sam/phone", "")
	owners := []string{b.laptop.Self().ActsFor().String(), b.kim.Self().ActsFor().String()}
	mic := b.Invite(b.laptop, identity.Device, "home/mic", "")
	said := lying{member: mic.Self().Member().String(), by: b.laptop, class: &atomic.Pointer[control.Class]{}, owners: owners}
	mic = reopen(t, mic, b.Config("mic", "127.0.0.1:0"), func(h kindred.Home) kindred.Home {
		said.Home = h
		return said
	})
	b.Serve(mic, lock.New().Thing())
	terms, _ := b.Share(b.laptop, "sam/bank", "home/mic", grant.Terms{
		Thing: grant.Thing{Affordance: "state"}, Actions: grant.See,
		Agreement: grant.Agreement{Clear: []string{"state"}, Recipient: "First Bank"},
	})
	sign := func(n *kindred.Node, name string, class []byte) (raw []byte) {
		t.Helper()
		self, at := n.Self(), time.Now().Add(-time.Minute).Unix()
		var err error
		if class == nil {
			raw, err = grant.SignClass(b.key(name), self.Raw, grant.Class{
				Tree: terms.Tree, Owner: self.ActsFor(), Thing: mic.Self().Member(), Affordance: "state", Time: at,
			})
		} else {
			var s signed.Statement
			if s, err = signed.Parse(class); err == nil {
				raw, err = grant.SignConsent(b.key(name), self.Raw, grant.Consent{
					Tree: terms.Tree, Statement: s.Digest, By: self.ActsFor(), Time: at,
				})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	read := func() string {
		t.Helper()
		_, err := b.State(b.node, "home/mic")
		var p *thing.Problem
		if err != nil && !errors.As(err, &p) {
			t.Fatal(err)
		}
		if p == nil {
			return ""
		}
		return p.Code
	}
	class := func(by *kindred.Node, name string, second *kindred.Node, secondName string) {
		t.Helper()
		raw := sign(by, name, nil)
		said.class.Store(&control.Class{Raw: raw, Consents: [][]byte{sign(second, secondName, raw)}})
		if err := mic.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
	}
	b.remove("kim/tablet", time.Time{})
	b.remove("sam/phone", time.Time{})
	class(phone, "phone", b.tablet, "tablet")
	if code := read(); code != "not-approved" {
		t.Errorf("taken out by two phones that were removed, it is answered %q", code)
	}
	class(b.laptop, "laptop", b.tablet, "tablet")
	if code := read(); code != "not-approved" {
		t.Errorf("taken out by an owner and a phone that was removed, it is answered %q", code)
	}
}

// A device that was given other limits, and so another entry in the roster, before it is removed has nothing of what the
// home proved of it until then.
func TestLimitedAndRemoved(t *testing.T) {
	b := newBank(t)
	ctx := t.Context()
	cam := b.Invite(b.laptop, identity.Device, "home/cam", "")
	b.Share(b.laptop, "home", "home/lock", grant.Terms{Actions: grant.See})
	before, err := cam.Gateway().Prove(ctx, control.ProofQuery{Thing: b.lock.Self().Member().String()})
	if err != nil {
		t.Fatal(err)
	}
	err = b.laptop.Gateway().Limit(ctx, control.Limits{Member: cam.Self().Member().String(), Limits: []tree.Limit{{Fresh: 60}}})
	if err != nil {
		t.Fatal(err)
	}
	if status, code := b.ask("cam", before); status != http.StatusOK {
		t.Fatalf("while it is a member, it is answered %d, %s", status, code)
	}
	b.remove("home/cam", time.Time{})
	if err := b.lock.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if status, code := b.ask("cam", before); status == http.StatusOK {
			t.Errorf("removed, it is answered %d, %s", status, code)
		}
		b.lock.ForgetPeers() // and looks at it for the first time
	}
}
