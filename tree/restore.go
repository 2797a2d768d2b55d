package tree

import (
	"errors"
	"fmt"
	"iter"
	"maps"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
)

// Restore fills an empty state with what was stored of another: entries by key, the certificates of members (leaf
// first, verified), and the signed grants. It fails, and leaves s as it is, unless they fit together: every entry is
// that of a member, a grant or a journal shown, or a recognition, which holds all of itself, and everybody above a member is live with the certificate shown.
func (s *State) Restore(entries iter.Seq[merkle.Entry], chains []identity.Chain, grants map[GrantID][]byte) error {
	fail := func(err error) error { return fmt.Errorf("tree: restoring the roster: %w", err) }
	if len(s.values) > 0 {
		return fail(errors.New("there is one already"))
	}
	r := restorer{State: NewState(s.tree), claimed: map[merkle.Hash]bool{}}
	if err := r.readEntries(entries); err != nil {
		return fail(err)
	}
	for _, chain := range chains {
		if err := r.member(chain); err != nil {
			return fail(fmt.Errorf("member %s: %w", chain.ID.Path, err))
		}
	}
	for _, chain := range chains {
		for _, link := range chain.Line {
			if above, ok := r.members[link.Member]; !ok || above.Certificate != link.Digest {
				return fail(fmt.Errorf("member %s: %q above it is not live with this certificate", chain.ID.Path, link.Name))
			}
		}
	}
	for id, raw := range grants {
		if err := r.grant(id, raw); err != nil {
			return fail(fmt.Errorf("grant %s: %w", id, err))
		}
	}
	r.recognitions()
	if n := len(r.values) - len(r.claimed); n > 0 {
		return fail(fmt.Errorf("%d entries are of no member or grant shown", n))
	}
	*s = *r.State
	return nil
}

// A restorer puts a roster together.
type restorer struct {
	*State
	claimed map[merkle.Hash]bool // entries that belong to something, by key
}

func (r *restorer) readEntries(entries iter.Seq[merkle.Entry]) error {
	leaves := map[merkle.Hash]merkle.Hash{}
	for e := range entries {
		if _, ok := r.values[e.Key]; ok {
			return fmt.Errorf("two entries with the key %s", e.Key)
		}
		r.values[e.Key] = e.Value
		leaves[e.Key] = merkle.LeafHash(e.Key, e.Value)
	}
	r.entries = merkle.Build(maps.All(leaves))
	return nil
}

// claim decodes the entry with a key.
func (r *restorer) claim(key merkle.Hash, v any) error {
	data, ok := r.values[key]
	if !ok {
		return errors.New("it is not in the roster")
	}
	r.claimed[key] = true
	return signed.Unmarshal(data, v)
}

func (r *restorer) member(chain identity.Chain) error {
	id := chain.Member()
	_, twice := r.members[id]
	holder, taken := r.paths[chain.ID.Path]
	switch {
	case chain.ID.Tree != r.tree:
		return fmt.Errorf("it is of tree %s", chain.ID.Tree)
	case twice:
		return errors.New("it is there twice")
	case taken:
		return fmt.Errorf("the path is taken by member %s", holder)
	}
	var m Member
	if err := r.claim(MemberKey(id), &m); err != nil {
		return err
	}
	if m.Certificate != chain.Self().Digest {
		return errors.New("the certificate is not the one in the roster")
	}
	if _, ok := r.values[CheckpointKey(id)]; ok {
		if err := r.claim(CheckpointKey(id), new(Checkpoint)); err != nil {
			return err
		}
	}
	r.members[id] = Entry{m, chain}
	r.paths[chain.ID.Path] = id
	return nil
}

func (r *restorer) grant(id GrantID, raw []byte) error {
	g := Admitted{ID: id, Raw: raw}
	if err := r.claim(GrantKey(id), &g.Grant); err != nil {
		return err
	}
	s, err := signed.Parse(raw)
	if err != nil {
		return err
	}
	if s.Digest != g.Statement {
		return errors.New("the statement is not the one in the roster")
	}
	r.grants[id] = g
	r.stated[g.Statement] = id
	return nil
}

// recognitions takes what is a recognition out of the entries that belong to nothing shown. Whether an owner signed it
// is for whoever rests on it to verify.
func (r *restorer) recognitions() {
	for key, value := range r.values {
		if r.claimed[key] {
			continue
		}
		var known Known
		if signed.Unmarshal(value, &known) != nil {
			continue
		}
		other, err := ParseRecognition(known.Statement, r.tree)
		if err != nil || RecognitionKey(other.Other) != key {
			continue
		}
		r.claimed[key] = true
		r.others[other.Other] = Recognized{Known: known, Recognition: other}
	}
}
