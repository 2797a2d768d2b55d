package tree

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
)

// An Update is what somebody wants changed. Everything in it happens, or nothing.
type Update struct {
	By          identity.MemberID // the leaf that asks
	Time        time.Time
	Members     []Admission         // new members, the upper ones first; or new certificates, labels, limits and so on of old ones
	Grants      []Admitted          // new grants; By and Since are taken from the update
	Checkpoints []JournalCheckpoint // where journals stand
	Remove      []identity.MemberID // members to take away, and all below them
	Revoke      []GrantID           // grants to take away
	Pause       []GrantID           // grants that are to allow nothing for now
	Resume      []GrantID           // grants that are to allow again what they say
	Second      []Seconding         // consents to grants to take in; By and Since are taken from the update
	Unsecond    []Seconding         // consents to take away; those to grants that go anyhow go with them
	Recognize   [][]byte            // signed recognitions of other trees, each in place of the one there is
	Forget      []identity.TreeID   // trees to recognize no more
}

// An Admission puts a member into the roster, or replaces the entry it has. Renewal revokes nothing; what was proved
// with the entry before is revoked if the member moves, or its key was stolen.
//
// Whoever signs certificates takes all below along: an update that gives it another certificate has an admission,
// with the new chain, for each of them.
type Admission struct {
	Chain   identity.Chain
	Label   string
	Limits  []Limit
	Private []identity.MemberID
	Stolen  bool // the key it had
}

// A Seconding is a consent to a live grant, by its digest.
type Seconding struct {
	Grant   GrantID
	Consent signed.Digest
	Raw     []byte // the signed consent, where it is to be taken in: for whoever stores it
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
	Deleted []merkle.Hash  // keys of the entries taken away; none of them is in Set
	Revoked []merkle.Hash  // leaf hashes and keys for the revocation list

	members []Entry
	gone    []identity.MemberID
	grants  []Admitted
	dropped []GrantID
	entries merkle.Map

	recognized []Recognized
	forgotten  []identity.TreeID
}

// Plan checks u against s and returns what it changes. It leaves s as it is.
func (s *State) Plan(u Update) (Change, error) {
	p := planner{
		State: s, update: u, change: Change{entries: s.entries},
		paths: map[identity.Path]identity.MemberID{}, certificates: map[identity.MemberID]signed.Digest{},
	}
	for _, step := range []func() error{p.revoke, p.turn, p.second, p.remove, p.forget, p.admit, p.grant, p.recognize, p.checkpoint} {
		if err := step(); err != nil {
			return Change{}, fmt.Errorf("tree: planning a change: %w", err)
		}
	}
	p.change.Root = p.change.entries.Root()
	return p.change, nil
}

