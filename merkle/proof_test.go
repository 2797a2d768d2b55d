package merkle_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/merkle"
)

// numberedMap is the map of n numbered entries.
func numberedMap(n int) merkle.Map { return merkle.Build(leaves(n)) }

func numberedKeys(numbers ...int) (keys []merkle.Hash) {
	for _, i := range numbers {
		keys = append(keys, numbered(i))
	}
	return keys
}

func numberedEntries(numbers ...int) (entries []merkle.Entry) {
	for _, i := range numbers {
		entries = append(entries, numberedEntry(i))
	}
	return entries
}

func prove(t *testing.T, m merkle.Map, keys ...merkle.Hash) merkle.Proof {
	t.Helper()
	p, err := m.Prove(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func upTo(n int) (numbers []int) {
	for i := range n {
		numbers = append(numbers, i)
	}
	return numbers
}

func checkError(t *testing.T, name string, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("%s: error %q, want %q", name, err, want)
	}
}

func TestProveErrors(t *testing.T) {
	absent := merkle.KeyOf("member", []byte("absent"))
	for _, c := range []struct {
		name string
		m    merkle.Map
		keys []merkle.Hash
		want string
	}{
		{"no keys", numberedMap(3), nil, "merkle: proving: there are no keys"},
		{"too many keys", numberedMap(300), numberedKeys(upTo(257)...), "merkle: proving: there are 257 keys, more than 256"},
		{"absent key", numberedMap(3), []merkle.Hash{numbered(1), absent}, "merkle: proving: key " + absent.String() + " is not in the map"},
		{"empty map", merkle.Map{}, numberedKeys(1), "merkle: proving: key " + numbered(1).String() + " is not in the map"},
		{"same key twice", numberedMap(3), numberedKeys(2, 1, 2), "merkle: proving: key " + numbered(2).String() + " is given twice"},
		{"too long", numberedMap(20_000), numberedKeys(upTo(256)...), "merkle: proving 256 keys: the proof has 49120 bytes, more than 32768"},
	} {
		_, err := c.m.Prove(c.keys...)
		checkError(t, c.name, err, c.want)
	}
}

func TestLargestProof(t *testing.T) {
	m := numberedMap(1000)
	p := prove(t, m, numberedKeys(upTo(256)...)...)
	if err := merkle.Verify(m.Root(), numberedEntries(upTo(256)...), p); err != nil {
		t.Error(err)
	}
}

// TestProofHasSharedNodesOnce: two neighbours need no more than one of them does.
func TestProofHasSharedNodesOnce(t *testing.T) {
	m := model{}
	for i := range 64 {
		var key merkle.Hash
		key[31] = byte(i)
		m[key] = "value"
	}
	real, keys := m.real(newRand(4)), m.keys()
	for _, c := range []struct {
		name string
		keys []merkle.Hash
		want int
	}{
		{"one", keys[:1], 1 + 6*33},
		{"two neighbours", keys[:2], 1 + 5*33 + 2},
		{"the lower half", keys[:32], 1 + 33 + 62},
		{"all", keys, 127},
	} {
		if p := prove(t, real, c.keys...); len(p) != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, len(p), c.want)
		}
	}
}

func TestEveryAlteredBitIsRefused(t *testing.T) {
	m := numberedMap(200)
	for _, numbers := range [][]int{{7}, {1, 2}, {3, 50, 100, 150, 199}} {
		p, entries := prove(t, m, numberedKeys(numbers...)...), numberedEntries(numbers...)
		if err := merkle.Verify(m.Root(), entries, p); err != nil {
			t.Fatal(err)
		}
		for i := range len(p) * 8 {
			altered := slices.Clone(p)
			altered[i/8] ^= 1 << (i % 8)
			if merkle.Verify(m.Root(), entries, altered) == nil {
				t.Errorf("keys %v: accepted with bit %d of byte %d altered", numbers, i%8, i/8)
			}
		}
		for i := range p {
			if merkle.Verify(m.Root(), entries, p[:i]) == nil {
				t.Errorf("keys %v: accepted when cut to %d bytes", numbers, i)
			}
			if merkle.Verify(m.Root(), entries, slices.Insert(slices.Clone(p), i, 0)) == nil {
				t.Errorf("keys %v: accepted with a byte inserted at %d", numbers, i)
			}
		}
	}
}

