package keeper

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// recognition returns the recognition of another home, signed by an app.
func (h *home) recognition(app identity.Path, other *credentialtest.Home, name string, at time.Time) []byte {
	h.t.Helper()
	r := tree.Recognition{
		Tree: h.ID, Other: other.ID, Time: at.Unix(), Name: name, Charter: other.Charter,
		Gateway: tree.Door{Member: other.At("home").Member(), Key: spki(h.t, other.Keeper.Public())},
	}
	raw, err := signed.Sign(h.At(app).Signer, tree.RecognitionType, r, h.At(app).Raw...)
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

func (h *home) recognizes(other identity.TreeID) (ok bool) {
	h.View(func(s *tree.State) { _, ok = s.Recognized(other) })
	return ok
}

func TestRecognize(t *testing.T) {
	h, birch := village(t), credentialtest.New(t, time.Now())
	ctx := t.Context()
	h.Add(identity.App, "sam/tablet")
	if err := h.admit("sam/tablet"); err != nil {
		t.Fatal(err)
	}
	laptop, now := h.laptop(), h.clock()
	for _, test := range []struct {
		name, want string
		by         identity.Path
		raw        []byte
		is         error
	}{
		{"by a guest", "acts for no owner", "sam/anna/phone", h.recognition("sam/anna/phone", birch, "birch", now), nil},
		{"by the gateway", "acts for no owner", "home/gateway", h.recognition("sam/laptop", birch, "birch", now), ErrDenied},
		{"by another app", "asks for what sam/laptop signed", "sam/tablet", h.recognition("sam/laptop", birch, "birch", now), ErrDenied},
		{"from the future", "in the future", "sam/laptop", h.recognition("sam/laptop", birch, "birch", now.Add(time.Hour)), nil},
		{"without a name", "is no name for a tree", "sam/laptop", h.recognition("sam/laptop", birch, "", now), nil},
	} {
		h.unchanged(test.name, func() {
			_, err := h.Recognize(ctx, h.At(test.by).Chain, test.raw)
			wants(t, test.name, err, test.is, test.want)
		})
	}
	grantFor := func() (tree.GrantID, []byte) {
		return h.sign(func(g *grant.Terms) {
			g.Subject = grant.Subject{Tree: birch.ID, Member: birch.At("sam").Member(), Path: "sam"}
		})
	}
	_, raw := grantFor()
	_, _, err := h.Grant(ctx, laptop, raw)
	wants(t, "a grant to a tree that is not recognized", err, ErrNotLive, "as one that is recognized")

	raw = h.recognition("sam/laptop", birch, "birch", now)
	for range 2 { // the second changes nothing
		if other, err := h.Recognize(ctx, laptop, raw); err != nil || other != birch.ID {
			t.Fatalf("recognized is %s, %v", other, err)
		}
	}
	_, err = h.Recognize(ctx, laptop, h.recognition("sam/laptop", birch, "beech", now.Add(-time.Hour)))
	wants(t, "an older one in its place", err, nil, "it is from before the one of")
	id, raw2 := grantFor()
	if _, _, err := h.Grant(ctx, laptop, raw2); err != nil {
		t.Fatal(err)
	}
	own := h.share()
	p, err := h.Prove(ctx, []identity.MemberID{laptop.Member()}, []tree.GrantID{id}, 0, birch.ID)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := h.verify(p).Recognition(birch.ID); err != nil || r.Name != "birch" {
		t.Errorf("proved is %+v, %v", r, err)
	}
	h.restart()
	if !h.recognizes(birch.ID) {
		t.Fatal("after a restart it is not recognized")
	}
	// Taking the recognition away takes along what members of that tree were given, and nothing else.
	if _, err := h.Revoke(ctx, h.pending("sam/laptop", tree.Revocation{Other: birch.ID})); err != nil {
		t.Fatal(err)
	}
	if h.recognizes(birch.ID) || h.live(id) || !h.live(own) {
		t.Errorf("recognized: %v; its grant is live: %v; the home's own: %v", h.recognizes(birch.ID), h.live(id), h.live(own))
	}
	_, err = h.Prove(ctx, nil, nil, 0, birch.ID)
	wants(t, "a proof of what was taken away", err, ErrNotLive, "not in the roster")
	if _, err := h.Recognize(ctx, laptop, h.recognition("sam/laptop", birch, "birch", h.clock().Add(time.Second))); err != nil {
		t.Errorf("recognized anew: %v", err)
	}
	if h.live(id) {
		t.Error("the grant came back with the recognition")
	}
}
