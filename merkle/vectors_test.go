package merkle_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/merkle"
)

// update has TestVectors write testdata/vectors.json anew from the model.
var update = flag.Bool("update", false, "write testdata/vectors.json from the naive model")

// vectors is testdata/vectors.json. All bytes are in lower-case hexadecimal.
type vectors struct {
	About  string        `json:"about"`
	Keys   []keyVector   `json:"keys"`   // KeyOf
	Sets   []setVector   `json:"sets"`   // entries and the root of the map that holds them
	Proofs []proofVector `json:"proofs"` // the one proof for these entries of a set
	Refuse []proofVector `json:"refuse"` // proofs that must not verify, and why
}

type keyVector struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	Key  string `json:"key"`
}

type entryVector struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type setVector struct {
	Name    string        `json:"name"`
	Entries []entryVector `json:"entries"`
	Root    string        `json:"root"`
}

// proofVector is a proof of entries against a root. In Refuse, Because is part of
// the error message of this package.
type proofVector struct {
	Name    string        `json:"name"`
	Set     string        `json:"set,omitempty"` // the set the root is of
	Root    string        `json:"root"`
	Entries []entryVector `json:"entries"`
	Proof   string        `json:"proof"`
	Because string        `json:"because,omitempty"`
}

const vectorsFile = "testdata/vectors.json"

