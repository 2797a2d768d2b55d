package credential_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/tree"
)

// Rules 5 to 7: what is shown by somebody who proves the entries of its choice.
func TestVerifyRefuses(t *testing.T) {
	h, other := household(t), household(t)
	lock, bell, phone := h.At("home/lock"), h.At("home/porch/doorbell"), h.At("sam/anna/phone")
	all := []*identitytest.Member{lock, bell, phone, h.At("sam/laptop")}
	live := h.Live(now, nil, all...)
	for _, test := range []struct {
		name  string
		chain [][]byte
		peer  *identitytest.Member // whose key the connection proved
		live  credential.Live
		want  string
	}{
		{"the lock", lock.Raw, lock, live, ""},
		{"a copied hello", lock.Raw, phone, live, "the certificate is for another key than the connection's"},
		{"a stranger with a copied hello", lock.Raw, other.At("home/lock"), live, "the certificate is for another key than the connection's"},
		{"a place for a leaf", bell.Raw[1:], h.At("home/porch"), live, "home/porch is a place and no leaf"},
		{"an owner for a leaf", phone.Raw[2:], h.At("sam"), live, "sam is a owner and no leaf"},
		{"a member of another tree", other.At("home/lock").Raw, other.At("home/lock"), live, "it is for"},
		{"a gap in the chain", [][]byte{bell.Raw[0], bell.Raw[2]}, bell, live, "it is for"},
		{"nothing", nil, lock, live, "0 certificates"},
		{"a member that was not proved", lock.Raw, lock, h.Live(now, nil, phone), `"home" of home/lock is not proved to be live`},
		{"a member below one that was proved", lock.Raw, lock, h.Live(now, nil, h.At("home")), `"lock" of home/lock is not proved to be live`},
		{"nobody proved", lock.Raw, lock, h.Live(now, nil), "is not proved to be live"},
	} {
		_, err := credential.Verify(test.chain, test.peer.Signer.Public(), test.live)
		check(t, test.name, err, test.want)
	}
	if _, err := credential.Verify(lock.Raw, lock.Signer.Public(), credential.Live{}); err == nil {
		t.Error("accepted where no proof was verified")
	}
	if _, err := credential.Verify(lock.Raw, nil, live); err == nil {
		t.Error("accepted on a connection that proved no key")
	}
}

