package merkle

// Map is a snapshot of an authenticated map. It never changes: the methods that
// would change it return another Map. The zero value is the empty map. All
// methods are safe for concurrent use.
type Map struct {
	root *node // nil when empty
	len  int
}

// node is a leaf or an inner node. It is complete, hash and all, when made, and
// never written afterwards, because snapshots share it.
type node struct {
	hash Hash

	// key is the leaf's key. In an inner node it is a key that is or was below:
	// all keys below have its bits before the node's bit index.
	key Hash

	bit         int   // bit index; keyBits in a leaf
	left, right *node // both nil in a leaf
}

func newLeaf(key, leaf Hash) *node {
	return &node{hash: leaf, key: key, bit: keyBits}
}

func newInner(bit int, left, right *node) *node {
	return &node{
		hash: nodeHash(bit, left.hash, right.hash),
		key:  left.key,
		bit:  bit,
		left: left, right: right,
	}
}

func (n *node) isLeaf() bool { return n.bit == keyBits }

// Len returns how many keys are in the map.
func (m Map) Len() int { return m.len }

// Root returns the root hash: equal for two maps exactly if they hold the same
// keys with the same leaf hashes.
func (m Map) Root() Hash {
	if m.root == nil {
		return emptyRoot()
	}
	return m.root.hash
}

// Leaf returns the leaf hash at key, and whether key is in the map.
func (m Map) Leaf(key Hash) (leaf Hash, ok bool) {
	n := m.root
	if n == nil {
		return Hash{}, false
	}
	for !n.isLeaf() {
		n = n.side(&key)
	}
	if n.key != key {
		return Hash{}, false
	}
	return n.hash, true
}

// side returns the side of the inner node n that key belongs to.
func (n *node) side(key *Hash) *node {
	if key.bit(n.bit) == 0 {
		return n.left
	}
	return n.right
}

// Set returns the map with value at key, in place of any value there.
func (m Map) Set(key Hash, value []byte) Map {
	return m.SetLeaf(key, LeafHash(key, value))
}

// SetLeaf is Set for a value of which only the leaf hash is known. The leaf must
// be what [LeafHash] returned for this key, or no proof of the key will verify.
func (m Map) SetLeaf(key, leaf Hash) Map {
	if m.root == nil {
		return Map{root: newLeaf(key, leaf), len: 1}
	}
	root, added := m.root.set(key, leaf)
	if added {
		return Map{root: root, len: m.len + 1}
	}
	return Map{root: root, len: m.len}
}

// set returns n with leaf at key, and whether the key is new.
func (n *node) set(key, leaf Hash) (_ *node, added bool) {
	diff := firstDiff(&n.key, &key)
	switch {
	case diff < n.bit: // key parts from all that is below n
		if key.bit(diff) == 0 {
			return newInner(diff, newLeaf(key, leaf), n), true
		}
		return newInner(diff, n, newLeaf(key, leaf)), true
	case n.isLeaf(): // the same key
		if n.hash == leaf {
			return n, false
		}
		return newLeaf(key, leaf), false
	}
	child, added := n.side(&key).set(key, leaf)
	return n.with(&key, child), added
}

// with returns the inner node n with child on the side of key, or n itself if
// the child is there already.
func (n *node) with(key *Hash, child *node) *node {
	switch {
	case n.side(key) == child:
		return n
	case key.bit(n.bit) == 0:
		return newInner(n.bit, child, n.right)
	default:
		return newInner(n.bit, n.left, child)
	}
}

// Delete returns the map without key; m itself, if key is not in it.
func (m Map) Delete(key Hash) Map {
	if _, ok := m.Leaf(key); !ok {
		return m
	}
	return Map{root: m.root.without(&key), len: m.len - 1}
}

// without returns n without key, which must be below n; nil, if nothing is left.
func (n *node) without(key *Hash) *node {
	if n.isLeaf() {
		return nil
	}
	child := n.side(key).without(key)
	switch {
	case child != nil:
		return n.with(key, child)
	case key.bit(n.bit) == 0:
		return n.right
	default:
		return n.left
	}
}