func TestVectors(t *testing.T) {
	if *update {
		if err := os.WriteFile(vectorsFile, encodeVectors(t), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(data, encodeVectors(t)) {
		t.Errorf("%s is not what the model makes; run the test with -update", vectorsFile)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	for _, k := range v.Keys {
		if got := merkle.KeyOf(unhex(t, k.Kind), []byte(unhex(t, k.ID))); got.String() != k.Key {
			t.Errorf("KeyOf(%s, %s) = %v, want %s", k.Kind, k.ID, got, k.Key)
		}
	}
	sets := map[string]merkle.Map{}
	for _, s := range v.Sets {
		var m merkle.Map
		for _, e := range s.entries(t) {
			m = m.Set(e.Key, e.Value)
		}
		sets[s.Name] = m
		if got := m.Root().String(); got != s.Root {
			t.Errorf("set %s: root %s, want %s", s.Name, got, s.Root)
		}
	}
	for _, p := range v.Proofs {
		var keys []merkle.Hash
		for _, e := range p.entries(t) {
			keys = append(keys, e.Key)
		}
		if got := prove(t, sets[p.Set], keys...); hex.EncodeToString(got) != p.Proof {
			t.Errorf("proof %s: %x, want %s", p.Name, got, p.Proof)
		}
		if err := p.verify(t); err != nil {
			t.Errorf("proof %s: %v", p.Name, err)
		}
	}
	for _, p := range v.Refuse {
		if err := p.verify(t); err == nil || !strings.Contains(err.Error(), p.Because) {
			t.Errorf("proof to refuse, %s: error %v, want it because of %q", p.Name, err, p.Because)
		}
	}
}

func unhex(t *testing.T, s string) string {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func decodeEntries(t *testing.T, vs []entryVector) (entries []merkle.Entry) {
	for _, v := range vs {
		entries = append(entries, merkle.Entry{Key: merkle.Hash([]byte(unhex(t, v.Key))), Value: []byte(unhex(t, v.Value))})
	}
	return entries
}

func (v setVector) entries(t *testing.T) []merkle.Entry   { return decodeEntries(t, v.Entries) }
func (v proofVector) entries(t *testing.T) []merkle.Entry { return decodeEntries(t, v.Entries) }

func (v proofVector) verify(t *testing.T) error {
	root := merkle.Hash([]byte(unhex(t, v.Root)))
	return merkle.Verify(root, v.entries(t), merkle.Proof(unhex(t, v.Proof)))
}

func encodeVectors(t *testing.T) []byte {
	v := vectors{
		About:  "Test vectors for the authenticated map; the package documentation of merkle is the format. Bytes are hexadecimal, kinds too.",
		Keys:   keyVectors(),
		Refuse: refuseVectors(),
	}
	v.Sets, v.Proofs = setVectors()
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func keyVectors() (vs []keyVector) {
	for _, k := range []struct {
		kind string
		id   []byte
	}{{"", nil}, {"member", []byte("0123456789abcdef")}, {"ab", []byte("c")}, {"a", []byte("bc")}} {
		key := sum([]byte{2, 0, 0, 0, 0, 0, 0, 0, byte(len(k.kind))}, []byte(k.kind),
			[]byte{0, 0, 0, 0, 0, 0, 0, byte(len(k.id))}, k.id)
		vs = append(vs, keyVector{fmt.Sprintf("%x", k.kind), fmt.Sprintf("%x", k.id), key.String()})
	}
	return vs
}

func encodeEntries(entries []merkle.Entry) []entryVector {
	vs := []entryVector{}
	for _, e := range entries {
		vs = append(vs, entryVector{e.Key.String(), fmt.Sprintf("%x", e.Value)})
	}
	return vs
}

func setVectors() (sets []setVector, proofs []proofVector) {
	deepest := model{merkle.Hash{}: "zero"}
	for i := range 256 {
		deepest[oneBit(i)] = "one"
	}
	hashed := model{}
	for i := range 40 {
		hashed[numbered(i)] = string(numberedValue(i))
	}
	for _, s := range []struct {
		name   string
		m      model
		proofs [][]merkle.Hash
	}{
		{"empty", model{}, nil},
		{"one", model{bits("1"): "a"}, [][]merkle.Hash{{bits("1")}}},
		{"one with empty value", model{bits("1"): ""}, [][]merkle.Hash{{bits("1")}}},
		{"two parting at bit 0", model{bits("0"): "a", bits("1"): "b"}, [][]merkle.Hash{{bits("0")}, {bits("1")}, {bits("0"), bits("1")}}},
		{"two parting at bit 255", model{{}: "a", oneBit(255): "b"}, [][]merkle.Hash{{{}}, {oneBit(255)}, {{}, oneBit(255)}}},
		{"three", model{bits("001"): "a", bits("010"): "b", bits("1"): "c"}, [][]merkle.Hash{{bits("010")}, {bits("001"), bits("1")}}},
		{"forty hashed keys", hashed, [][]merkle.Hash{numberedKeys(0), numberedKeys(1, 2), numberedKeys(3, 4, 5, 6, 7, 8), hashed.keys()}},
		{"deepest", deepest, [][]merkle.Hash{{{}}, {oneBit(0), oneBit(128)}}},
	} {
		root := s.m.root().String()
		sets = append(sets, setVector{s.name, encodeEntries(s.m.entries(s.m.keys()...)), root})
		for i, keys := range s.proofs {
			want := model{}
			for _, key := range keys {
				want[key] = s.m[key]
			}
			proofs = append(proofs, proofVector{
				Name: fmt.Sprintf("%s, %d", s.name, i+1), Set: s.name, Root: root,
				Entries: encodeEntries(s.m.entries(keys...)),
				Proof:   hex.EncodeToString(s.m.proof(want, 0)),
			})
		}
	}
	return sets, proofs
}

// refuseVectors starts from the tree of a 001, b 010 and c 1, which parts at bits
// 0 and 1, and its proof of b: level 0 with c's hash, level 1 with a's.
func refuseVectors() (vs []proofVector) {
	m := model{bits("001"): "a", bits("010"): "b", bits("1"): "c"}
	hashOf := func(key merkle.Hash) []byte { h := model{key: m[key]}.root(); return h[:] }
	a, b, c := hashOf(bits("001")), hashOf(bits("010")), hashOf(bits("1"))
	ab := sum([]byte{1, 1}, a, b)
	exchanged := sum([]byte{1, 0}, c, ab[:])
	decreasing := sum([]byte{1, 1}, c, sumSlice([]byte{1, 0}, b, a))
	good := slices.Concat([]byte{2, 0}, c, []byte{1}, a)
	just := func(key merkle.Hash) []merkle.Entry { return m.entries(key) }
	asLeaf := slices.Concat([]byte{0}, ab[:], c)

	add := func(name string, root merkle.Hash, entries []merkle.Entry, proof []byte, because string) {
		vs = append(vs, proofVector{Name: name, Root: root.String(), Entries: encodeEntries(entries), Proof: hex.EncodeToString(proof), Because: because})
	}
	const otherRoot = "it leads to the root"
	add("no entries", m.root(), nil, good, "there are no keys")
	add("same key twice", m.root(), append(just(bits("010")), just(bits("010"))...), good, "is given twice")
	add("other value", m.root(), []merkle.Entry{{Key: bits("010"), Value: []byte("x")}}, good, otherRoot)
	add("proof of another key", m.root(), just(bits("001")), good, otherRoot)
	add("nothing", m.root(), just(bits("010")), nil, "no count of levels")
	add("cut short", m.root(), just(bits("010")), good[:len(good)-1], "too few bytes")
	add("left-over byte", m.root(), just(bits("010")), append(slices.Clone(good), 0), "1 bytes are left over")
	add("count not in its shortest form", m.root(), just(bits("010")), append([]byte{0x82, 0}, good[1:]...), "not in its shortest form")
	add("count of more than 64 bits", m.root(), just(bits("010")), bytes.Repeat([]byte{0xff}, 11), "no count of levels")
	add("levels exchanged", m.root(), just(bits("010")), slices.Concat([]byte{2, 1}, a, []byte{0}, c), "level 1 has bit index 0")
	add("bit index repeated", m.root(), just(bits("010")), slices.Concat([]byte{2, 0}, c, []byte{0}, a), "level 1 has bit index 0")
	add("other bit index", m.root(), just(bits("010")), slices.Concat([]byte{2, 0}, c, []byte{3}, a), otherRoot)
	add("level written where the keys part", m.root(), m.entries(bits("001"), bits("010")), slices.Concat([]byte{2, 0}, c, []byte{1}, a, []byte{0, 0}), "level 1 has bit index 1")
	add("two keys, the second subtree missing", m.root(), m.entries(bits("001"), bits("010")), slices.Concat([]byte{1, 0}, c, []byte{0}), "no count of levels")
	add("tree with the sides of its root exchanged", exchanged, just(bits("1")), slices.Concat([]byte{1, 0}, ab[:]), otherRoot)
	add("tree with decreasing bit indices", decreasing, just(bits("010")), slices.Concat([]byte{2, 1}, c, []byte{0}, a), "level 1 has bit index 0")
	add("inner node as a leaf", m.root(), []merkle.Entry{{Key: merkle.Hash(asLeaf[:32]), Value: asLeaf[32:]}}, []byte{0}, otherRoot)
	add("leaf as an inner node", model{merkle.Hash(asLeaf[:32]): string(asLeaf[32:])}.root(), just(bits("1")), slices.Concat([]byte{1, 0}, ab[:]), otherRoot)
	add("empty map", model{}.root(), []merkle.Entry{{Key: merkle.Hash{}}}, []byte{0}, otherRoot)
	return vs
}

func sumSlice(parts ...[]byte) []byte { h := sum(parts...); return h[:] }
