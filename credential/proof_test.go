package credential_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light/lighttest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

func TestHello(t *testing.T) {
	h := household(t)
	bell := h.At("home/porch/doorbell")
	at := now.Add(20 * time.Minute)
	h.Block(at)
	hello, err := credential.ParseHello(h.Hello("home/porch/doorbell"))
	if err != nil {
		t.Fatal(err)
	}
	live, trusted, err := credential.VerifyProof(hello.Proofs[0], h.Trusted(), at.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if live.Tree != h.ID || live.Sequence != h.Sequence || !live.AsOf.Equal(at) {
		t.Errorf("head %d of %s as of %s, want head %d of %s as of %s", live.Sequence, live.Tree, live.AsOf, h.Sequence, h.ID, at)
	}
	if trusted.Sequence() != h.Sequence || !trusted.AsOf().Equal(at) {
		t.Errorf("trusted is head %d as of %s", trusted.Sequence(), trusted.AsOf())
	}
	if m, ok := live.Member(bell.Member()); !ok || m.Certificate != bell.Self().Digest {
		t.Errorf("the doorbell's entry is %+v, %v", m, ok)
	}
	if m, ok := live.Member(h.At("home/lock").Member()); ok {
		t.Errorf("the lock, which was not proved, has the entry %+v", m)
	}
	p, err := credential.Verify(hello.Chain, bell.Signer.Public(), live)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != bell.ID || p.Member() != bell.Member() || p.Kind() != identity.Device || !p.AsOf.Equal(at) {
		t.Errorf("the doorbell is taken for %+v", p)
	}
	if id, err := hello.Proofs[0].Tree(); err != nil || id != h.ID {
		t.Errorf("the proof is of tree %s, %v", id, err)
	}
}

// Several validators, and as few of them as may be.
func TestValidators(t *testing.T) {
	h := credentialtest.NewOn(t, now, credentialtest.NewLedger(t, 4))
	phone := h.At("sam/laptop")
	root := h.Ledger.State.Root()
	for _, test := range []struct {
		name   string
		voters []int
		want   string
	}{
		{"all", []int{0, 1, 2, 3}, ""},
		{"three of four", []int{0, 2, 3}, ""},
		{"half", []int{0, 1}, "votes of power 2, of more than two thirds of 4"},
		{"none", nil, "votes of power 0"},
		{"one three times", []int{1, 1, 1}, "want ascending order"},
	} {
		p := h.Prove(nil, phone)
		p.Block = h.Ledger.SignBy(t, 9, now, root, test.voters...)
		_, _, err := credential.VerifyProof(p, h.Trusted(), now)
		check(t, test.name, err, test.want)
	}
	// The oldest vote counted says how old the proof is.
	p := h.Prove(nil, phone)
	p.Block = h.Ledger.SignBy(t, 9, now, root, 0, 1, 2)
	late := h.Ledger.SignBy(t, 9, now.Add(-time.Hour), root, 1)
	p.Block.Votes[1] = late.Votes[0]
	live, _, err := credential.VerifyProof(p, h.Trusted(), now)
	if err != nil || !live.AsOf.Equal(now.Add(-time.Hour)) {
		t.Errorf("as of %s (%v), want an hour ago", live.AsOf, err)
	}
}

// An attack changes a proof that is in order. Everything signed in it is signed by whoever the attack has the keys of.
type attack struct {
	name  string
	spoil func(p *credential.Proof)
	want  string
}

func TestCharterAttacks(t *testing.T) {
	h, thief := household(t), household(t)
	keeper, err := x509.MarshalPKIXPublicKey(thief.Keeper.Public())
	if err != nil {
		t.Fatal(err)
	}
	ours := h.Trusted().Charter().Charter
	forge := func(change func(c *tree.Charter)) []byte {
		c := ours
		change(&c)
		return h.Sign(h.RootKey, tree.CharterType, c)
	}
	attacks := []attack{
		{"in order", func(*credential.Proof) {}, ""},
		{"none, where one is trusted", func(p *credential.Proof) { p.Charters = nil }, ""},
		{"of another tree", func(p *credential.Proof) { p.Charters = [][]byte{thief.Charter} }, "it is of tree " + thief.ID.String()},
		{"two", func(p *credential.Proof) { p.Charters = append(p.Charters, h.Charter) }, "2 charters: charters after epoch 0"},
		{"of a later epoch", func(p *credential.Proof) {
			p.Charters = [][]byte{forge(func(c *tree.Charter) { c.Epoch = 1 })}
		}, "epoch 1: charters after epoch 0"},
		{"another by the same root", func(p *credential.Proof) {
			p.Charters = [][]byte{forge(func(c *tree.Charter) { c.Keeper = keeper })}
		}, "another charter of epoch 0 than the one trusted"},
		{"with a key of the thief's", func(p *credential.Proof) {
			c := ours
			c.Keeper = keeper
			p.Charters = [][]byte{h.Sign(thief.RootKey, tree.CharterType, c)}
		}, "signed: opening a kindred/charter"},
		{"with the thief's root", func(p *credential.Proof) {
			p.Charters = [][]byte{h.Sign(thief.RootKey, tree.CharterType, tree.Charter{
				Tree: h.ID, Root: thief.Root.Raw, Keeper: keeper, Anchors: ours.Anchors,
			})}
		}, "it is for"},
		{"signed as something else", func(p *credential.Proof) {
			p.Charters = [][]byte{h.Sign(h.RootKey, tree.HeadType, ours)}
		}, `it is a "kindred/head"`},
		{"no statement", func(p *credential.Proof) { p.Charters = [][]byte{{1, 2, 3}} }, "signed: reading a statement"},
	}
	for _, a := range attacks {
		p := h.Prove(nil, h.At("home/lock"))
		a.spoil(&p)
		_, next, err := credential.VerifyProof(p, h.Trusted(), now)
		check(t, a.name, err, a.want)
		if err != nil && next.Sequence() != 0 {
			t.Errorf("%s: it was refused, and trusted is head %d", a.name, next.Sequence())
		}
	}
	p := h.Prove(nil, h.At("home/lock"))
	if _, _, err := credential.VerifyProof(p, credential.Trusted{Tree: h.ID}, now); err != nil {
		t.Errorf("a tree of which only the ID is known: %v", err)
	}
	p.Charters = nil
	if _, _, err := credential.VerifyProof(p, credential.Trusted{Tree: h.ID}, now); !errors.Is(err, credential.ErrStranger) {
		t.Errorf("no charter of a tree of which only the ID is known: %v", err)
	}
}

func TestHeadAttacks(t *testing.T) {
	h, thief := household(t), household(t)
	lock := h.At("home/lock")
	before := h.Moment
	h.Block(now.Add(time.Minute))
	later := h.Moment
	h.Add(identity.Device, "home/lamp")
	head := openHead(t, h, h.Moment)
	theirs := openHead(t, thief, thief.Moment)
	for _, a := range []attack{
		{"in order", func(*credential.Proof) {}, ""},
		{"signed by another keeper", func(p *credential.Proof) {
			p.Head = h.Sign(thief.Keeper, tree.HeadType, head)
		}, "tree: reading a head: signed: opening a kindred/head"},
		{"signed by the root", func(p *credential.Proof) {
			p.Head = h.Sign(h.RootKey, tree.HeadType, head)
		}, "tree: reading a head: signed: opening a kindred/head"},
		{"signed as something else", func(p *credential.Proof) {
			p.Head = h.Sign(h.Keeper, tree.RevocationType, head)
		}, `it is a "kindred/revocation"`},
		{"of another tree", func(p *credential.Proof) {
			p.Head = h.Sign(h.Keeper, tree.HeadType, theirs)
		}, "it is of tree " + thief.ID.String()},
		{"number 0", func(p *credential.Proof) {
			zero := head
			zero.Sequence = 0
			p.Head = h.Sign(h.Keeper, tree.HeadType, zero)
		}, "its sequence is 0"},
		{"not the one in the ledger", func(p *credential.Proof) {
			other := head
			other.Time++
			p.Head = h.Sign(h.Keeper, tree.HeadType, other)
		}, "the ledger has head 7"},
		{"no statement", func(p *credential.Proof) { p.Head = []byte{0xd2} }, "tree: reading a head"},
		{"the list of another head", func(p *credential.Proof) { p.Revoked = []byte{0xa1, 1, 1} }, "its digest is"},
		{"no list", func(p *credential.Proof) { p.Revoked = nil }, "head 7 is news, and comes without its revocation list"},
		{"an older head under a newer record", func(p *credential.Proof) {
			*p = before.Prove(nil, lock)
			p.Record, p.Block = h.Record, h.Header
		}, "the ledger has head 7"},
		{"an older head and record under a newer block", func(p *credential.Proof) {
			*p = before.Prove(nil, lock)
			p.Block = h.Header
		}, "vote of validator 0: not signed by the anchored validator"},
		{"an older head under a newer block that has it", func(p *credential.Proof) {
			*p = before.Prove(nil, lock)
			p.Block = later.Header
		}, ""},
	} {
		p := h.Prove(nil, lock)
		a.spoil(&p)
		_, _, err := credential.VerifyProof(p, h.Trusted(), now.Add(time.Minute))
		check(t, a.name, err, a.want)
	}
}

func TestLedgerAttacks(t *testing.T) {
	h, thief := household(t), household(t)
	lock := h.At("home/lock")
	root := h.Ledger.State.Root()
	collude := func(p *credential.Proof, change func(r *ledger.Record)) {
		r := record(h, h.Moment)
		change(&r)
		p.Record, p.Block = collude(t, h, 50, now, r)
	}
	counted := h.Trusted().Charter().Charter
	counted.Anchors = slices.Clone(counted.Anchors)
	counted.Anchors[0].Sequence = h.Sequence + 1
	late := h.Sign(h.RootKey, tree.CharterType, counted)
	for _, a := range []attack{
		{"in order", func(*credential.Proof) {}, ""},
		{"in order, in another state", func(p *credential.Proof) { collude(p, func(*ledger.Record) {}) }, ""},
		{"another charter recorded", func(p *credential.Proof) {
			collude(p, func(r *ledger.Record) { r.Charter[0] ^= 1 })
		}, "the ledger has it under another charter, of epoch 0"},
		{"another epoch recorded", func(p *credential.Proof) {
			collude(p, func(r *ledger.Record) { r.Epoch = 3 })
		}, "the ledger has it under another charter, of epoch 3"},
		{"another head recorded", func(p *credential.Proof) {
			collude(p, func(r *ledger.Record) { r.Head[0] ^= 1 })
		}, "the ledger has head 6"},
		{"another sequence recorded", func(p *credential.Proof) {
			collude(p, func(r *ledger.Record) { r.Sequence++ })
		}, "the ledger has head 7"},
		{"the record altered", func(p *credential.Proof) {
			p.Record.Record = bytes.Clone(p.Record.Record)
			p.Record.Record[len(p.Record.Record)-40] ^= 1
		}, "the ledger has"},
		{"the record of another tree", func(p *credential.Proof) { p.Record = thief.Record }, "under another charter"},
		{"no record", func(p *credential.Proof) { p.Record = ledger.Proof{} }, "ledger: reading the proof"},
		{"the block of another chain", func(p *credential.Proof) {
			other := lighttest.Chain{ID: "kindred-other", Keys: h.Ledger.Keys}
			p.Block = other.Sign(t, 50, now, root)
		}, "vote of validator 0: not signed by the anchored validator"},
		{"the block of another validator", func(p *credential.Proof) {
			other := lighttest.Chain{ID: h.Ledger.ID, Keys: thief.Ledger.Keys}
			p.Block = other.Sign(t, 50, now, root)
		}, "vote of validator 0: not signed by the anchored validator"},
		{"the block over another state", func(p *credential.Proof) {
			p.Block = h.Ledger.Sign(t, 50, now, merkle.Hash{1})
		}, "vote of validator 0: not signed by the anchored validator"},
		{"a block moved to another height", func(p *credential.Proof) { p.Block.Height++ }, "not signed by the anchored validator"},
		{"a vote made younger", func(p *credential.Proof) {
			p.Block.Votes = slices.Clone(p.Block.Votes)
			p.Block.Votes[0].Time++
		}, "not signed by the anchored validator"},
		{"block 0", func(p *credential.Proof) { p.Block = h.Ledger.Sign(t, 0, now, root) }, "there is no such height"},
		{"a head from before the ledger counts", func(p *credential.Proof) {
			p.Charters = [][]byte{late}
			s, err := signed.Parse(late)
			if err != nil {
				t.Fatal(err)
			}
			collude(p, func(r *ledger.Record) { r.Charter = s.Digest })
		}, "the ledger kindred-test counts from head 7, this is head 6"},
	} {
		p := h.Prove(nil, lock)
		a.spoil(&p)
		_, _, err := credential.VerifyProof(p, credential.Trusted{Tree: h.ID}, now)
		check(t, a.name, err, a.want)
	}
}

func TestEntryAttacks(t *testing.T) {
	h := household(t)
	lock, bell := h.At("home/lock"), h.At("home/porch/doorbell")
	before := h.Moment
	h.Add(identity.Device, "home/lamp")
	for _, a := range []attack{
		{"in order", func(*credential.Proof) {}, ""},
		{"no entries", func(p *credential.Proof) { p.Entries = nil }, ""},
		{"no map proof", func(p *credential.Proof) { p.Map = nil }, "merkle: checking a proof"},
		{"an entry left out", func(p *credential.Proof) { p.Entries = p.Entries[1:] }, "merkle: checking a proof"},
		{"an entry twice", func(p *credential.Proof) { p.Entries = append(p.Entries, p.Entries[0]) }, "is given twice"},
		{"another value", func(p *credential.Proof) {
			p.Entries = slices.Clone(p.Entries)
			p.Entries[1].Value = h.Value(tree.MemberKey(bell.Member()))
		}, "it leads to the root"},
		{"another member's ID", func(p *credential.Proof) {
			p.Entries = slices.Clone(p.Entries)
			p.Entries[1].Member = bell.Member()
		}, "merkle: checking a proof"},
		{"a member taken for a grant", func(p *credential.Proof) {
			p.Entries = slices.Clone(p.Entries)
			p.Entries[1] = credential.Entry{Grant: tree.GrantID(lock.Member()), Value: p.Entries[1].Value}
		}, "merkle: checking a proof"},
		{"those of an older head", func(p *credential.Proof) {
			old := before.Prove(nil, lock)
			p.Entries, p.Map = old.Entries, old.Map
		}, "it leads to the root"},
		{"too many", func(p *credential.Proof) { p.Entries = make([]credential.Entry, 65) }, "65 entries, of at most 64"},
	} {
		p := h.Prove(nil, lock)
		a.spoil(&p)
		_, _, err := credential.VerifyProof(p, h.Trusted(), now)
		check(t, a.name, err, a.want)
	}
}

// Rule 3: nothing more than two minutes in the future.
func TestTimes(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	head := openHead(t, h, h.Moment)
	for _, test := range []struct {
		name        string
		head, block time.Duration // from now
		want        string
	}{
		{"now", 0, 0, ""},
		{"a year ago", -364 * 24 * time.Hour, -364 * 24 * time.Hour, ""},
		{"the block in two minutes", 0, 2 * time.Minute, ""},
		{"the block in a bit more", 0, 2*time.Minute + time.Millisecond, "head 6 is dated 2026-11-21T14:32:00Z, in the future"},
		{"the block next year", 0, 365 * 24 * time.Hour, "head 6 is dated 2027-11-21T14:30:00Z, in the future"},
		{"the head in two minutes", 2 * time.Minute, 0, ""},
		{"the head in a bit more", 2*time.Minute + time.Second, 0, "head 6 is dated 2026-11-21T14:32:01Z, in the future"},
	} {
		head.Time = now.Add(test.head).Unix()
		p := resign(t, h, h.Prove(nil, lock), head, 50, now.Add(test.block))
		live, _, err := credential.VerifyProof(p, h.Trusted(), now)
		check(t, test.name, err, test.want)
		if err == nil && !live.AsOf.Equal(now.Add(test.block)) {
			t.Errorf("%s: as of %s", test.name, live.AsOf)
		}
		// Who has no clock believes any of them, and takes its time for now.
		live, _, err = credential.VerifyProof(p, h.Trusted(), time.Time{})
		if err != nil || !live.AsOf.Equal(now.Add(test.block)) {
			t.Errorf("%s, without a clock: as of %s, %v", test.name, live.AsOf, err)
		}
	}
}

// A device boots without a clock. The ledger moves it, and never back; certificates are judged by it.
func TestClockNotSet(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	old := h.Prove(nil, lock)
	h.Block(now.Add(3 * time.Hour))
	v := verifier{h.Trusted()}
	if live, err := v.see(h.Prove(nil, lock), time.Time{}); err != nil || !live.AsOf.Equal(now.Add(3*time.Hour)) {
		t.Fatalf("as of %s, %v", live.AsOf, err)
	}
	if live, err := v.see(old, time.Time{}); err != nil || !live.AsOf.Equal(now.Add(3*time.Hour)) {
		t.Errorf("after an older block: as of %s, %v", live.AsOf, err)
	}
	h.Block(now.Add(2 * identitytest.Lifetime))
	live, err := v.see(h.Prove(nil, lock), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = credential.Verify(lock.Raw, lock.Signer.Public(), live)
	check(t, "a certificate that ended by then", err, "expired")
}

// A clock that was set back makes nothing young: what the ledger proved before says that it is wrong.
func TestClockBehind(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	old := h.Prove(nil, lock)
	h.Block(now.Add(3 * time.Hour))
	v := verifier{h.Trusted()}
	if _, err := v.see(h.Prove(nil, lock), now.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	_, err := v.see(old, now)
	check(t, "a clock three hours behind", err, "the ledger was at 2026-11-21T17:30:00Z already: the clock is behind")
	_, err = v.see(old, now.Add(3*time.Hour-credential.MaxSkew))
	check(t, "a clock two minutes behind", err, "")
}

// A peer of the same tree has the charter, and those of the trees that it recognizes.
func TestShortHello(t *testing.T) {
	h, other := household(t), household(t)
	full, err := credential.ParseHello(h.Hello("home/lock"))
	if err != nil {
		t.Fatal(err)
	}
	full.Proofs = append(full.Proofs, other.Prove(nil))
	short := full.Short()
	if len(short.Proofs[0].Charters) != 0 || len(short.Proofs[1].Charters) != 0 || len(full.Proofs[0].Charters) != 1 {
		t.Error("a charter is left, or the hello was changed that it was made of")
	}
	data, err := short.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := credential.ParseHello(data)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := got.Proofs[0].Tree(); err != nil || id != h.ID {
		t.Errorf("the short proof is of %s, %v", id, err)
	}
	if _, _, err := credential.VerifyProof(got.Proofs[0], h.Trusted(), now); err != nil {
		t.Error(err)
	}
}

func TestHelloLimits(t *testing.T) {
	h := household(t)
	full, err := credential.ParseHello(h.Hello("home/lock"))
	if err != nil {
		t.Fatal(err)
	}
	many := func(change func(x *credential.Hello)) credential.Hello {
		x := full
		change(&x)
		return x
	}
	for _, test := range []struct {
		name  string
		hello credential.Hello
		want  string
	}{
		{"five proofs", many(func(x *credential.Hello) { x.Proofs = slices.Repeat(x.Proofs, 5) }), "5 proofs, of at most 4"},
		{"17 grants", many(func(x *credential.Hello) { x.Grants = slices.Repeat([][]byte{{1}}, 17) }), "17 grants, of at most 16"},
	} {
		data, err := test.hello.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		_, err = credential.ParseHello(data)
		check(t, test.name, err, test.want)
	}
	big := many(func(x *credential.Hello) { x.Grants = [][]byte{make([]byte, credential.MaxHello)} })
	_, err = big.Marshal()
	check(t, "a large one made", err, "of at most 65536")
	_, err = credential.ParseHello(make([]byte, credential.MaxHello+1))
	check(t, "a large one read", err, "65537 bytes, of at most 65536")
	_, err = credential.ParseProof(make([]byte, credential.MaxHello+1))
	check(t, "a large proof read", err, "65537 bytes, of at most 65536")
	_, err = credential.ParseHello([]byte{0xa0, 0})
	check(t, "bytes after it", err, "credential: reading a hello")
	data := h.Hello("home/lock")
	for _, i := range []int{1, 2, len(data) / 2, len(data) - 1} {
		if _, err := credential.ParseHello(data[:i]); err == nil || !strings.HasPrefix(err.Error(), "credential: reading a hello") {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}
