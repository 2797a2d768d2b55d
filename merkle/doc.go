// Package merkle is an authenticated map: 32-byte keys to leaf hashes, under
// one root hash, with proofs that several keys are in it with given values.
//
// A [Map] is an immutable snapshot. Changing one gives another and shares with
// it all that stayed the same, so that old snapshots cost little and may be
// read, proved from and changed further by any number of goroutines at once.
// Every hash is computed before a snapshot is returned.
//
// The package does no I/O and knows nothing of what the values mean. It proves
// inclusion only, never absence. A proof shows the hashes of neighbouring
// leaves: values that could be guessed must be salted by whoever makes them.
// The length of a proof hints at the size of the map.
//
// # The tree
//
// The map is a binary radix tree (crit-bit tree). Bit i of a key, from 0 to
// 255, is bit 7−(i mod 8) of its byte ⌊i/8⌋: the most significant comes first,
// and ordering keys by bytes orders them as the tree does.
//
// A leaf holds one key. An inner node holds the bit index at which the keys
// below it first differ: those with a 0 there are on its left, those with a 1
// on its right, and neither side is empty. Bit indices therefore strictly
// increase along every path from the root, and a set of keys has exactly one
// tree, whatever the order of the changes that led to it.
//
// # Hashes
//
// Everything is SHA-256, the first byte saying what is hashed:
//
//	leaf   SHA-256(0x00 ‖ key ‖ value)
//	node   SHA-256(0x01 ‖ bit index, 1 byte ‖ left hash ‖ right hash)
//	key    SHA-256(0x02 ‖ len(kind), 8 bytes ‖ kind ‖ len(id), 8 bytes ‖ id)
//	empty  SHA-256(0x03)
//
// Lengths are big endian. The root hash of a map is that of its topmost node
// (its only leaf, if there is but one), or empty. A leaf cannot be taken for a
// node or the other way round; and because a node's hash covers its bit index,
// a root leads each key to one leaf at most, even if whoever made the tree did
// not follow the rules.
//
// # Proofs
//
// A proof belongs to a set of keys and carries only what a verifier, who has
// the keys and their values, cannot work out: the hashes of the sides that
// none of the keys is on, and the bit index of each node above such a side.
// Directions and the nodes where the proved keys part follow from the keys.
//
// The proof is that of the whole tree for all its keys:
//
//	subtree(keys) = count, count × level, rest
//	count         = unsigned LEB128 in the fewest bytes possible: how many
//	                nodes there are above the place where these keys part
//	                (or above the leaf, if it is one key)
//	level         = bit index (1 byte), hash of the side without keys (32),
//	                nearest to the root first
//	rest          = nothing, if it is one key; else
//	                subtree(keys with a 0), subtree(keys with a 1)
//	                at the first bit where the keys differ
//
// Bit indices must be greater than those of all nodes above, and smaller than
// the first bit where the keys differ. Nothing may follow. A proof is at most
// [MaxProof] bytes, for 1 to [MaxEntries] keys. For a set of keys in a map there
// is exactly one proof, and an inner node with neither side proved cannot be
// written at all. One key among n takes about 33·log₂(n) bytes.
//
// testdata/vectors.json has keys, roots, proofs and proofs to refuse, for any
// implementation to run.
package merkle
