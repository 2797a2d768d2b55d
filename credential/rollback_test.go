package credential_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light/lighttest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/tree"
)

// A busy tree locks nobody out: who stayed away shows an old proof, and it counts as of the newest block that the
// verifier knows.
func TestOlderHead(t *testing.T) {
	h := household(t)
	lock, bell := h.At("home/lock"), h.At("home/porch/doorbell")
	ofLock, ofBell := h.Prove(nil, lock), h.Prove(nil, bell)
	h.Remove("home/porch/doorbell")
	h.Block(now.Add(5 * time.Hour))
	v := verifier{h.Trusted()}
	if _, err := v.see(h.Prove(nil), now.Add(6*time.Hour)); err != nil {
		t.Fatal(err)
	}
	p, err := v.meet(lock, ofLock, now.Add(6*time.Hour))
	if err != nil || !p.AsOf.Equal(now.Add(5*time.Hour)) {
		t.Errorf("the lock is known as of %s, %v", p.AsOf, err)
	}
	if _, err := v.meet(bell, ofBell, now.Add(6*time.Hour)); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("the doorbell, which was taken away: %v", err)
	}
	if v.trusted.Sequence() != h.Sequence || !v.trusted.AsOf().Equal(now.Add(5*time.Hour)) {
		t.Errorf("an older head moved what is trusted back to head %d as of %s", v.trusted.Sequence(), v.trusted.AsOf())
	}
	// To somebody who has heard nothing since, both are what they were.
	for m, proof := range map[*identitytest.Member]credential.Proof{lock: ofLock, bell: ofBell} {
		if p, err := (&verifier{h.Trusted()}).meet(m, proof, now.Add(6*time.Hour)); err != nil || !p.AsOf.Equal(now) {
			t.Errorf("%s to somebody who knows nothing newer: as of %s, %v", m.ID.Path, p.AsOf, err)
		}
	}
}

// A list reaches seven days back. What is older than that can be judged no more.
func TestGapInLists(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	old := h.Prove(nil, lock)
	h.Add(identity.Device, "home/lamp")
	h.Remove("home/lamp")
	gone := h.Moment // the head that took the lamp away
	h.Clock = h.Clock.Add(tree.ListedFor)
	h.Add(identity.Device, "home/fan")
	v := verifier{h.Trusted()}
	if _, err := v.see(h.Prove(nil), h.Clock); err != nil {
		t.Fatal(err)
	}
	if _, err := v.see(old, h.Clock); err != nil {
		t.Errorf("after seven days to the second: %v", err)
	}
	h.Clock = h.Clock.Add(time.Second)
	h.Add(identity.Device, "home/heater")
	if _, err := v.see(h.Prove(nil), h.Clock); err != nil {
		t.Fatal(err)
	}
	_, err := v.see(old, h.Clock)
	check(t, "a proof from before what fell off the list", err, "head 6 is too old to be judged: revocations are known from head 8 on")
	if !errors.Is(err, credential.ErrTooOld) {
		t.Errorf("%v is not ErrTooOld", err)
	}
	if _, err := v.see(gone.Prove(nil, lock), h.Clock); err != nil {
		t.Errorf("a proof under the head that took away what fell off: %v", err)
	}
}

func TestForks(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	before := h.Moment
	first := openHead(t, h, before)
	h.Add(identity.Device, "home/lamp")
	head := openHead(t, h, h.Moment)
	height := h.Header.Height
	other := head
	other.Time++
	for _, test := range []struct {
		name  string
		proof credential.Proof
		want  string
	}{
		{"another head of the same sequence", resign(t, h, h.Prove(nil, lock), other, height+1, now),
			"two heads have the sequence 7: the keeper forked its history"},
		{"the older head in a later block", resign(t, h, before.Prove(nil, lock), first, height+1, now),
			"the ledger kindred-test forked: it had head 6 at block 8, and head 7 at block 7"},
		{"the older head in the same block", resign(t, h, before.Prove(nil, lock), first, height, now),
			"the ledger kindred-test forked: it had head 6 at block 7, and head 7 at block 7"},
		{"the older head in an earlier block", resign(t, h, before.Prove(nil, lock), first, height-1, now), ""},
		{"the next head in an earlier block", resign(t, h, h.Prove(nil, lock), next(head), height-1, now),
			"the ledger kindred-test forked: it had head 7 at block 7, and head 8 at block 6"},
		{"the next head in the same block", resign(t, h, h.Prove(nil, lock), next(head), height, now),
			"the ledger kindred-test forked: it had head 7 at block 7, and head 8 at block 7"},
		{"the next head in a later block", resign(t, h, h.Prove(nil, lock), next(head), height+1, now), ""},
	} {
		v := verifier{h.Trusted()}
		if _, err := v.see(h.Prove(nil, lock), now); err != nil {
			t.Fatal(err)
		}
		_, err := v.see(test.proof, now)
		check(t, test.name, err, test.want)
		if err != nil && v.trusted.Sequence() != 7 {
			t.Errorf("%s: it was refused, and trusted is head %d", test.name, v.trusted.Sequence())
		}
	}
}

func next(head tree.Head) tree.Head {
	head.Sequence++
	return head
}

