package keeper

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// village is a home with everything in it that somebody might ask about.
func village(t *testing.T) *home {
	h := newHome(t)
	h.Add(identity.Service, "sam/helper")
	h.Add(identity.Place, "home/porch")
	h.Add(identity.Device, "home/porch/bell")
	for _, path := range []identity.Path{"sam/helper", "home/porch", "home/porch/bell"} {
		if err := h.admit(path); err != nil {
			t.Fatal(err)
		}
	}
	h.Add(identity.Place, "barn")
	return h
}

func TestWhoMayAdmit(t *testing.T) {
	h := village(t)
	for _, test := range []struct {
		by   identity.Path
		kind identity.Kind
		path identity.Path
		want string // of the error; "": admitted
	}{
		{"sam/laptop", identity.Person, "sam/ben", ""},
		{"sam/laptop", identity.App, "sam/tablet", ""},
		{"sam/laptop", identity.App, "sam/anna/watch", ""},
		{"sam/laptop", identity.Service, "sam/doctor", ""},
		{"sam/laptop", identity.Device, "home/meter", ""},
		{"sam/laptop", identity.Place, "home/cellar", ""},
		{"sam/laptop", identity.Owner, "kim", ""}, // whose certificate the root key signed
		{"sam/laptop", identity.Place, "hut", "needs the root key"},
		{"sam/laptop", identity.Person, "guest", "needs the root key"},
		{"sam/laptop", identity.Service, "vendor", "needs the root key"},
		{"sam/laptop", identity.Device, "barn/door", "planning a change"}, // the barn is not in the roster
		{"home/gateway", identity.Device, "home/camera", ""},
		{"home/gateway", identity.Place, "home/attic", ""},
		{"home/gateway", identity.Device, "home/porch/light", ""},
		{"home/gateway", identity.Device, "barn/gate", "is not"},
		{"home/gateway", identity.Place, "shed", "is not"},
		{"home/gateway", identity.Person, "sam/thief", "admits devices and places"},
		{"home/gateway", identity.App, "sam/spy", "admits devices and places"},
		{"home/lock", identity.Device, "home/other", "nor is the gateway"},
		{"home/porch/bell", identity.Device, "home/porch/other", "nor is the gateway"},
		{"sam/helper", identity.App, "sam/other", "nor is the gateway"},
		{"sam/anna/phone", identity.App, "sam/anna/other", "nor is the gateway"},
		{"sam/anna", identity.App, "sam/anna/more", "only leaves ask"},
		{"home", identity.Device, "home/more", "only leaves ask"},
	} {
		h.Add(test.kind, test.path)
		before := h.sequence()
		err := h.Admit(t.Context(), h.At(test.by).Chain, []tree.Admission{{Chain: h.At(test.path).Chain}})
		_, live := h.entry(test.path)
		if test.want == "" {
			if err != nil || !live {
				t.Errorf("%s admits %s: %v, live: %v", test.by, test.path, err, live)
			}
			continue
		}
		wants(t, string(test.by+" admits "+test.path), err, nil, test.want)
		if live || h.sequence() != before {
			t.Errorf("%s was refused %s, and it is live: %v", test.by, test.path, live)
		}
	}
}

