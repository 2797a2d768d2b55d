package keeper

import (
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// newDeal makes a home with a second owner, kim, and two services, and a grant of the lock's state to one of them.
func newDeal(t *testing.T) (*home, tree.GrantID, []byte) {
	h := newHome(t)
	for _, m := range []struct {
		kind identity.Kind
		path identity.Path
	}{{identity.Owner, "kim"}, {identity.App, "kim/phone"}, {identity.App, "sam/phone"}, {identity.Service, "sam/bank"}, {identity.Service, "sam/broker"}} {
		h.Add(m.kind, m.path)
		if err := h.admit(m.path); err != nil {
			t.Fatal(err)
		}
	}
	id, raw := h.sign(func(t *grant.Terms) {
		t.Subject.Member, t.Thing.Affordance, t.Actions = h.member("sam/bank"), "state", grant.See
		t.Agreement = grant.Agreement{Clear: []string{"state"}, Recipient: "First Bank", Place: "DE"}
	})
	if _, _, err := h.Grant(t.Context(), h.laptop(), raw); err != nil {
		t.Fatal(err)
	}
	return h, id, raw
}

func digestOf(t *testing.T, raw []byte) signed.Digest {
	s, err := signed.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return s.Digest
}

// consent is what a leaf signs for whom it speaks; "" is the root key.
func (h *home) consent(by identity.Path, id tree.GrantID, statement signed.Digest) []byte {
	h.t.Helper()
	c := grant.Consent{Tree: h.ID, Grant: id, Statement: statement, Time: h.clock().Unix()}
	key, chain := h.RootKey, [][]byte(nil)
	if by != "" {
		m := h.At(by)
		key, chain, c.By = m.Signer, m.Raw, m.Member()
		if m.Kind() == identity.App {
			c.By = m.ActsFor()
		}
	}
	raw, err := grant.SignConsent(key, chain, c)
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

func TestConsent(t *testing.T) {
	h, id, raw := newDeal(t)
	statement := digestOf(t, raw)
	other := h.share()
	for _, c := range []struct {
		name string
		raw  []byte
		want error
	}{
		{"the giver", h.consent("sam/laptop", id, statement), ErrDenied},
		{"another app of the giver's", h.consent("sam/phone", id, statement), ErrDenied},
		{"another service", h.consent("sam/broker", id, statement), ErrDenied},
		{"to a grant that is not there", h.consent("sam/bank", tree.GrantID{1}, statement), ErrNotLive},
		{"to another grant's statement", h.consent("sam/bank", other, statement), nil},
		{"the gateway", h.consent("home/gateway", id, statement), nil},
	} {
		h.unchanged(c.name, func() {
			if _, _, err := h.Consent(t.Context(), c.raw); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		})
	}
	for again := range 2 { // the second time changes nothing
		for _, by := range []identity.Path{"sam/bank", "kim/phone", ""} {
			before := h.sequence()
			if _, _, err := h.Consent(t.Context(), h.consent(by, id, statement)); err != nil {
				t.Errorf("consent of %q: %v", by, err)
			}
			if head := h.sequence() > before; head != (again == 0 && by != "sam/bank") {
				t.Errorf("consent of %q, the %d time: there is another head: %t", by, again+1, head)
			}
		}
		h.restart()
		if got := h.seconds(id); len(got) != 2 || got[0].By != h.member("kim/phone") || !got[1].By.IsZero() {
			t.Errorf("the roster has it that behind the grant stand %+v", got)
		}
		if _, by := h.Consents(id); len(by) != 3 || !by[0].IsZero() {
			t.Fatalf("kept are the consents of %v", by)
		}
	}
	if _, err := h.Revoke(t.Context(), h.revokeGrant(id)); err != nil {
		t.Fatal(err)
	}
	if raw, _ := h.Consents(id); len(raw) != 0 {
		t.Error("the consents outlive the grant")
	}
	h.restart()
	if raw, _ := h.Consents(id); len(raw) != 0 {
		t.Error("the consents outlive the grant, on disk")
	}
}

// seconds is who stands behind a grant, by the roster.
func (h *home) seconds(id tree.GrantID) (seconds []tree.Second) {
	h.View(func(s *tree.State) {
		g, _ := s.Grant(id)
		seconds = g.Seconds
	})
	return seconds
}

// What a phone signs when it is removed is not taken in, as of whenever it says to be. What was taken in before stays; but
// goes with a phone that was stolen before that.
func TestConsentOfRemoved(t *testing.T) {
	for _, test := range []struct {
		name  string
		since time.Duration // from when the consent was given until the phone was stolen
		stays bool
	}{{"stolen before", 0, false}, {"stolen after", time.Second, true}} {
		h, id, raw := newDeal(t)
		ctx, now := t.Context(), time.Now()
		h.clock = func() time.Time { return now }
		h.Add(identity.App, "kim/tablet")
		must(t, h.admit("kim/tablet"))
		statement := digestOf(t, raw)
		if _, _, err := h.Consent(ctx, h.consent("kim/tablet", id, statement)); err != nil {
			t.Fatal(err)
		}
		p := h.revokeMember("kim/tablet")
		p.MadeSince = now.Add(test.since).Unix()
		if already, err := h.Revoke(ctx, p); already || err != nil {
			t.Fatal(already, err)
		}
		for range 2 {
			consents, _ := h.Consents(id)
			if stays := len(h.seconds(id)) == 1; stays != test.stays || len(consents) == 1 != test.stays {
				t.Errorf("%s: the roster has %d, and %d are kept", test.name, len(h.seconds(id)), len(consents))
			}
			h.restart()
		}
		h.unchanged("consent of a phone that was removed", func() {
			if _, _, err := h.Consent(ctx, h.consent("kim/tablet", id, statement)); !errors.Is(err, ErrDenied) {
				t.Errorf("%s: a removed phone's consent is answered %v", test.name, err)
			}
		})
		if _, _, err := h.Consent(ctx, h.consent("kim/phone", id, statement)); err != nil {
			t.Errorf("%s: the owner's other phone's consent is answered %v", test.name, err)
		}
		if got := h.seconds(id); len(got) != 1 {
			t.Errorf("%s: in the end %d stand behind it", test.name, len(got))
		}
	}
}

// A consent that was filed before the roster took in any counts for nothing, and another takes its place.
func TestConsentFiledBefore(t *testing.T) {
	h, id, raw := newDeal(t)
	consent := h.consent("kim/phone", id, digestOf(t, raw))
	if err := h.store.Save(t.Context(), map[string][]byte{consentKey(id, h.member("kim")): consent}); err != nil {
		t.Fatal(err)
	}
	h.restart()
	if raw, _ := h.Consents(id); len(raw) != 0 {
		t.Error("it counts")
	}
	if _, _, err := h.Consent(t.Context(), consent); err != nil || len(h.seconds(id)) != 1 {
		t.Errorf("given again, it is answered %v, and %d stand behind the grant", err, len(h.seconds(id)))
	}
}

func (h *home) class(by identity.Path, never bool, at time.Time) []byte {
	h.t.Helper()
	m := h.At(by)
	raw, err := grant.SignClass(m.Signer, m.Raw, grant.Class{
		Tree: h.ID, Owner: m.ActsFor(), Thing: h.member("home/lock"), Affordance: "state", Never: never, Time: at.Unix(),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

// What of a place is set apart is all of it, what joins it later too. People and services have nothing to set apart.
func TestClassifyPlaces(t *testing.T) {
	h, _, _ := newDeal(t)
	ctx := t.Context()
	classOf := func(who identity.Path, affordance string) []byte {
		m := h.At("sam/laptop")
		raw, err := grant.SignClass(m.Signer, m.Raw, grant.Class{
			Tree: h.ID, Owner: m.ActsFor(), Thing: h.member(who), Affordance: affordance, Never: true, Time: time.Now().Unix(),
		})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for _, test := range []struct {
		who        identity.Path
		affordance string
	}{{"home", "state"}, {"sam/anna", ""}, {"sam/bank", ""}, {"sam", ""}} {
		_, _, err := h.Classify(ctx, classOf(test.who, test.affordance))
		wants(t, string(test.who), err, nil, "want a device, or all of a place")
	}
	if waits, _, err := h.Classify(ctx, classOf("home", "")); waits || err != nil {
		t.Fatalf("all of a place: waits %t, %v", waits, err)
	}
	h.restart()
	if classes, owners := h.Classes(h.member("home"), false); len(classes) != 1 || len(owners) != 1 {
		t.Errorf("%d classes, of owners %v", len(classes), owners)
	}
}

// What a phone wanted taken out and waits is nobody's any more when the phone is removed.
func TestClassOfRemoved(t *testing.T) {
	h, _, _ := newDeal(t)
	ctx := t.Context()
	out := h.class("sam/phone", false, time.Now())
	if waits, _, err := h.Classify(ctx, out); !waits || err != nil {
		t.Fatalf("taken out: waits %t, %v", waits, err)
	}
	if _, err := h.Revoke(ctx, h.revokeMember("sam/phone")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Consent(ctx, h.consent("kim/phone", tree.GrantID{}, digestOf(t, out))); !errors.Is(err, ErrDenied) {
		t.Errorf("another owner's consent is answered %v", err)
	}
}

func TestClassify(t *testing.T) {
	h, _, _ := newDeal(t)
	ctx, at := t.Context(), time.Now().Add(-time.Minute)
	count := func(waiting bool) int {
		classes, _ := h.Classes(h.member("home/lock"), waiting)
		return len(classes)
	}
	if _, _, err := h.Classify(ctx, h.class("sam/anna/phone", true, at)); err == nil {
		t.Error("a person set something apart")
	}
	if waits, _, err := h.Classify(ctx, h.class("sam/laptop", true, at)); waits || err != nil || count(false) != 1 {
		t.Fatalf("put in: waits %t, %v", waits, err)
	}
	out := h.class("sam/laptop", false, at.Add(time.Second))
	if waits, _, err := h.Classify(ctx, out); !waits || err != nil || count(true) != 1 {
		t.Fatalf("taken out: waits %t, %v", waits, err)
	}
	// Whoever kept what was said before brings it again: that takes nobody's word back.
	if _, already, err := h.Classify(ctx, h.class("sam/laptop", true, at)); !already || err != nil || count(true) != 1 {
		t.Errorf("the same again: already: %t, %v, and %d wait", already, err, count(true))
	}
	for _, by := range []identity.Path{"sam/laptop", "sam/phone", "sam/bank"} {
		if _, _, err := h.Consent(ctx, h.consent(by, tree.GrantID{}, digestOf(t, out))); err == nil {
			t.Errorf("%s alone takes something out", by)
		}
	}
	h.restart()
	if waits, already, err := h.Classify(ctx, out); !waits || !already || err != nil {
		t.Fatalf("what waits, again: waits %t, already: %t, %v", waits, already, err)
	}
	if apart, _, err := h.Consent(ctx, h.consent("kim/phone", tree.GrantID{}, digestOf(t, out))); err != nil || apart != h.member("home/lock") {
		t.Fatalf("another owner's consent: %s, %v", apart, err)
	}
	h.restart()
	classes, owners := h.Classes(h.member("home/lock"), false)
	if len(classes) != 1 || len(classes[0].Consents) != 1 || len(owners) != 2 || count(true) != 0 {
		t.Errorf("%d classes, of owners %v", len(classes), owners)
	}
	if _, _, err := h.Classify(ctx, h.class("sam/laptop", true, at)); err == nil {
		t.Error("an older class replaces a newer one")
	}
	if _, err := h.Revoke(ctx, h.revokeMember("home/lock")); err != nil {
		t.Fatal(err)
	}
	h.restart()
	if count(false) != 0 {
		t.Error("classes outlive the thing")
	}
}

// Whoever has an old certificate of an owner cannot bring it back.
func TestOwnersAreNotReplaced(t *testing.T) {
	h, _, _ := newDeal(t)
	old := h.renew(h.At("kim").Chain, "kim", h.At("sam/phone").Signer)
	wants(t, "replacing an owner", h.Admit(t.Context(), h.laptop(), []tree.Admission{{Chain: old}}), ErrDenied, "takes the root key")
}
