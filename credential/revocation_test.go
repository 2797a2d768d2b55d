package credential_test

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// give puts a grant into the roster that a member's app signed for it.
func give(t testing.TB, h *credentialtest.Home, giver, app identity.Path) tree.GrantID {
	t.Helper()
	id, err := tree.NewGrantID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	by := h.At(app)
	return h.Grant(id, h.At(giver), by, h.Sign(by.Signer, "kindred/grant", id, by.Raw...)).ID
}

// circle is a household with a second owner, a guest and a service.
func circle(t testing.TB) *credentialtest.Home {
	h := household(t)
	h.Add(identity.Owner, "kim")
	h.Add(identity.App, "kim/phone")
	h.Add(identity.Person, "sam/guest")
	h.Add(identity.App, "sam/guest/phone")
	h.Add(identity.Service, "sam/insurer")
	return h
}

// Who may take what away alone.
func TestWhoRevokes(t *testing.T) {
	h := circle(t)
	grants := map[string]tree.GrantID{
		"sam's grant":  give(t, h, "sam", "sam/laptop"),
		"anna's grant": give(t, h, "sam/anna", "sam/anna/phone"),
	}
	const no = "does not act for an owner"
	const neither = "neither gave the grant nor acts for an owner"
	const two = "needs the root key or two owners"
	for _, test := range []struct {
		signer identity.Path
		what   string // a grant above, or the path of a member
		want   string
	}{
		{"sam/laptop", "sam's grant", ""},
		{"kim/phone", "sam's grant", ""},
		{"sam/laptop", "anna's grant", ""},
		{"sam/anna/phone", "anna's grant", ""},
		{"sam/anna/phone", "sam's grant", "sam/anna/phone " + neither},
		{"sam/guest/phone", "anna's grant", "sam/guest/phone " + neither},
		{"home/lock", "anna's grant", "home/lock " + neither},
		{"sam/insurer", "sam's grant", "sam/insurer " + neither},
		{"sam/laptop", "sam/anna", ""},
		{"kim/phone", "sam/anna", ""},
		{"sam/laptop", "sam/anna/phone", ""},
		{"kim/phone", "sam/laptop", ""},
		{"sam/laptop", "sam/laptop", ""},
		{"sam/laptop", "home/lock", ""},
		{"sam/laptop", "sam/insurer", ""},
		{"sam/laptop", "home", "taking away home, of kind place, " + two},
		{"sam/laptop", "home/porch", "taking away home/porch, of kind place, " + two},
		{"sam/laptop", "kim", "taking away kim, of kind owner, " + two},
		{"sam/laptop", "sam", "taking away sam, of kind owner, " + two},
		{"sam/anna/phone", "sam/anna/phone", "sam/anna/phone " + no},
		{"sam/anna/phone", "sam/guest", "sam/anna/phone " + no},
		{"home/lock", "home/lock", "home/lock " + no},
		{"sam", "sam/anna", "sam " + no}, // an owner's CA is no app
	} {
		signer := h.At(test.signer)
		var n credential.Notice
		var leaf merkle.Hash
		if id, ok := grants[test.what]; ok {
			n = h.NoticeOfGrant(signer, id, now.Unix())
			leaf = merkle.LeafHash(tree.GrantKey(id), n.Value)
		} else {
			n = h.NoticeOfMember(signer, h.At(identity.Path(test.what)), now.Unix())
			leaf = leafOf(h, h.At(identity.Path(test.what)).Member())
		}
		p, next, err := credential.VerifyNotice(sent(t, n), h.Trusted(), now)
		check(t, string(test.signer)+" takes away "+test.what, err, test.want)
		if err == nil && (p.Leaf != leaf || !next.Strike(p).Revoked(leaf) || p.Signer.ID != signer.ID) {
			t.Errorf("%s takes away %s: %+v", test.signer, test.what, p)
		}
	}
}