// Who was removed, or has another certificate now, may show a proof that still verifies elsewhere. Not here.
func TestOnlyTheLiveAsk(t *testing.T) {
	h := village(t)
	_, raw := h.sign()
	old := h.laptop()
	key := identitytest.NewKey(t)
	renewed := h.renew(old, "sam/laptop", key)
	if err := h.Admit(t.Context(), old, []tree.Admission{{Chain: renewed}}); err != nil {
		t.Fatal(err)
	}
	stranger := identitytest.NewTree(t, time.Now())
	stranger.Add(identity.Owner, "sam")
	stranger.Add(identity.App, "sam/laptop")
	h.Add(identity.Owner, "kim")
	h.Add(identity.App, "kim/laptop") // both signed, and never admitted
	for name, by := range map[string]identity.Chain{
		"a certificate replaced": old,
		"nobody":                 {},
		"another tree's owner":   stranger.At("sam/laptop").Chain,
		"an owner not admitted":  h.At("kim/laptop").Chain,
	} {
		h.unchanged(name, func() {
			wants(t, name+" labels", h.Label(t.Context(), by, h.member("home/lock"), "x"), ErrDenied, "keeper: setting a label")
			wants(t, name+" limits", h.Limit(t.Context(), by, h.member("home/lock"), nil), ErrDenied, "keeper: setting limits")
			wants(t, name+" admits", h.Admit(t.Context(), by, []tree.Admission{{Chain: h.At("home/lock").Chain}}), ErrDenied, "keeper: admitting")
			_, _, err := h.Grant(t.Context(), by, raw)
			wants(t, name+" grants", err, ErrDenied, "keeper: admitting a grant")
			wants(t, name+" has an address", h.SetAddress(t.Context(), by, nil), ErrDenied, "keeper: keeping an address")
		})
	}
	if err := h.Label(t.Context(), renewed, h.member("home/lock"), "x"); err != nil {
		t.Errorf("the new certificate: %v", err)
	}
}

