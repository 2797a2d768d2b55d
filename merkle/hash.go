package merkle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
)

// Hash is a SHA-256 hash: a key, the hash of a leaf or node, or a root.
type Hash [32]byte

// String returns h as 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// The first byte of all that is hashed.
const (
	leafPrefix  = 0x00
	nodePrefix  = 0x01
	keyPrefix   = 0x02
	emptyPrefix = 0x03
)

// KeyOf returns the key for the thing of the given kind and ID. Different pairs
// have different keys: ("ab", "c") is not ("a", "bc").
func KeyOf(kind string, id []byte) Hash {
	b := make([]byte, 0, 1+8+len(kind)+8+len(id))
	b = append(b, keyPrefix)
	b = binary.BigEndian.AppendUint64(b, uint64(len(kind)))
	b = append(b, kind...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(id)))
	b = append(b, id...)
	return sha256.Sum256(b)
}

// LeafHash returns the hash of the leaf that holds value, of any length, at key.
func LeafHash(key Hash, value []byte) Hash {
	b := make([]byte, 0, 1+len(key)+len(value))
	b = append(b, leafPrefix)
	b = append(b, key[:]...)
	b = append(b, value...)
	return sha256.Sum256(b)
}

// nodeHash returns the hash of an inner node.
func nodeHash(bit int, left, right Hash) Hash {
	var b [1 + 1 + 32 + 32]byte
	b[0] = nodePrefix
	b[1] = byte(bit)
	copy(b[2:], left[:])
	copy(b[34:], right[:])
	return sha256.Sum256(b[:])
}

// emptyRoot returns the root hash of the empty map.
func emptyRoot() Hash { return sha256.Sum256([]byte{emptyPrefix}) }

// keyBits is the number of bits in a key, and in the place of a bit index says
// that there is none.
const keyBits = 256

// bit returns bit i of h, most significant first.
func (h *Hash) bit(i int) byte { return h[i/8] >> (7 - i%8) & 1 }

// firstDiff returns the index of the first bit in which a and b differ, or
// keyBits if they are equal.
func firstDiff(a, b *Hash) int {
	for i := 0; i < len(a); i += 8 {
		x := binary.BigEndian.Uint64(a[i:]) ^ binary.BigEndian.Uint64(b[i:])
		if x != 0 {
			return i*8 + bits.LeadingZeros64(x)
		}
	}
	return keyBits
}
