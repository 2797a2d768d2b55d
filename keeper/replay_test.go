package keeper

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Who takes a grant back means it, also if it was paused and resumed since what they looked at, as by another owner while
// their phone was away.
func TestTakingBackWhatWasPausedAndResumed(t *testing.T) {
	h := newHome(t)
	ctx := t.Context()
	id := h.share()
	p := h.revokeGrant(id)
	if _, err := h.Revoke(ctx, h.pending("sam/laptop", tree.Revocation{Grant: id, Pause: true})); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Resume(ctx, h.laptop(), id); err != nil {
		t.Fatal(err)
	}
	if already, err := h.Revoke(ctx, p); already || err != nil || h.live(id) {
		t.Errorf("taken back: already %t, %v; it is live: %t", already, err, h.live(id))
	}
	if already, err := h.Revoke(ctx, p); !already || err != nil {
		t.Errorf("again: already %t, %v", already, err)
	}
}

// A guest who kept what an owner signed to forget another home does not have it forgotten again, once it is recognized anew:
// neither while the list names that, nor when it has fallen off.
func TestForgettingIsNotReplayed(t *testing.T) {
	h, birch := village(t), credentialtest.New(t, time.Now())
	ctx, now := t.Context(), time.Now()
	h.clock = func() time.Time { return now }
	if _, err := h.Recognize(ctx, h.laptop(), h.recognition("sam/laptop", birch, "birch", now)); err != nil {
		t.Fatal(err)
	}
	kept := h.pending("sam/laptop", tree.Revocation{Other: birch.ID})
	if already, err := h.Revoke(ctx, kept); already || err != nil {
		t.Fatalf("forgotten: already %t, %v", already, err)
	}
	for _, after := range []time.Duration{time.Hour, tree.ListedFor + time.Hour} {
		now = now.Add(after)
		if _, err := h.Recognize(ctx, h.laptop(), h.recognition("sam/laptop", birch, "birch", now)); err != nil {
			t.Fatal(err)
		}
		if already, err := h.Revoke(ctx, kept); !already && err == nil || !h.recognizes(birch.ID) {
			t.Errorf("replayed after %s: already %t, %v; it is recognized: %t", after, already, err, h.recognizes(birch.ID))
		}
	}
}

// A guest takes back what never was, as often as they like: nobody is told to keep it until a head names it, which none will.
func TestTakingBackWhatNeverWas(t *testing.T) {
	h := village(t)
	id := h.share()
	if _, err := h.Revoke(t.Context(), h.revokeGrant(id)); err != nil {
		t.Fatal(err)
	}
	phone := h.At("sam/anna/phone").Chain
	madeUp, err := signed.Marshal(tree.Grant{Statement: signed.Sum([]byte("nothing")), Giver: phone.ActsFor()})
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]tree.GrantID{"never given": {1}, "gone, and never said so": id} {
		r := tree.Revocation{Tree: h.ID, Grant: id, Leaf: merkle.LeafHash(tree.GrantKey(id), madeUp)}
		h.unchanged(name, func() {
			_, err := h.Revoke(t.Context(), credential.Pending{Revocation: r, Signer: phone, Raw: []byte("signed")})
			wants(t, name, err, ErrDenied, "is not live")
		})
	}
}
