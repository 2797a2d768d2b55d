package merkle_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/kindred-iot/kindred/merkle"
)

// model is the map as the package's documentation defines it, from a plain Go
// map and with nothing shared or remembered.
type model map[merkle.Hash]string

// naiveBit is bit i of key, most significant first.
func naiveBit(key merkle.Hash, i int) bool { return key[i/8]&(128>>(i%8)) != 0 }

func sum(parts ...[]byte) (h merkle.Hash) { return sha256.Sum256(slices.Concat(parts...)) }

func (m model) root() merkle.Hash {
	if len(m) == 0 {
		return sum([]byte{3})
	}
	return m.node(0)
}

// node is the hash of the tree of m's keys, which agree in all bits before i.
func (m model) node(i int) merkle.Hash {
	if len(m) == 1 {
		for key, value := range m {
			return sum([]byte{0}, key[:], []byte(value))
		}
	}
	left, right := m.split(i)
	switch {
	case len(left) == 0:
		return right.node(i + 1)
	case len(right) == 0:
		return left.node(i + 1)
	}
	l, r := left.node(i+1), right.node(i+1)
	return sum([]byte{1, byte(i)}, l[:], r[:])
}

func (m model) split(i int) (left, right model) {
	left, right = model{}, model{}
	for key, value := range m {
		if !naiveBit(key, i) {
			left[key] = value
		} else {
			right[key] = value
		}
	}
	return left, right
}

// proof is the proof for the keys of want, all of them in m, which agree in all
// bits before i.
func (m model) proof(want model, i int) merkle.Proof {
	var count uint64
	var levels []byte
	for len(m) > 1 {
		left, right := m.split(i)
		wantLeft, wantRight := want.split(i)
		switch {
		case len(wantLeft) > 0 && len(wantRight) > 0:
			b := append(binary.AppendUvarint(nil, count), levels...)
			b = append(b, left.proof(wantLeft, i+1)...)
			return append(b, right.proof(wantRight, i+1)...)
		case len(left) > 0 && len(right) > 0:
			side, other := left, right
			if len(wantRight) > 0 {
				side, other = right, left
			}
			h := other.node(i + 1)
			levels = append(append(levels, byte(i)), h[:]...)
			count++
			m = side
		}
		i++
	}
	return append(binary.AppendUvarint(nil, count), levels...)
}

func (m model) keys() []merkle.Hash {
	return slices.SortedFunc(maps.Keys(m), func(a, b merkle.Hash) int { return slices.Compare(a[:], b[:]) })
}

func (m model) entries(keys ...merkle.Hash) []merkle.Entry {
	var entries []merkle.Entry
	for _, key := range keys {
		entries = append(entries, merkle.Entry{Key: key, Value: []byte(m[key])})
	}
	return entries
}

// real builds m by setting its keys in an order of rnd's.
func (m model) real(rnd *rand.Rand) merkle.Map {
	keys := m.keys()
	rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	var got merkle.Map
	for _, key := range keys {
		got = got.Set(key, []byte(m[key]))
	}
	return got
}

// pick returns n distinct keys of m.
func (m model) pick(rnd *rand.Rand, n int) []merkle.Hash {
	keys := m.keys()
	rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	return keys[:n]
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// randomKey is a key from a small pool, so that keys meet again; some pools have
// long common prefixes, which hashed keys never do.
func randomKey(rnd *rand.Rand, pool int) merkle.Hash {
	switch rnd.IntN(3) {
	case 0: // one bit set
		return oneBit(rnd.IntN(256))
	case 1: // differing only at the end
		var key merkle.Hash
		key[31] = byte(rnd.IntN(pool))
		return key
	default:
		return merkle.KeyOf("test", []byte{byte(rnd.IntN(pool))})
	}
}

// oneBit is the key of which only bit i is set.
func oneBit(i int) (key merkle.Hash) {
	key[i/8] = 1 << (7 - i%8)
	return key
}

func checkSame(t *testing.T, got merkle.Map, want model) {
	t.Helper()
	if got.Root() != want.root() {
		t.Fatalf("Root = %v, want %v for %d keys", got.Root(), want.root(), len(want))
	}
	if got.Len() != len(want) {
		t.Fatalf("Len = %d, want %d", got.Len(), len(want))
	}
	for key, value := range want {
		leaf, ok := got.Leaf(key)
		if wantLeaf := merkle.LeafHash(key, []byte(value)); !ok || leaf != wantLeaf {
			t.Fatalf("Leaf(%v) = %v, %v; want %v", key, leaf, ok, wantLeaf)
		}
	}
}

func TestChangesAgreeWithModel(t *testing.T) {
	type snapshot struct {
		got  merkle.Map
		want model
	}
	for seed := range uint64(30) {
		rnd := newRand(seed)
		pool := 1 + rnd.IntN(100)
		var snapshots []snapshot
		var got merkle.Map
		want := model{}
		for i := range 200 {
			key, value := randomKey(rnd, pool), fmt.Sprint(rnd.IntN(3))
			if rnd.IntN(3) == 0 {
				got = got.Delete(key)
				delete(want, key)
			} else {
				got = got.Set(key, []byte(value))
				want[key] = value
			}
			if _, ok := got.Leaf(key); ok != (want[key] != "") {
				t.Fatalf("seed %d: Leaf(%v) found: %v", seed, key, ok)
			}
			if i%10 == 9 {
				snapshots = append(snapshots, snapshot{got, maps.Clone(want)})
			}
		}
		for _, s := range snapshots {
			checkSame(t, s.got, s.want)
		}
	}
}

func TestProofsAgreeWithModel(t *testing.T) {
	for seed := range uint64(200) {
		rnd := newRand(seed)
		m := model{}
		for range 1 + rnd.IntN(60) {
			m[randomKey(rnd, 100)] = fmt.Sprint(rnd.IntN(3))
		}
		real := m.real(rnd)
		keys := m.pick(rnd, 1+rnd.IntN(len(m)))
		p, err := real.Prove(keys...)
		if err != nil {
			t.Fatal(err)
		}
		want := model{}
		for _, key := range keys {
			want[key] = m[key]
		}
		if wantProof := m.proof(want, 0); string(p) != string(wantProof) {
			t.Fatalf("seed %d: Prove = %x, want %x", seed, p, wantProof)
		}
		rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		if err := merkle.Verify(m.root(), m.entries(keys...), p); err != nil {
			t.Fatalf("seed %d: %d of %d keys: %v", seed, len(keys), len(m), err)
		}
	}
}