// A planner works an update into a change.
type planner struct {
	*State
	update Update
	change Change

	// Of members the update admits.
	paths        map[identity.Path]identity.MemberID
	certificates map[identity.MemberID]signed.Digest
	renewed      bool // one of them had another certificate before
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

// revokeAll revokes with the entry of a member whatever that was before. Replacing it revoked nothing, so each is proved
// by some older head; naming the key spares naming them all.
func (p *planner) revokeAll(key merkle.Hash, m Member) {
	leaf, ok := p.State.entries.Leaf(key)
	if !ok {
		return
	}
	p.change.Revoked = append(p.change.Revoked, leaf)
	if m.Turns > 0 || !m.Changed.IsZero() {
		p.change.Revoked = append(p.change.Revoked, key)
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

// turn pauses grants, and resumes them. What was proved with the entry of a grant that is paused is revoked. What its giver
// paused an owner may pause over it, so that it rests until an owner resumes it.
func (p *planner) turn() error {
	owner := p.members[p.update.By].Chain.Owner()
	for i, id := range slices.Concat(p.update.Pause, p.update.Resume) {
		g, ok := p.grants[id]
		pause := i < len(p.update.Pause)
		switch {
		case !ok || slices.Contains(p.change.dropped, id):
			return fmt.Errorf("no grant %s", id)
		case g.Paused == pause && !(pause && owner && !g.Held):
			return fmt.Errorf("grant %s: paused is %t already", id, pause)
		case slices.ContainsFunc(p.change.grants, func(other Admitted) bool { return other.ID == id }):
			return fmt.Errorf("grant %s is paused or resumed twice", id)
		case g.Turns == math.MaxUint32:
			return fmt.Errorf("grant %s was paused and resumed too often", id)
		}
		if leaf, ok := p.change.entries.Leaf(GrantKey(id)); ok && pause {
			p.change.Revoked = append(p.change.Revoked, leaf)
		}
		g.Paused, g.Held, g.Turns = pause, pause && owner, g.Turns+1
		if err := p.set(GrantKey(id), g.Grant); err != nil {
			return err
		}
		p.change.grants = append(p.change.grants, g)
	}
	return nil
}

// second takes in consents to grants, and takes such away. What was proved with the entry as it was before is revoked:
// else it would go on under older heads without what is taken in, and with what is taken away.
func (p *planner) second() error {
	changed := map[GrantID]Admitted{}
	var order []GrantID
	for i, s := range slices.Concat(p.update.Second, p.update.Unsecond) {
		add := i < len(p.update.Second)
		g, again := changed[s.Grant]
		if !again {
			var ok bool
			if g, ok = p.grants[s.Grant]; !ok {
				return fmt.Errorf("no grant %s", s.Grant)
			}
			g.Seconds = slices.Clone(g.Seconds)
			order = append(order, s.Grant)
		}
		switch {
		case add && g.Seconded(s.Consent):
			return fmt.Errorf("consent %s to grant %s is there already", s.Consent, s.Grant)
		case !add && !g.Seconded(s.Consent):
			return fmt.Errorf("consent %s to grant %s is not there", s.Consent, s.Grant)
		case add && len(g.Seconds) >= MaxSeconds:
			return fmt.Errorf("%d stand behind grant %s already, of at most %d", len(g.Seconds), s.Grant, MaxSeconds)
		case add:
			g.Seconds = append(g.Seconds, Second{s.Consent, p.update.By, p.update.Time.Unix()})
		default:
			g.Seconds = slices.DeleteFunc(g.Seconds, func(other Second) bool { return other.Consent == s.Consent })
		}
		changed[s.Grant] = g
	}
	for _, id := range order {
		g := changed[id]
		switch {
		case slices.Contains(p.change.dropped, id):
			continue
		case slices.ContainsFunc(p.change.grants, func(other Admitted) bool { return other.ID == id }):
			return fmt.Errorf("grant %s is paused or resumed, and gets another consent, at once", id)
		case g.Turns == math.MaxUint32:
			return fmt.Errorf("the entry of grant %s was replaced too often", id)
		}
		if leaf, ok := p.change.entries.Leaf(GrantKey(id)); ok {
			p.change.Revoked = append(p.change.Revoked, leaf)
		}
		g.Turns++
		if err := p.set(GrantKey(id), g.Grant); err != nil {
			return err
		}
		p.change.grants = append(p.change.grants, g)
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
				p.revokeAll(MemberKey(e.Chain.Member()), e.Member)
				p.drop(MemberKey(e.Chain.Member()), false)
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
	return p.checkLines()
}

func (p *planner) admitOne(a Admission) error {
	id, path := a.Chain.Member(), a.Chain.ID.Path
	m := Member{
		Certificate: a.Chain.Self().Digest, By: p.update.By, Since: p.update.Time.Unix(), Label: a.Label, Limits: a.Limits,
		Private: a.Private,
	}
	if err := p.checkAdmission(a); err != nil {
		return err
	}
	if err := m.check(); err != nil {
		return err
	}
	if old, ok := p.members[id]; ok {
		if old.Chain.Kind() != a.Chain.Kind() {
			return fmt.Errorf("a %s cannot become a %s", old.Chain.Kind(), a.Chain.Kind())
		}
		moved, renewed := old.Path() != path, old.Certificate != m.Certificate
		if moved || a.Stolen {
			p.revokeAll(MemberKey(id), old.Member)
		} else if !renewed {
			m.By, m.Since, m.Changed = old.By, old.Since, p.update.By
		}
		m.Turns = old.Turns + 1
		if m.Turns == 0 {
			m.Turns = math.MaxUint32
		}
		p.renewed = p.renewed || moved || renewed
	}
	p.change.members = append(p.change.members, Entry{m, a.Chain})
	p.paths[path], p.certificates[id] = id, m.Certificate
	return p.set(MemberKey(id), m)
}

func (p *planner) checkAdmission(a Admission) error {
	id := a.Chain.Member()
	switch {
	case a.Chain.ID.Tree != p.tree:
		return fmt.Errorf("it is of tree %s", a.Chain.ID.Tree)
	case slices.Contains(p.change.gone, id):
		return errors.New("its member ID was taken away before")
	case p.admitted(id):
		return errors.New("it is admitted twice")
	}
	if holder, ok := p.holder(a.Chain.ID.Path); ok && holder != id {
		return fmt.Errorf("the path is taken by member %s", holder)
	}
	for _, above := range a.Chain.Line[:len(a.Chain.Line)-1] {
		if leaf, ok := p.certificate(above.Member); !ok || leaf != above.Digest {
			return fmt.Errorf("%q above it is not live with this certificate", above.Name)
		}
	}
	return nil
}

// checkLines checks that nobody is left below a certificate that is not live any more.
func (p *planner) checkLines() error {
	if !p.renewed {
		return nil
	}
	left := slices.Clone(p.change.members)
	for id, e := range p.members {
		if !slices.Contains(p.change.gone, id) && !p.admitted(id) {
			left = append(left, e)
		}
	}
	for _, e := range left {
		for _, link := range e.Chain.Line {
			if leaf, ok := p.certificate(link.Member); !ok || leaf != link.Digest {
				return fmt.Errorf("%q has another certificate: %s below it needs a new chain", link.Name, e.Path())
			}
		}
	}
	return nil
}

// admitted reports whether the update so far admits a member.
func (p *planner) admitted(id identity.MemberID) bool {
	_, ok := p.certificates[id]
	return ok
}

// holder returns who has a path once the update so far is done.
func (p *planner) holder(path identity.Path) (identity.MemberID, bool) {
	if id, ok := p.paths[path]; ok {
		return id, true
	}
	id, ok := p.State.paths[path]
	return id, ok && !slices.Contains(p.change.gone, id) && !p.admitted(id) // whoever is admitted elsewhere has moved
}

// certificate returns the digest of the certificate that a member has once the update so far is done.
func (p *planner) certificate(id identity.MemberID) (signed.Digest, bool) {
	if leaf, ok := p.certificates[id]; ok {
		return leaf, true
	}
	e, ok := p.members[id]
	return e.Certificate, ok && !slices.Contains(p.change.gone, id)
}

func (p *planner) grant() error {
	for _, g := range p.update.Grants {
		if g.ID.IsZero() {
			return errors.New("a grant without an ID")
		}
		if _, ok := p.change.entries.Leaf(GrantKey(g.ID)); ok || slices.Contains(p.change.dropped, g.ID) {
			return fmt.Errorf("grant %s is there already", g.ID)
		}
		if err := p.checkGiver(g.Grant); err != nil {
			return fmt.Errorf("grant %s: %w", g.ID, err)
		}
		g.By, g.Since = p.update.By, p.update.Time.Unix()
		if err := p.set(GrantKey(g.ID), g.Grant); err != nil {
			return err
		}
		p.change.grants = append(p.change.grants, g)
	}
	return nil
}

// checkGiver checks that a grant's giver is live once the update is done, or its tree recognized, which is all that the
// roster knows of others.
func (p *planner) checkGiver(g Grant) error {
	if !g.GiverTree.IsZero() {
		if _, ok := p.others[g.GiverTree]; !ok || g.GiverTree == p.tree || slices.Contains(p.change.forgotten, g.GiverTree) {
			return fmt.Errorf("the tree of its giver, %s, is not recognized", g.GiverTree)
		}
		return nil
	}
	if _, ok := p.certificate(g.Giver); !ok {
		return fmt.Errorf("its giver %s is no live member", g.Giver)
	}
	return nil
}

func (p *planner) forget() error {
	for _, other := range p.update.Forget {
		if _, ok := p.others[other]; !ok {
			return fmt.Errorf("tree %s is not recognized", other)
		}
		p.drop(RecognitionKey(other), true)
		p.change.Revoked = append(p.change.Revoked, RecognitionKey(other)) // what it was before it was replaced, too
		p.change.forgotten = append(p.change.forgotten, other)
	}
	return nil
}

func (p *planner) recognize() error {
	names := map[string]identity.TreeID{}
	for other, r := range p.others {
		if !slices.Contains(p.change.forgotten, other) {
			names[r.Name] = other
		}
	}
	for _, raw := range p.update.Recognize {
		r := Recognized{Known: Known{Statement: raw, By: p.update.By, Since: p.update.Time.Unix()}}
		var err error
		if r.Recognition, err = ParseRecognition(raw, p.tree); err != nil {
			return err
		}
		if slices.Contains(p.change.forgotten, r.Other) {
			return fmt.Errorf("tree %s is recognized and forgotten at once", r.Other)
		}
		if holder, ok := names[r.Name]; ok && holder != r.Other {
			return fmt.Errorf("another tree is called %q already", r.Name)
		}
		maps.DeleteFunc(names, func(_ string, other identity.TreeID) bool { return other == r.Other })
		names[r.Name] = r.Other
		if len(names) > MaxRecognized {
			return fmt.Errorf("%d trees are recognized already", MaxRecognized)
		}
		if err := p.set(RecognitionKey(r.Other), r.Known); err != nil {
			return err
		}
		p.change.recognized = append(p.change.recognized, r)
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
