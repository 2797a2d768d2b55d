package grant

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A street is a company that recognizes another home, birch, whose sam/anna it gave the meter, who gave it to sam/ben.
type street struct {
	company
	birch  *credentialtest.Home
	grants []tree.Admitted
}

// abroad is whom a grant is for, of another home.
func abroad(h *credentialtest.Home, who identity.Path) change {
	return func(t *Terms) { t.Subject = Subject{Tree: h.ID, Member: h.At(who).Member(), Path: who} }
}

func newStreet(t testing.TB) street {
	s := street{company: newCompany(t), birch: newBirch(t)}
	s.Recognize(s.birch, "birch")
	top := s.give("sam/laptop", "sam", "sam/eva", signed.Digest{}, abroad(s.birch, "sam/anna"), depth(2))
	s.grants = []tree.Admitted{top, s.passOn(s.birch, "sam/anna", top, abroad(s.birch, "sam/ben"))}
	return s
}

func newBirch(t testing.TB) *credentialtest.Home {
	h := credentialtest.New(t, now)
	h.Add(identity.Person, "sam/anna")
	h.Add(identity.App, "sam/anna/phone")
	h.Add(identity.Person, "sam/ben")
	h.Add(identity.App, "sam/ben/phone")
	return h
}

// passOn is a grant by a person of another home, signed by their phone, that passes on the one above.
func (s street) passOn(from *credentialtest.Home, giver identity.Path, above tree.Admitted, changes ...change) tree.Admitted {
	s.t.Helper()
	by := from.At(giver + "/phone")
	t := household{s.Tree}.terms("sam/eva", "home/meter")
	t.Giver, t.GiverTree, t.Parent, t.Time = from.At(giver).Member(), from.ID, above.Statement, s.Clock.Unix()
	for _, change := range changes {
		change(&t)
	}
	raw, err := Sign(by.Signer, by.Raw, t)
	if err != nil {
		s.t.Fatal(err)
	}
	_, st, err := Parse(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	a := tree.Admitted{ID: t.ID, Raw: raw, Grant: tree.Grant{
		Statement: st.Digest, Giver: t.Giver, GiverTree: t.GiverTree, By: s.At("sam/laptop").Member(), Since: s.Clock.Unix(),
	}}
	s.Apply(tree.Update{Grants: []tree.Admitted{a}})
	return a
}

// shows is what a leaf or person of another home shows, with the proof of its own home and that of further ones.
func (s street) shows(chain [][]byte, proofs ...credential.Proof) credential.Hello {
	h := credential.Hello{Chain: chain}
	var ids []tree.GrantID
	for _, g := range s.grants {
		h.Grants, ids = append(h.Grants, g.Raw), append(ids, g.ID)
	}
	h.Proofs = append(proofs, s.ProveTo(s.birch.ID, ids, s.At("sam")))
	return h
}

// Of callers of another home it is said, from what they showed and offline, what lets them, or the first thing against it.
func TestJudgeVisitor(t *testing.T) {
	s := newStreet(t)
	bens := func(also ...*identitytest.Member) credential.Proof {
		return s.birch.Prove(nil, append(also, s.birch.At("sam/ben/phone"))...)
	}
	phone, ben, anna := s.birch.At("sam/ben/phone"), s.birch.At("sam/ben"), s.birch.At("sam/anna")
	wants := func(name string, h credential.Hello, trusted credential.Trusted, at time.Time, want Code, others ...credential.Trusted) Decision {
		t.Helper()
		d, _, err := Judge(h, trusted, s.reading(), fresh(at), others...)
		if err != nil || d.Reason.Code != want || d.Allowed != (want == Granted) {
			t.Errorf("%s: %+v %q, %v, want %s", name, d, d.Reason, err, want)
		}
		return d
	}
	trusted := s.Trusted()
	d := wants("ben's phone", s.shows(phone.Raw, bens(anna)), trusted, s.Clock, Granted)
	if d.Grant != s.grants[1].ID || len(d.Above) != 1 || d.Above[0] != s.grants[0].ID {
		t.Errorf("the chain is %s and %s", d.Grant, d.Above)
	}
	wants("ben, for any app of his", s.shows(ben.Raw, bens(anna)), trusted, s.Clock, Granted)
	wants("anna", s.shows(anna.Raw, s.birch.Prove(nil, anna)), trusted, s.Clock, Granted)
	wants("an owner there", s.shows(s.birch.At("sam/laptop").Raw, s.birch.Prove(nil, s.birch.At("sam/laptop"), anna)), trusted, s.Clock, NoGrant)
	d = wants("without a proof of who passed it on", s.shows(phone.Raw, bens()), trusted, s.Clock, GiverRemoved)
	if d.At != s.grants[1].ID || len(d.Above) != 1 {
		t.Errorf("removed is the giver of %s, of %+v", d.At, d)
	}
	wants("two days later", s.shows(phone.Raw, bens(anna)), trusted, s.Clock.Add(48*time.Hour), Stale)
	bare := s.shows(phone.Raw, bens(anna))
	bare.Proofs[1] = s.Prove([]tree.GrantID{s.grants[0].ID, s.grants[1].ID}, s.At("sam"))
	wants("of a home that is not known", bare, trusted, s.Clock, Unknown)
	wants("who is not on the proof", s.shows(phone.Raw, s.birch.Prove(nil, anna)), trusted, s.Clock, Removed)

	// What is learnt later counts against what was shown before.
	before := s.shows(phone.Raw, bens(anna))
	s.birch.Remove("sam/anna")
	_, birch, err := credential.VerifyProof(s.birch.Prove(nil, s.birch.At("sam/laptop")), s.birch.Trusted(), s.Clock)
	if err != nil {
		t.Fatal(err)
	}
	wants("after anna was removed", before, trusted, s.Clock, Removed, birch)
	wants("with a proof from after that", s.shows(phone.Raw, bens()), trusted, s.Clock, GiverRemoved, birch)
	later := func() credential.Trusted {
		_, next, err := credential.VerifyProof(s.Prove(nil, s.At("sam/laptop")), trusted, s.Clock)
		if err != nil {
			t.Fatal(err)
		}
		return next
	}
	s.Revoke(s.grants[1].ID)
	wants("after it was taken back", before, later(), s.Clock, TakenBack)
	s.Forget(s.birch)
	if d := wants("after the home was forgotten", before, later(), s.Clock, Unknown); d.Reason.String() == (Reason{Code: Unknown}).String() {
		t.Errorf("%q does not say that it was known", d.Reason)
	}
}

// What does not hold in itself is an error, and allows nothing.
func TestJudgeSpoiltVisitor(t *testing.T) {
	s := newStreet(t)
	phone, anna := s.birch.At("sam/ben/phone"), s.birch.At("sam/anna")
	fork := credentialtest.NewFork(t, s.birch)
	for name, h := range map[string]credential.Hello{
		"under another charter":                                s.shows(phone.Raw, fork.Prove(nil, phone, anna)),
		"with somebody of the thing's own home's certificates": s.shows(s.At("sam/eva/phone").Raw, s.birch.Prove(nil, phone, anna)),
		"without certificates":                                 s.shows(nil, s.birch.Prove(nil, phone, anna)),
		"as a place":                                           s.shows(s.birch.At("home").Raw, s.birch.Prove(nil, s.birch.At("home"), anna)),
	} {
		if d, _, err := Judge(h, s.Trusted(), s.reading(), fresh(s.Clock)); err == nil || d.Allowed {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

// Ben of birch let kit in, who is of a third home: the evidence has the proofs of three, each by what the thing's home
// recognizes, and the day of whoever passed it on counts.
func TestJudgeThroughAThirdHome(t *testing.T) {
	s := newStreet(t)
	elm := credentialtest.New(t, now)
	kit := elm.Add(identity.Person, "sam/kit")
	phone := elm.Add(identity.App, "sam/kit/phone")
	kits := s.passOn(s.birch, "sam/ben", s.passOn(s.birch, "sam/anna", s.grants[0], abroad(s.birch, "sam/ben"), depth(1)), func(t *Terms) {
		t.Subject = Subject{Tree: elm.ID, Member: kit.Member(), Path: "sam/kit"}
	})
	var raws [][]byte
	var ids []tree.GrantID
	for g := range s.State.Grants() {
		raws, ids = append(raws, g.Raw), append(ids, g.ID)
	}
	shows := func(proofs ...credential.Proof) credential.Hello {
		return credential.Hello{Chain: phone.Raw, Grants: raws, Proofs: proofs}
	}
	birch := s.birch.Prove(nil, s.birch.At("sam/anna"), s.birch.At("sam/ben"))
	judge := func(name string, h credential.Hello, at time.Time, limit time.Duration, want Code) Decision {
		t.Helper()
		facts := fresh(at)
		facts.Limit.Fresh = limit
		d, _, err := Judge(h, s.Trusted(), s.reading(), facts)
		if err != nil || d.Reason.Code != want || d.Allowed != (want == Granted) {
			t.Errorf("%s: %+v %q, %v, want %s", name, d, d.Reason, err, want)
		}
		return d
	}
	here := func() credential.Proof { return s.ProveAmong([]identity.TreeID{s.birch.ID, elm.ID}, ids, s.At("sam")) }
	judge("elm is not known", shows(elm.Prove(nil, phone), birch, s.ProveTo(s.birch.ID, ids, s.At("sam"))), s.Clock, time.Hour, Unknown)
	s.Recognize(elm, "elm")
	d := judge("with all proofs", shows(elm.Prove(nil, phone), birch, here()), s.Clock, time.Hour, Granted)
	if d.Grant != kits.ID || len(d.Above) != 2 {
		t.Errorf("the chain is %s, %s", d.Grant, d.Above)
	}
	judge("in another order", shows(elm.Prove(nil, phone), here(), birch), s.Clock, time.Hour, Granted)
	judge("without the proof of who passed it on", shows(elm.Prove(nil, phone), here()), s.Clock, time.Hour, GiverRemoved)
	judge("without one of them", shows(elm.Prove(nil, phone), s.birch.Prove(nil, s.birch.At("sam/ben")), here()), s.Clock, time.Hour, GiverRemoved)
	judge("with birch not known", shows(elm.Prove(nil, phone), birch, s.ProveTo(elm.ID, ids, s.At("sam"))), s.Clock, time.Hour, NoGrant) // whose it is cannot be told

	// Kit's own home and the thing's are young, and birch was last heard of a day ago.
	later := s.Clock.Add(23 * time.Hour)
	elm.Block(later)
	s.Block(later)
	d = judge("after 23 hours", shows(elm.Prove(nil, phone), birch, here()), later, 72*time.Hour, Granted)
	if end := s.birch.Clock.Add(VisitorMaxAge); d.Until.After(end) {
		t.Errorf("it is allowed until %s, after birch's day is over at %s", d.Until, end)
	}
	later = later.Add(2 * time.Hour)
	elm.Block(later)
	s.Block(later)
	judge("after 25 hours", shows(elm.Prove(nil, phone), birch, here()), later, 72*time.Hour, Stale)
}
