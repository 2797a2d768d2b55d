package keeper

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// listed returns how many entries are in the list of what was taken away, and since when that is complete.
func (h *home) listed() (n int, from uint64) {
	h.t.Helper()
	raw, list, _ := h.Head()
	head, _, err := tree.OpenHead(raw, h.ID, h.key.Public())
	if err != nil {
		h.t.Fatal(err)
	}
	l, err := tree.OpenRevocationList(list, head)
	if err != nil {
		h.t.Fatal(err)
	}
	return len(l.Revoked), l.From
}

// turn pauses or resumes a grant.
func (h *home) turn(app identity.Path, id tree.GrantID, pause bool) error {
	h.t.Helper()
	if !pause {
		_, err := h.Resume(h.t.Context(), h.At(app).Chain, id)
		return err
	}
	r := tree.Revocation{Grant: id, Pause: true}
	h.View(func(s *tree.State) {
		value, _ := s.Value(r.Key())
		r.Leaf = merkle.LeafHash(r.Key(), value)
	})
	_, err := h.Revoke(h.t.Context(), h.claim(app, r))
	return err
}

func (h *home) takeBackAs(app identity.Path, id tree.GrantID) error {
	_, err := h.Revoke(h.t.Context(), h.claim(app, tree.Revocation{Grant: id}))
	return err
}

