package merkle_test

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/kindred-iot/kindred/merkle"
)

func TestZeroMapIsEmpty(t *testing.T) {
	var m merkle.Map
	checkSame(t, m, model{})
	key := merkle.KeyOf("member", []byte("a"))
	if _, ok := m.Leaf(key); ok {
		t.Error("Leaf found a key in the empty map")
	}
	if got := m.Delete(key); got != m {
		t.Error("Delete changed the empty map")
	}
	if got := m.Set(key, nil).Delete(key); got != m {
		t.Error("Set and Delete did not lead back to the empty map")
	}
}

func TestChangesWithoutEffect(t *testing.T) {
	a, b := merkle.KeyOf("member", []byte("a")), merkle.KeyOf("member", []byte("b"))
	m := merkle.Map{}.Set(a, []byte("1")).Set(b, []byte("2"))
	if got := m.Set(a, []byte("1")); got != m {
		t.Error("Set of the value already there made another map")
	}
	if got := m.SetLeaf(b, merkle.LeafHash(b, []byte("2"))); got != m {
		t.Error("SetLeaf of the leaf already there made another map")
	}
	if got := m.Delete(merkle.KeyOf("member", []byte("c"))); got != m {
		t.Error("Delete of an absent key made another map")
	}
}

func TestHashes(t *testing.T) {
	var key merkle.Hash
	key[0] = 0xab
	sumOf := func(s string) merkle.Hash { return sha256.Sum256([]byte(s)) }
	for _, c := range []struct {
		name      string
		got, want merkle.Hash
	}{
		{"key", merkle.KeyOf("ab", []byte("c")), sumOf("\x02\x00\x00\x00\x00\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01c")},
		{"key of nothing", merkle.KeyOf("", nil), sumOf("\x02" + strings.Repeat("\x00", 16))},
		{"leaf", merkle.LeafHash(key, []byte("v")), sumOf("\x00\xab" + strings.Repeat("\x00", 31) + "v")},
		{"leaf without value", merkle.LeafHash(key, nil), sumOf("\x00\xab" + strings.Repeat("\x00", 31))},
		{"empty map", merkle.Map{}.Root(), sumOf("\x03")},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	if got, want := key.String(), "ab"+strings.Repeat("0", 62); got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if merkle.KeyOf("ab", []byte("c")) == merkle.KeyOf("a", []byte("bc")) {
		t.Error("KeyOf does not tell where the kind ends")
	}
}

func TestBuild(t *testing.T) {
	rnd := newRand(1)
	for n := range 60 {
		m := model{}
		for range n {
			m[randomKey(rnd, 100)] = fmt.Sprint(rnd.IntN(3))
		}
		stale := m.pick(rnd, len(m)/2)
		checkSame(t, merkle.Build(func(yield func(merkle.Hash, merkle.Hash) bool) {
			for _, key := range stale { // overridden below
				if !yield(key, merkle.LeafHash(key, []byte("stale"))) {
					return
				}
			}
			for _, key := range m.pick(rnd, len(m)) {
				if !yield(key, merkle.LeafHash(key, []byte(m[key]))) {
					return
				}
			}
		}), m)
	}
}

// leaves yields n keys with their leaf hashes.
func leaves(n int) iter.Seq2[merkle.Hash, merkle.Hash] {
	return func(yield func(merkle.Hash, merkle.Hash) bool) {
		for i := range n {
			key := numbered(i)
			if !yield(key, merkle.LeafHash(key, numberedValue(i))) {
				return
			}
		}
	}
}

func numbered(i int) merkle.Hash { return merkle.KeyOf("member", fmt.Append(nil, i)) }
func numberedValue(i int) []byte { return fmt.Append(nil, "value ", i) }
func numberedEntry(i int) merkle.Entry {
	return merkle.Entry{Key: numbered(i), Value: numberedValue(i)}
}

// TestBuiltMapChanges changes a map of Build, whose nodes must be as those that
// Set makes.
func TestBuiltMapChanges(t *testing.T) {
	rnd := newRand(2)
	want := model{}
	for i := range 100 {
		want[numbered(i)] = string(numberedValue(i))
	}
	m := merkle.Build(leaves(100))
	for i := range 150 {
		key := numbered(rnd.IntN(150))
		if i%2 == 0 {
			m, want[key] = m.Set(key, []byte("new")), "new"
		} else {
			m = m.Delete(key)
			delete(want, key)
		}
		if i%10 == 9 {
			checkSame(t, m, want)
		}
	}
}

// TestSnapshotsInParallel lets readers and writers start from one snapshot; it is
// the race detector that would object.
func TestSnapshotsInParallel(t *testing.T) {
	const n = 500
	base := merkle.Build(leaves(n))
	root := base.Root()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			m := base
			for i := g; i < n; i += 8 {
				m = m.Set(numbered(i), []byte("changed")).Delete(numbered((i + 1) % n))
				p, err := base.Prove(numbered(i))
				if err != nil {
					t.Error(err)
					return
				}
				if err := merkle.Verify(root, []merkle.Entry{numberedEntry(i)}, p); err != nil {
					t.Error(err)
					return
				}
			}
			if m.Root() == root {
				t.Error("changes left the root as it was")
			}
		})
	}
	wg.Wait()
	if got := merkle.Build(leaves(n)); base.Root() != root || got.Root() != root {
		t.Error("the snapshot changed")
	}
}

// TestDeepest makes the deepest tree there can be: a path with a node at each bit.
func TestDeepest(t *testing.T) {
	m := model{merkle.Hash{}: "zero"}
	for i := range 256 {
		m[oneBit(i)] = "one"
	}
	got := m.real(newRand(3))
	checkSame(t, got, m)
	checkSame(t, merkle.Build(func(yield func(merkle.Hash, merkle.Hash) bool) {
		for key := range maps.Keys(m) {
			if !yield(key, merkle.LeafHash(key, []byte(m[key]))) {
				return
			}
		}
	}), m)
	for _, key := range []merkle.Hash{{}, oneBit(255)} {
		p, err := got.Prove(key)
		if err != nil {
			t.Fatal(err)
		}
		if want := 2 + 256*33; len(p) != want {
			t.Errorf("proof of %v has %d bytes, want %d", key, len(p), want)
		}
		if err := merkle.Verify(m.root(), m.entries(key), p); err != nil {
			t.Error(err)
		}
	}
}
