package keeper

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A model is a roster as one would write it down: who is there, under which name, and who may use what.
type model struct {
	members map[identity.Path]modelMember
	grants  map[tree.GrantID]modelGrant
}

type modelMember struct {
	id    identity.MemberID
	label string
	fresh int64
}

type modelGrant struct {
	giver, subject, thing identity.MemberID
	depth                 uint8
	parent                tree.GrantID // zero: none
	statement             signed.Digest
}

func (m *model) remove(top identity.Path) {
	gone := map[identity.MemberID]bool{}
	for path, member := range m.members {
		if path.Within(top) {
			gone[member.id] = true
			delete(m.members, path)
		}
	}
	maps.DeleteFunc(m.grants, func(_ tree.GrantID, g modelGrant) bool { return gone[g.giver] || gone[g.subject] || gone[g.thing] })
	m.settle()
}

// settle takes away what rests on nothing any more, until nothing does.
func (m *model) settle() {
	for before := -1; before != len(m.grants); {
		before = len(m.grants)
		maps.DeleteFunc(m.grants, func(_ tree.GrantID, g modelGrant) bool {
			_, rests := m.grants[g.parent]
			return !g.parent.IsZero() && !rests
		})
	}
}

// some returns the IDs of the grants, in an order.
func (m *model) some() []tree.GrantID {
	return slices.SortedFunc(maps.Keys(m.grants), func(a, b tree.GrantID) int { return bytes.Compare(a[:], b[:]) })
}

// compare checks that the keeper's roster is the model's.
func (m *model) compare(t *testing.T, k *Keeper) {
	t.Helper()
	k.View(func(s *tree.State) {
		members, grants := 0, 0
		for e := range s.Members() {
			members++
			want := m.members[e.Path()]
			got := modelMember{id: e.Chain.Member(), label: e.Label}
			if len(e.Limits) > 0 {
				got.fresh = e.Limits[0].Fresh
			}
			if got != want {
				t.Errorf("%s is %+v, want %+v", e.Path(), got, want)
			}
		}
		for g := range s.Grants() {
			grants++
			if _, ok := m.grants[g.ID]; !ok {
				t.Errorf("grant %s is live", g.ID)
			}
		}
		if members != len(m.members) || grants != len(m.grants) {
			t.Errorf("%d members and %d grants, want %d and %d", members, grants, len(m.members), len(m.grants))
		}
	})
}

// A walk does whatever comes to its mind to a home and to its model.
type walk struct {
	*home
	model *model
	rand  *rand.Rand
	names int
}

func (w *walk) pick(kinds ...identity.Kind) (identity.Path, bool) {
	var paths []identity.Path
	for _, path := range slices.Sorted(maps.Keys(w.model.members)) {
		if slices.Contains(kinds, w.At(path).Kind()) && path != "sam/laptop" && path != "home/gateway" {
			paths = append(paths, path)
		}
	}
	if len(paths) == 0 {
		return "", false
	}
	return paths[w.rand.IntN(len(paths))], true
}

func (w *walk) step() error {
	ctx := w.t.Context()
	switch w.rand.IntN(13) {
	case 10, 11, 12:
		return w.passOn()
	case 0, 1, 2: // somebody new, at times under a name that was used before
		w.names = (w.names + 1) % 12
		above, kind := identity.Path("sam"), identity.Person
		switch w.rand.IntN(3) {
		case 0:
			above, kind = "home", identity.Device
		case 1:
			if path, ok := w.pick(identity.Person); ok {
				above, kind = path, identity.App
			}
		}
		path := above.Join(fmt.Sprintf("m%d", w.names))
		if _, taken := w.model.members[path]; taken {
			return nil
		}
		w.model.members[path] = modelMember{id: w.Add(kind, path).Member()}
		return w.admit(path)
	case 3, 4:
		subject, ok := w.pick(identity.Person, identity.App, identity.Owner)
		thing, ok2 := w.pick(identity.Device, identity.Place)
		if !ok || !ok2 {
			return nil
		}
		depth := uint8(w.rand.IntN(4))
		g := w.signed("sam/laptop", "sam", func(t *grant.Terms) {
			t.Subject.Member, t.Thing.Member, t.Depth = w.member(subject), w.member(thing), depth
		})
		w.model.grants[g.id] = modelGrant{giver: w.member("sam"), subject: w.member(subject), thing: w.member(thing), depth: depth, statement: g.statement}
		_, _, err := w.Grant(ctx, w.laptop(), g.raw)
		return err
	case 5:
		if len(w.model.grants) == 0 {
			return nil
		}
		ids := w.model.some()
		id := ids[w.rand.IntN(len(ids))]
		p := w.revokeGrant(id)
		delete(w.model.grants, id)
		w.model.settle()
		_, err := w.Revoke(ctx, p)
		return err
	case 6:
		path, ok := w.pick(identity.Person, identity.App, identity.Device)
		if !ok {
			return nil
		}
		p := w.revokeMember(path)
		w.model.remove(path)
		_, err := w.Revoke(ctx, p)
		return err
	case 7:
		path, ok := w.pick(identity.Device)
		if !ok {
			return nil
		}
		m := w.model.members[path]
		m.fresh = w.rand.Int64N(3)
		w.model.members[path] = m
		return w.Limit(ctx, w.laptop(), m.id, []tree.Limit{{Fresh: m.fresh}})
	case 8:
		path, _ := w.pick(identity.Owner, identity.Person, identity.Place)
		m := w.model.members[path]
		m.label = fmt.Sprint(w.rand.IntN(3))
		w.model.members[path] = m
		return w.Label(ctx, w.laptop(), m.id, m.label)
	default:
		w.restart()
		return nil
	}
}