// sent is a notice after its way over a wire.
func sent(t testing.TB, n credential.Notice) credential.Notice {
	t.Helper()
	data, err := n.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	n, err = credential.ParseNotice(data)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNoticeRefused(t *testing.T) {
	h, other := circle(t), circle(t)
	laptop, phone := h.At("sam/laptop"), h.At("sam/anna/phone")
	lock, anna := h.At("home/lock"), h.At("sam/anna")
	grant := give(t, h, "sam/anna", "sam/anna/phone")
	other.Add(identity.Device, "home/lamp")
	revocation := tree.Revocation{Tree: h.ID, Leaf: leafOf(h, lock.Member()), Member: lock.Member(), Time: now.Unix()}
	sign := func(by *identitytest.Member, change func(r *tree.Revocation)) []byte {
		r := revocation
		change(&r)
		return h.Sign(by.Signer, tree.RevocationType, r, by.Raw...)
	}
	for _, test := range []struct {
		name  string
		spoil func(n *credential.Notice)
		want  string
	}{
		{"in order", func(*credential.Notice) {}, ""},
		{"of another entry", func(n *credential.Notice) {
			n.Statement = sign(laptop, func(r *tree.Revocation) { r.Leaf[0] ^= 1 })
		}, "it takes away another entry than the one shown"},
		{"with the value of another entry", func(n *credential.Notice) {
			n.Value = h.Value(tree.MemberKey(anna.Member()))
		}, "it takes away another entry than the one shown"},
		{"with the certificate of another member", func(n *credential.Notice) { n.Chain = phone.Raw }, "are not those of the member"},
		{"with the certificate it had before", func(n *credential.Notice) {
			n.Chain = reissue(t, h, lock, "home/lock").Raw
		}, "are not those of the member"},
		{"a place, with the certificate of a device in it", func(n *credential.Notice) {
			home := h.At("home").Member()
			n.Value = h.Value(tree.MemberKey(home))
			n.Statement = sign(laptop, func(r *tree.Revocation) { r.Member, r.Leaf = home, leafOf(h, home) })
		}, "are not those of the member"},
		{"without the member's certificate", func(n *credential.Notice) { n.Chain = nil }, "0 certificates"},
		{"of nobody", func(n *credential.Notice) {
			n.Statement = sign(laptop, func(r *tree.Revocation) {
				r.Member = identity.MemberID{}
				r.Leaf = merkle.LeafHash(r.Key(), n.Value)
			})
		}, "are not those of the member"},
		{"of another tree", func(n *credential.Notice) {
			n.Statement = sign(laptop, func(r *tree.Revocation) { r.Tree = other.ID })
		}, "it is of tree " + other.ID.String()},
		{"dated in three minutes", func(n *credential.Notice) {
			n.Statement = sign(laptop, func(r *tree.Revocation) { r.Time += 180 })
		}, "it is dated in the future"},
		{"dated in two minutes", func(n *credential.Notice) {
			n.Statement = sign(laptop, func(r *tree.Revocation) { r.Time += 120 })
		}, ""},
		{"signed with another key", func(n *credential.Notice) {
			n.Statement = h.Sign(phone.Signer, tree.RevocationType, revocation, laptop.Raw...)
		}, "signed: opening a kindred/revocation"},
		{"signed as something else", func(n *credential.Notice) {
			n.Statement = h.Sign(laptop.Signer, tree.AddressType, revocation, laptop.Raw...)
		}, `it is a "kindred/address"`},
		{"without the signer's certificates", func(n *credential.Notice) {
			n.Statement = h.Sign(laptop.Signer, tree.RevocationType, revocation)
		}, "0 certificates"},
		{"by an owner's app of another tree", func(n *credential.Notice) {
			n.Statement = sign(other.At("sam/laptop"), func(*tree.Revocation) {})
		}, "it is for"},
		{"by another tree, with its own proof", func(n *credential.Notice) {
			*n = other.NoticeOfMember(other.At("sam/laptop"), other.At("home/lamp"), now.Unix())
		}, "it is of tree"},
		{"without a proof of the signer", func(n *credential.Notice) { n.Proof = h.Prove(nil) }, `"sam" of sam/laptop is not proved to be live`},
		{"with the proof of another", func(n *credential.Notice) { n.Proof = h.Prove(nil, phone) }, `"laptop" of sam/laptop is not proved to be live`},
		{"a grant whose value is made up", func(n *credential.Notice) {
			var err error
			if n.Value, err = signed.Marshal(tree.Grant{Giver: anna.Member()}); err != nil {
				t.Fatal(err)
			}
			n.Statement = sign(phone, func(r *tree.Revocation) {
				r.Grant, r.Leaf = grant, merkle.LeafHash(tree.GrantKey(grant), h.Value(tree.GrantKey(grant)))
			})
			n.Proof = h.Prove(nil, phone)
		}, "it takes away another entry than the one shown"},
		{"a member taken for a grant", func(n *credential.Notice) {
			n.Statement = sign(laptop, func(r *tree.Revocation) {
				r.Grant = grant
				r.Leaf = merkle.LeafHash(tree.GrantKey(grant), n.Value)
			})
		}, "signed: decoding *tree.Grant"},
		{"junk for a value", func(n *credential.Notice) {
			n.Value = []byte{1}
			n.Statement = sign(laptop, func(r *tree.Revocation) { r.Leaf = merkle.LeafHash(r.Key(), n.Value) })
		}, "signed: decoding *tree.Member"},
		{"junk for a statement", func(n *credential.Notice) { n.Statement = []byte{1} }, "signed: reading a statement"},
	} {
		n := h.NoticeOfMember(laptop, lock, now.Unix())
		test.spoil(&n)
		before := h.Trusted()
		_, next, err := credential.VerifyNotice(n, before, now)
		check(t, test.name, err, test.want)
		if err != nil && next.Sequence() != before.Sequence() {
			t.Errorf("%s: it was refused, and trusted is head %d", test.name, next.Sequence())
		}
	}
}

// A proof of the signer as old as the longest offline term will do: an owner who was cut off from the gateway may
// still shut a guest out.
func TestSignerOffline(t *testing.T) {
	h := circle(t)
	laptop, lock := h.At("sam/laptop"), h.At("home/lock")
	for _, test := range []struct {
		name string
		age  time.Duration
		want string
	}{
		{"seven days", tree.DefaultOffline, ""},
		{"a second more", tree.DefaultOffline + time.Second, "the proof of its signer, 168h0m0s old, is too old to be judged"},
	} {
		n := h.NoticeOfMember(laptop, lock, now.Unix())
		_, _, err := credential.VerifyNotice(n, h.Trusted(), now.Add(test.age))
		check(t, test.name, err, test.want)
	}
	n := h.NoticeOfMember(laptop, lock, now.Unix())
	h.Remove("sam/laptop")
	v := verifier{h.Trusted()}
	if _, err := v.see(h.Prove(nil), now); err != nil {
		t.Fatal(err)
	}
	if _, _, err := credential.VerifyNotice(n, v.trusted, now); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("by an app that was taken away: %v", err)
	}
}

