// Package ledgertest makes trees for tests of what stands on a ledger.
package ledgertest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A Tree is a tree with the keys that the ledger knows of.
type Tree struct {
	ID      ledger.TreeID
	Root    crypto.Signer
	Keeper  crypto.Signer
	Charter tree.Ruled
	Chain   string // of its anchor

	t testing.TB
}

// Key returns the Ed25519 key that name stands for, always the same.
func Key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("ledgertest key " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// NewTree makes a tree with an anchor. Its keys, and so its ID, follow from its name alone.
func NewTree(t testing.TB, name string, anchor ledger.Anchor) *Tree {
	t.Helper()
	root, keeper := Key(name+" root"), Key(name+" keeper")
	notBefore := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	authority, err := identity.NewRoot(root, identity.MemberID{1}, notBefore, notBefore.AddDate(100, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(keeper.Public())
	if err != nil {
		t.Fatal(err)
	}
	charter, err := signed.Sign(root, tree.CharterType, tree.Charter{
		Tree: authority.Tree(), Root: authority.Certificate(), Keeper: spki, Anchors: []tree.Anchor{anchor},
	})
	if err != nil {
		t.Fatal(err)
	}
	return OpenTree(t, name, charter)
}

// OpenTree returns the tree that NewTree made with a name, possibly in another process, from its charter.
func OpenTree(t testing.TB, name string, charter []byte) *Tree {
	t.Helper()
	tr := &Tree{Root: Key(name + " root"), Keeper: Key(name + " keeper"), t: t}
	var err error
	tr.ID, err = identity.TreeIDOf(tr.Root.Public())
	tr.check(err)
	tr.Charter, err = tree.OpenCharter(charter, tr.ID)
	tr.check(err)
	tr.Chain = tr.Charter.Anchors[0].Chain
	return tr
}

// Head returns a digest that stands for the tree's head of a sequence.
func (tr *Tree) Head(sequence uint64) signed.Digest {
	return signed.Sum(binary.BigEndian.AppendUint64(tr.ID[:], sequence))
}

// Register returns the transaction that registers the tree with its head of a sequence.
func (tr *Tree) Register(sequence uint64) []byte {
	tr.t.Helper()
	tx, err := ledger.NewRegister(tr.Root, tr.Chain, [][]byte{tr.Charter.Raw}, sequence, tr.Head(sequence))
	tr.check(err)
	return tx
}

// Advance returns the transaction that records the tree's head of a sequence.
func (tr *Tree) Advance(sequence uint64) []byte {
	tr.t.Helper()
	return tr.AdvanceTo(sequence, tr.Head(sequence))
}

// AdvanceTo is Advance to another head.
func (tr *Tree) AdvanceTo(sequence uint64, head signed.Digest) []byte {
	tr.t.Helper()
	tx, err := ledger.NewAdvance(tr.Keeper, tr.Chain, tr.ID, tr.Charter.Digest, sequence, head)
	tr.check(err)
	return tx
}

func (tr *Tree) check(err error) {
	tr.t.Helper()
	if err != nil {
		tr.t.Fatal(err)
	}
}
