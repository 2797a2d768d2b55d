package keeper

import (
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// A hamlet is a village that recognizes three other homes, each with sam/anna and her phone.
type hamlet struct {
	*home
	others [3]*credentialtest.Home
}

func newHamlet(t *testing.T) *hamlet {
	t.Helper()
	h := &hamlet{home: village(t)}
	for i := range h.others {
		o := credentialtest.New(t, time.Now())
		o.Add(identity.Person, "sam/anna")
		o.Add(identity.App, "sam/anna/phone")
		h.others[i] = o
		if _, err := h.Recognize(t.Context(), h.laptop(), h.recognition("sam/laptop", o, "home-"+string(rune('a'+i)), h.clock())); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// annaOf is whom a grant is for.
func annaOf(o *credentialtest.Home) grant.Subject {
	return grant.Subject{Tree: o.ID, Member: o.At("sam/anna").Member(), Path: "sam/anna"}
}

// passes has anna of a home pass a grant on.
func (h *hamlet) passes(from *credentialtest.Home, above tree.GrantID, to grant.Subject, depth uint8) (tree.GrantID, error) {
	h.t.Helper()
	g, _ := h.admitted(above)
	id, _ := h.sign() // an ID of its own
	phone := from.At("sam/anna/phone")
	raw, err := grant.Sign(phone.Signer, phone.Raw, grant.Terms{
		Tree: h.ID, ID: id, Giver: from.At("sam/anna").Member(), GiverTree: from.ID, Subject: to, Parent: g.Statement, Depth: depth,
		Thing: grant.Thing{Member: h.member("home/lock")}, Actions: grant.See, Time: h.clock().Unix(),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	id, _, err = h.GrantByVisitor(h.t.Context(), phone.Chain, raw)
	return id, err
}

func (h *hamlet) admitted(id tree.GrantID) (g tree.Admitted, ok bool) {
	h.View(func(s *tree.State) { g, ok = s.Grant(id) })
	return g, ok
}

// starts gives anna of the first home what may be passed on so often.
func (h *hamlet) starts(depth uint8) tree.GrantID {
	h.t.Helper()
	_, raw := h.sign(func(t *grant.Terms) { t.Subject, t.Depth = annaOf(h.others[0]), depth })
	id, _, err := h.Grant(h.t.Context(), h.laptop(), raw)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// What one home's member was given goes on to another home's, and from there to a third's, as far as each is recognized and a
// caller can show proofs of all of them.
func TestChainThroughHomes(t *testing.T) {
	h := newHamlet(t)
	a, b, c := h.others[0], h.others[1], h.others[2]
	top := h.starts(4)
	second, err := h.passes(a, top, annaOf(b), 3)
	if err != nil {
		t.Fatal(err)
	}
	third, err := h.passes(b, second, annaOf(c), 2)
	if err != nil {
		t.Fatal(err)
	}
	own := grant.Subject{Tree: h.ID, Member: h.member("sam/anna")}
	if _, err := h.passes(c, third, own, 0); err != nil {
		t.Errorf("back into the thing's own home: %v", err)
	}
	fourth := credentialtest.New(t, time.Now())
	fourth.Add(identity.Person, "sam/anna")
	_, err = h.passes(a, top, annaOf(fourth), 0)
	wants(t, "to a home that is not recognized", err, ErrNotLive, "as one that is recognized")
	if _, err := h.Recognize(t.Context(), h.laptop(), h.recognition("sam/laptop", fourth, "home-d", h.clock())); err != nil {
		t.Fatal(err)
	}
	_, err = h.passes(c, third, annaOf(fourth), 0)
	wants(t, "through a fifth home", err, ErrDenied, "leads through 5 homes, of at most 4")
	_, err = h.passes(b, top, annaOf(c), 0)
	wants(t, "by whom it is not for", err, ErrDenied, "whom that is not for")

	lock, _ := h.entry("home/lock")
	want := []identity.TreeID{a.ID, b.ID, c.ID}
	slices.SortFunc(want, func(x, y identity.TreeID) int { return slices.Compare(x[:], y[:]) })
	if got := h.Across(lock.Chain); !slices.Equal(got, want) {
		t.Errorf("at the lock there are members of %s, want %s", got, want)
	}
	h.restart()
	if got := h.Across(lock.Chain); !slices.Equal(got, want) {
		t.Errorf("after a restart, of %s, want %s", got, want)
	}
	// In the middle nobody takes back but who gave it, and with it goes all below.
	_, err = h.RevokeByVisitor(t.Context(), c.At("sam/anna/phone").Chain, second)
	wants(t, "taken back by whom it was passed on to", err, ErrDenied, "did not give")
	if _, err := h.RevokeByVisitor(t.Context(), a.At("sam/anna/phone").Chain, second); err != nil {
		t.Fatal(err)
	}
	if !h.live(top) || h.live(second) || h.live(third) {
		t.Errorf("live are %t, %t, %t; want the top alone", h.live(top), h.live(second), h.live(third))
	}
	if got := h.Across(lock.Chain); !slices.Equal(got, []identity.TreeID{a.ID}) {
		t.Errorf("then there are members of %s", got)
	}
}

// A home in the middle of a chain that is not recognized any more takes along what rests on its members.
func TestForgetHomeInTheMiddle(t *testing.T) {
	h := newHamlet(t)
	top := h.starts(2)
	second, err := h.passes(h.others[0], top, annaOf(h.others[1]), 1)
	if err != nil {
		t.Fatal(err)
	}
	third, err := h.passes(h.others[1], second, annaOf(h.others[2]), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Revoke(t.Context(), h.pending("sam/laptop", tree.Revocation{Other: h.others[1].ID})); err != nil {
		t.Fatal(err)
	}
	if !h.live(top) || h.live(second) || h.live(third) {
		t.Errorf("live are %t, %t, %t; want the top alone", h.live(top), h.live(second), h.live(third))
	}
}

// A home gives its members the IDs of members of this one, and gets nothing by that, nor is anything taken from it: whose
// ID it is says the tree.
func TestSameIDsInAnotherHome(t *testing.T) {
	h := newHamlet(t)
	ctx, a := t.Context(), h.others[0]
	phone := h.At("sam/anna/phone").Chain
	a.AddAs(h.member("sam/anna"), identity.Person, "sam/anna")
	a.AddAs(phone.Member(), identity.App, "sam/anna/phone")
	top := h.starts(1)
	passed, err := h.passes(a, top, annaOf(h.others[1]), 0)
	if err != nil {
		t.Fatal(err)
	}

	revoked := credential.Pending{Revocation: tree.Revocation{Tree: h.ID, Grant: passed}, Signer: phone, Raw: []byte{0}}
	_, err = h.Revoke(ctx, revoked)
	wants(t, "taken back by her namesake", err, ErrDenied, "neither gave grant")
	revoked.Pause = true
	_, err = h.Revoke(ctx, revoked)
	wants(t, "paused by her namesake", err, ErrDenied, "neither gave grant")
	_, err = h.RevokeByVisitor(ctx, phone, passed)
	wants(t, "taken back by her namesake as if she visited", err, ErrDenied, "is no visitor")
	if _, err := h.Revoke(ctx, h.pending("sam/laptop", tree.Revocation{Grant: passed, Pause: true})); err != nil {
		t.Fatal(err)
	}
	_, err = h.Resume(ctx, phone, passed)
	wants(t, "resumed by her namesake", err, ErrDenied, "neither gave grant")
	_, err = h.Resume(ctx, h.laptop(), passed)
	must(t, err)

	for _, path := range []identity.Path{"sam/anna/phone", "sam/anna"} {
		p := h.revokeMember(path)
		p.MadeSince = 1
		if _, err := h.Revoke(ctx, p); err != nil {
			t.Fatal(err)
		}
		if !h.live(top) || !h.live(passed) {
			t.Errorf("%s was removed: live are %t, %t; want both", path, h.live(top), h.live(passed))
		}
		h.restart()
	}
	if _, err := h.RevokeByVisitor(ctx, a.At("sam/anna/phone").Chain, passed); err != nil || h.live(passed) {
		t.Errorf("taken back by who gave it: %v, live %t", err, h.live(passed))
	}
}
