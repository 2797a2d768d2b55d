package tree_test

import (
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A neighbour is another tree that can be recognized.
type neighbour struct {
	*identitytest.Tree
	charter []byte
}

func newNeighbour(t testing.TB) neighbour {
	t.Helper()
	tr := identitytest.NewTree(t, now)
	raw, err := signed.Sign(tr.RootKey, tree.CharterType, charter(t, tr, identitytest.NewKey(t).Public()))
	if err != nil {
		t.Fatal(err)
	}
	return neighbour{tr, raw}
}

// recognition returns h's recognition of a neighbour, signed by sam's laptop, with what change makes of it.
func (h *home) recognition(of neighbour, name string, change ...func(*tree.Recognition)) []byte {
	h.t.Helper()
	return h.recognitionBy("sam/laptop", of, name, change...)
}

func (h *home) recognitionBy(app identity.Path, of neighbour, name string, change ...func(*tree.Recognition)) []byte {
	h.t.Helper()
	r := tree.Recognition{
		Tree: h.tr.ID, Other: of.ID, Time: h.clock.Unix(), Name: name, Charter: of.charter,
		Gateway: tree.Door{Member: identity.MemberID{1}, Key: spki(h.t, of.RootKey.Public()), Addresses: []string{"/ip4/10.0.0.7/udp/4001/quic-v1"}},
	}
	for _, c := range change {
		c(&r)
	}
	raw, err := signed.Sign(h.At(app).Signer, tree.RecognitionType, r, h.At(app).Raw...)
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}

func (h *home) verifyAt(chain [][]byte, at time.Time) (identity.Chain, error) {
	return identity.Verify(chain, h.tr.ID, h.tr.Root, at)
}

func TestRecognition(t *testing.T) {
	h, birch, oak := household(t), newNeighbour(t), newNeighbour(t)
	h.do(tree.Update{By: h.id("sam/laptop"), Recognize: [][]byte{h.recognition(oak, "oak"), h.recognition(birch, "birch")}})
	var names []string
	for r := range h.Recognitions() {
		names = append(names, r.Name)
	}
	if !slices.Equal(names, []string{"birch", "oak"}) {
		t.Errorf("recognized are %v", names)
	}
	r, ok := h.Recognized(birch.ID)
	if !ok || r.By != h.id("sam/laptop") || r.Other != birch.ID {
		t.Errorf("birch is recognized as %+v, %v", r, ok)
	}
	// In place of one comes another, which takes nothing away.
	change := h.do(tree.Update{Recognize: [][]byte{h.recognition(birch, "beech")}})
	if r, _ := h.Recognized(birch.ID); r.Name != "beech" || len(change.Revoked) > 0 {
		t.Errorf("renamed it is %q, and revoked was %v", r.Name, change.Revoked)
	}
	value, _ := h.Value(tree.RecognitionKey(birch.ID))
	again := tree.NewState(h.tr.ID)
	if err := again.Restore(slices.Values(h.entries()), h.chains(), h.statements()); err != nil {
		t.Fatal(err)
	}
	if r, ok := again.Recognized(birch.ID); !ok || r.Name != "beech" || again.Root() != h.State.Root() {
		t.Errorf("restored it is %+v, %v", r, ok)
	}
	change = h.do(tree.Update{Forget: []identity.TreeID{birch.ID}})
	if _, ok := h.Recognized(birch.ID); ok {
		t.Error("what was forgotten is recognized")
	}
	key := tree.RecognitionKey(birch.ID)
	if want := []merkle.Hash{merkle.LeafHash(key, value), key}; !slices.Equal(change.Revoked, want) { // what it was before, too
		t.Errorf("forgetting revokes %v, want %v", change.Revoked, want)
	}
}

func TestRecognitionRefused(t *testing.T) {
	h, birch, oak := household(t), newNeighbour(t), newNeighbour(t)
	h.do(tree.Update{Recognize: [][]byte{h.recognition(oak, "oak")}})
	self := neighbour{Tree: h.tr, charter: birch.charter}
	for _, test := range []struct {
		name string
		u    tree.Update
		want string
	}{
		{"a name that is taken", tree.Update{Recognize: [][]byte{h.recognition(birch, "oak")}}, `another tree is called "oak" already`},
		{"no name", tree.Update{Recognize: [][]byte{h.recognition(birch, "")}}, `"" is no name for a tree`},
		{"a path", tree.Update{Recognize: [][]byte{h.recognition(birch, "a/b")}}, `"a/b" is no name for a tree`},
		{"itself", tree.Update{Recognize: [][]byte{h.recognition(self, "self")}}, "it is of no other tree"},
		{"another tree's charter", tree.Update{Recognize: [][]byte{h.recognition(neighbour{birch.Tree, oak.charter}, "birch")}}, "it is of tree " + oak.ID.String()},
		{"another epoch", tree.Update{Recognize: [][]byte{h.recognition(birch, "birch", func(r *tree.Recognition) { r.Epoch = 1 })}}, "its charter is of epoch 0, it says 1"},
		{"another tree's word", tree.Update{Recognize: [][]byte{h.recognition(birch, "birch", func(r *tree.Recognition) { r.Tree = oak.ID })}}, "it is by tree " + oak.ID.String()},
		{"a gateway without a key", tree.Update{Recognize: [][]byte{h.recognition(birch, "birch", func(r *tree.Recognition) { r.Gateway.Key = nil })}}, "its gateway: "},
		{"a gateway that is nobody", tree.Update{Recognize: [][]byte{h.recognition(birch, "birch", func(r *tree.Recognition) { r.Gateway.Member = identity.MemberID{} })}}, "its gateway has no member ID"},
		{"no statement", tree.Update{Recognize: [][]byte{{1, 2}}}, "reading a recognition"},
		{"to forget a stranger", tree.Update{Forget: []identity.TreeID{birch.ID}}, "is not recognized"},
		{"at once and not", tree.Update{Forget: []identity.TreeID{oak.ID}, Recognize: [][]byte{h.recognition(oak, "oak")}}, "recognized and forgotten at once"},
	} {
		test.u.Time = h.clock
		_, err := h.Plan(test.u)
		check(t, test.name, err, test.want)
	}
}

func TestOpenRecognition(t *testing.T) {
	h, birch := household(t), newNeighbour(t)
	for _, test := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"by an owner's app", h.recognition(birch, "birch"), ""},
		{"by a person's app", h.recognitionBy("sam/anna/phone", birch, "birch"), "which acts for no owner"},
		{"by a device", h.recognitionBy("home/lock", birch, "birch"), "which acts for no owner"},
		{"altered", slices.Concat(h.recognition(birch, "birch")[:300], []byte{0}, h.recognition(birch, "birch")[301:]), "tree: opening a recognition: "},
	} {
		r, signer, err := tree.OpenRecognition(test.raw, h.tr.ID, h.verifyAt)
		check(t, test.name, err, test.want)
		if err == nil && (r.Other != birch.ID || signer.ID.Path != "sam/laptop") {
			t.Errorf("%s: %+v by %s", test.name, r, signer.ID)
		}
	}
}

func FuzzRecognition(f *testing.F) {
	h, birch := household(f), newNeighbour(f)
	raw := h.recognition(birch, "birch")
	f.Add(raw)
	f.Add(h.recognitionBy("home/lock", birch, "birch"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, _, err := tree.OpenRecognition(data, h.tr.ID, h.verifyAt); err == nil && (r.Other != birch.ID || r.Name != "birch") {
			t.Errorf("%x is read as %+v", data, r)
		}
	})
}
