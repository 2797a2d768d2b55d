package ledger

// table is a persistent map from TreeIDs: set returns another, and both may be read at once from then on. It is a
// radix tree over the ID's 64 half bytes; TreeIDs are hashes, so its depth is about log₁₆ of its size.
type table[V any] struct {
	root *slot[V]
	len  int
}

// slot is a leaf, or has a slot for each value of the next half byte.
type slot[V any] struct {
	next  *[16]*slot[V] // nil in a leaf
	tree  TreeID
	value V
}

// half returns half byte i of a TreeID, the more significant first.
func half(tree *TreeID, i int) byte { return tree[i/2] >> (4 - i%2*4) & 15 }

func (t table[V]) get(tree TreeID) (value V, ok bool) {
	s := t.root
	for i := 0; s != nil && s.next != nil; i++ {
		s = s.next[half(&tree, i)]
	}
	if s == nil || s.tree != tree {
		return value, false
	}
	return s.value, true
}

func (t table[V]) set(tree TreeID, value V) table[V] {
	leaf := &slot[V]{tree: tree, value: value}
	root, added := t.root.set(leaf, 0)
	if added {
		t.len++
	}
	t.root = root
	return t
}

// set returns s, at depth i, with leaf in it, and whether its tree is new.
func (s *slot[V]) set(leaf *slot[V], i int) (_ *slot[V], added bool) {
	var next [16]*slot[V]
	switch {
	case s == nil:
		return leaf, true
	case s.next != nil:
		next = *s.next
	case s.tree == leaf.tree:
		return leaf, false
	default:
		next[half(&s.tree, i)] = s
	}
	at := half(&leaf.tree, i)
	next[at], added = next[at].set(leaf, i+1)
	return &slot[V]{next: &next}, added
}
