package tree_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A model is a roster kept in the plainest way: every update is made on a copy, one thing after the other, and the
// copy is thrown away if something is wrong.
type model struct {
	members     map[identity.MemberID]tree.Entry
	grants      map[tree.GrantID]tree.Grant
	checkpoints map[identity.MemberID]tree.Checkpoint
}

func newModel() model {
	return model{map[identity.MemberID]tree.Entry{}, map[tree.GrantID]tree.Grant{}, map[identity.MemberID]tree.Checkpoint{}}
}

func (m model) clone() model {
	return model{maps.Clone(m.members), maps.Clone(m.grants), maps.Clone(m.checkpoints)}
}

// values returns the encoded entries by key.
func (m model) values(t testing.TB) map[merkle.Hash][]byte {
	t.Helper()
	all := map[merkle.Hash][]byte{}
	put := func(kind string, id [16]byte, v any) {
		data, err := signed.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all[merkle.KeyOf(kind, id[:])] = data
	}
	for id, e := range m.members {
		put("member", id, e.Member)
	}
	for id, g := range m.grants {
		put("grant", id, g)
	}
	for id, c := range m.checkpoints {
		put("checkpoint", id, c)
	}
	return all
}

// live reports whether all on a chain, the last of them left out, are members with these certificates.
func (m model) live(line []identity.Link) bool {
	for _, link := range line {
		if e, ok := m.members[link.Member]; !ok || e.Certificate != link.Digest {
			return false
		}
	}
	return true
}

// apply returns the roster after an update and what it revokes, or false.
func (m model) apply(t testing.TB, u tree.Update) (model, []merkle.Hash, bool) {
	next := m.clone()
	was := m.values(t)
	var revoked []merkle.Hash
	revoke := func(key merkle.Hash) { revoked = append(revoked, merkle.LeafHash(key, was[key])) }
	revokeAll := func(id identity.MemberID) {
		revoke(tree.MemberKey(id))
		if m.members[id].Turns > 0 { // heads prove what it was before
			revoked = append(revoked, tree.MemberKey(id))
		}
	}
	for _, id := range u.Revoke {
		if _, ok := m.grants[id]; !ok {
			return m, nil, false
		}
		if _, ok := next.grants[id]; ok {
			revoke(tree.GrantKey(id))
			delete(next.grants, id)
		}
	}
	turned, owner := map[tree.GrantID]bool{}, m.members[u.By].Chain.Owner()
	for i, id := range slices.Concat(u.Pause, u.Resume) {
		g, ok := next.grants[id]
		switch pause := i < len(u.Pause); {
		case !ok || turned[id]:
			return m, nil, false
		case pause && g.Paused && (g.Held || !owner), !pause && !g.Paused:
			return m, nil, false
		case pause:
			revoke(tree.GrantKey(id))
			g.Paused, g.Held = true, owner
		default:
			g.Paused, g.Held = false, false
		}
		g.Turns, turned[id] = g.Turns+1, true
		next.grants[id] = g
	}
	seconded := map[tree.GrantID]bool{}
	for i, s := range slices.Concat(u.Second, u.Unsecond) {
		g, was := m.grants[s.Grant]
		if !was {
			return m, nil, false
		}
		if seconded[s.Grant] {
			g = next.grants[s.Grant]
		}
		at := slices.IndexFunc(g.Seconds, func(other tree.Second) bool { return other.Consent == s.Consent })
		switch add := i < len(u.Second); {
		case add != (at < 0), turned[s.Grant], add && len(g.Seconds) == tree.MaxSeconds:
			return m, nil, false
		case add:
			g.Seconds = append(slices.Clone(g.Seconds), tree.Second{Consent: s.Consent, By: u.By, Since: u.Time.Unix()})
		default:
			g.Seconds = slices.Delete(slices.Clone(g.Seconds), at, at+1)
		}
		if slices.Contains(u.Revoke, s.Grant) {
			continue
		}
		if !seconded[s.Grant] {
			revoke(tree.GrantKey(s.Grant))
			g.Turns, seconded[s.Grant] = g.Turns+1, true
		}
		next.grants[s.Grant] = g
	}
	for _, id := range u.Remove {
		top, ok := m.members[id]
		if !ok {
			return m, nil, false
		}
		for below, e := range next.members {
			if e.Path().Within(top.Path()) {
				revokeAll(below)
				delete(next.members, below)
				delete(next.checkpoints, below)
			}
		}
	}
	seen := map[identity.MemberID]bool{}
	for _, a := range u.Members {
		id := a.Chain.Member()
		old, had := m.members[id]
		_, has := next.members[id]
		for other, e := range next.members {
			if other != id && e.Path() == a.Chain.ID.Path {
				return m, nil, false
			}
		}
		if seen[id] || had && !has || !next.live(a.Chain.Line[:len(a.Chain.Line)-1]) {
			return m, nil, false
		}
		seen[id] = true
		e := tree.Entry{Chain: a.Chain, Member: tree.Member{
			Certificate: a.Chain.Self().Digest, By: u.By, Since: u.Time.Unix(), Label: a.Label, Limits: a.Limits, Private: a.Private,
		}}
		switch {
		case had && (a.Stolen || old.Path() != e.Path()):
			revokeAll(id)
		case had && old.Certificate == e.Certificate:
			e.By, e.Since, e.Changed = old.By, old.Since, u.By
		}
		if had {
			e.Turns = old.Turns + 1
		}
		next.members[id] = e
	}
	for _, e := range next.members {
		if !next.live(e.Chain.Line) {
			return m, nil, false
		}
	}
	for _, g := range u.Grants {
		_, there := next.grants[g.ID]
		_, giver := next.members[g.Giver]
		if there || !giver || slices.Contains(u.Revoke, g.ID) {
			return m, nil, false
		}
		g.Grant.By, g.Grant.Since = u.By, u.Time.Unix()
		next.grants[g.ID] = g.Grant
	}
	for _, c := range u.Checkpoints {
		if _, ok := next.members[c.Member]; ok {
			next.checkpoints[c.Member] = c.Checkpoint
		}
	}
	return next, revoked, true
}

