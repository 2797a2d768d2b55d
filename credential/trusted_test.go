package credential_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// leafOf returns the leaf hash of a live member's entry.
func leafOf(h interface {
	Value(merkle.Hash) []byte
}, id identity.MemberID) merkle.Hash {
	key := tree.MemberKey(id)
	return merkle.LeafHash(key, h.Value(key))
}

// What is remembered is the same after a night on disk.
func TestTrustedAtRest(t *testing.T) {
	h := household(t)
	lock, lamp := h.At("home/lock"), h.Add(identity.Device, "home/lamp")
	old := h.Prove(nil, lamp)
	struck := leafOf(h, lock.Member())
	v := verifier{h.Trusted()}
	store := func(name string) {
		t.Helper()
		data, err := v.trusted.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := credential.ParseTrusted(data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		head, list := v.trusted.Head()
		head2, list2 := again.Head()
		if again.Tree != v.trusted.Tree || again.Sequence() != v.trusted.Sequence() || !again.AsOf().Equal(v.trusted.AsOf()) ||
			!bytes.Equal(head, head2) || !bytes.Equal(list, list2) || again.Charter().Digest != v.trusted.Charter().Digest {
			t.Errorf("%s: read back as %+v", name, again)
		}
		if data2, err := again.Marshal(); err != nil || !bytes.Equal(data, data2) {
			t.Errorf("%s: written as %x, then as %x (%v)", name, data, data2, err)
		}
		v.trusted = again
	}
	store("the charter alone")
	h.Remove("home/lamp")
	h.Block(now.Add(time.Hour + 123456789))
	if _, err := v.see(h.Prove(nil), h.Clock); err != nil {
		t.Fatal(err)
	}
	store("a head")
	if _, err := v.see(old, h.Clock); err == nil {
		t.Error("the lamp is back")
	}
	notice := h.NoticeOfMember(h.At("sam/laptop"), lock, h.Clock.Unix())
	p, _, err := credential.VerifyNotice(notice, v.trusted, h.Clock)
	if err != nil {
		t.Fatal(err)
	}
	v.trusted = v.trusted.Strike(p)
	store("a struck entry")
	if !v.trusted.Revoked(struck) || len(v.trusted.Struck()) != 1 {
		t.Error("the lock is no longer struck")
	}
	v.trusted = credential.Trusted{Tree: h.ID}
	store("the ID alone")
}

// No damage is taken for something to be trusted.
func TestTrustedDamaged(t *testing.T) {
	h := household(t)
	v := verifier{h.Trusted()}
	if _, err := v.see(h.Prove(nil), now); err != nil {
		t.Fatal(err)
	}
	data, err := v.trusted.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		damaged := bytes.Clone(data)
		damaged[i] ^= 1 << (i % 8)
		if _, err := credential.ParseTrusted(damaged); err == nil || !strings.HasPrefix(err.Error(), "credential: reading a trusted state: ") {
			t.Errorf("byte %d of %d altered: %v", i, len(data), err)
		}
		if _, err := credential.ParseTrusted(data[:i]); err == nil {
			t.Errorf("cut to %d of %d bytes, and accepted", i, len(data))
		}
	}
}

// stored is the outer form of what is stored, and seal makes it.
type stored struct {
	Body []byte        `cbor:"1,keyasint"`
	Sum  signed.Digest `cbor:"2,keyasint"`
}

func seal(t testing.TB, body []byte) []byte {
	t.Helper()
	data, err := signed.Marshal(stored{body, signed.Sum(body)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Parts that do not belong together are refused, even under a sum that is right.
func TestTrustedMixed(t *testing.T) {
	h, other := household(t), household(t)
	type body struct {
		Tree    identity.TreeID `cbor:"1,keyasint"`
		Charter []byte          `cbor:"2,keyasint,omitempty"`
		Head    []byte          `cbor:"3,keyasint,omitempty"`
		Revoked []byte          `cbor:"4,keyasint,omitempty"`
		Chain   string          `cbor:"5,keyasint,omitempty"`
		Height  uint64          `cbor:"6,keyasint,omitempty"`
		Time    int64           `cbor:"7,keyasint,omitempty"`
	}
	for _, test := range []struct {
		name   string
		change func(b *body)
		want   string
	}{
		{"in order", func(*body) {}, ""},
		{"another tree", func(b *body) { b.Tree = other.ID }, "it is of tree"},
		{"another charter", func(b *body) { b.Charter = other.Charter }, "it is of tree"},
		{"another head", func(b *body) { b.Head = other.Head }, "tree: reading a head"},
		{"no charter", func(b *body) { b.Charter = nil }, "a head without its charter or its revocation list"},
		{"no list", func(b *body) { b.Revoked = nil }, "a head without its charter or its revocation list"},
		{"an empty list", func(b *body) { b.Revoked = []byte{0xa1, 1, 1} }, "its digest is"},
	} {
		b := body{h.ID, h.Charter, h.Head, h.Revoked, h.Ledger.ID, 7, now.UnixNano()}
		test.change(&b)
		data, err := signed.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		_, err = credential.ParseTrusted(seal(t, data))
		check(t, test.name, err, test.want)
	}
	_, err := credential.Trust(h.ID, other.Charter)
	check(t, "trusting another tree's charter", err, "credential: trusting a tree: tree: reading the charter of "+h.ID.String())
}
