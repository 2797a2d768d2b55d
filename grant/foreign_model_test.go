package grant

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/tree"
)

// A town is three homes. Grants are about the meter of the first, which recognizes the others until it does not.
type town struct {
	*rand.Rand
	t      testing.TB
	homes  [3]*credentialtest.Home
	people []*townee
	given  []*townGrant
	shown  []townEvidence
}

// A townee is a person, with a phone.
type townee struct {
	home int
	path identity.Path
	gone bool
}

// A townGrant is one that stands in the roster of the first home, or stood there, with who it is really from.
type townGrant struct {
	tree.Admitted
	above            *townGrant // nil: it claims to be an owner's
	giver, signer    *townee    // nil: the first home's owner
	who              *townee
	depth            uint8
	owners, takenOff bool
}

// townEvidence is what somebody showed once.
type townEvidence struct {
	by *townee
	credential.Hello
}

func newTown(t testing.TB, seed uint64) *town {
	p := &town{Rand: rand.New(rand.NewPCG(seed, 23)), t: t}
	for i := range p.homes {
		h := credentialtest.New(t, now)
		for _, path := range []identity.Path{"sam/anna", "sam/ben"} {
			h.Add(identity.Person, path)
			h.Add(identity.App, path+"/phone")
			p.people = append(p.people, &townee{home: i, path: path})
		}
		p.homes[i] = h
	}
	p.homes[0].Add(identity.Device, "home/meter")
	for i, h := range p.homes[1:] {
		p.homes[0].Recognize(h, "home-"+strconv.Itoa(i))
	}
	return p
}

func (p *town) any() *townee { return p.people[p.IntN(len(p.people))] }

func (p *town) member(who *townee, below identity.Path) *identitytest.Member {
	return p.homes[who.home].At(who.path + below)
}

// give puts a grant into the roster as a keeper would that checks nothing but its form: an owner's, or one that passes on
// another, at times by whom that is not for, or signed by somebody else, or deeper than it may be.
func (p *town) give() {
	oak := p.homes[0]
	g := &townGrant{who: p.any(), depth: uint8(p.IntN(4))}
	t := household{oak.Tree}.terms("sam", "home/meter")
	t.Time, t.Actions = oak.Clock.Unix(), See
	signer := oak.At("sam/laptop")
	if n := len(p.given); n > 0 && p.IntN(3) > 0 {
		g.above = p.given[p.IntN(n)]
		g.giver, g.depth = g.above.who, min(g.depth, max(g.above.depth, 1)-1)
		switch p.IntN(12) {
		case 0:
			g.giver = p.any()
		case 1:
			g.depth = uint8(p.IntN(4))
		}
		g.signer = g.giver
		if p.IntN(12) == 0 {
			g.signer = p.any()
		}
		signer = p.member(g.signer, "/phone")
		t.Giver, t.Parent = p.member(g.giver, "").Member(), g.above.Statement
		if g.giver.home != 0 {
			t.GiverTree = p.homes[g.giver.home].ID
		}
	} else {
		g.owners = true
	}
	t.Subject, t.Depth = Subject{Tree: p.homes[g.who.home].ID, Member: p.member(g.who, "").Member()}, g.depth
	if g.who.home != 0 {
		t.Subject.Path = g.who.path
	}
	raw, err := Sign(signer.Signer, signer.Raw, t)
	if err != nil {
		return // the form is wrong: nobody would admit it
	}
	_, s, err := Parse(raw)
	if err != nil {
		p.t.Fatal(err)
	}
	g.Admitted = tree.Admitted{ID: t.ID, Raw: raw, Grant: tree.Grant{Statement: s.Digest, Giver: t.Giver, GiverTree: t.GiverTree}}
	if p.forgotten(g.giver) || g.giver != nil && g.giver.home == 0 && g.giver.gone {
		return // which no roster holds
	}
	oak.Apply(tree.Update{Grants: []tree.Admitted{g.Admitted}})
	p.given = append(p.given, g)
}

// forgotten reports whether somebody is of a home that is not recognized.
func (p *town) forgotten(who *townee) bool {
	if who == nil || who.home == 0 {
		return false
	}
	_, ok := p.homes[0].State.Recognized(p.homes[who.home].ID)
	return !ok
}

// stands reports whether somebody counts.
func (p *town) stands(who *townee) bool { return who == nil || !who.gone && !p.forgotten(who) }

// allows follows a grant by hand.
func (p *town) allows(g *townGrant, by *townee) bool {
	if g.who != by || !p.stands(by) {
		return false
	}
	for ; ; g = g.above {
		if g.takenOff || !p.stands(g.giver) || g.signer != g.giver {
			return false
		}
		if g.above == nil {
			return g.owners
		}
		if g.giver != g.above.who || g.depth >= g.above.depth || g.who == g.above.who {
			return false
		}
	}
}

// may reports whether some grant allows it, and whether one does that somebody of yet another home passed on.
func (p *town) may(by *townee) (yes, far bool) {
	for _, g := range p.given {
		if p.allows(g, by) {
			yes, far = true, far || g.giver != nil && g.giver.home != 0 && g.giver.home != by.home
		}
	}
	return yes, far
}