// A player makes updates up: most in order, many not.
type player struct {
	*home
	rand  *mathrand.Rand
	known []*identitytest.Member // ever made, some of them gone, some never admitted
	given []tree.Admitted        // ever made
	names int
}

func (p *player) pick() *identitytest.Member { return p.known[p.rand.IntN(len(p.known))] }

// newcomer makes a member below one that is, or was, or will be there.
func (p *player) newcomer() *identitytest.Member {
	kind := identity.Kind(2 + p.rand.IntN(6))
	path := identity.Path("")
	if !identity.Root.MaySign(kind) || p.rand.IntN(3) > 0 {
		parent := p.pick()
		if !parent.Kind().MaySign(kind) || len(parent.Line) > 4 || p.At(parent.ID.Path) != parent {
			return p.pick()
		}
		path = parent.ID.Path
	}
	p.names++
	name := fmt.Sprintf("m%d", p.names)
	if taken := p.pick(); taken.ID.Path.Parent() == path && p.rand.IntN(4) == 0 {
		name = taken.ID.Path.Name()
	}
	m := p.tr.Add(kind, path.Join(name))
	p.known = append(p.known, m)
	return m
}

// again gives a member another certificate, maybe at another path.
func (p *player) again() *identitytest.Member {
	m := p.pick()
	path := m.ID.Path
	if p.rand.IntN(3) == 0 {
		p.names++
		path = path.Parent().Join(fmt.Sprintf("m%d", p.names))
	}
	if parent := path.Parent(); parent != "" && !p.At(parent).Kind().MaySign(m.Kind()) {
		return m
	}
	r := p.reissue(m, path)
	if r.Kind().Leaf() { // of a place, the tree keeps the first: what is below would not be live any more
		p.known = append(p.known, r)
	}
	return r
}

func (p *player) update() tree.Update {
	p.clock = p.clock.Add(time.Duration(p.rand.IntN(3)) * time.Second)
	u := tree.Update{By: p.pick().Member(), Time: p.clock}
	for range 1 + p.rand.IntN(3) {
		switch p.rand.IntN(16) {
		case 0, 1, 2, 3:
			u.Members = append(u.Members, tree.Admission{Chain: p.newcomer().Chain, Label: []string{"", "Küche"}[p.rand.IntN(2)]})
		case 4, 5:
			u.Members = append(u.Members, tree.Admission{Chain: p.again().Chain, Stolen: p.rand.IntN(3) == 0, Limits: []tree.Limit{{Fresh: 5}}})
		case 6:
			u.Members = append(u.Members, tree.Admission{Chain: p.pick().Chain})
		case 7:
			u.Remove = append(u.Remove, p.pick().Member())
		case 8, 9:
			g := tree.Admitted{Grant: tree.Grant{Giver: p.pick().Member()}}
			if _, err := rand.Read(g.ID[:]); err != nil {
				p.t.Fatal(err)
			}
			g.Raw = sign(p.t, p.pick(), "kindred/grant", g.ID)
			s, err := signed.Parse(g.Raw)
			if err != nil {
				p.t.Fatal(err)
			}
			g.Statement = s.Digest
			p.given = append(p.given, g)
			u.Grants = append(u.Grants, g)
		case 10:
			if len(p.given) > 0 {
				u.Revoke = append(u.Revoke, p.given[p.rand.IntN(len(p.given))].ID)
			}
		case 11, 12:
			if len(p.given) > 0 {
				id := p.given[p.rand.IntN(len(p.given))].ID
				if g, ok := p.State.Grant(id); ok && g.Paused == (p.rand.IntN(8) > 0) {
					u.Resume = append(u.Resume, id)
				} else {
					u.Pause = append(u.Pause, id)
				}
			}
		case 14, 15:
			if len(p.given) > 0 {
				id := p.given[p.rand.IntN(len(p.given))].ID
				g, _ := p.State.Grant(id)
				if n := len(g.Seconds); n > 0 && p.rand.IntN(3) == 0 {
					u.Unsecond = append(u.Unsecond, tree.Seconding{Grant: id, Consent: g.Seconds[p.rand.IntN(n)].Consent})
				} else {
					p.names++
					u.Second = append(u.Second, tree.Seconding{Grant: id, Consent: signed.Sum([]byte(fmt.Sprint(p.names % 40)))})
				}
			}
		case 13:
			u.Checkpoints = append(u.Checkpoints, tree.JournalCheckpoint{Member: p.pick().Member(), Checkpoint: tree.Checkpoint{Size: uint64(p.names)}})
		}
	}
	return u
}

