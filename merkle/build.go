package merkle

import (
	"bytes"
	"iter"
	"slices"
	"sort"
)

// Build returns the map of entries, each a key and its leaf hash as in
// [Map.SetLeaf]. They may come in any order; of several with one key the last
// counts. It is several times as fast as setting them one by one.
func Build(entries iter.Seq2[Hash, Hash]) Map {
	var leaves []leaf
	for key, hash := range entries {
		leaves = append(leaves, leaf{key, hash})
	}
	slices.SortStableFunc(leaves, compareKeys)
	kept := leaves[:0]
	for i, l := range leaves {
		if i+1 < len(leaves) && leaves[i+1].key == l.key {
			continue
		}
		kept = append(kept, l)
	}
	if len(kept) == 0 {
		return Map{}
	}
	return Map{root: build(kept), len: len(kept)}
}

// leaf is a key and its leaf hash.
type leaf struct{ key, hash Hash }

func compareKeys(a, b leaf) int { return bytes.Compare(a.key[:], b.key[:]) }

// build returns the tree of leaves, which are sorted, distinct and at least one.
func build(leaves []leaf) *node {
	if len(leaves) == 1 {
		return newLeaf(leaves[0].key, leaves[0].hash)
	}
	bit, at := part(leaves)
	return newInner(bit, build(leaves[:at]), build(leaves[at:]))
}

// part returns the first bit in which the keys of leaves differ, and how many of
// them have a 0 there. They are sorted, distinct and at least two.
func part(leaves []leaf) (bit, at int) {
	bit = firstDiff(&leaves[0].key, &leaves[len(leaves)-1].key)
	at = sort.Search(len(leaves), func(i int) bool { return leaves[i].key.bit(bit) == 1 })
	return bit, at
}
