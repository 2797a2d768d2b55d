package grant

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// newHome returns a home on a ledger, with anna, her phone, and a lock.
func newHome(t testing.TB) *credentialtest.Home {
	h := credentialtest.New(t, now)
	h.Add(identity.Person, "sam/anna")
	h.Add(identity.App, "sam/anna/phone")
	h.Add(identity.Device, "home/lock")
	return h
}

// give signs terms as sam and puts them into the roster.
func give(t testing.TB, h *credentialtest.Home, terms Terms) tree.Admitted {
	t.Helper()
	raw, err := Sign(h.At("sam/laptop").Signer, h.At("sam/laptop").Raw, terms)
	if err != nil {
		t.Fatal(err)
	}
	return h.Grant(terms.ID, h.At("sam"), h.At("sam/laptop"), raw)
}

func forAnna(h *credentialtest.Home) Terms {
	return household{h.Tree}.terms("sam/anna", "home/lock")
}

// The whole way: a grant is given, shown, serves, and is taken back.
func TestGrantLives(t *testing.T) {
	h := newHome(t)
	g := give(t, h, forAnna(h))
	shown := h.ProveFor(h.At("sam/anna/phone"), g)
	live, trusted, err := credential.VerifyProof(shown, h.Trusted(), now)
	if err != nil {
		t.Fatal(err)
	}
	who, err := credential.Verify(h.At("sam/anna/phone").Raw, h.At("sam/anna/phone").Signer.Public(), live)
	if err != nil {
		t.Fatal(err)
	}
	cache := NewCache(8)
	var verified Grant
	for range 3 { // cold, and from the cache
		if verified, err = cache.Verify(g.Raw, live, now); err != nil {
			t.Fatal(err)
		}
	}
	if !verified.AsOf().Equal(live.AsOf) || verified.Terms().ID != g.ID {
		t.Errorf("verified %s as of %s", verified.Terms().ID, verified.AsOf())
	}
	req := Request{Thing: h.At("home/lock").Chain, Affordance: "unlock", Action: Invoke}
	if d := mustDecide(t, req, who, []Grant{verified}, fresh(now)); !d.Allowed || d.Grant != g.ID {
		t.Errorf("while it stands: %+v", d)
	}

	h.Block(now.Add(50 * time.Minute))
	later, trusted, err := credential.VerifyProof(h.ProveFor(h.At("sam/anna/phone"), g), trusted, h.Clock)
	if err != nil {
		t.Fatal(err)
	}
	if verified, err = verified.Renew(later, h.Clock); err != nil || !verified.AsOf().Equal(h.Clock) {
		t.Errorf("renewed as of %s, %v", verified.AsOf(), err)
	}

	h.Revoke(g.ID)
	after, trusted, err := credential.VerifyProof(h.ProveFor(h.At("sam/anna/phone")), trusted, h.Clock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Verify(g.Raw, after, h.Clock); err == nil || !strings.Contains(err.Error(), "is not proved to be live") {
		t.Errorf("taken back, and in the cache: %v", err)
	}
	if _, err := verified.Renew(after, h.Clock); err == nil {
		t.Error("taken back, and renewed")
	}
	if _, _, err := credential.VerifyProof(shown, trusted, h.Clock); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("taken back, and shown with an old proof: %v", err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	h, abroad := newHome(t), newHome(t)
	terms := forAnna(h)
	g := give(t, h, terms)
	twin := terms
	twin.Until = now.Add(time.Hour).Unix()
	resigned, err := Sign(h.At("sam/laptop").Signer, h.At("sam/laptop").Raw, twin)
	if err != nil {
		t.Fatal(err)
	}
	future := forAnna(h)
	future.Time = now.Add(credential.MaxSkew + time.Second).Unix()
	ahead := give(t, h, future)
	mislaid := forAnna(h)
	lost := func() tree.Admitted {
		raw, err := Sign(h.At("sam/laptop").Signer, h.At("sam/laptop").Raw, mislaid)
		if err != nil {
			t.Fatal(err)
		}
		return h.Grant(mislaid.ID, h.At("sam/anna"), h.At("sam/laptop"), raw) // as if from anna
	}()
	all := []tree.GrantID{g.ID, ahead.ID, lost.ID}
	for _, test := range []struct {
		name string
		raw  []byte
		live credential.Live
		now  time.Time
		want string
	}{
		{"not shown to be live", g.Raw, h.Live(now, nil, h.At("sam/laptop")), now, "is not proved to be live"},
		{"giver not shown to be live", g.Raw, h.Live(now, all), now, "its giver"},
		{"another statement under its ID", resigned, h.Live(now, all, h.At("sam")), now, "is statement"},
		{"another giver in the roster", lost.Raw, h.Live(now, all, h.At("sam")), now, "is from"},
		{"another tree's proof", g.Raw, abroad.Live(now, nil, abroad.At("sam")), now, "is of a tree not known here"},
		{"from the future", ahead.Raw, h.Live(now, all, h.At("sam")), now, "in the future"},
		{"from the future, with no clock", ahead.Raw, h.Live(time.Time{}, all, h.At("sam")), time.Time{}, "in the future"},
	} {
		for _, cache := range []*Cache{nil, NewCache(2)} {
			verify := Verify
			if cache != nil {
				verify = cache.Verify
			}
			_, err := verify(test.raw, test.live, test.now)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
			}
		}
	}
	if _, err := Verify(g.Raw, h.Live(time.Time{}, all, h.At("sam")), time.Time{}); err != nil {
		t.Errorf("with no clock: %v", err)
	}
	// What the cache learned in one tree says nothing in another.
	cache := NewCache(2)
	if _, err := cache.Verify(g.Raw, h.Live(now, all, h.At("sam")), now); err != nil {
		t.Fatal(err)
	}
	if _, err := cache.Verify(g.Raw, abroad.Live(now, nil, abroad.At("sam")), now); err == nil || !strings.Contains(err.Error(), "it is of tree") {
		t.Errorf("cached, in another tree: %v", err)
	}
	if _, err := (Grant{}).Renew(h.Live(now, nil, h.At("sam")), now); err == nil {
		t.Error("nothing was renewed")
	}
}

// A giver who is taken off the tree takes along what they gave.
func TestGiverRemoved(t *testing.T) {
	h := newHome(t)
	h.Add(identity.Owner, "eva")
	h.Add(identity.App, "eva/phone")
	terms := forAnna(h)
	terms.Giver = h.At("eva").Member()
	raw, err := Sign(h.At("eva/phone").Signer, h.At("eva/phone").Raw, terms)
	if err != nil {
		t.Fatal(err)
	}
	g := h.Grant(terms.ID, h.At("eva"), h.At("eva/phone"), raw)
	if _, err := Verify(raw, h.Live(now, []tree.GrantID{g.ID}, h.At("eva")), now); err != nil {
		t.Fatal(err)
	}
	h.Remove("eva")
	if _, err := Verify(raw, h.Live(now, []tree.GrantID{g.ID}, h.At("sam")), now); err == nil || !strings.Contains(err.Error(), "its giver") {
		t.Errorf("the giver is gone: %v", err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	h := newHome(t)
	var grants []tree.Admitted
	var ids []tree.GrantID
	for range 12 {
		g := give(t, h, forAnna(h))
		grants, ids = append(grants, g), append(ids, g.ID)
	}
	live := h.Live(now, ids, h.At("sam"))
	cache := NewCache(4)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for _, i := range rand.Perm(len(grants)) {
				if _, err := cache.Verify(grants[i].Raw, live, now); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := len(cache.young) + len(cache.old); n == 0 || n > 4 {
		t.Errorf("%d grants in a cache for 4", n)
	}
}

// Invariant: no sequence of grants, takings-back and clock moves, and no choice of old and new proofs to show, gets a
// guest served who holds no grant that stands in the newest head the thing has seen, or whom the thing has known of
// for no shorter than its fresh limit. And what stands is served when shown with the newest proof.
func TestNothingTakenBackServes(t *testing.T) {
	served, refused := 0, 0
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 3))
		h := newHome(t)
		phone := h.At("sam/anna/phone")
		v := &visited{Home: h, trusted: h.Trusted(), cache: NewCache(4), taken: map[tree.GrantID]uint64{}}
		for range 40 {
			switch n := len(v.given); r.IntN(5) * min(n, 1) {
			case 0:
				terms := forAnna(h)
				terms.Time = h.Clock.Unix()
				v.given = append(v.given, give(t, h, terms))
			case 1, 2:
				if id := v.given[r.IntN(n)].ID; v.taken[id] == 0 {
					h.Revoke(id)
					v.taken[id] = h.Sequence
				}
			case 3:
				h.Block(h.Clock.Add(time.Duration(r.IntN(90)) * time.Minute))
			case 4:
				v.moments = append(v.moments, kept{h.Moment, h.Clock, slices.Clone(v.standing())})
			}
			v.moments = append(v.moments[max(0, len(v.moments)-12):], kept{h.Moment, h.Clock, slices.Clone(v.standing())})
			for range 3 {
				m := v.moments[r.IntN(len(v.moments))]
				if len(m.grants) == 0 {
					continue
				}
				g := m.grants[r.IntN(len(m.grants))]
				ok := v.serve(m, g, phone.Raw)
				stands := v.taken[g.ID] == 0 || v.taken[g.ID] > v.trusted.Sequence()
				if young := h.Clock.Sub(v.trusted.AsOf()) < time.Hour; ok && !(stands && young) {
					t.Fatalf("seed %d: served under %s: stands %t, known %s ago", seed, g.ID, stands, h.Clock.Sub(v.trusted.AsOf()))
				}
				if !ok && v.taken[g.ID] == 0 && m.Sequence == h.Sequence && h.Clock.Sub(m.at) < time.Hour {
					t.Fatalf("seed %d: refused under %s, which stands and was shown with the newest proof", seed, g.ID)
				}
				if ok {
					served++
				} else {
					refused++
				}
			}
		}
	}
	if served < 100 || refused < 100 {
		t.Errorf("%d served, %d refused: too few to tell anything", served, refused)
	}
}

// visited is a lock that guests come to, and what it remembers.
type visited struct {
	*credentialtest.Home
	trusted credential.Trusted
	cache   *Cache
	given   []tree.Admitted
	taken   map[tree.GrantID]uint64 // the sequence of the head that took it away
	moments []kept
}

// kept is a proof that a guest may have kept.
type kept struct {
	credentialtest.Moment
	at     time.Time
	grants []tree.Admitted
}

func (v *visited) standing() []tree.Admitted {
	return slices.DeleteFunc(slices.Clone(v.given), func(g tree.Admitted) bool { return v.taken[g.ID] != 0 })
}

func (v *visited) serve(m kept, g tree.Admitted, chain [][]byte) bool {
	proof := m.Prove([]tree.GrantID{g.ID}, v.At("sam/anna/phone"))
	live, trusted, err := credential.VerifyProof(proof, v.trusted, v.Clock)
	if err != nil {
		return false
	}
	v.trusted = trusted
	who, err := credential.Verify(chain, v.At("sam/anna/phone").Signer.Public(), live)
	if err != nil {
		return false
	}
	grant, err := v.cache.Verify(g.Raw, live, v.Clock)
	if err != nil {
		return false
	}
	d, err := Decide(Request{Thing: v.At("home/lock").Chain, Affordance: "unlock", Action: Invoke}, who, []Grant{grant}, fresh(v.Clock))
	return err == nil && d.Allowed
}

func BenchmarkVerify(b *testing.B) {
	h := newHome(b)
	g := give(b, h, forAnna(h))
	live := h.Live(now, []tree.GrantID{g.ID}, h.At("sam"))
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			if _, err := Verify(g.Raw, live, now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		cache := NewCache(8)
		for b.Loop() {
			if _, err := cache.Verify(g.Raw, live, now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
