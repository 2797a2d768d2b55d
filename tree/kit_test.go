package tree_test

import (
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

var now = time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC)

// A home is a tree with its roster, and the copy that somebody stores by what the changes say.
type home struct {
	tr *identitytest.Tree
	*tree.State
	t      testing.TB
	clock  time.Time
	stored map[merkle.Hash][]byte
}

func newHome(t testing.TB) *home {
	tr := identitytest.NewTree(t, now)
	return &home{tr: tr, State: tree.NewState(tr.ID), t: t, clock: now, stored: map[merkle.Hash][]byte{}}
}

// household is a home with people and things.
func household(t testing.TB) *home {
	h := newHome(t)
	for _, m := range []struct {
		kind identity.Kind
		path identity.Path
	}{
		{identity.Owner, "sam"}, {identity.App, "sam/laptop"}, {identity.Person, "sam/anna"}, {identity.App, "sam/anna/phone"},
		{identity.Place, "home"}, {identity.Place, "home/porch"}, {identity.Device, "home/porch/doorbell"}, {identity.Device, "home/lock"},
	} {
		h.do(tree.Update{Members: []tree.Admission{{Chain: h.tr.Add(m.kind, m.path).Chain}}})
	}
	return h
}

// At returns the member at a path with its key. (State has a method At too.)
func (h *home) At(path identity.Path) *identitytest.Member { return h.tr.At(path) }

func (h *home) id(path identity.Path) identity.MemberID { return h.At(path).Member() }

// do makes a change that is in order.
func (h *home) do(u tree.Update) tree.Change {
	h.t.Helper()
	if u.Time.IsZero() {
		u.Time = h.clock
	}
	change, err := h.Plan(u)
	if err != nil {
		h.t.Fatal(err)
	}
	h.commit(change)
	return change
}

func (h *home) commit(c tree.Change) {
	h.t.Helper()
	for _, e := range c.Set { // in the wrong order: a key is in one of the two
		h.stored[e.Key] = e.Value
	}
	for _, key := range c.Deleted {
		delete(h.stored, key)
	}
	h.Commit(c)
	if h.State.Root() != c.Root {
		h.t.Fatalf("the root is %s, the change said %s", h.State.Root(), c.Root)
	}
}

// entries yields what is stored.
func (h *home) entries() []merkle.Entry {
	var all []merkle.Entry
	for key, value := range h.stored {
		all = append(all, merkle.Entry{Key: key, Value: value})
	}
	return all
}

// chains returns the certificates of all members.
func (h *home) chains() []identity.Chain {
	var all []identity.Chain
	for e := range h.Members() {
		all = append(all, e.Chain)
	}
	return all
}

func (h *home) statements() map[tree.GrantID][]byte {
	all := map[tree.GrantID][]byte{}
	for g := range h.Grants() {
		all[g.ID] = g.Raw
	}
	return all
}

// grant returns a grant that a member signed.
func (h *home) grant(giver identity.Path) tree.Admitted {
	h.t.Helper()
	id, err := tree.NewGrantID(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	raw := sign(h.t, h.At(giver), "kindred/grant", id)
	s, err := signed.Parse(raw)
	if err != nil {
		h.t.Fatal(err)
	}
	return tree.Admitted{ID: id, Raw: raw, Grant: tree.Grant{Statement: s.Digest, Giver: h.id(giver)}}
}

func sign(t testing.TB, by *identitytest.Member, typ signed.Type, payload any) []byte {
	t.Helper()
	raw, err := signed.Sign(by.Signer, typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// reissue gives a member another certificate at a path, under the ID it has. It is known to the tree from then on.
func (h *home) reissue(m *identitytest.Member, path identity.Path) *identitytest.Member {
	h.t.Helper()
	key := identitytest.NewKey(h.t)
	chain, err := h.tr.Authority(path.Parent()).Issue(identity.Subject{
		Kind: m.Kind(), Member: m.Member(), Name: path.Name(), Key: key.Public(),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(identitytest.Lifetime),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return &identitytest.Member{Chain: h.verify(chain), Signer: key}
}

func (h *home) verify(chain [][]byte) identity.Chain {
	h.t.Helper()
	c, err := identity.Verify(chain, h.tr.ID, h.tr.Root, now)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// leaf returns the leaf hash of the live entry with a key.
func (h *home) leaf(key merkle.Hash) merkle.Hash {
	h.t.Helper()
	value, ok := h.Value(key)
	if !ok {
		h.t.Fatalf("no entry %s", key)
	}
	return merkle.LeafHash(key, value)
}

// check compares an error with a part of its text; "" is no error.
func check(t testing.TB, name string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v, want one with %q", name, err, want)
	}
}

// sameLeaves compares leaf hashes in any order.
func sameLeaves(a, b []merkle.Hash) bool {
	count := func(all []merkle.Hash) map[merkle.Hash]int {
		n := map[merkle.Hash]int{}
		for _, leaf := range all {
			n[leaf]++
		}
		return n
	}
	return maps.Equal(count(a), count(b))
}

func paths(s *tree.State) []identity.Path {
	var all []identity.Path
	for e := range s.Members() {
		all = append(all, e.Path())
	}
	return slices.Clip(all)
}