func TestEveryAlteredEntryIsRefused(t *testing.T) {
	m := numberedMap(200)
	p := prove(t, m, numberedKeys(3, 50)...)
	for i := range 256 {
		entries := numberedEntries(3, 50)
		entries[0].Key[i/8] ^= 1 << (i % 8)
		if merkle.Verify(m.Root(), entries, p) == nil {
			t.Errorf("accepted with bit %d of a key altered", i)
		}
	}
	for name, entries := range map[string][]merkle.Entry{
		"another value":  {numberedEntry(3), {Key: numbered(50), Value: []byte("other")}},
		"values swapped": {{Key: numbered(3), Value: numberedValue(50)}, {Key: numbered(50), Value: numberedValue(3)}},
		"one missing":    numberedEntries(3),
		"one more":       numberedEntries(3, 50, 51),
		"another":        numberedEntries(3, 51),
	} {
		if merkle.Verify(m.Root(), entries, p) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := merkle.Verify(m.Root(), numberedEntries(50, 3), p); err != nil {
		t.Errorf("in another order: %v", err)
	}
}

// bits is a key that begins with the given bits, zero after that.
func bits(s string) (key merkle.Hash) {
	for i, c := range s {
		if c == '1' {
			key[i/8] |= 1 << (7 - i%8)
		}
	}
	return key
}

// level is a level of a proof whose hash is of no consequence.
func level(bit byte) string { return string(bit) + strings.Repeat("\xee", 32) }

func TestRootErrors(t *testing.T) {
	one := []merkle.Entry{{Key: bits("0010")}}
	two := []merkle.Entry{{Key: bits("0010")}, {Key: bits("0011")}} // part at bit 3
	for _, c := range []struct {
		name    string
		entries []merkle.Entry
		proof   string
		want    string
	}{
		{"no entries", nil, "\x00", "there are no keys"},
		{"too many entries", make([]merkle.Entry, 257), "\x00", "there are 257 keys, more than 256"},
		{"same key twice", []merkle.Entry{one[0], one[0]}, "\x00\x00\x00", "key " + one[0].Key.String() + " is given twice"},
		{"too long", one, strings.Repeat("\x00", merkle.MaxProof+1), "it has 32769 bytes, more than 32768"},
		{"empty", one, "", "at byte 0: no count of levels"},
		{"count without end", one, "\x80", "at byte 0: no count of levels"},
		{"count of more than 64 bits", one, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "at byte 0: no count of levels"},
		{"count in two bytes for one", one, "\x80\x00", "at byte 0: the count of levels, 0, is not in its shortest form"},
		{"huge count", one, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "at byte 0: too few bytes for 18446744073709551615 levels"},
		{"level cut short", one, "\x01" + level(3)[:32], "at byte 0: too few bytes for 1 levels"},
		{"second branch missing", two, "\x00\x00", "at byte 2: no count of levels"},
		{"left-over bytes", one, "\x01" + level(3) + "ab", "2 bytes are left over"},
		{"bit index repeated", one, "\x02" + level(3) + level(3), "at byte 1: level 1 has bit index 3, want at least 4 and less than 256"},
		{"bit index decreasing", one, "\x02" + level(3) + level(2), "at byte 1: level 1 has bit index 2, want at least 4 and less than 256"},
		{"level where the keys part", two, "\x01" + level(3) + "\x00\x00", "at byte 1: level 0 has bit index 3, want at least 0 and less than 3"},
		{"level above parting beyond it", two, "\x01" + level(9) + "\x00\x00", "at byte 1: level 0 has bit index 9, want at least 0 and less than 3"},
		{"level below parting before it", two, "\x00\x01" + level(2) + "\x00", "at byte 2: level 0 has bit index 2, want at least 4 and less than 256"},
		{"level below parting equal to it", two, "\x00\x00\x01" + level(3), "at byte 3: level 0 has bit index 3, want at least 4 and less than 256"},
	} {
		_, err := merkle.Proof(c.proof).Root(c.entries)
		checkError(t, c.name, err, "merkle: checking a proof: "+c.want)
	}
}

func TestVerifyTellsRootsApart(t *testing.T) {
	m := numberedMap(10)
	p := prove(t, m, numbered(1))
	other := m.Delete(numbered(2))
	checkError(t, "another map", merkle.Verify(other.Root(), numberedEntries(1), p),
		"merkle: checking a proof: it leads to the root "+m.Root().String()+", want "+other.Root().String())
}

// TestNodeIsNoLeaf: what was hashed for a node cannot be shown as an entry, nor an
// entry as a node, nor the empty map as a leaf.
func TestNodeIsNoLeaf(t *testing.T) {
	left, right := bits("0"), bits("1")
	m := merkle.Map{}.Set(left, []byte("a")).Set(right, []byte("b"))
	l, _ := m.Leaf(left)
	r, _ := m.Leaf(right)

	// The node's bytes after its prefix, cut into a key and a value.
	content := slices.Concat([]byte{0}, l[:], r[:])
	entry := merkle.Entry{Key: merkle.Hash(content[:32]), Value: content[32:]}
	if merkle.Verify(m.Root(), []merkle.Entry{entry}, merkle.Proof{0}) == nil {
		t.Error("a node was accepted as a leaf")
	}

	// An entry whose key and value are the bytes of a node over two leaves.
	forged := merkle.Map{}.Set(entry.Key, entry.Value)
	p := slices.Concat([]byte{1, 0}, r[:])
	if merkle.Verify(forged.Root(), []merkle.Entry{{Key: left, Value: []byte("a")}}, p) == nil {
		t.Error("a leaf was accepted as a node")
	}

	if merkle.Verify(merkle.Map{}.Root(), []merkle.Entry{{}}, merkle.Proof{0}) == nil {
		t.Error("a leaf was accepted in the empty map")
	}
}

// TestEntrySitsWhereItsKeyLeads: in a tree with its sides exchanged, no proof
// can be written for either key.
func TestEntrySitsWhereItsKeyLeads(t *testing.T) {
	left, right := bits("0"), bits("1")
	l, r := merkle.LeafHash(left, []byte("a")), merkle.LeafHash(right, []byte("b"))
	exchanged := sum([]byte{1, 0}, r[:], l[:])
	for _, c := range []struct {
		entries []merkle.Entry
		proof   merkle.Proof
	}{
		{[]merkle.Entry{{Key: left, Value: []byte("a")}}, slices.Concat([]byte{1, 0}, r[:])},
		{[]merkle.Entry{{Key: right, Value: []byte("b")}}, slices.Concat([]byte{1, 0}, l[:])},
		{[]merkle.Entry{{Key: left, Value: []byte("a")}, {Key: right, Value: []byte("b")}}, merkle.Proof{0, 0, 0}},
	} {
		if merkle.Verify(sum([]byte{1, 0}, l[:], r[:]), c.entries, c.proof) != nil {
			t.Errorf("%d entries: refused in the right tree", len(c.entries))
		}
		if merkle.Verify(exchanged, c.entries, c.proof) == nil {
			t.Errorf("%d entries: accepted on the wrong side", len(c.entries))
		}
	}
}

// FuzzProof reads proof and entries from arbitrary bytes. What is accepted must
// be canonical: it proves the entries in the tree it leads to, and no alteration
// of it leads there too.
func FuzzProof(f *testing.F) {
	m := numberedMap(50)
	for _, numbers := range [][]int{{0}, {1, 2}, {3, 4, 5, 6, 7}} {
		p, err := m.Prove(numberedKeys(numbers...)...)
		if err != nil {
			f.Fatal(err)
		}
		var keys []byte
		for _, key := range numberedKeys(numbers...) {
			keys = append(keys, key[:]...)
		}
		f.Add(keys, []byte(p), uint(len(p)/2))
	}
	f.Add([]byte{}, []byte{}, uint(0))
	f.Add(bytes.Repeat([]byte{0}, 64), []byte{0, 0, 0}, uint(1))
	f.Fuzz(func(t *testing.T, keys, proof []byte, alter uint) {
		if len(keys) > 32*(merkle.MaxEntries+1) || len(proof) > merkle.MaxProof+1 {
			t.Skip("longer than any proof, or for more keys")
		}
		var entries []merkle.Entry
		for i := range len(keys) / 32 {
			entries = append(entries, merkle.Entry{Key: merkle.Hash(keys[i*32:]), Value: keys[:i]})
		}
		root, err := merkle.Proof(proof).Root(entries)
		if err != nil {
			if root != (merkle.Hash{}) {
				t.Fatal("a root came with an error")
			}
			return
		}
		slices.Reverse(entries)
		if err := merkle.Verify(root, entries, proof); err != nil {
			t.Fatalf("the order of entries counts: %v", err)
		}
		altered := slices.Clone(proof)
		altered[alter/8%uint(len(proof))] ^= 1 << (alter % 8)
		for _, other := range [][]byte{altered, proof[:len(proof)-1], append(slices.Clone(proof), 0)} {
			if merkle.Verify(root, entries, other) == nil {
				t.Fatalf("%x and %x lead to one root", proof, other)
			}
		}
	})
}
