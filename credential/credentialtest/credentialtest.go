// Package credentialtest makes homes for tests: a tree of trust with its charter, roster and heads, on a ledger, with
// everything signed by real keys. Only the node that would make the ledger's blocks is missing; the validators' votes
// are real.
//
//	h := credentialtest.New(t, now)             // owner sam with the app sam/laptop, and the place home
//	h.Add(identity.Device, "home/lock")         // a new head, and a block that records it
//	old := h.Moment                             // what can be proved now, kept
//	h.Block(now.Add(time.Hour))                 // a newer block over the same head
//	h.Hello("home/lock")                        // what the lock shows
//	live := h.Live(now.Add(time.Hour), nil, h.At("home/lock"))
package credentialtest

import (
	"crypto"
	"crypto/x509"
	"maps"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A Home is a tree with all that rules it. What it proves is that of its Moment, the newest; a copy of the Moment goes
// on proving what was true then.
type Home struct {
	*identitytest.Tree
	Moment
	Clock  time.Time // of what is done next
	State  *tree.State
	Keeper crypto.Signer
	Ledger *Ledger

	list tree.RevocationList
}

// New makes a home on a ledger of its own with one validator. Its owner is sam, with the app sam/laptop, which asks
// for all changes; its place is home.
func New(t testing.TB, now time.Time) *Home {
	t.Helper()
	return NewOn(t, now, NewLedger(t, 1))
}

// NewOn makes the home of New on a ledger.
func NewOn(t testing.TB, now time.Time, l *Ledger) *Home {
	t.Helper()
	h := &Home{
		Tree: identitytest.NewTree(t, now), Clock: now, Keeper: identitytest.NewKey(t), Ledger: l,
	}
	h.t, h.tree = t, h.ID
	h.State = tree.NewState(h.ID)
	h.Charter = h.charter()
	h.values = map[merkle.Hash][]byte{}
	sam := h.Tree.Add(identity.Owner, "sam")
	laptop := h.Tree.Add(identity.App, "sam/laptop")
	place := h.Tree.Add(identity.Place, "home")
	h.Apply(tree.Update{Members: []tree.Admission{{Chain: sam.Chain}, {Chain: laptop.Chain}, {Chain: place.Chain}}})
	return h
}

func (h *Home) charter() []byte {
	h.t.Helper()
	keeper, err := x509.MarshalPKIXPublicKey(h.Keeper.Public())
	if err != nil {
		h.t.Fatal(err)
	}
	return h.Sign(h.RootKey, tree.CharterType, tree.Charter{
		Tree: h.ID, Root: h.Root.Raw, Keeper: keeper, Anchors: []tree.Anchor{h.Ledger.Anchor()},
	})
}

// Sign returns a signed statement.
func (h *Home) Sign(key crypto.Signer, typ signed.Type, payload any, chain ...[]byte) []byte {
	h.t.Helper()
	raw, err := signed.Sign(key, typ, payload, chain...)
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

// Add makes a member and puts it into the roster. If the path is taken, whoever has it is taken away first, with all
// below.
func (h *Home) Add(kind identity.Kind, path identity.Path) *identitytest.Member {
	h.t.Helper()
	if _, ok := h.State.At(path); ok {
		h.Remove(path)
	}
	m := h.Tree.Add(kind, path)
	h.Apply(tree.Update{Members: []tree.Admission{{Chain: m.Chain}}})
	return m
}

// Remove takes the member at a path off the tree, with all below. Its keys and certificates stay with the Tree.
func (h *Home) Remove(path identity.Path) {
	h.t.Helper()
	e, ok := h.State.At(path)
	if !ok {
		h.t.Fatalf("credentialtest: no live member %q", path)
	}
	h.Apply(tree.Update{Remove: []identity.MemberID{e.Chain.Member()}})
}

// Grant puts a signed grant into the roster. The grant is the giver's, signed by the leaf by.
func (h *Home) Grant(id tree.GrantID, giver, by *identitytest.Member, raw []byte) tree.Admitted {
	h.t.Helper()
	s, err := signed.Parse(raw)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Apply(tree.Update{By: by.Member(), Grants: []tree.Admitted{
		{ID: id, Raw: raw, Grant: tree.Grant{Statement: s.Digest, Giver: giver.Member()}},
	}})
	g, _ := h.State.Grant(id)
	return g
}

// Revoke takes grants away.
func (h *Home) Revoke(grants ...tree.GrantID) {
	h.t.Helper()
	h.Apply(tree.Update{Revoke: grants})
}

// Apply makes a change, signs the head after it, and records it in the ledger under a new block. An update without a
// time is of h.Clock; one without an asker was asked for by sam/laptop.
func (h *Home) Apply(u tree.Update) {
	h.t.Helper()
	if u.Time.IsZero() {
		u.Time = h.Clock
	}
	if u.By.IsZero() {
		u.By = h.At("sam/laptop").Member()
	}
	change, err := h.State.Plan(u)
	if err != nil {
		h.t.Fatal(err)
	}
	h.State.Commit(change)
	h.keep(change)
	h.list = h.list.Next(h.Sequence+1, u.Time, change.Revoked)
	h.advance(u.Time)
	h.Block(h.Clock)
}

// keep makes a change to the map and values that the Moment proves from. Moments before it keep theirs.
func (h *Home) keep(c tree.Change) {
	h.t.Helper()
	h.values = maps.Clone(h.values)
	for _, key := range c.Deleted {
		h.entries = h.entries.Delete(key)
		delete(h.values, key)
	}
	for _, e := range c.Set {
		h.entries = h.entries.Set(e.Key, e.Value)
		h.values[e.Key] = e.Value
	}
	if h.entries.Root() != c.Root {
		h.t.Fatal("credentialtest: a change sets and deletes other entries than its root has")
	}
}

// advance signs the next head, over the roster and the list as they are.
func (h *Home) advance(at time.Time) {
	h.t.Helper()
	list, err := signed.Marshal(h.list)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Revoked = list
	h.Head = h.Sign(h.Keeper, tree.HeadType, tree.Head{
		Tree: h.ID, Sequence: h.Sequence + 1, Previous: h.Digest, Root: h.entries.Root(), Time: at.Unix(), Revoked: signed.Sum(list),
	})
	s, err := signed.Parse(h.Head)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Sequence, h.Digest = h.Sequence+1, s.Digest
	h.Ledger.submit(h)
}

// Block makes a block over the state as it is, voted for at a time, which is the Clock from then on.
func (h *Home) Block(at time.Time) {
	h.t.Helper()
	h.Clock = at
	h.Record, h.Header = h.Ledger.prove(at, h.ID)
}

// Trusted returns what somebody knows of the home who has its charter and has seen no head.
func (h *Home) Trusted() credential.Trusted {
	h.t.Helper()
	trusted, err := credential.Trust(h.ID, h.Charter)
	if err != nil {
		h.t.Fatal(err)
	}
	return trusted
}

// Hello returns what the member at a path shows now.
func (h *Home) Hello(path identity.Path, grants ...tree.Admitted) []byte {
	h.t.Helper()
	hello := credential.Hello{Chain: h.At(path).Raw, Proofs: []credential.Proof{h.ProveFor(h.At(path), grants...)}}
	for _, g := range grants {
		hello.Grants = append(hello.Grants, g.Raw)
	}
	data, err := hello.Marshal()
	if err != nil {
		h.t.Fatal(err)
	}
	return data
}

// ProveFor returns the proof that a member shows: of itself, of its grants and of those who gave them.
func (h *Home) ProveFor(m *identitytest.Member, grants ...tree.Admitted) credential.Proof {
	h.t.Helper()
	var ids []tree.GrantID
	lines := []identity.Chain{m.Chain}
	for _, g := range grants {
		ids = append(ids, g.ID)
		if giver, ok := h.State.Member(g.Giver); ok {
			lines = append(lines, giver.Chain)
		}
	}
	return h.prove(ids, lines)
}

// Live returns what Prove proves to somebody who has the charter alone.
func (h *Home) Live(now time.Time, grants []tree.GrantID, members ...*identitytest.Member) credential.Live {
	h.t.Helper()
	live, _, err := credential.VerifyProof(h.Prove(grants, members...), h.Trusted(), now)
	if err != nil {
		h.t.Fatal(err)
	}
	return live
}

// Principal returns the member at a path as a verifier knows it that was shown its hello, and what else that proved.
func (h *Home) Principal(now time.Time, path identity.Path, grants ...tree.Admitted) (credential.Principal, credential.Live) {
	h.t.Helper()
	m := h.At(path)
	live, _, err := credential.VerifyProof(h.ProveFor(m, grants...), h.Trusted(), now)
	if err != nil {
		h.t.Fatal(err)
	}
	p, err := credential.Verify(m.Raw, m.Signer.Public(), live)
	if err != nil {
		h.t.Fatal(err)
	}
	return p, live
}

// Recognize has the home recognize another under a name. Its owner's app sam/laptop signs it.
func (h *Home) Recognize(other *Home, name string) {
	h.t.Helper()
	h.Apply(tree.Update{Recognize: [][]byte{h.Recognition(other, name)}})
}

// Recognition returns the signed recognition of another home, whose gateway is a key of its own.
func (h *Home) Recognition(other *Home, name string) []byte {
	h.t.Helper()
	key, err := x509.MarshalPKIXPublicKey(other.Keeper.Public())
	if err != nil {
		h.t.Fatal(err)
	}
	by := h.At("sam/laptop")
	return h.Sign(by.Signer, tree.RecognitionType, tree.Recognition{
		Tree: h.ID, Other: other.ID, Time: h.Clock.Unix(), Name: name, Charter: other.Charter,
		Gateway: tree.Door{Member: other.At("home").Member(), Key: key},
	}, by.Raw...)
}

// Forget has the home recognize another no more.
func (h *Home) Forget(other *Home) {
	h.t.Helper()
	h.Apply(tree.Update{Forget: []identity.TreeID{other.ID}})
}

// NewFork makes what the holder of a home's root key could make beside it: the same tree and members, under another
// charter, keeper and ledger.
func NewFork(t testing.TB, h *Home) *Home {
	t.Helper()
	fork := &Home{Tree: h.Tree, Clock: h.Clock, Keeper: identitytest.NewKey(t), Ledger: NewLedger(t, 1)}
	fork.t, fork.tree = t, h.ID
	fork.State = tree.NewState(h.ID)
	fork.Charter = fork.charter()
	fork.values = map[merkle.Hash][]byte{}
	var u tree.Update
	for e := range h.State.Members() {
		u.Members = append(u.Members, tree.Admission{Chain: e.Chain})
	}
	fork.Apply(u)
	return fork
}
