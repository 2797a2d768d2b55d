package tree

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
)

// A State is the roster of one tree. Its reading methods may run at the same time as each other, not as Commit.
type State struct {
	tree    identity.TreeID
	entries merkle.Map
	members map[identity.MemberID]Entry
	paths   map[identity.Path]identity.MemberID
	grants  map[GrantID]Admitted
	others  map[identity.TreeID]Recognized
	stated  map[signed.Digest]GrantID // grants by their statements
	values  map[merkle.Hash][]byte    // the encoded values, by key
}

// An Entry is a member with its certificates.
type Entry struct {
	Member
	Chain identity.Chain
}

// Path returns the member's path.
func (e Entry) Path() identity.Path { return e.Chain.ID.Path }

// Admitted is a grant with its signed statement.
type Admitted struct {
	Grant
	ID  GrantID
	Raw []byte
}

// NewState returns the empty roster of a tree.
func NewState(tree identity.TreeID) *State {
	return &State{
		tree:    tree,
		members: map[identity.MemberID]Entry{},
		paths:   map[identity.Path]identity.MemberID{},
		grants:  map[GrantID]Admitted{},
		others:  map[identity.TreeID]Recognized{},
		stated:  map[signed.Digest]GrantID{},
		values:  map[merkle.Hash][]byte{},
	}
}

// Tree returns the tree that s is the roster of.
func (s *State) Tree() identity.TreeID { return s.tree }

// Root returns the Merkle root of the roster.
func (s *State) Root() merkle.Hash { return s.entries.Root() }

// Member returns the live member with an ID.
func (s *State) Member(id identity.MemberID) (Entry, bool) {
	e, ok := s.members[id]
	return e, ok
}

// At returns the live member at a path.
func (s *State) At(path identity.Path) (Entry, bool) {
	id, ok := s.paths[path]
	if !ok {
		return Entry{}, false
	}
	return s.members[id], true
}

// Members returns the live members in the order of their paths.
func (s *State) Members() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, path := range slices.Sorted(maps.Keys(s.paths)) {
			if !yield(s.members[s.paths[path]]) {
				return
			}
		}
	}
}

// Grant returns the live grant with an ID.
func (s *State) Grant(id GrantID) (Admitted, bool) {
	g, ok := s.grants[id]
	return g, ok
}

// Stated returns the live grant that a signed statement is.
func (s *State) Stated(statement signed.Digest) (Admitted, bool) {
	return s.Grant(s.stated[statement])
}

// Grants returns the live grants, the oldest first.
func (s *State) Grants() iter.Seq[Admitted] {
	return slices.Values(slices.SortedFunc(maps.Values(s.grants), func(a, b Admitted) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), bytes.Compare(a.ID[:], b.ID[:]))
	}))
}

// Recognized returns the recognition of another tree.
func (s *State) Recognized(other identity.TreeID) (Recognized, bool) {
	r, ok := s.others[other]
	return r, ok
}

// Recognitions returns the recognitions of other trees in the order of the names that these have here.
func (s *State) Recognitions() iter.Seq[Recognized] {
	return slices.Values(slices.SortedFunc(maps.Values(s.others), func(a, b Recognized) int { return cmp.Compare(a.Name, b.Name) }))
}

// Value returns the encoded value of the entry with a key.
func (s *State) Value(key merkle.Hash) ([]byte, bool) {
	v, ok := s.values[key]
	return v, ok
}

// Prove returns the entries with these keys and one proof that all of them are in the roster.
func (s *State) Prove(keys ...merkle.Hash) ([]merkle.Entry, merkle.Proof, error) {
	proof, err := s.entries.Prove(keys...)
	if err != nil {
		return nil, nil, fmt.Errorf("tree: proving %d entries: %w", len(keys), err)
	}
	entries := make([]merkle.Entry, len(keys))
	for i, key := range keys {
		entries[i] = merkle.Entry{Key: key, Value: s.values[key]}
	}
	return entries, proof, nil
}

// Commit makes a change that was planned on s as it is now.
func (s *State) Commit(c Change) {
	for _, key := range c.Deleted {
		delete(s.values, key)
	}
	for _, id := range c.gone {
		delete(s.paths, s.members[id].Path())
		delete(s.members, id)
	}
	for _, id := range c.dropped {
		delete(s.stated, s.grants[id].Statement)
		delete(s.grants, id)
	}
	for _, e := range c.Set {
		s.values[e.Key] = e.Value
	}
	for _, e := range c.members {
		id := e.Chain.Member()
		if old, ok := s.members[id]; ok {
			delete(s.paths, old.Path())
		}
		s.members[id] = e
		s.paths[e.Path()] = id
	}
	for _, g := range c.grants {
		s.grants[g.ID] = g
		s.stated[g.Statement] = g.ID
	}
	for _, other := range c.forgotten {
		delete(s.others, other)
	}
	for _, r := range c.recognized {
		s.others[r.Other] = r
	}
	s.entries = c.entries
}
