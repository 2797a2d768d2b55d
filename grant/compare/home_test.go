package compare

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// A Saturday, 15:30 in Berlin.
var now = time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC)

// zone is that of all grants.
const zone = "Europe/Berlin"

// ask is one request.
type ask struct {
	who        credential.Principal
	thing      identity.Path
	affordance string
	action     grant.Action
	at         time.Time
}

// home is one with grants, three of them for anna and two for carl, as signed statements that were verified.
type home struct {
	*credentialtest.Home
	index      grant.Index
	terms      []grant.Terms
	principals map[string]credential.Principal
}

func newHome(t testing.TB, grants int) *home {
	h := &home{Home: credentialtest.New(t, now), principals: map[string]credential.Principal{}}
	for _, m := range []struct {
		kind identity.Kind
		path identity.Path
	}{
		{identity.Person, "sam/anna"}, {identity.App, "sam/anna/phone"}, {identity.Person, "carl"}, {identity.App, "carl/phone"},
		{identity.Place, "home/porch"}, {identity.Device, "home/porch/lock"}, {identity.Device, "home/gate"},
	} {
		h.Add(m.kind, m.path)
	}
	for len(h.terms) < grants-5 {
		var somebody identity.MemberID
		if _, err := rand.Read(somebody[:]); err != nil {
			t.Fatal(err)
		}
		h.give(somebody, "home/porch/lock")
	}
	anna, carl := h.At("sam/anna").Member(), h.At("carl").Member()
	h.give(carl, "home/gate")
	h.give(carl, "home/porch/lock")
	h.give(anna, "home/porch")
	h.give(anna, "home/porch/lock")
	h.give(anna, "home")
	mathrand.Shuffle(len(h.terms), func(i, j int) { h.terms[i], h.terms[j] = h.terms[j], h.terms[i] }) // some stop at the first that allows
	h.admit(t)
	for _, path := range []identity.Path{"sam/anna/phone", "carl/phone"} {
		h.principals[string(path)], _ = h.Principal(now, path)
	}
	return h
}

// give writes terms down: the state may be seen on Saturdays from two to four, and at night.
func (h *home) give(who identity.MemberID, what identity.Path) {
	id, err := tree.NewGrantID(rand.Reader)
	if err != nil {
		panic(err)
	}
	h.terms = append(h.terms, grant.Terms{
		Tree: h.ID, ID: id, Giver: h.At("sam").Member(), Subject: grant.Subject{Tree: h.ID, Member: who},
		Thing: grant.Thing{Member: h.At(what).Member(), Affordance: "state"}, Actions: grant.See, Time: now.Add(-time.Minute).Unix(),
		From: now.Add(-time.Hour).Unix(), Until: now.Add(5 * 24 * time.Hour).Unix(), Zone: zone,
		Windows: []grant.Window{{Days: grant.DayOf(time.Saturday), From: 14 * 60, To: 16 * 60}, {Days: grant.AllDays, From: 22 * 60, To: 6 * 60}},
	})
}

// admit signs all grants, has the roster take them, and verifies them.
func (h *home) admit(t testing.TB) {
	laptop := h.At("sam/laptop")
	for all := h.terms; len(all) > 0; {
		some := all[:min(32, len(all))]
		all = all[len(some):]
		var raws [][]byte
		var ids []tree.GrantID
		var update tree.Update
		for _, terms := range some {
			raw, err := grant.Sign(laptop.Signer, laptop.Raw, terms)
			if err != nil {
				t.Fatal(err)
			}
			_, s, err := grant.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			raws, ids = append(raws, raw), append(ids, terms.ID)
			update.Grants = append(update.Grants, tree.Admitted{ID: terms.ID, Raw: raw, Grant: tree.Grant{Statement: s.Digest, Giver: terms.Giver}})
		}
		h.Apply(update)
		live := h.Live(now, ids, laptop)
		for _, raw := range raws {
			g, err := grant.Verify(raw, live, now)
			if err != nil {
				t.Fatal(err)
			}
			h.index.Set(g)
		}
	}
}

// groups are the members whose grants serve an app, and it itself.
func groups(who identity.Chain) []string {
	return []string{who.Member().String(), who.ActsFor().String()}
}

// places are a thing and the places above it.
func places(thing identity.Chain) (ids []string) {
	for _, link := range thing.Line {
		ids = append(ids, link.Member.String())
	}
	return ids
}

// kindred is what all others are compared with.
type kindred struct{ *home }

func (kindred) name() string { return "kindred" }

func (k kindred) allows(a ask) bool {
	req := grant.Request{Thing: k.At(a.thing).Chain, Affordance: a.affordance, Action: a.action}
	facts := grant.Facts{Now: a.at, Limit: grant.Limit{Fresh: 30 * 24 * time.Hour}}
	d, err := grant.Decide(req, a.who, k.index.For(a.who.Chain), facts)
	if err != nil {
		panic(err)
	}
	return d.Allowed
}