// A roster does what the plain one does, says what it did, and is the same when it is put together again.
func TestAgainstModel(t *testing.T) {
	done, refused := 0, 0
	for seed := range uint64(15) {
		h := household(t)
		p := &player{home: h, rand: mathrand.New(mathrand.NewPCG(seed, 0))}
		m := newModel()
		for e := range h.Members() {
			m.members[e.Chain.Member()] = e
			p.known = append(p.known, h.At(e.Path()))
		}
		for step := range 120 {
			u := p.update()
			next, revoked, ok := m.apply(t, u)
			change, err := h.Plan(u)
			if (err == nil) != ok {
				t.Fatalf("seed %d, step %d: %v, the model says %v, of %+v", seed, step, err, ok, u)
			}
			if err != nil {
				refused++
				continue
			}
			done++
			m = next
			h.commit(change)
			if !sameLeaves(change.Revoked, revoked) {
				t.Fatalf("seed %d, step %d: it revokes %v, the model %v", seed, step, change.Revoked, revoked)
			}
			same(t, h, m)
		}
		again := tree.NewState(h.tr.ID)
		if err := again.Restore(slices.Values(h.entries()), h.chains(), h.statements()); err != nil {
			t.Fatal(err)
		}
		h.State = again
		same(t, h, m)
	}
	if done < 200 || refused < 200 {
		t.Errorf("%d updates were done and %d refused, want more of both", done, refused)
	}
}

// same compares a roster, and what is stored of it, with the model.
func same(t *testing.T, h *home, m model) {
	t.Helper()
	values := m.values(t)
	leaves := merkle.Map{}
	for key, value := range values {
		leaves = leaves.Set(key, value)
		if got, ok := h.Value(key); !ok || !bytes.Equal(got, value) {
			t.Fatalf("entry %s is %x, want %x", key, got, value)
		}
	}
	if h.State.Root() != leaves.Root() {
		t.Fatalf("the root is %s, want %s", h.State.Root(), leaves.Root())
	}
	if !maps.EqualFunc(h.stored, values, func(a, b []byte) bool { return bytes.Equal(a, b) }) {
		t.Fatalf("%d entries are stored, want %d, or some differ", len(h.stored), len(values))
	}
	n := 0
	for e := range h.Members() {
		n++
		want, ok := m.members[e.Chain.Member()]
		at, _ := h.State.At(e.Path())
		if !ok || want.Path() != e.Path() || want.Certificate != e.Certificate || at.Chain.Member() != e.Chain.Member() {
			t.Fatalf("%s is %+v, want %+v", e.Path(), e, want)
		}
	}
	if n != len(m.members) {
		t.Fatalf("%d members, want %d", n, len(m.members))
	}
	n = 0
	for g := range h.Grants() {
		n++
		want := m.grants[g.ID]
		if got := g.Grant; !slices.Equal(got.Seconds, want.Seconds) || got.Statement != want.Statement || got.By != want.By ||
			got.Giver != want.Giver || got.Since != want.Since || got.Paused != want.Paused || got.Held != want.Held || got.Turns != want.Turns {
			t.Fatalf("grant %s is %+v, want %+v", g.ID, g.Grant, want)
		}
	}
	if n != len(m.grants) {
		t.Fatalf("%d grants, want %d", n, len(m.grants))
	}
}