// A revocation is obeyed before any head has it, is confirmed by one, or dropped.
func TestStrike(t *testing.T) {
	h := circle(t)
	laptop, lock := h.At("sam/laptop"), h.At("home/lock")
	leaf := leafOf(h, lock.Member())
	v := verifier{h.Trusted()}
	p, next, err := credential.VerifyNotice(h.NoticeOfMember(laptop, lock, now.Unix()), v.trusted, now)
	if err != nil {
		t.Fatal(err)
	}
	if next.Sequence() != h.Sequence {
		t.Errorf("the notice's proof taught head %d, want %d", next.Sequence(), h.Sequence)
	}
	v.trusted = next.Strike(p).Strike(p)
	if got := v.trusted.Struck(); len(got) != 1 || got[0] != leaf || next.Revoked(leaf) {
		t.Errorf("struck are %v, want the lock alone", got)
	}
	_, err = v.meet(lock, h.Prove(nil, lock), now)
	if !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("the lock, when struck: %v", err)
	}
	// A newer head that still has it is no answer.
	h.Add(identity.Device, "home/lamp")
	if _, err := v.meet(lock, h.Prove(nil, lock), now); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("the lock, struck, under a newer head: %v", err)
	}
	if _, err := v.meet(h.At("home/lamp"), h.Prove(nil, h.At("home/lamp")), now); err != nil {
		t.Errorf("the lamp: %v", err)
	}
	if dropped := (verifier{v.trusted.Restore(leaf)}); dropped.trusted.Revoked(leaf) {
		t.Error("the keeper did not confirm it, and it is still struck")
	} else if _, err := dropped.meet(lock, h.Prove(nil, lock), now); err != nil {
		t.Errorf("the lock, restored: %v", err)
	}
	if len(v.trusted.Struck()) != 1 {
		t.Error("Restore changed what it was called on")
	}
	h.Remove("home/lock")
	if _, err := v.see(h.Prove(nil), now); err != nil {
		t.Fatal(err)
	}
	if len(v.trusted.Struck()) != 0 || !v.trusted.Revoked(leaf) {
		t.Error("confirmed by a head, and it waits for one still")
	}
	if again := v.trusted.Strike(p); len(again.Struck()) != 0 {
		t.Error("struck again after a head confirmed it")
	}
	if !v.trusted.Restore(leaf).Revoked(leaf) {
		t.Error("what a head took away was restored")
	}
}