// Two ledgers of one tree count their blocks apart.
func TestTwoLedgers(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	second := lighttest.New(t, "kindred-second", 1)
	c := h.Trusted().Charter().Charter
	c.Anchors = []tree.Anchor{c.Anchors[0], second.Anchor()}
	charter := h.Sign(h.RootKey, tree.CharterType, c)
	trusted, err := credential.Trust(h.ID, charter)
	if err != nil {
		t.Fatal(err)
	}
	v := verifier{trusted}
	prove := func(height uint64) credential.Proof {
		p := h.Prove(nil, lock)
		p.Charters = [][]byte{charter}
		p.Record, p.Block = collude(t, h, height, now, ledger.Record{Charter: trusted.Charter().Digest, Sequence: h.Sequence, Head: h.Digest})
		return p
	}
	if _, err := v.see(prove(1000), now); err != nil {
		t.Fatal(err)
	}
	h.Add(identity.Device, "home/lamp")
	_, err = v.see(prove(7), now)
	check(t, "a newer head in block 7, after block 1000", err, "the ledger kindred-test forked")
	p := prove(7)
	root, _, err := p.Record.AppHash(h.ID)
	if err != nil {
		t.Fatal(err)
	}
	p.Block = second.Sign(t, 7, now, root)
	if _, err := v.see(p, now); err != nil {
		t.Errorf("a newer head in block 7 of the second ledger: %v", err)
	}
	p.Block.Height = 8
	_, err = v.see(p, now)
	for _, ledger := range []string{"kindred-test", "kindred-second"} {
		check(t, "a block that neither ledger signed", err, ledger)
	}
}

// A head that is known comes without its list.
func TestKnownHead(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	v := verifier{h.Trusted()}
	if _, err := v.see(h.Prove(nil, lock), now); err != nil {
		t.Fatal(err)
	}
	h.Block(now.Add(time.Hour))
	p := h.Prove(nil, lock)
	p.Revoked = nil
	live, err := v.see(p, now.Add(time.Hour))
	if err != nil || !live.AsOf.Equal(now.Add(time.Hour)) {
		t.Errorf("as of %s, %v", live.AsOf, err)
	}
	if _, list := v.trusted.Head(); list == nil {
		t.Error("the list of the trusted head was lost")
	}
	h.Add(identity.Device, "home/lamp")
	p = h.Prove(nil, lock)
	p.Revoked = nil
	_, err = v.see(p, now.Add(time.Hour))
	check(t, "news without its list", err, "head 7 is news, and comes without its revocation list")
}

// A member that moves gets another certificate under the ID it had. What it was before is over: at its old path, and
// with the rights that whoever is above had.
func TestMoved(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	old := h.Moment
	moved := reissue(t, h, lock, "home/porch/lock")
	h.Apply(tree.Update{Members: []tree.Admission{{Chain: moved.Chain}}})
	refused(t, h, old.Prove(nil, lock), lock, credential.ErrRevoked)
	if _, err := (&verifier{h.Trusted()}).meet(moved, h.Prove(nil, moved), now); err != nil {
		t.Errorf("where it is now: %v", err)
	}
	_, err := (&verifier{h.Trusted()}).meet(lock, h.Prove(nil, moved), now)
	check(t, "its certificate from before with its new proof", err, `is not the live one`)
}

// A member removed and admitted again under its path is another.
func TestReadmitted(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	old := h.Moment
	again := h.Add(identity.Device, "home/lock")
	if again.Member() == lock.Member() {
		t.Fatal("it has the ID of the one before")
	}
	refused(t, h, old.Prove(nil, lock), lock, credential.ErrRevoked)
	_, err := (&verifier{h.Trusted()}).meet(lock, h.Prove(nil, again), now)
	check(t, "the old certificate with the new proof", err, `"lock" of home/lock is not proved to be live`)
	_, err = (&verifier{h.Trusted()}).meet(again, old.Prove(nil, lock), now)
	check(t, "the new certificate with the old proof", err, `"lock" of home/lock is not proved to be live`)
	if _, err := (&verifier{h.Trusted()}).meet(again, h.Prove(nil, again), now); err != nil {
		t.Error(err)
	}
}

// Who was admitted again with the very same certificate has another entry, and the old one stays revoked.
func TestReadmittedUnchanged(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	old := h.Moment
	h.Remove("home/lock")
	h.Clock = now.Add(time.Minute)
	h.Apply(tree.Update{Members: []tree.Admission{{Chain: lock.Chain}}})
	refused(t, h, old.Prove(nil, lock), lock, credential.ErrRevoked)
	if _, err := (&verifier{h.Trusted()}).meet(lock, h.Prove(nil, lock), h.Clock); err != nil {
		t.Error(err)
	}
}

// refused checks that an old proof is refused by somebody who has seen the newest head.
func refused(t *testing.T, h *credentialtest.Home, old credential.Proof, m *identitytest.Member, want error) {
	t.Helper()
	v := verifier{h.Trusted()}
	if _, err := v.see(h.Prove(nil), now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := v.meet(m, old, now.Add(time.Hour)); !errors.Is(err, want) {
		t.Errorf("%s with its old proof: %v, want %v", m.ID.Path, err, want)
	}
}

// Removing a place or a person ends all below, with proofs from before too.
func TestRemovedAbove(t *testing.T) {
	for top, leaf := range map[identity.Path]identity.Path{
		"home": "home/porch/doorbell", "home/porch": "home/porch/doorbell", "sam/anna": "sam/anna/phone", "sam": "sam/anna/phone",
	} {
		h := household(t)
		m := h.At(leaf)
		old := h.Prove(nil, m)
		laptop := h.At("sam/laptop").Member()
		id := h.At(top).Member()
		h.Apply(tree.Update{By: laptop, Remove: []identity.MemberID{id}})
		refused(t, h, old, m, credential.ErrRevoked)
		// It leaves out the entry of what was removed.
		short := old
		short.Entries, short.Map = nil, merkle.Proof(nil)
		v := verifier{h.Trusted()}
		live, err := v.see(short, now)
		if err != nil {
			t.Fatal(err)
		}
		_, err = credential.Verify(m.Raw, m.Signer.Public(), live)
		check(t, "the proof of nothing", err, "is not proved to be live")
	}
}
