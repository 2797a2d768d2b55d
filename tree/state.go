package tree

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

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
	values  map[merkle.Hash][]byte // the encoded values, by key
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

// Grants returns the live grants, the oldest first.
func (s *State) Grants() iter.Seq[Admitted] {
	return slices.Values(slices.SortedFunc(maps.Values(s.grants), func(a, b Admitted) int {
		return cmp.Or(cmp.Compare(a.Since, b.Since), bytes.Compare(a.ID[:], b.ID[:]))
	}))
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

// An Update is what somebody wants changed. Everything in it happens, or nothing.
type Update struct {
	By          identity.MemberID // the leaf that asks
	Time        time.Time
	Members     []Admission         // new members, the upper ones first; or new certificates, labels, limits of old ones
	Grants      []Admitted          // new grants; By and Since are taken from the update
	Checkpoints []JournalCheckpoint // where journals stand
	Remove      []identity.MemberID // members to take away, and all below them
	Revoke      []GrantID           // grants to take away
}

// An Admission puts a member into the roster, or replaces the entry it has.
type Admission struct {
	Chain  identity.Chain
	Label  string
	Limits []Limit
}

// A JournalCheckpoint says where the journal of a member stands.
type JournalCheckpoint struct {
	Member identity.MemberID
	Checkpoint
}

// A Change is an Update that was found to be in order, for the State it was planned on. Set and Deleted are for
// whoever stores the roster.
type Change struct {
	Root    merkle.Hash
	Set     []merkle.Entry // entries added or replaced
	Deleted []merkle.Hash  // keys of the entries taken away
	Revoked []merkle.Hash  // leaf hashes for the revocation list

	members []Entry
	gone    []identity.MemberID
	grants  []Admitted
	dropped []GrantID
	entries merkle.Map
}

// Plan checks u against s and returns what it changes. It leaves s as it is.
func (s *State) Plan(u Update) (Change, error) {
	p := planner{State: s, update: u, change: Change{entries: s.entries}, paths: map[identity.Path]identity.MemberID{}}
	for _, step := range []func() error{p.revoke, p.remove, p.admit, p.grant, p.checkpoint} {
		if err := step(); err != nil {
			return Change{}, fmt.Errorf("tree: planning a change: %w", err)
		}
	}
	p.change.Root = p.change.entries.Root()
	return p.change, nil
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
	}
	s.entries = c.entries
}

// A planner works an update into a change.
type planner struct {
	*State
	update Update
	change Change
	paths  map[identity.Path]identity.MemberID // of members the update admits
}

func (p *planner) set(key merkle.Hash, value any) error {
	data, err := signed.Marshal(value)
	if err != nil {
		return err
	}
	p.change.Set = append(p.change.Set, merkle.Entry{Key: key, Value: data})
	p.change.entries = p.change.entries.Set(key, data)
	return nil
}

// drop takes away an entry; revoked says that proofs which rest on it must not be believed any more.
func (p *planner) drop(key merkle.Hash, revoked bool) {
	leaf, ok := p.change.entries.Leaf(key)
	if !ok {
		return
	}
	p.change.entries = p.change.entries.Delete(key)
	p.change.Deleted = append(p.change.Deleted, key)
	if revoked {
		p.change.Revoked = append(p.change.Revoked, leaf)
	}
}

func (p *planner) revoke() error {
	for _, id := range p.update.Revoke {
		if _, ok := p.grants[id]; !ok {
			return fmt.Errorf("no grant %s", id)
		}
		p.drop(GrantKey(id), true)
		p.change.dropped = append(p.change.dropped, id)
	}
	return nil
}

func (p *planner) remove() error {
	for _, id := range p.update.Remove {
		top, ok := p.members[id]
		if !ok {
			return fmt.Errorf("no member %s", id)
		}
		for e := range p.Members() {
			if e.Path().Within(top.Path()) && !slices.Contains(p.change.gone, e.Chain.Member()) {
				p.drop(MemberKey(e.Chain.Member()), true)
				p.drop(CheckpointKey(e.Chain.Member()), false)
				p.change.gone = append(p.change.gone, e.Chain.Member())
			}
		}
	}
	return nil
}

func (p *planner) admit() error {
	for _, a := range p.update.Members {
		if err := p.admitOne(a); err != nil {
			return fmt.Errorf("admitting %s: %w", a.Chain.ID.Path, err)
		}
	}
	return nil
}