// A guest can fill no more of a thing's memory, with revocations of grants that never were, than a share of their own,
// whichever of their apps signs; and what is known already takes no more of it.
func TestStruckIsBounded(t *testing.T) {
	h := circle(t)
	h.Add(identity.App, "sam/anna/tablet")
	phone, tablet, laptop, guest := h.At("sam/anna/phone"), h.At("sam/anna/tablet"), h.At("sam/laptop"), h.At("sam/guest/phone")
	trusted := h.Trusted()
	notice := func(app *identitytest.Member, i int) credential.Notice {
		value, err := signed.Marshal(tree.Grant{Giver: app.ActsFor(), Since: int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		r := tree.Revocation{Tree: h.ID, Grant: tree.GrantID{1}, Time: now.Unix()}
		r.Leaf = merkle.LeafHash(r.Key(), value)
		return credential.Notice{Statement: h.Sign(app.Signer, tree.RevocationType, r, app.Raw...), Value: value, Proof: h.Prove(nil, app)}
	}
	fill := func(app *identitytest.Member) {
		t.Helper()
		for i := range credential.MaxWaiting {
			p, next, err := credential.VerifyNotice(notice(app, i), trusted, now)
			if err != nil {
				t.Fatal(err)
			}
			trusted = next.Strike(p)
		}
	}
	fill(phone)
	data, err := trusted.Marshal() // whose they are is known after a restart
	if err == nil {
		trusted, err = credential.ParseTrusted(data)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, app := range []*identitytest.Member{phone, tablet} {
		_, _, err := credential.VerifyNotice(notice(app, credential.MaxWaiting), trusted, now)
		check(t, "one more by "+string(app.ID.Path), err, "128 revocations of "+string(app.ID.Path)+" wait for a head already")
	}
	if _, _, err := credential.VerifyNotice(notice(phone, 0), trusted, now); err != nil {
		t.Errorf("the first again: %v", err)
	}
	fill(guest)
	if _, _, err := credential.VerifyNotice(h.NoticeOfMember(laptop, h.At("home/lock"), now.Unix()), trusted, now); err != nil {
		t.Errorf("one by an owner: %v", err)
	}
}

// Whoever knows the ID of a grant that another gave takes nothing from it by showing an entry that never was.
func TestForgedEntryTakesNothing(t *testing.T) {
	h := circle(t)
	phone, guest := h.At("sam/anna/phone"), h.At("sam/guest/phone")
	for giver, app := range map[identity.Path]identity.Path{"sam": "sam/laptop", "sam/anna": "sam/anna/phone"} {
		id := give(t, h, giver, app)
		value, err := signed.Marshal(tree.Grant{Giver: guest.ActsFor()})
		if err != nil {
			t.Fatal(err)
		}
		r := tree.Revocation{Tree: h.ID, Grant: id, Time: now.Unix()}
		r.Leaf = merkle.LeafHash(r.Key(), value)
		n := credential.Notice{Statement: h.Sign(guest.Signer, tree.RevocationType, r, guest.Raw...), Value: value, Proof: h.Prove(nil, guest)}
		p, next, err := credential.VerifyNotice(n, h.Trusted(), now)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := credential.VerifyProof(h.Prove([]tree.GrantID{id}, phone), next.Strike(p), now); err != nil {
			t.Errorf("a grant of %s, after a guest took back one of that ID that never was: %v", giver, err)
		}
	}
}

// What was signed so long ago that the gateway has it, or has turned it down, does not come back.
func TestOldRevocation(t *testing.T) {
	h := circle(t)
	laptop, lock := h.At("sam/laptop"), h.At("home/lock")
	for _, test := range []struct {
		age  time.Duration
		want string
	}{
		{tree.DefaultOffline, ""},
		{tree.DefaultOffline + time.Minute, "it was signed 168h1m0s ago, and counts for 168h0m0s"},
	} {
		_, _, err := credential.VerifyNotice(h.NoticeOfMember(laptop, lock, now.Add(-test.age).Unix()), h.Trusted(), now)
		check(t, "signed "+test.age.String()+" ago", err, test.want)
	}
}

// Whoever holds the roster asks it, and no proof.
func TestAcceptNotice(t *testing.T) {
	h, other := circle(t), circle(t)
	n := h.NoticeOfMember(h.At("sam/laptop"), h.At("home/lock"), now.Unix())
	n.Proof = credential.Proof{}
	live := func(identity.Chain) error { return nil }
	p, err := credential.AcceptNotice(n, h.Trusted().Charter(), live, now)
	if err != nil || p.Signer.ID != h.At("sam/laptop").ID || p.Member != h.At("home/lock").Member() {
		t.Errorf("accepted as %+v, %v", p, err)
	}
	_, err = credential.AcceptNotice(n, other.Trusted().Charter(), live, now)
	check(t, "by another charter", err, "it is for")
	_, err = credential.AcceptNotice(n, h.Trusted().Charter(), func(identity.Chain) error { return errors.New("gone") }, now)
	check(t, "by somebody who is not live", err, "gone")
	_, err = credential.AcceptNotice(h.NoticeOfMember(h.At("sam/laptop"), h.At("home"), now.Unix()), h.Trusted().Charter(), live, now)
	check(t, "of a place", err, "needs the root key or two owners")
	n.Statement = h.Sign(h.At("sam/anna/phone").Signer, tree.RevocationType, tree.Revocation{Tree: h.ID}, h.At("sam/laptop").Raw...)
	_, err = credential.AcceptNotice(n, h.Trusted().Charter(), live, now)
	check(t, "with another's certificates", err, "signed: opening a kindred/revocation")
	_, err = credential.ParseNotice(make([]byte, credential.MaxHello+1))
	check(t, "a large one", err, "credential: reading a revocation: 65537 bytes, of at most 65536")
}

// What has ended by itself is taken away like all else: its path is another's only then.
func TestWhatHasEndedIsRevoked(t *testing.T) {
	h := circle(t)
	id, err := identity.NewMemberID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := h.Authority("sam").Issue(identity.Subject{
		Kind: identity.App, Tool: true, Member: id, Name: "tools", Key: identitytest.NewKey(t).Public(),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.Verify(raw, h.ID, h.Root, now)
	if err != nil {
		t.Fatal(err)
	}
	laptop := h.At("sam/laptop")
	h.Apply(tree.Update{By: laptop.Member(), Members: []tree.Admission{{Chain: c}}})
	later := now.Add(2 * time.Hour)
	h.Block(later.Add(-time.Minute))
	n := h.NoticeOfMember(laptop, &identitytest.Member{Chain: c}, later.Unix())
	p, next, err := credential.VerifyNotice(sent(t, n), h.Trusted(), later)
	check(t, "taking away a tool that has ended", err, "")
	if err == nil && !next.Strike(p).Revoked(p.Leaf) {
		t.Errorf("it takes away %+v", p)
	}
}