// passOn has some app pass on some grant, which succeeds if and only if the grant is for it and may be.
func (w *walk) passOn() error {
	app, ok := w.pick(identity.App)
	subject, ok2 := w.pick(identity.Person, identity.App)
	ids := w.model.some()
	if !ok || !ok2 || len(ids) == 0 {
		return nil
	}
	parent := ids[w.rand.IntN(len(ids))]
	above, depth := w.model.grants[parent], uint8(w.rand.IntN(3))
	giver := app
	if above.subject != w.member(app) {
		giver = app.Parent()
	}
	g := w.signed(app, giver, w.to(subject, above.statement, depth), func(t *grant.Terms) { t.Thing.Member = above.thing })
	_, _, err := w.Grant(w.t.Context(), w.At(app).Chain, g.raw)
	may := above.subject == w.member(giver) && depth < above.depth && w.member(subject) != above.subject
	if may != (err == nil) {
		return fmt.Errorf("%s passes on %s, of depth %d, with depth %d to %s: %v, want that it may: %v", app, parent, above.depth, depth, subject, err, may)
	}
	if may {
		w.model.grants[g.id] = modelGrant{w.member(giver), w.member(subject), above.thing, depth, parent, g.statement}
	}
	return nil
}

func TestAgainstModel(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := &walk{home: newHome(t), model: &model{map[identity.Path]modelMember{}, map[tree.GrantID]modelGrant{}}, rand: rand.New(rand.NewPCG(seed, 1))}
			for _, m := range family {
				w.model.members[m.path] = modelMember{id: w.member(m.path)}
			}
			for i := range 150 {
				if err := w.step(); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
				if w.model.compare(t, w.Keeper); t.Failed() {
					t.Fatalf("after step %d", i)
				}
				if i%25 == 0 {
					w.proveAll()
				}
			}
			w.restart()
			w.model.compare(t, w.Keeper)
			w.proveAll()
		})
	}
}

// proveAll checks that everything in the model can be proved.
func (w *walk) proveAll() {
	w.t.Helper()
	var ids []identity.MemberID
	for path := range w.model.members {
		if ids = append(ids, w.member(path)); len(ids) == 12 {
			break
		}
	}
	grants := slices.Collect(maps.Keys(w.model.grants))
	if len(grants) > 12 {
		grants = grants[:12]
	}
	live := w.verify(w.proof(ids, grants...))
	for _, id := range grants {
		if _, ok := live.Grant(id); !ok {
			w.t.Errorf("grant %s is not in its proof", id)
		}
	}
	for path, m := range w.model.members {
		if slices.Contains(ids, m.id) {
			if err := live.Check(w.At(path).Chain); err != nil {
				w.t.Error(err)
			}
		}
	}
}

// Many ask at once, for the same and for different things, while others prove. Each sees its own change.
func TestAtOnce(t *testing.T) {
	h := newHome(t)
	const askers, grants = 8, 6
	sameID, same := h.sign()
	var all sync.Map
	var wait sync.WaitGroup
	for range askers {
		var raws, addresses [][]byte
		for range grants {
			_, raw := h.sign()
			raws, addresses = append(raws, raw), append(addresses, h.address("sam/laptop", h.clock()))
		}
		wait.Go(func() {
			for _, raw := range append(raws, same) {
				id, _, err := h.Grant(t.Context(), h.laptop(), raw)
				if err != nil {
					t.Error(err)
					return
				}
				all.Store(id, true)
				p, err := h.Prove(t.Context(), nil, []tree.GrantID{id}, 0)
				if err != nil {
					t.Error(err)
					return
				}
				trusted, err := credential.Trust(h.ID, h.charter)
				if err == nil {
					_, _, err = credential.VerifyProof(p, trusted, h.clock())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
		wait.Go(func() {
			for i, address := range addresses {
				h.Checkpoint(h.member("home/lock"), tree.Checkpoint{Size: uint64(i)})
				if err := h.SetAddress(t.Context(), h.laptop(), address); err != nil && !strings.Contains(err.Error(), "is there already") {
					t.Error(err)
				}
				h.Head()
			}
		})
	}
	wait.Wait()
	if want := uint64(1 + askers*grants + 1); h.sequence() != want {
		t.Errorf("there are %d heads, want %d", h.sequence(), want)
	}
	h.restart()
	all.Range(func(id, _ any) bool {
		if !h.live(id.(tree.GrantID)) {
			t.Errorf("grant %s is lost", id)
		}
		return true
	})
	if !h.live(sameID) {
		t.Error("the grant that all handed in is lost")
	}
	h.verify(h.proof([]identity.MemberID{h.member("home/lock")}))
}

// Two members ask for one path at once: one gets it.
func TestOnePathAtOnce(t *testing.T) {
	h := newHome(t)
	var chains []identity.Chain
	for range 4 {
		chains = append(chains, h.Add(identity.Device, "home/bell").Chain)
	}
	var wait sync.WaitGroup
	results := make(chan error, len(chains))
	for _, c := range chains {
		wait.Go(func() { results <- h.Admit(t.Context(), h.laptop(), []tree.Admission{{Chain: c}}) })
	}
	wait.Wait()
	close(results)
	admitted := 0
	for err := range results {
		if err == nil {
			admitted++
		}
	}
	if admitted != 1 || h.sequence() != 2 {
		t.Errorf("%d were admitted, in %d heads", admitted, h.sequence())
	}
}