// evidence is what somebody can show now: every grant in the roster, and all that homes prove of those whom they rest on.
func (p *town) evidence(by *townee) townEvidence {
	e := townEvidence{by: by, Hello: credential.Hello{Chain: p.member(by, "/phone").Raw}}
	members := [3][]*identitytest.Member{0: {p.homes[0].At("sam")}}
	add := func(who *townee, below identity.Path) {
		if who != nil && !who.gone {
			members[who.home] = append(members[who.home], p.member(who, below))
		}
	}
	add(by, "/phone")
	var ids []tree.GrantID
	for _, g := range p.given {
		if !g.takenOff {
			e.Grants, ids = append(e.Grants, g.Raw), append(ids, g.ID)
			add(g.giver, "")
		}
	}
	var known []identity.TreeID
	proofs := [3]credential.Proof{}
	for i, h := range p.homes[1:] {
		proofs[i+1] = h.Prove(nil, members[i+1]...)
		if _, ok := p.homes[0].State.Recognized(h.ID); ok {
			known = append(known, h.ID)
		}
	}
	proofs[0] = p.homes[0].ProveAmong(known, ids, members[0]...)
	e.Proofs = []credential.Proof{proofs[by.home]}
	for i := range proofs {
		if i != by.home {
			e.Proofs = append(e.Proofs, proofs[i])
		}
	}
	return e
}

// newest is what is known by somebody who has heard of every home lately.
func (p *town) newest() (known [3]credential.Trusted) {
	p.t.Helper()
	for i, h := range p.homes {
		var err error
		if _, known[i], err = credential.VerifyProof(h.Prove(nil), h.Trusted(), h.Clock); err != nil {
			p.t.Fatal(err)
		}
	}
	return known
}

// happens takes something back, removes somebody, forgets a home, or gives something. It returns who is to be asked then.
func (p *town) happens() []*townee {
	what := p.IntN(20)
	switch what {
	case 0, 1:
		if n := len(p.given); n > 0 {
			if g := p.given[p.IntN(n)]; !g.takenOff {
				g.takenOff = true
				p.homes[0].Revoke(g.ID)
			}
		}
	case 2:
		who := p.any()
		if n := len(p.given); n > 0 && p.IntN(3) > 0 {
			if g := p.given[p.IntN(n)]; g.giver != nil {
				who = g.giver
			}
		}
		if !who.gone {
			who.gone = true
			for _, g := range p.given { // of the home's own, what they gave goes with them
				if who.home == 0 && g.giver == who && !g.takenOff {
					g.takenOff = true
					p.homes[0].Revoke(g.ID)
				}
			}
			p.homes[who.home].Remove(who.path)
		}
	case 3:
		if h := 1 + p.IntN(2); p.IntN(6) == 0 && !p.forgotten(&townee{home: h}) {
			for _, g := range p.given {
				if !g.takenOff && (g.giver != nil && g.giver.home == h || g.who.home == h) {
					g.takenOff = true
					p.homes[0].Revoke(g.ID)
				}
			}
			p.homes[0].Forget(p.homes[h])
		}
	default:
		if len(p.given) < 24 {
			p.give()
		}
	}
	if what < 4 {
		return p.people
	}
	return []*townee{p.any()}
}

// Invariant: whatever members of three homes are given and pass on, in order or not, and whatever is taken back, removed and
// forgotten in any of them, evidence of now shows that a request may be served if and only if somebody who follows the
// grants by hand finds one that allows it; and evidence from before never shows, to whoever has heard of each home since,
// what is not so any more. KINDRED_TEST_PLAYS is how many histories are played, then other ones each time.
func TestHomesAgainstModel(t *testing.T) {
	plays, first := uint64(10), uint64(0)
	if n, err := strconv.ParseUint(os.Getenv("KINDRED_TEST_PLAYS"), 10, 32); err == nil {
		plays, first = n, rand.Uint64()
	}
	allowed, across, denied, late := 0, 0, 0, 0
	for seed := first; seed != first+plays; seed++ {
		p := newTown(t, seed)
		req := Request{Thing: p.homes[0].At("home/meter").Chain, Affordance: "power", Action: Read}
		for range 36 {
			asked := p.happens()
			known := p.newest()
			for _, by := range asked {
				if by.gone && by.home == 0 { // whom the first home removed, its gateway proves no more
					continue
				}
				e := p.evidence(by)
				d, _, err := Judge(e.Hello, p.homes[0].Trusted(), req, fresh(now))
				want, far := p.may(by)
				if err != nil || d.Allowed != want {
					t.Fatalf("seed %d: %s of home %d reads: %t, %q, %v, want %t, of %d grants", seed, by.path, by.home, d.Allowed, d.Reason, err, want, len(e.Grants))
				}
				p.shown = append(p.shown, e)
				switch {
				case far:
					across++
				case want:
					allowed++
				default:
					denied++
				}
			}
			if n := len(p.shown); n > 0 {
				e := p.shown[p.IntN(n)]
				d, _, err := Judge(e.Hello, known[0], req, fresh(now), known[1:]...)
				want, _ := p.may(e.by)
				if d.Allowed && (err != nil || !want) {
					t.Fatalf("seed %d: %s of home %d reads by what was so before: %+v, %v", seed, e.by.path, e.by.home, d, err)
				}
				if !want && !slices.Contains([]Code{NoGrant, Granted}, d.Reason.Code) {
					late++
				}
			}
		}
	}
	t.Logf("allowed %d, through a third home %d, denied %d, by what was learnt since %d", allowed, across, denied, late)
	if allowed < 30 || across < 5 || denied < 60 || late < 10 {
		t.Error("too few of one kind to tell anything")
	}
}
