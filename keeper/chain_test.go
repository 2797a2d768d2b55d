package keeper

import (
	"slices"
	"testing"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A given grant is one that was admitted.
type givenGrant struct {
	id        tree.GrantID
	raw       []byte
	statement signed.Digest
}

// given signs a grant and admits it.
func (h *home) given(app, giver identity.Path, change ...func(*grant.Terms)) givenGrant {
	h.t.Helper()
	g := h.signed(app, giver, change...)
	if _, _, err := h.Grant(h.t.Context(), h.At(app).Chain, g.raw); err != nil {
		h.t.Fatal(err)
	}
	return g
}

func (h *home) signed(app, giver identity.Path, change ...func(*grant.Terms)) givenGrant {
	h.t.Helper()
	id, raw := h.signBy(app, giver, change...)
	s, err := signed.Parse(raw)
	if err != nil {
		h.t.Fatal(err)
	}
	return givenGrant{id, raw, s.Digest}
}

// to says whom a grant is for, what it passes on, and how often it may be passed on itself.
func (h *home) to(who identity.Path, parent signed.Digest, depth uint8) func(*grant.Terms) {
	return func(t *grant.Terms) { t.Subject.Member, t.Parent, t.Depth = h.member(who), parent, depth }
}

// crowd is a village with an adviser, eva and tom, who each have an app.
func crowd(t *testing.T) *home {
	h := village(t)
	for _, m := range []struct {
		kind identity.Kind
		path identity.Path
	}{
		{identity.Person, "sam/adviser"}, {identity.App, "sam/adviser/laptop"}, {identity.App, "sam/adviser/phone"},
		{identity.Person, "sam/eva"}, {identity.App, "sam/eva/phone"}, {identity.Person, "sam/tom"}, {identity.App, "sam/tom/phone"},
		{identity.App, "sam/phone"},
	} {
		h.Add(m.kind, m.path)
		if err := h.admit(m.path); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// chain gives the lock to the adviser, who gives it on to eva, who gives it on to tom.
func (h *home) chain() (links []givenGrant) {
	h.t.Helper()
	top := h.given("sam/laptop", "sam", h.to("sam/adviser", signed.Digest{}, 2))
	middle := h.given("sam/adviser/laptop", "sam/adviser", h.to("sam/eva", top.statement, 1))
	return []givenGrant{top, middle, h.given("sam/eva/phone", "sam/eva", h.to("sam/tom", middle.statement, 0))}
}

func (h *home) lives(links []givenGrant) (live []bool) {
	for _, g := range links {
		live = append(live, h.live(g.id))
	}
	return live
}

// Whoever gave a link, and every owner, takes it back; with it goes what rests on it, at once and in one head.
func TestTakingBackAChain(t *testing.T) {
	for _, test := range []struct {
		by   identity.Path
		link int
		want []bool
	}{
		{"sam/laptop", 0, []bool{false, false, false}},
		{"sam/phone", 1, []bool{true, false, false}},
		{"sam/adviser/phone", 1, []bool{true, false, false}},
		{"sam/eva/phone", 2, []bool{true, true, false}},
		{"sam/laptop", 2, []bool{true, true, false}},
	} {
		h := crowd(t)
		links := h.chain()
		apart := h.given("sam/laptop", "sam", h.to("sam/tom", signed.Digest{}, 0))
		before := h.sequence()
		if _, err := h.Revoke(t.Context(), h.pending(test.by, tree.Revocation{Grant: links[test.link].id})); err != nil {
			t.Fatalf("%s takes link %d back: %v", test.by, test.link, err)
		}
		if got := h.lives(links); !slices.Equal(got, test.want) || h.sequence() != before+1 || !h.live(apart.id) {
			t.Errorf("%s took link %d back: %v live, %d heads later", test.by, test.link, got, h.sequence()-before)
		}
		h.restart()
		if got := h.lives(links); !slices.Equal(got, test.want) {
			t.Errorf("%s took link %d back, and after a start: %v live", test.by, test.link, got)
		}
		if got := len(h.Resting(links[0].id)); got != len(slices.DeleteFunc(test.want, func(live bool) bool { return !live })) {
			t.Errorf("%s took link %d back: %d rest on the first", test.by, test.link, got)
		}
	}
}

// Whoever is taken off the tree takes along what they handed out, and what was handed out of that; the app that signed
// for them does not, unless it gave it for itself.
func TestRemovingAGiver(t *testing.T) {
	for _, test := range []struct {
		who  identity.Path
		want []bool
	}{
		{"sam/adviser", []bool{false, false, false}},
		{"sam/eva", []bool{true, false, false}},
		{"sam/tom", []bool{true, true, false}},
		{"sam/adviser/laptop", []bool{true, true, true}},
		{"home/lock", []bool{false, false, false}},
	} {
		h := crowd(t)
		links := h.chain()
		if _, err := h.Revoke(t.Context(), h.revokeMember(test.who)); err != nil {
			t.Fatal(err)
		}
		if got := h.lives(links); !slices.Equal(got, test.want) {
			t.Errorf("%s was removed: %v live, want %v", test.who, got, test.want)
		}
	}
	h := crowd(t)
	top := h.given("sam/laptop", "sam", h.to("sam/adviser/laptop", signed.Digest{}, 1))
	below := h.given("sam/adviser/laptop", "sam/adviser/laptop", h.to("sam/eva", top.statement, 0))
	if _, err := h.Revoke(t.Context(), h.revokeMember("sam/adviser/laptop")); err != nil {
		t.Fatal(err)
	}
	if h.live(top.id) || h.live(below.id) {
		t.Error("an app was removed, and what it gave for itself is live")
	}
}

// Nobody gives more than they have, nor what is not theirs, nor in another's name. Where the message matters more than
// that it is refused, see package grant.
func TestPassOnRefuses(t *testing.T) {
	h := crowd(t)
	top := h.given("sam/laptop", "sam", h.to("sam/adviser", signed.Digest{}, 2), func(t *grant.Terms) { t.Actions = grant.See })
	porch := h.given("sam/laptop", "sam", h.to("sam/adviser", signed.Digest{}, 2), func(t *grant.Terms) { t.Thing.Member = h.member("home/porch") })
	other := h.given("sam/laptop", "sam", h.to("sam/eva", signed.Digest{}, 2))
	taken := h.given("sam/laptop", "sam", h.to("sam/adviser", signed.Digest{}, 2))
	rested := h.given("sam/adviser/laptop", "sam/adviser", h.to("sam/eva", taken.statement, 0))
	if _, err := h.Revoke(t.Context(), h.revokeGrant(taken.id)); err != nil {
		t.Fatal(err)
	}
	replaced := h.given("sam/laptop", "sam", h.to("sam/adviser", signed.Digest{}, 2)) // says the same, and is another
	const laptop, adviser = "sam/adviser/laptop", "sam/adviser"
	see := func(t *grant.Terms) { t.Actions = grant.See }
	by := func(app, giver identity.Path, change ...func(*grant.Terms)) []byte {
		return h.signed(app, giver, change...).raw
	}
	good := by(laptop, adviser, h.to("sam/eva", top.statement, 1), see)
	for _, test := range []struct {
		name string
		by   identity.Path
		raw  []byte
		want string
	}{
		{"more actions", laptop, by(laptop, adviser, h.to("sam/eva", top.statement, 0)), "it is to write and invoke"},
		{"as often", laptop, by(laptop, adviser, h.to("sam/eva", top.statement, 2), see), "fewer than 2"},
		{"another thing", laptop, by(laptop, adviser, h.to("sam/eva", top.statement, 0), see, func(t *grant.Terms) { t.Thing.Member = h.member("home/porch/bell") }), "about something else"},
		{"a place for a thing in it", laptop, by(laptop, adviser, h.to("sam/eva", top.statement, 0), see, func(t *grant.Terms) { t.Thing.Member = h.member("home") }), "about something else"},
		{"the place above", laptop, by(laptop, adviser, h.to("sam/eva", porch.statement, 0), func(t *grant.Terms) { t.Thing.Member = h.member("home") }), "about something else"},
		{"what another was given", laptop, by(laptop, adviser, h.to("sam/tom", other.statement, 0)), "whom that is not for"},
		{"to themselves", laptop, by(laptop, adviser, h.to(adviser, top.statement, 0), see), "it is for whom that is for"},
		{"in an owner's name", laptop, by(laptop, "sam", h.to("sam/eva", top.statement, 0), see), "does not act for the giver"},
		{"in eva's name", laptop, by(laptop, "sam/eva", h.to("sam/tom", other.statement, 0)), "does not act for the giver"},
		{"what was taken back", laptop, by(laptop, adviser, h.to("sam/eva", taken.statement, 0)), "not in the roster"},
		{"what never was", laptop, by(laptop, adviser, h.to("sam/eva", signed.Sum([]byte("x")), 0)), "not in the roster"},
		{"again what went with what it rested on", laptop, rested.raw, "not in the roster"},
		{"the same under what replaced it", laptop, by(laptop, adviser, h.to("sam/eva", replaced.statement, 0), func(t *grant.Terms) { t.ID = rested.id }), "taken away before"},
		{"handed in by whom it is for", "sam/eva/phone", good, "asks for what sam/adviser/laptop signed"},
		{"handed in by another app of theirs", "sam/adviser/phone", good, "asks for what sam/adviser/laptop signed"},
		{"handed in by an owner", "sam/laptop", good, "asks for what sam/adviser/laptop signed"},
		{"handed in by the gateway", "home/gateway", good, "asks for what sam/adviser/laptop signed"},
	} {
		h.unchanged(test.name, func() {
			_, _, err := h.Grant(t.Context(), h.At(test.by).Chain, test.raw)
			wants(t, test.name, err, nil, test.want)
		})
	}
	if _, _, err := h.Grant(t.Context(), h.At(laptop).Chain, good); err != nil {
		t.Errorf("what is in order: %v", err)
	}
	if _, _, err := h.Grant(t.Context(), h.At(laptop).Chain, by(laptop, adviser, h.to("sam/eva", porch.statement, 0), func(t *grant.Terms) { t.Thing.Member = h.member("home/porch/bell") })); err != nil {
		t.Errorf("a thing in a place: %v", err)
	}

	// Who signed was an app of the adviser's, and is none any more.
	late := by(laptop, adviser, h.to("sam/tom", top.statement, 1), see)
	if _, err := h.Revoke(t.Context(), h.revokeMember(laptop)); err != nil {
		t.Fatal(err)
	}
	_, _, err := h.Grant(t.Context(), h.At(laptop).Chain, late)
	wants(t, "by an app that was removed", err, ErrDenied, "is not live")
	_, _, err = h.Grant(t.Context(), h.At("sam/adviser/phone").Chain, late)
	wants(t, "by an app that was removed, handed in by another", err, ErrDenied, "asks for what")
}

// A member that moves leaves behind what it passed on: that was for it where it was.
func TestMovingLeavesBehind(t *testing.T) {
	h := crowd(t)
	top := h.given("sam/laptop", "sam", h.to("home", signed.Digest{}, 1))
	below := h.given("home/porch/bell", "home/porch/bell", h.to("sam/eva", top.statement, 0))
	bell := h.At("home/porch/bell")
	moved := h.renew(bell.Chain, "home/bell", bell.Signer)
	if err := h.Admit(t.Context(), h.laptop(), []tree.Admission{{Chain: moved}}); err != nil {
		t.Fatal(err)
	}
	if !h.live(top.id) || h.live(below.id) {
		t.Errorf("after the move live: %v, and what it passed on: %v", h.live(top.id), h.live(below.id))
	}
}

// Nobody fills the roster with what they pass on.
func TestGivenIsBounded(t *testing.T) {
	h := crowd(t)
	top := h.given("sam/laptop", "sam", h.to("sam/adviser", signed.Digest{}, 1))
	var last givenGrant
	for range maxGiven {
		last = h.given("sam/adviser/laptop", "sam/adviser", h.to("sam/eva", top.statement, 0))
	}
	more := h.signed("sam/adviser/laptop", "sam/adviser", h.to("sam/eva", top.statement, 0))
	_, _, err := h.Grant(t.Context(), h.At("sam/adviser/laptop").Chain, more.raw)
	wants(t, "one more", err, ErrDenied, "has passed on 64 grants")
	if _, err := h.Revoke(t.Context(), h.pending("sam/adviser/phone", tree.Revocation{Grant: last.id})); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Grant(t.Context(), h.At("sam/adviser/laptop").Chain, more.raw); err != nil {
		t.Errorf("after one was taken back: %v", err)
	}
}

// claim is a revocation that somebody claims to be entitled to.
func (h *home) claim(by identity.Path, r tree.Revocation) credential.Pending {
	r.Tree = h.ID
	return credential.Pending{Revocation: r, Signer: h.At(by).Chain, Raw: []byte("signed")}
}

// What a stolen phone of an owner's can do until it is removed, and what not. Grants, persons, services, devices and apps
// it can take away, and give rights; whoever rules the home, and where, it cannot touch.
func TestStolenOwnersPhone(t *testing.T) {
	h := crowd(t)
	links := h.chain()
	for _, who := range []identity.Path{"sam", "home", "home/porch"} {
		h.unchanged("it removes "+string(who), func() {
			_, err := h.Revoke(t.Context(), h.claim("sam/phone", tree.Revocation{Member: h.member(who)}))
			wants(t, string(who), err, nil, "needs the root key or two owners")
		})
	}
	h.Add(identity.Place, "shed")
	h.unchanged("it makes a place of its own", func() {
		err := h.Admit(t.Context(), h.At("sam/phone").Chain, []tree.Admission{{Chain: h.At("shed").Chain}})
		wants(t, "a place", err, ErrDenied, "needs the root key")
	})
	if _, err := h.Revoke(t.Context(), h.pending("sam/phone", tree.Revocation{Grant: links[1].id})); err != nil {
		t.Errorf("it takes back what others gave: %v", err)
	}
	given := h.given("sam/phone", "sam", h.to("sam/tom", signed.Digest{}, 4))
	onward := h.given("sam/tom/phone", "sam/tom", h.to("sam/eva", given.statement, 0))
	if _, err := h.Revoke(t.Context(), h.revokeMember("sam/phone")); err != nil {
		t.Fatal(err)
	}
	_, raw := h.signBy("sam/phone", "sam")
	_, _, err := h.Grant(t.Context(), h.At("sam/phone").Chain, raw)
	wants(t, "it gives after it was removed", err, ErrDenied, "is not live")
	_, err = h.Revoke(t.Context(), h.claim("sam/phone", tree.Revocation{Grant: given.id}))
	wants(t, "it takes back after it was removed", err, ErrDenied, "is not live")
	if _, err := h.Revoke(t.Context(), h.revokeGrant(given.id)); err != nil || h.live(onward.id) {
		t.Errorf("what it gave is taken back: %v, and what rests on it is live: %v", err, h.live(onward.id))
	}
}