func TestAdmitRefuses(t *testing.T) {
	h := village(t)
	porch, lock := h.At("home/porch").Chain, h.At("home/lock").Chain
	h.Add(identity.Device, "home/new")
	fresh := h.At("home/new").Chain
	// The barn's CA signs a certificate with the lock's member ID: grants about the lock would be about its device.
	stolen, err := h.Authority("barn").Issue(identity.Subject{
		Kind: identity.Device, Member: lock.Member(), Name: "door", Key: identitytest.NewKey(t).Public(),
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	other := identitytest.NewTree(t, time.Now())
	other.Add(identity.Place, "home")
	other.Add(identity.Device, "home/new")
	for _, test := range []struct {
		name       string
		by         identity.Path
		admissions []tree.Admission
		want       string
	}{
		{"nobody", "sam/laptop", nil, "0 members"},
		{"too many", "sam/laptop", make([]tree.Admission, maxAdmissions+1), "513 members"},
		{"no certificates", "sam/laptop", make([]tree.Admission, 1), "without certificates"},
		{"twice the same", "sam/laptop", []tree.Admission{{Chain: fresh}, {Chain: fresh}}, "admitted twice"},
		{"a long label", "sam/laptop", []tree.Admission{{Chain: fresh, Label: strings.Repeat("x", tree.MaxLabel+1)}}, "at most 128 of UTF-8"},
		{"a label that is no text", "sam/laptop", []tree.Admission{{Chain: fresh, Label: "a\xff"}}, "printable text"},
		{"a label that moves the cursor", "sam/laptop", []tree.Admission{{Chain: fresh, Label: "a\x1b[2J"}}, "printable text"},
		{"limits of a place", "sam/laptop", []tree.Admission{{Chain: porch, Limits: []tree.Limit{{Fresh: 1}}}}, "only devices have limits"},
		{"another tree's device", "sam/laptop", []tree.Admission{{Chain: other.At("home/new").Chain}}, "it is of tree"},
		{"another member's ID", "home/gateway", []tree.Admission{{Chain: h.chainOf(stolen)}}, "is not"},
		{"a place without those below", "sam/laptop", []tree.Admission{{Chain: h.renew(porch, "home/porch", h.At("home/porch").Signer)}}, "home/porch/bell below it needs a new chain"},
		{"a path that is taken", "sam/laptop", []tree.Admission{{Chain: h.renew(fresh, "home/lock", identitytest.NewKey(t))}}, "is taken"},
		{"one bad among good ones", "home/gateway", []tree.Admission{{Chain: fresh}, {Chain: h.At("sam/anna").Chain}}, "admits devices and places"},
	} {
		h.unchanged(test.name, func() {
			wants(t, test.name, h.Admit(t.Context(), h.At(test.by).Chain, test.admissions), nil, test.want)
		})
	}
	h.restart()
}

// The gateway of a place signs a certificate with the ID of a device elsewhere: grants about that device would be about
// its own.
func TestGatewayTakesOverNobody(t *testing.T) {
	h := village(t)
	h.stopRun()
	cfg := h.config()
	cfg.Gateway = h.member("home/porch/bell")
	var err error
	if h.Keeper, err = Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	admit := func(c identity.Chain) error {
		return h.Admit(t.Context(), h.At("home/porch/bell").Chain, []tree.Admission{{Chain: c}})
	}
	h.Add(identity.Device, "home/porch/light")
	light, lock := h.At("home/porch/light").Chain, h.At("home/lock").Chain
	if err := admit(light); err != nil {
		t.Fatal(err)
	}
	if err := admit(h.renew(light, "home/porch/lamp", identitytest.NewKey(t))); err != nil {
		t.Errorf("a device of its own, renewed: %v", err)
	}
	h.unchanged("a takeover", func() {
		wants(t, "the lock's ID", admit(h.renew(lock, "home/porch/lock", identitytest.NewKey(t))), ErrDenied, "home/lock is not")
	})
}

// Renewal keeps the member, its label, its limits and its grants.
func TestRenew(t *testing.T) {
	h := village(t)
	id := h.share()
	lock := h.At("home/lock")
	limits := []tree.Limit{{Affordance: "unlock", Fresh: 60}, {Fresh: 600}}
	if err := h.Limit(t.Context(), h.laptop(), lock.Member(), limits); err != nil {
		t.Fatal(err)
	}
	if err := h.Label(t.Context(), h.laptop(), lock.Member(), "Haustür"); err != nil {
		t.Fatal(err)
	}
	renewed := h.renew(lock.Chain, "home/lock", identitytest.NewKey(t))
	again := []tree.Admission{{Chain: renewed}}
	if err := h.Admit(t.Context(), h.At("home/gateway").Chain, again); err != nil {
		t.Fatal(err)
	}
	h.unchanged("the same again", func() {
		if err := h.Admit(t.Context(), h.At("home/gateway").Chain, again); err != nil {
			t.Error(err)
		}
	})
	h.restart()
	e, _ := h.entry("home/lock")
	if e.Label != "Haustür" || len(e.Limits) != 2 || e.Limits[0].Affordance != "" || e.Certificate != renewed.Self().Digest || !h.live(id) {
		t.Errorf("after renewal the lock's entry is %+v", e)
	}
	if fresh, _ := e.LimitFor("unlock"); fresh != time.Minute {
		t.Errorf("unlock is fresh for %s", fresh)
	}
	live := h.verify(h.proof([]identity.MemberID{lock.Member()}))
	if err := live.Check(renewed); err != nil {
		t.Error(err)
	}
	if err := live.Check(lock.Chain); err == nil {
		t.Error("the old certificate is live")
	}

	porch, bell := h.At("home/porch"), h.At("home/porch/bell")
	newPorch := h.renew(porch.Chain, "home/porch", porch.Signer)
	newBell := h.chainOf(append([][]byte{bell.Raw[0]}, newPorch.Raw...))
	if err := h.Admit(t.Context(), h.laptop(), []tree.Admission{{Chain: newPorch}, {Chain: newBell}}); err != nil {
		t.Fatal(err)
	}
	h.restart()
	if err := h.verify(h.proof([]identity.MemberID{bell.Member()})).Check(newBell); err != nil {
		t.Errorf("the bell below a renewed place: %v", err)
	}
}

func TestLimitsAndLabels(t *testing.T) {
	h := village(t)
	lock := h.member("home/lock")
	set := func(limits ...tree.Limit) error { return h.Limit(t.Context(), h.laptop(), lock, limits) }
	for _, test := range []struct {
		name string
		err  func() error
		is   error
		want string
	}{
		{"a negative limit", func() error { return set(tree.Limit{Fresh: -1}) }, nil, "-1 s fresh"},
		{"an endless limit", func() error { return set(tree.Limit{Offline: 1 << 60}) }, nil, "at most"},
		{"one thing twice", func() error { return set(tree.Limit{Affordance: "a"}, tree.Limit{Affordance: "a"}) }, nil, "set twice"},
		{"no name", func() error { return set(tree.Limit{Affordance: "a b"}) }, nil, "no name of an affordance"},
		{"no text", func() error { return set(tree.Limit{Affordance: "a\xff"}) }, nil, "no name of an affordance"},
		{"too many", func() error { return set(make([]tree.Limit, tree.MaxLimits+1)...) }, nil, "65 limits"},
		{"a person", func() error {
			return h.Limit(t.Context(), h.laptop(), h.member("sam/anna"), []tree.Limit{{Fresh: 1}})
		}, nil, "limits of a person"},
		{"nobody", func() error { return h.Limit(t.Context(), h.laptop(), identity.MemberID{9}, nil) }, ErrNotLive, "not in the roster"},
		{"a person's app", func() error { return h.Limit(t.Context(), h.At("sam/anna/phone").Chain, lock, nil) }, ErrDenied, "acts for no owner"},
		{"the thing itself", func() error { return h.Limit(t.Context(), h.At("home/lock").Chain, lock, nil) }, ErrDenied, "acts for no owner"},
		{"the gateway", func() error { return h.Limit(t.Context(), h.At("home/gateway").Chain, lock, nil) }, ErrDenied, "acts for no owner"},
		{"a label from a person's app", func() error { return h.Label(t.Context(), h.At("sam/anna/phone").Chain, lock, "mine") }, ErrDenied, "acts for no owner"},
		{"a label that is no text", func() error { return h.Label(t.Context(), h.laptop(), lock, "\x00") }, nil, "printable"},
	} {
		h.unchanged(test.name, func() { wants(t, test.name, test.err(), test.is, test.want) })
	}
	if err := set(tree.Limit{Fresh: 60}); err != nil {
		t.Fatal(err)
	}
	h.unchanged("the same limits", func() {
		if err := set(tree.Limit{Fresh: 60}); err != nil {
			t.Error(err)
		}
	})
	if err := set(); err != nil {
		t.Fatal(err)
	}
	if e, _ := h.entry("home/lock"); len(e.Limits) != 0 {
		t.Errorf("limits %v are left", e.Limits)
	}
}

func TestGrantRefuses(t *testing.T) {
	h := village(t)
	other := identitytest.NewTree(t, time.Now())
	laptop := h.At("sam/laptop")
	if err := h.admit("sam/helper"); err != nil {
		t.Fatal(err)
	}
	h.Add(identity.App, "sam/tablet")
	if err := h.admit("sam/tablet"); err != nil {
		t.Fatal(err)
	}
	h.Add(identity.Device, "home/never")
	sign := func(change func(*grant.Terms)) []byte {
		_, raw := h.sign(change)
		return raw
	}
	_, fromPhone := h.signBy("sam/anna/phone", "sam/anna")
	_, fromPhoneForSam := h.signBy("sam/anna/phone", "sam")
	_, good := h.sign()
	broken := append([]byte(nil), good...)
	broken[len(broken)-1] ^= 1
	used := h.share()
	gone := h.share()
	if _, err := h.Revoke(t.Context(), h.revokeGrant(gone)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		by   identity.Path
		raw  []byte
		is   error
		want string
	}{
		{"no grant", "sam/laptop", []byte("hello"), nil, "reading a statement"},
		{"a broken signature", "sam/laptop", broken, nil, "verification error"},
		{"handed in by another app", "sam/tablet", good, ErrDenied, "asks for what sam/laptop signed"},
		{"handed in by the guest", "sam/anna/phone", good, ErrDenied, "asks for what sam/laptop signed"},
		{"handed in by the gateway", "home/gateway", good, ErrDenied, "asks for what sam/laptop signed"},
		{"given by a person", "sam/anna/phone", fromPhone, ErrDenied, "passes nothing on"},
		{"given in an owner's name", "sam/anna/phone", fromPhoneForSam, nil, "does not act for the giver"},
		{"to another tree", "sam/laptop", sign(func(g *grant.Terms) { g.Subject.Tree = other.ID }), ErrNotLive, "as one that is recognized"},
		{"to nobody", "sam/laptop", sign(func(g *grant.Terms) { g.Subject.Member = identity.MemberID{7} }), ErrNotLive, "it is for member"},
		{"about nothing", "sam/laptop", sign(func(g *grant.Terms) { g.Thing.Member = h.member("home/never") }), ErrNotLive, "it is about member"},
		{"about a person", "sam/laptop", sign(func(g *grant.Terms) { g.Thing.Member = h.member("sam/anna") }), nil, "want a device or a place"},
		{"from the future", "sam/laptop", sign(func(g *grant.Terms) { g.Time += 600 }), nil, "in the future"},
		{"over", "sam/laptop", sign(func(g *grant.Terms) { g.Time -= 60; g.Until = g.Time + 30 }), nil, "it ended at"},
		{"of a live grant's ID", "sam/laptop", sign(func(g *grant.Terms) { g.ID = used; g.Actions = grant.See }), nil, "there already"},
		{"taken back before", "sam/laptop", sign(func(g *grant.Terms) { g.ID = gone }), ErrGone, gone.String()},
	} {
		h.unchanged(test.name, func() {
			_, _, err := h.Grant(t.Context(), h.At(test.by).Chain, test.raw)
			wants(t, test.name, err, test.is, test.want)
		})
	}
	id, _, err := h.Grant(t.Context(), laptop.Chain, good)
	if err != nil {
		t.Fatal(err)
	}
	h.unchanged("the same again", func() {
		if again, already, err := h.Grant(t.Context(), laptop.Chain, good); again != id || !already || err != nil {
			t.Errorf("the same again: %s, already: %v, %v", again, already, err)
		}
	})
}

func TestRevokeRefuses(t *testing.T) {
	h := village(t)
	id := h.share()
	phone := func(r tree.Revocation) credential.Pending {
		return credential.Pending{Revocation: r, Signer: h.At("sam/anna/phone").Chain, Raw: []byte("signed")}
	}
	laptop := func(r tree.Revocation) credential.Pending {
		return credential.Pending{Revocation: r, Signer: h.laptop(), Raw: []byte("signed")}
	}
	stale := laptop(tree.Revocation{Tree: h.ID, Grant: id})
	h.Add(identity.Owner, "kim")
	h.Add(identity.App, "kim/phone")
	stale.Signer = h.At("kim/phone").Chain // was never, or is no longer, live
	for _, test := range []struct {
		name string
		p    credential.Pending
		is   error
		want string
	}{
		{"nothing", credential.Pending{}, nil, "a revocation of tree"},
		{"another tree's", laptop(tree.Revocation{Tree: identity.TreeID{1}, Grant: id}), nil, "a revocation of tree"},
		{"somebody else's grant", phone(tree.Revocation{Tree: h.ID, Grant: id}), ErrDenied, "neither gave grant"},
		{"a device, by a person", phone(tree.Revocation{Tree: h.ID, Member: h.member("home/lock")}), ErrDenied, "does not act for an owner"},
		{"an owner", laptop(tree.Revocation{Tree: h.ID, Member: h.member("sam")}), ErrDenied, "needs the root key or two owners"},
		{"a place", laptop(tree.Revocation{Tree: h.ID, Member: h.member("home")}), ErrDenied, "needs the root key or two owners"},
		{"a place below", laptop(tree.Revocation{Tree: h.ID, Member: h.member("home/porch")}), ErrDenied, "needs the root key or two owners"},
		{"the last app of an owner, by itself", laptop(tree.Revocation{Tree: h.ID, Member: h.member("sam/laptop")}), ErrDenied, "is the last app of an owner"},
		{"the gateway", laptop(tree.Revocation{Tree: h.ID, Member: h.member("home/gateway")}), ErrDenied, "is the gateway"},
		{"a signer who is not live", stale, ErrDenied, "not live"},
	} {
		h.unchanged(test.name, func() {
			_, err := h.Revoke(t.Context(), test.p)
			wants(t, test.name, err, test.is, test.want)
		})
	}
	if !h.live(id) {
		t.Error("the grant is gone")
	}
}

// Once the key was replaced, a revocation of the entry with the stolen one is done, and does not take the member away.
func TestStolenKey(t *testing.T) {
	h := newHome(t)
	lock := h.At("home/lock")
	id := h.share()
	old := h.proof([]identity.MemberID{lock.Member()}, id)
	p := h.revokeMember("home/lock")
	same := tree.Admission{Chain: h.renew(lock.Chain, "home/lock", lock.Signer), Stolen: true}
	wants(t, "the same key", h.Admit(t.Context(), h.laptop(), []tree.Admission{same}), nil, "would keep it")
	replaced := tree.Admission{Chain: h.renew(lock.Chain, "home/lock", identitytest.NewKey(t)), Stolen: true}
	if err := h.Admit(t.Context(), h.laptop(), []tree.Admission{replaced}); err != nil {
		t.Fatal(err)
	}
	if e := h.eventOf(h.sequence()); len(e.Revoked) != 1 || e.Revoked[0] != p.Leaf || len(e.Members) != 0 {
		t.Errorf("the event of the replaced key is %+v", e)
	}
	h.unchanged("what is done already", func() {
		if err := h.Admit(t.Context(), h.laptop(), []tree.Admission{replaced}); err != nil {
			t.Errorf("the same again: %v", err)
		}
		if already, err := h.Revoke(t.Context(), p); !already || err != nil {
			t.Errorf("the revocation of the old entry: %v, %v", already, err)
		}
	})
	trusted, err := credential.Trust(h.ID, h.charter)
	if err == nil {
		_, trusted, err = credential.VerifyProof(h.proof([]identity.MemberID{lock.Member()}, id), trusted, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := credential.VerifyProof(old, trusted, time.Now()); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("a proof with the stolen key: %v, want %v", err, credential.ErrRevoked)
	}
}

// An owner who removes a thing means the thing, also if its entry was changed a moment before.
func TestRevokeWhatWasRelabelled(t *testing.T) {
	h := newHome(t)
	p := h.revokeMember("home/lock")
	if err := h.Label(t.Context(), h.laptop(), h.member("home/lock"), "front"); err != nil {
		t.Fatal(err)
	}
	if already, err := h.Revoke(t.Context(), p); already || err != nil {
		t.Fatal(already, err)
	}
	if _, ok := h.entry("home/lock"); ok {
		t.Error("the lock is live")
	}
}

// address returns an address record signed by the member at a path.
func (h *home) address(path identity.Path, at time.Time, change ...func(*tree.Address)) []byte {
	h.t.Helper()
	m := h.At(path)
	a := tree.Address{Tree: h.ID, Member: m.Member(), Key: spki(h.t, m.Key), Addresses: []string{"/ip4/192.0.2.1/udp/1"}, Time: at.Unix()}
	for _, c := range change {
		c(&a)
	}
	raw, err := signed.Sign(m.Signer, tree.AddressType, a)
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

func TestAddresses(t *testing.T) {
	h := newHome(t)
	now := time.Now()
	lock := h.At("home/lock")
	set := func(by identity.Path, raw []byte) error { return h.SetAddress(t.Context(), h.At(by).Chain, raw) }
	has := func(what string, want []byte) {
		t.Helper()
		if raw, ok := h.Address(lock.Member()); string(raw) != string(want) || ok != (want != nil) {
			t.Errorf("%s: the lock's address record is %x, want %x", what, raw, want)
		}
	}
	has("before any", nil)
	first, second := h.address("home/lock", now.Add(-time.Minute)), h.address("home/lock", now)
	h.unchanged("address records", func() {
		for _, raw := range [][]byte{first, second, second} {
			if err := set("home/lock", raw); err != nil {
				t.Error(err)
			}
		}
		wants(t, "an older one", set("home/lock", first), nil, "is there already")
		wants(t, "from the future", set("home/lock", h.address("home/lock", now.Add(time.Hour))), nil, "in the future")
		wants(t, "somebody else's", set("home/gateway", h.address("home/lock", now)), nil, "reading an address record")
		wants(t, "another key", set("home/lock", h.address("home/lock", now.Add(time.Second), func(a *tree.Address) { a.Key = spki(t, h.laptop().Key) })), nil, "another key")
		wants(t, "for another member", set("home/lock", h.address("home/lock", now.Add(time.Second), func(a *tree.Address) { a.Member = h.member("home/gateway") })), nil, "it is of member")
		wants(t, "a large one", set("home/lock", make([]byte, addresses.max+1)), nil, "16385 bytes")
	})
	has("after two", second)
	h.restart()
	has("after a restart", second)

	key := identitytest.NewKey(t)
	if err := h.Admit(t.Context(), h.laptop(), []tree.Admission{{Chain: h.renew(lock.Chain, "home/lock", key)}}); err != nil {
		t.Fatal(err)
	}
	has("with a new key", nil)
	h.restart()
	has("with a new key, after a restart", nil)

	if err := set("sam/anna/phone", h.address("sam/anna/phone", now)); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Revoke(t.Context(), h.revokeMember("sam/anna/phone")); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.Address(h.member("sam/anna/phone")); ok {
		t.Error("a member that was removed has an address")
	}
	h.restart()
}

// recipient returns a recipient signed by the member at a path.
func (h *home) recipient(path identity.Path, at time.Time) []byte {
	h.t.Helper()
	m := h.At(path)
	raw, err := signed.Sign(m.Signer, tree.RecipientType, tree.Recipient{
		Tree: h.ID, Member: m.Member(), Key: spki(h.t, m.Key), Sealed: "age1pq1test", Time: at.Unix(),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

// A recipient is kept as an address record is, and beside it; only of those who read.
func TestRecipients(t *testing.T) {
	h := newHome(t)
	now := time.Now()
	laptop := h.laptop()
	has := func(what string, want []byte) {
		t.Helper()
		if raw, ok := h.Recipient(laptop.Member()); string(raw) != string(want) || ok != (want != nil) {
			t.Errorf("%s: the laptop's recipient is %x, want %x", what, raw, want)
		}
	}
	has("before any", nil)
	first, second := h.recipient("sam/laptop", now.Add(-time.Minute)), h.recipient("sam/laptop", now)
	h.unchanged("recipients", func() {
		for _, raw := range [][]byte{first, second, second} {
			if err := h.SetRecipient(t.Context(), laptop, raw); err != nil {
				t.Error(err)
			}
		}
		wants(t, "an older one", h.SetRecipient(t.Context(), laptop, first), nil, "is there already")
		wants(t, "an address", h.SetRecipient(t.Context(), laptop, h.address("sam/laptop", now.Add(time.Second))), nil, `it is a "kindred/address"`)
		wants(t, "a device's", h.SetRecipient(t.Context(), h.At("home/lock").Chain, h.recipient("home/lock", now)), ErrDenied, "home/lock is a device")
	})
	has("after two", second)
	h.restart()
	has("after a restart", second)
	if err := h.Admit(t.Context(), laptop, []tree.Admission{{Chain: h.renew(laptop, "sam/laptop", identitytest.NewKey(t))}}); err != nil {
		t.Fatal(err)
	}
	has("with a new key", nil)
	h.restart()
	has("with a new key, after a restart", nil)
}
