// Package identitytest makes trees of trust for tests.
package identitytest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// Lifetime is how long the certificates of a test's tree are valid.
const Lifetime = 365 * 24 * time.Hour

// A Tree is a tree with all its keys.
type Tree struct {
	ID      identity.TreeID
	Root    *x509.Certificate
	RootKey crypto.Signer

	t       testing.TB
	now     time.Time
	root    *identity.Authority
	members map[identity.Path]*Member
}

// A Member is a member with its key.
type Member struct {
	identity.Chain
	Signer crypto.Signer
}

// NewTree makes a tree whose certificates are valid from an hour before now.
func NewTree(t testing.TB, now time.Time) *Tree {
	t.Helper()
	key := NewKey(t)
	root, err := identity.NewRoot(key, newMember(t), now.Add(-time.Hour), now.Add(Lifetime))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := identity.ParseRoot(root.Tree(), root.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	return &Tree{
		ID: root.Tree(), Root: cert, RootKey: key,
		t: t, now: now, root: root, members: map[identity.Path]*Member{},
	}
}

// Add makes a member with a new ID and key at path, whose parent must be there or be the root. A member that had the
// path before is forgotten.
func (tr *Tree) Add(kind identity.Kind, path identity.Path) *Member {
	tr.t.Helper()
	return tr.AddAs(newMember(tr.t), kind, path)
}

// AddAs is Add with an ID that is chosen: nobody keeps a tree from giving its members those of another one's.
func (tr *Tree) AddAs(id identity.MemberID, kind identity.Kind, path identity.Path) *Member {
	tr.t.Helper()
	key := NewKey(tr.t)
	chain, err := tr.Authority(path.Parent()).Issue(identity.Subject{
		Kind: kind, Member: id, Name: path.Name(), Key: key.Public(),
		NotBefore: tr.now.Add(-time.Hour), NotAfter: tr.now.Add(Lifetime),
	})
	if err != nil {
		tr.t.Fatal(err)
	}
	verified, err := identity.Verify(chain, tr.ID, tr.Root, tr.now)
	if err != nil {
		tr.t.Fatal(err)
	}
	m := &Member{Chain: verified, Signer: key}
	tr.members[path] = m
	return m
}

// At returns the member at path.
func (tr *Tree) At(path identity.Path) *Member {
	tr.t.Helper()
	m := tr.members[path]
	if m == nil {
		tr.t.Fatalf("identitytest: no member %q", path)
	}
	return m
}

// Authority returns what signs the members below path, "" for the root.
func (tr *Tree) Authority(path identity.Path) *identity.Authority {
	tr.t.Helper()
	if path == "" {
		return tr.root
	}
	m := tr.At(path)
	a, err := identity.NewAuthority(m.Chain, m.Signer)
	if err != nil {
		tr.t.Fatal(err)
	}
	return a
}

// NewKey makes an Ed25519 key.
func NewKey(t testing.TB) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newMember(t testing.TB) identity.MemberID {
	t.Helper()
	m, err := identity.NewMemberID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
