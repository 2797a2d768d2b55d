package kindred

import (
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// What the home turned down does not come back. Of one guest few such are remembered, and none for longer than it counts.
func TestMarksOfWhatWasTurnedDown(t *testing.T) {
	h := newHome(t)
	h.Add(identity.Person, "sam/eve")
	h.Add(identity.App, "sam/eve/phone")
	h.Add(identity.Person, "sam/anna")
	h.Add(identity.App, "sam/anna/phone")
	eve, anna, laptop := h.At("sam/eve/phone"), h.At("sam/anna/phone"), h.At("sam/laptop")
	at, ctx := h.Clock, t.Context()
	n := &Node{db: trusting(t, h).db, cfg: Config{Clock: func() time.Time { return at }}}
	if err := n.trust.load(ctx, n.db, h.Tree.ID); err != nil {
		t.Fatal(err)
	}
	notice := func(app *identitytest.Member, i int) []byte {
		t.Helper()
		value, err := signed.Marshal(tree.Grant{Giver: app.ActsFor(), Since: int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		r := tree.Revocation{Tree: h.ID, Grant: tree.GrantID{1}, Time: at.Unix()}
		r.Leaf = merkle.LeafHash(r.Key(), value)
		statement := h.Sign(app.Signer, tree.RevocationType, r, app.Raw...)
		raw, err := credential.Notice{Statement: statement, Value: value, Proof: h.ProveFor(app)}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	turnDown := func(raw []byte) {
		t.Helper()
		leaf, err := n.obey(ctx, raw)
		if err == nil {
			err = n.dropped(ctx, leaf, raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	marks := func() (all int) {
		t.Helper()
		if err := n.db.Scan(ctx, droppedPrefix, func(string, []byte) error { all++; return nil }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	first := notice(eve, 0)
	turnDown(first)
	for i := range credential.MaxWaiting - 1 {
		turnDown(notice(eve, i+1))
	}
	if _, err := n.obey(ctx, first); !errors.Is(err, errDropped) {
		t.Errorf("what was turned down, again: %v", err)
	}
	if _, err := n.obey(ctx, notice(eve, credential.MaxWaiting)); err == nil {
		t.Errorf("eve is obeyed after %d of hers were turned down", credential.MaxWaiting)
	}
	turnDown(notice(anna, 1))
	turnDown(notice(laptop, 1))
	if got, want := marks(), credential.MaxWaiting+2; got != want {
		t.Errorf("%d marks, want %d", got, want)
	}

	at = at.Add(tree.DefaultOffline + time.Hour)
	h.Block(at.Add(-time.Minute))
	if _, err := n.obey(ctx, first); err == nil {
		t.Error("what was turned down comes back when its mark is not needed any longer")
	}
	turnDown(notice(eve, 0))
	if got := marks(); got != 1 {
		t.Errorf("%d marks a week later, want the new one", got)
	}
}

// A stolen phone of an owner's takes no gateway away at a thing, which would hear from nobody then that the home does not
// agree.
func TestGatewayIsNotTakenAway(t *testing.T) {
	h := newHome(t)
	h.Add(identity.Place, "home")
	h.Add(identity.Device, "home/gateway")
	h.Add(identity.Device, "home/lamp")
	laptop, ctx := h.At("sam/laptop"), t.Context()
	n := &Node{db: trusting(t, h).db, cfg: Config{Clock: func() time.Time { return h.Clock }}}
	n.gateway.Member = h.At("home/gateway").Member()
	if err := n.trust.load(ctx, n.db, h.Tree.ID); err != nil {
		t.Fatal(err)
	}
	for path, taken := range map[identity.Path]bool{"home/gateway": false, "home/lamp": true} {
		m := h.At(path)
		value, err := signed.Marshal(tree.Member{Certificate: m.Self().Digest, Since: 1})
		if err != nil {
			t.Fatal(err)
		}
		r := tree.Revocation{Tree: h.ID, Member: m.Member(), Time: h.Clock.Unix()}
		r.Leaf = merkle.LeafHash(r.Key(), value)
		statement := h.Sign(laptop.Signer, tree.RevocationType, r, laptop.Raw...)
		raw, err := credential.Notice{Statement: statement, Value: value, Chain: m.Raw, Proof: h.ProveFor(laptop)}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.obey(ctx, raw); (err == nil) != taken {
			t.Errorf("taking away %s: %v", path, err)
		}
		if got := n.trust.snapshot().Revoked(r.Leaf); got != taken {
			t.Errorf("%s is taken away: %t", path, got)
		}
	}
}