// An adviser, and whom they let give, do all they can to fill the list of what was taken away. They get no further than
// their part of it; and neither do they ever keep anybody from taking something away, least of all an owner.
func TestNobodyFillsTheList(t *testing.T) {
	h := crowd(t)
	now := h.clock()
	h.clock = func() time.Time { return now }
	top := h.given("sam/laptop", "sam", h.to("sam/adviser", signed.Digest{}, 2))
	own := h.share()
	give := func(to identity.Path, depth uint8) (givenGrant, error) {
		g := h.signed("sam/adviser/laptop", "sam/adviser", h.to(to, top.statement, depth))
		_, _, err := h.Grant(t.Context(), h.At("sam/adviser/laptop").Chain, g.raw)
		return g, err
	}

	// As many at a time as there may be, counted with what eva gives under the adviser's.
	middle, err := give("sam/eva", 1)
	if err != nil {
		t.Fatal(err)
	}
	all := []givenGrant{middle}
	for i := range maxGiven - 1 {
		if i%2 == 0 {
			all = append(all, h.given("sam/eva/phone", "sam/eva", h.to("sam/tom", middle.statement, 0)))
			continue
		}
		g, err := give("sam/tom", 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, g)
	}
	more := h.signed("sam/eva/phone", "sam/eva", h.to("sam/tom", middle.statement, 0))
	_, _, err = h.Grant(t.Context(), h.At("sam/eva/phone").Chain, more.raw)
	wants(t, "eva gives one more", err, ErrDenied, "sam/adviser has passed on 64 grants, with those that others give under them")

	// Pausing and resuming takes room as well: pausing always goes, resuming until there is none left.
	var refused error
	for refused == nil {
		for _, g := range all[1:] {
			if err := h.turn(h.appOf(g.id), g.id, true); err != nil {
				t.Fatal(err)
			}
			if refused = h.turn(h.appOf(g.id), g.id, false); refused != nil {
				break
			}
		}
	}
	wants(t, "resuming without end", refused, ErrDenied, fmt.Sprintf("%d grants and tools of sam/adviser, who is no owner", maxTaken))
	_, err = give("sam/tom", 0)
	wants(t, "giving then", err, ErrDenied, "more can be given after "+now.Add(tree.ListedFor+time.Second).UTC().Format(time.RFC3339))

	// Owners give, pause, resume and take away as ever. So is what the adviser gave taken back, by whoever gave it.
	if err := errors.Join(h.turn("sam/phone", own, true), h.turn("sam/phone", own, false)); err != nil {
		t.Errorf("an owner: %v", err)
	}
	h.given("sam/phone", "sam", h.to("sam/tom", signed.Digest{}, 0))
	for _, g := range all[1:] {
		if err := h.takeBackAs(h.appOf(g.id), g.id); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.takeBackAs("sam/adviser/phone", middle.id); err != nil || h.live(middle.id) {
		t.Fatalf("the adviser takes back what eva has: %v", err)
	}
	n, from := h.listed()
	if most := maxTaken + 2*maxGiven + 1; n > most || from > 1 {
		t.Errorf("%d entries are listed, of at most %d; the list is complete since head %d", n, most, from)
	}
	if err := h.takeBackAs("sam/phone", own); err != nil || h.live(own) {
		t.Errorf("an owner takes something back: %v", err)
	}

	// Neither a restart nor a new right of the adviser's gives anything back; a week does.
	h.restart()
	top = h.given("sam/laptop", "sam", h.to("sam/adviser", signed.Digest{}, 2))
	_, err = give("sam/tom", 0)
	wants(t, "after a restart", err, ErrDenied, "of sam/adviser, who is no owner")
	now = now.Add(tree.ListedFor + 2*time.Second)
	g, err := give("sam/tom", 0)
	if err != nil {
		t.Fatalf("a week later: %v", err)
	}
	if err := h.takeBackAs("sam/adviser/phone", g.id); err != nil {
		t.Fatal(err)
	}
	if got := len(h.taken[maker{Tree: h.ID, Member: h.member("sam/adviser")}]); got != 1 {
		t.Errorf("%d are remembered, of which one is younger than a week", got)
	}
}

// appOf returns an app of eva's, or the adviser's, whoever of them gave a grant.
func (h *home) appOf(id tree.GrantID) identity.Path {
	by := identity.Path("sam/adviser/phone")
	h.View(func(s *tree.State) {
		if g, _ := s.Grant(id); g.Giver == h.member("sam/eva") {
			by = "sam/eva/phone"
		}
	})
	return by
}

// Tools that are made and replaced without end take room too: that of the person whose they are, and no owner's.
func TestToolsTakeRoom(t *testing.T) {
	h := newHome(t)
	admit := func(by, path identity.Path) error {
		return h.AdmitTool(t.Context(), h.At(by).Chain, h.tool(path, identity.App, time.Hour))
	}
	anna := maker{Tree: h.ID, Member: h.member("sam/anna")}
	h.taken[anna] = make(taken, maxTaken-1)
	for i := range h.taken[anna] {
		h.taken[anna][i] = h.clock().Unix()
	}
	for range 2 { // the second takes the first away
		if err := admit("sam/anna/phone", "sam/anna/tool"); err != nil {
			t.Fatal(err)
		}
	}
	wants(t, "anna's next tool", admit("sam/anna/phone", "sam/anna/tool"), ErrDenied, "grants and tools of sam/anna, who is no owner")
	for range 3 {
		if err := admit("sam/laptop", "sam/tool"); err != nil {
			t.Fatalf("an owner's tool: %v", err)
		}
	}
	if len(h.taken) != 1 {
		t.Errorf("%d are answerable, want anna alone", len(h.taken))
	}
}

// A stranger whose tree gives its members IDs as they please uses up nobody's room but their own.
func TestRoomOfAnotherTree(t *testing.T) {
	h, birch := crowd(t), credentialtest.New(t, time.Now())
	if _, err := h.Recognize(t.Context(), h.laptop(), h.recognition("sam/laptop", birch, "birch", h.clock())); err != nil {
		t.Fatal(err)
	}
	twin := maker{Tree: birch.ID, Member: h.member("sam/adviser")}
	h.taken[twin] = make(taken, maxTaken)
	for i := range h.taken[twin] {
		h.taken[twin][i] = h.clock().Unix()
	}
	wants(t, "the twin", h.checkRoom([]maker{twin}), ErrDenied, "of birch, who is no owner")
	top := h.given("sam/laptop", "sam", h.to("sam/adviser", signed.Digest{}, 1))
	g := h.given("sam/adviser/laptop", "sam/adviser", h.to("sam/eva", top.statement, 0))
	if err := h.takeBackAs("sam/adviser/phone", g.id); err != nil {
		t.Error(err)
	}
}