// Whoever is above must be live with the certificate that is shown.
func TestForgedEntry(t *testing.T) {
	h := household(t)
	porch, bell := h.At("home/porch"), h.At("home/porch/doorbell")
	// The place above was given another certificate; those below hold on to the old one.
	again := reissue(t, h, porch, "home/porch")
	key := identitytest.NewKey(t)
	authority, err := identity.NewAuthority(again.Chain, again.Signer)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := authority.Issue(identity.Subject{
		Kind: identity.Device, Member: bell.Member(), Name: "doorbell", Key: key.Public(),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	below, err := identity.Verify(chain, h.ID, h.Root, now)
	if err != nil {
		t.Fatal(err)
	}
	h.Apply(tree.Update{Members: []tree.Admission{{Chain: again.Chain}, {Chain: below}}})
	live := h.Live(now, nil, bell)
	_, err = credential.Verify(bell.Raw, bell.Signer.Public(), live)
	check(t, "under the place's old certificate", err, `the certificate of "porch" of home/porch/doorbell is not the live one`)
	_, err = credential.Verify([][]byte{bell.Raw[0], again.Raw[0], again.Raw[1]}, bell.Signer.Public(), live)
	check(t, "under its new certificate with the old one of its own", err, "x509")
	p, err := credential.Verify(chain, key.Public(), live)
	if err != nil || p.Member() != bell.Member() {
		t.Errorf("with both: %v, %v", p.ID, err)
	}
}

// A renewal revokes nothing; a key that was stolen is revoked with what it proved.
func TestRenewed(t *testing.T) {
	for _, stolen := range []bool{false, true} {
		h := household(t)
		lock := h.At("home/lock")
		old := h.Prove(nil, lock)
		renewed := reissue(t, h, lock, "home/lock")
		h.Apply(tree.Update{Members: []tree.Admission{{Chain: renewed.Chain, Stolen: stolen}}})
		v := verifier{h.Trusted()}
		if _, err := v.meet(renewed, h.Prove(nil, renewed), now); err != nil {
			t.Errorf("with the new certificate: %v", err)
		}
		_, err := v.meet(lock, h.Prove(nil, renewed), now)
		check(t, "with the old certificate and the new proof", err, `the certificate of "lock" of home/lock is not the live one`)
		_, err = v.meet(lock, old, now)
		if errors.Is(err, credential.ErrRevoked) != stolen || (err != nil) != stolen {
			t.Errorf("with all of the old, stolen %v: %v", stolen, err)
		}
	}
}

// A session goes on by what its verifier learns, and ends by it.
func TestRenew(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	v := verifier{h.Trusted()}
	live, err := v.see(h.Prove(nil, lock), now)
	if err != nil {
		t.Fatal(err)
	}
	p, err := credential.Verify(lock.Raw, lock.Signer.Public(), live)
	if err != nil {
		t.Fatal(err)
	}
	learn := func(at time.Time) {
		t.Helper()
		h.Block(at)
		if _, err := v.see(h.Prove(nil), at); err != nil {
			t.Fatal(err)
		}
	}
	h.Add(identity.Device, "home/lamp")
	learn(now.Add(time.Hour))
	renewed, err := live.Renew(v.trusted, now.Add(2*time.Hour))
	if err != nil || !renewed.AsOf.Equal(now.Add(time.Hour)) || !live.AsOf.Equal(now) {
		t.Fatalf("after a newer head: as of %s, %v", renewed.AsOf, err)
	}
	if q, err := p.Renew(renewed); err != nil || !q.AsOf.Equal(now.Add(time.Hour)) {
		t.Errorf("the lock as of %s, %v", q.AsOf, err)
	}
	ended, err := live.Renew(v.trusted, lock.NotAfter.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Renew(ended)
	check(t, "when its certificate has ended", err, "credential: renewing home/lock: its certificates ended 2027-11-21")
	_, err = p.Renew(h.Live(h.Clock, nil, h.At("home/lamp")))
	check(t, "by the proof of another", err, `"lock" of home/lock is not proved to be live`)
	_, err = live.Renew(v.trusted, now)
	check(t, "by a clock that is behind", err, "the clock is behind")
	_, err = live.Renew(household(t).Trusted(), now)
	check(t, "by another tree", err, "is not under that charter any more")
	if same, err := live.Renew(h.Trusted(), now.Add(time.Hour)); err != nil || !same.AsOf.Equal(now) {
		t.Errorf("by somebody who knows nothing newer: as of %s, %v", same.AsOf, err)
	}
	h.Remove("home/lock")
	learn(now.Add(3 * time.Hour))
	if _, err = live.Renew(v.trusted, now.Add(3*time.Hour)); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("after it was taken away: %v", err)
	}
	check(t, "its head is named", err, "credential: renewing a proof of head 6")
	h.Clock = now.Add(3*time.Hour + tree.ListedFor + time.Second)
	h.Add(identity.Device, "home/fan")
	learn(h.Clock)
	if _, err := live.Renew(v.trusted, h.Clock); !errors.Is(err, credential.ErrTooOld) {
		t.Errorf("after that fell off the list: %v", err)
	}
}

func TestNearest(t *testing.T) {
	h, other := household(t), household(t)
	at := func(h interface {
		At(identity.Path) *identitytest.Member
	}, path identity.Path) credential.Principal {
		return credential.Principal{Chain: h.At(path).Chain}
	}
	h.Add(identity.Place, "home/shed")
	h.Add(identity.Device, "home/shed/doorbell")
	for _, test := range []struct {
		a, b, want identity.Path
	}{
		{"home/lock", "home/porch/doorbell", "home"},
		{"home/porch/doorbell", "home/porch/doorbell", "home/porch/doorbell"},
		{"home/porch/doorbell", "home/shed/doorbell", "home"},
		{"sam/laptop", "sam/anna/phone", "sam"},
		{"sam/laptop", "home/lock", ""},
	} {
		if got, ok := credential.Nearest(at(h, test.a), at(h, test.b)); !ok || got != test.want {
			t.Errorf("%s and %s: %q, %v, want %q", test.a, test.b, got, ok, test.want)
		}
	}
	if path, ok := credential.Nearest(at(h, "home/lock"), at(other, "home/lock")); ok {
		t.Errorf("two trees share %q", path)
	}
	other.Recognize(h, "home")
	shown := other.Prove(nil)
	if _, ok := credential.Nearest(at(h, "home/lock"), at(other, "home/lock"), verified(t, other, shown)); ok {
		t.Error("two trees share a root by a recognition that was not shown")
	}
	shown = other.ProveTo(h.ID, nil)
	for _, pair := range [][2]credential.Principal{{at(h, "home/lock"), at(other, "home/lock")}, {at(other, "home/lock"), at(h, "home/lock")}} {
		if path, ok := credential.Nearest(pair[0], pair[1], verified(t, other, shown)); !ok || path != "" {
			t.Errorf("by a recognition two trees share %q, %v", path, ok)
		}
	}
	// Names do not make an ancestor.
	before := at(h, "home/lock")
	h.Remove("home")
	h.Add(identity.Place, "home")
	h.Add(identity.Device, "home/lock")
	if got, ok := credential.Nearest(before, at(h, "home/lock")); !ok || got != "" {
		t.Errorf("members below two places of one name: %q, %v", got, ok)
	}
}

func verified(t *testing.T, h *credentialtest.Home, p credential.Proof) credential.Live {
	t.Helper()
	live, _, err := credential.VerifyProof(p, h.Trusted(), h.Clock)
	if err != nil {
		t.Fatal(err)
	}
	return live
}
