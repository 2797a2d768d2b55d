package merkle

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

const (
	// MaxProof is the longest proof made or accepted, in bytes.
	MaxProof = 32 << 10
	// MaxEntries is the most keys that one proof can be for.
	MaxEntries = 256
)

// levelSize is the size of one level in a proof: bit index and hash.
const levelSize = 1 + 32

// Proof shows that certain keys are in a map with certain values. Its encoding
// is in the package's documentation. It names neither the keys nor the values:
// the verifier must have them.
type Proof []byte

// Entry is a key and its value, as [Map.Set] was given them.
type Entry struct {
	Key   Hash
	Value []byte
}

// Prove returns the one proof that all the keys, in any order, are in the map.
// It fails if there are none or more than [MaxEntries], if one is given twice or
// is not in the map, and if the proof would be longer than [MaxProof].
func (m Map) Prove(keys ...Hash) (Proof, error) {
	if err := checkCount(len(keys)); err != nil {
		return nil, fmt.Errorf("merkle: proving: %w", err)
	}
	leaves := make([]leaf, len(keys))
	for i, key := range keys {
		hash, ok := m.Leaf(key)
		if !ok {
			return nil, fmt.Errorf("merkle: proving: key %v is not in the map", key)
		}
		leaves[i] = leaf{key, hash}
	}
	if err := sortLeaves(leaves); err != nil {
		return nil, fmt.Errorf("merkle: proving: %w", err)
	}
	p := m.root.appendProof(nil, leaves)
	if len(p) > MaxProof {
		return nil, fmt.Errorf("merkle: proving %d keys: the proof has %d bytes, more than %d", len(keys), len(p), MaxProof)
	}
	return p, nil
}

func checkCount(n int) error {
	switch {
	case n == 0:
		return errors.New("there are no keys")
	case n > MaxEntries:
		return fmt.Errorf("there are %d keys, more than %d", n, MaxEntries)
	}
	return nil
}

// sortLeaves sorts leaves by key; it is an error if two have the same.
func sortLeaves(leaves []leaf) error {
	slices.SortFunc(leaves, compareKeys)
	for i := 1; i < len(leaves); i++ {
		if leaves[i].key == leaves[i-1].key {
			return fmt.Errorf("key %v is given twice", leaves[i].key)
		}
	}
	return nil
}

// appendProof appends to b the proof for leaves, sorted and all below n.
func (n *node) appendProof(b []byte, leaves []leaf) []byte {
	key, last := &leaves[0].key, &leaves[len(leaves)-1].key
	end := firstDiff(key, last)
	count := 0
	for c := n; c.bit < end; c = c.side(key) {
		count++
	}
	b = binary.AppendUvarint(b, uint64(count))
	for n.bit < end {
		sibling := n.left
		if key.bit(n.bit) == 0 {
			sibling = n.right
		}
		b = append(b, byte(n.bit))
		b = append(b, sibling.hash[:]...)
		n = n.side(key)
	}
	if len(leaves) == 1 {
		return b
	}
	_, at := part(leaves)
	b = n.left.appendProof(b, leaves[:at])
	return n.right.appendProof(b, leaves[at:])
}

// Verify checks that p proves entries, in any order, to be in the map whose root
// hash is root. The error is one of [Proof.Root], or says that the roots differ.
func Verify(root Hash, entries []Entry, p Proof) error {
	got, err := p.Root(entries)
	if err != nil {
		return err
	}
	if got != root {
		return fmt.Errorf("merkle: checking a proof: it leads to the root %v, want %v", got, root)
	}
	return nil
}

// Root returns the root hash that p and entries, in any order, lead to: that of
// every map from which [Map.Prove] could have made p for them. Unless the caller
// compares it with a root it trusts, nothing is proved.
//
// It fails if p is malformed for these keys, if there are no entries or more
// than [MaxEntries], if two have one key, and if p is longer than [MaxProof].
// Apart from hashing the values it does a bounded amount of work.
func (p Proof) Root(entries []Entry) (Hash, error) {
	root, err := p.root(entries)
	if err != nil {
		return Hash{}, fmt.Errorf("merkle: checking a proof: %w", err)
	}
	return root, nil
}

func (p Proof) root(entries []Entry) (Hash, error) {
	if len(p) > MaxProof {
		return Hash{}, fmt.Errorf("it has %d bytes, more than %d", len(p), MaxProof)
	}
	if err := checkCount(len(entries)); err != nil {
		return Hash{}, err
	}
	leaves := make([]leaf, len(entries))
	for i, e := range entries {
		leaves[i] = leaf{e.Key, LeafHash(e.Key, e.Value)}
	}
	if err := sortLeaves(leaves); err != nil {
		return Hash{}, err
	}
	r := reader{rest: p}
	root, err := r.subtree(leaves, 0)
	if err != nil {
		return Hash{}, fmt.Errorf("at byte %d: %w", len(p)-len(r.rest), err)
	}
	if len(r.rest) != 0 {
		return Hash{}, fmt.Errorf("%d bytes are left over", len(r.rest))
	}
	return root, nil
}

// reader reads a proof from front to back.
type reader struct{ rest []byte }

// subtree reads what the proof has for leaves, which are sorted and distinct and
// lie below nodes whose bit indices are all smaller than from, and returns the
// hash of the topmost node it describes.
func (r *reader) subtree(leaves []leaf, from int) (Hash, error) {
	key := leaves[0].key
	end := firstDiff(&key, &leaves[len(leaves)-1].key)
	levels, err := r.levels(from, end)
	if err != nil {
		return Hash{}, err
	}
	hash := leaves[0].hash
	if len(leaves) > 1 {
		_, at := part(leaves)
		left, err := r.subtree(leaves[:at], end+1)
		if err != nil {
			return Hash{}, err
		}
		right, err := r.subtree(leaves[at:], end+1)
		if err != nil {
			return Hash{}, err
		}
		hash = nodeHash(end, left, right)
	}
	for at := len(levels) - levelSize; at >= 0; at -= levelSize {
		bit, sibling := int(levels[at]), Hash(levels[at+1:at+levelSize])
		if key.bit(bit) == 0 {
			hash = nodeHash(bit, hash, sibling)
		} else {
			hash = nodeHash(bit, sibling, hash)
		}
	}
	return hash, nil
}

// levels reads a count and as many levels. Their bit indices must strictly
// increase, the first being at least from and the last less than end.
func (r *reader) levels(from, end int) ([]byte, error) {
	count, size := binary.Uvarint(r.rest)
	switch {
	case size <= 0:
		return nil, errors.New("no count of levels")
	case size > 1 && r.rest[size-1] == 0:
		return nil, fmt.Errorf("the count of levels, %d, is not in its shortest form", count)
	case count > uint64(len(r.rest)-size)/levelSize:
		return nil, fmt.Errorf("too few bytes for %d levels", count)
	}
	r.rest = r.rest[size:]
	levels := r.rest[:count*levelSize]
	for i := 0; i < len(levels); i += levelSize {
		bit := int(levels[i])
		if bit < from || bit >= end {
			return nil, fmt.Errorf("level %d has bit index %d, want at least %d and less than %d", i/levelSize, bit, from, end)
		}
		from = bit + 1
	}
	r.rest = r.rest[len(levels):]
	return levels, nil
}