func (p *planner) admitOne(a Admission) error {
	id, path := a.Chain.Member(), a.Chain.ID.Path
	switch {
	case a.Chain.ID.Tree != p.tree:
		return fmt.Errorf("it is of tree %s", a.Chain.ID.Tree)
	case len(a.Label) > MaxLabel:
		return fmt.Errorf("a label of %d bytes, of at most %d", len(a.Label), MaxLabel)
	case slices.Contains(p.change.gone, id):
		return errors.New("its member ID was taken away before")
	}
	if holder, ok := p.holder(path); ok && holder != id {
		return fmt.Errorf("the path is taken by member %s", holder)
	}
	for _, above := range a.Chain.Line[:len(a.Chain.Line)-1] {
		if leaf, ok := p.certificate(above.Member); !ok || leaf != above.Digest {
			return fmt.Errorf("%q above it is not live with this certificate", above.Name)
		}
	}
	since := p.update.Time.Unix()
	if old, ok := p.members[id]; ok {
		if old.Chain.Kind() != a.Chain.Kind() {
			return fmt.Errorf("a %s cannot become a %s", old.Chain.Kind(), a.Chain.Kind())
		}
		since = old.Since
	}
	m := Member{Certificate: a.Chain.Self().Digest, By: p.update.By, Since: since, Label: a.Label, Limits: a.Limits}
	p.change.members = append(p.change.members, Entry{m, a.Chain})
	p.paths[path] = id
	return p.set(MemberKey(id), m)
}

// holder returns who has a path once the removals so far are done.
func (p *planner) holder(path identity.Path) (identity.MemberID, bool) {
	if id, ok := p.paths[path]; ok {
		return id, true
	}
	id, ok := p.State.paths[path]
	return id, ok && !slices.Contains(p.change.gone, id)
}

// certificate returns the digest of the certificate that a member has once the update so far is done.
func (p *planner) certificate(id identity.MemberID) (signed.Digest, bool) {
	for _, e := range p.change.members {
		if e.Chain.Member() == id {
			return e.Certificate, true
		}
	}
	e, ok := p.members[id]
	return e.Certificate, ok && !slices.Contains(p.change.gone, id)
}

func (p *planner) grant() error {
	for _, g := range p.update.Grants {
		if _, ok := p.change.entries.Leaf(GrantKey(g.ID)); ok || slices.Contains(p.change.dropped, g.ID) {
			return fmt.Errorf("grant %s is there already", g.ID)
		}
		if _, ok := p.certificate(g.Giver); !ok {
			return fmt.Errorf("grant %s: its giver %s is no live member", g.ID, g.Giver)
		}
		g.By, g.Since = p.update.By, p.update.Time.Unix()
		if err := p.set(GrantKey(g.ID), g.Grant); err != nil {
			return err
		}
		p.change.grants = append(p.change.grants, g)
	}
	return nil
}

func (p *planner) checkpoint() error {
	for _, c := range p.update.Checkpoints {
		if _, ok := p.certificate(c.Member); !ok {
			continue // its journal ends with it
		}
		if err := p.set(CheckpointKey(c.Member), c.Checkpoint); err != nil {
			return err
		}
	}
	return nil
}

// Restore fills an empty state with what was stored of another: entries by key, the certificates of members (leaf
// first, verified), and the signed grants. It fails unless they fit together.
func (s *State) Restore(entries iter.Seq[merkle.Entry], chains []identity.Chain, grants map[GrantID][]byte) error {
	leaves := map[merkle.Hash]merkle.Hash{}
	for e := range entries {
		s.values[e.Key] = e.Value
		leaves[e.Key] = merkle.LeafHash(e.Key, e.Value)
	}
	s.entries = merkle.Build(maps.All(leaves))
	for _, chain := range chains {
		var m Member
		if err := s.restore(MemberKey(chain.Member()), &m); err != nil {
			return fmt.Errorf("tree: restoring %s: %w", chain.ID.Path, err)
		}
		if m.Certificate != chain.Self().Digest {
			return fmt.Errorf("tree: restoring %s: the certificate is not the one in the roster", chain.ID.Path)
		}
		s.members[chain.Member()] = Entry{m, chain}
		s.paths[chain.ID.Path] = chain.Member()
	}
	for id, raw := range grants {
		g := Admitted{ID: id, Raw: raw}
		if err := s.restore(GrantKey(id), &g.Grant); err != nil {
			return fmt.Errorf("tree: restoring grant %s: %w", id, err)
		}
		s.grants[id] = g
	}
	return nil
}

func (s *State) restore(key merkle.Hash, v any) error {
	data, ok := s.values[key]
	if !ok {
		return errors.New("it is not in the roster")
	}
	return signed.Unmarshal(data, v)
}
