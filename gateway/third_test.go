package gateway_test

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tree"
)

// A village is a street with a third home, elm, whose kit is to be let in by anna of birch.
type village struct {
	*street
	elm  *gatewaytest.Home
	kim  *kindred.Node // elm's owner's app
	kit  *kindred.Node // kit's phone
	kits grant.Subject
}

func newVillage(t *testing.T) *village {
	t.Helper()
	v := &village{street: newStreet(t), elm: gatewaytest.New(t)}
	v.kim = v.elm.Open("laptop")
	v.kit = v.elm.Invite(v.kim, identity.Person, "sam/kit", "phone")
	v.kits = grant.Subject{Tree: v.kit.Self().ID.Tree, Member: v.kit.Self().ActsFor(), Path: "sam/kit"}
	gatewaytest.Recognize(t, v.kim, v.laptop, "oak")
	return v
}

// passOn has anna let somebody look.
func (v *village) passOn(to grant.Subject) (grant.Terms, error) {
	return v.anna.PassOnAbroad(v.t.Context(), v.atLock, to, grant.Terms{Actions: grant.See})
}

// Anna of birch lets kit of elm look at the lock, as the owner said that she may: the lock's home knows both of theirs, and
// these need not know each other. Kit's right ends with hers, with her place in birch, and with what anybody takes back.
func TestPassedOnToAThirdHome(t *testing.T) {
	v := newVillage(t)
	ctx := t.Context()
	given, target := v.home.ShareAbroad(v.laptop, v.annas, "home/lock", grant.Terms{Actions: grant.See, Depth: 1})
	if _, err := v.passOn(v.kits); code2(err) == "" {
		t.Errorf("to a home that the lock's does not know: %v", err)
	}
	gatewaytest.Recognize(t, v.laptop, v.kim, "elm")
	passed, err := v.passOn(v.kits)
	if err != nil {
		t.Fatal(err)
	}
	reads := func(want bool, when string) {
		t.Helper()
		if _, err := v.elm.StateOf(v.kit, v.atLock); (err == nil) != want {
			t.Errorf("%s kit reads the lock: %v, want %t", when, err, want)
		}
	}
	reads(true, "let in by anna")
	if err := v.kit.UseID(ctx, v.atLock, func(c *thing.Client) error {
		_, err := c.Invoke(ctx, "unlock", nil)
		return err
	}); err == nil {
		t.Error("kit, who may look, unlocks")
	}
	if _, err := v.kit.PassOnAbroad(ctx, v.atLock, grant.Subject{Tree: v.annas.Tree, Member: v.sam.Self().ActsFor(), Path: "sam"}, grant.Terms{Actions: grant.See}); err == nil {
		t.Error("kit passes on what may be passed on once")
	}

	// The owner sees whose right it is, and by whom; and why.
	roster, err := v.laptop.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if name := roster.Name(v.kits.TreeMember()); name != "elm:sam/kit" {
		t.Errorf("kit is called %s", name)
	}
	why := func(want grant.Code) {
		t.Helper()
		lock, _ := roster.At("home/lock")
		who, err := v.laptop.Abroad(ctx, identity.ID{Tree: v.kits.Tree, Path: "sam/kit"})
		if err != nil {
			t.Fatal(err)
		}
		d, err := v.laptop.Why(ctx, kindred.Why{By: who.Chain, Thing: lock, Affordance: "state", Action: grant.Read})
		if err != nil || d.Reason.Code != want || d.Grant != passed.ID || len(d.Above) != 1 || d.Above[0] != given.ID {
			t.Errorf("why: %+v, %q, %v, want %s", d, d.Reason, err, want)
		}
	}
	why(grant.Granted)

	// Anna takes it back, and gives it again.
	ended := v.watch(v.kit)
	if err := v.anna.UnshareAbroad(ctx, v.atLock.Tree, passed.ID); err != nil {
		t.Fatal(err)
	}
	v.ends("taken back by who gave it", ended)
	if passed, err = v.passOn(v.kits); err != nil {
		t.Fatal(err)
	}

	// Birch removes anna: nothing that she gave counts any more.
	ended = v.watch(v.kit)
	v.remove("sam/anna")
	v.ends("who gave it was removed from her home", ended) // of which nobody visits: the gateways tell each other
	reads(false, "with anna removed")
	why(grant.GiverRemoved)

	// The owner takes back what anna was given.
	if _, err := v.laptop.Revoke(ctx, target); err != nil {
		t.Fatal(err)
	}
	if roster, err = v.laptop.Roster(ctx); err != nil || len(roster.GrantsNamed(passed.ID.String())) > 0 {
		t.Errorf("what anna gave is there still, %v", err)
	}
}

// Anna of birch lets somebody of the lock's own home look. Taking back that birch is known takes that along, and so does
// taking back the one home's recognition that a chain leads through for the other's.
func TestPassedBackIntoTheThingsHome(t *testing.T) {
	v := newVillage(t)
	ctx := t.Context()
	tom := v.home.Invite(v.laptop, identity.Person, "sam/tom", "phone")
	gatewaytest.Recognize(t, v.laptop, v.kim, "elm")
	v.home.ShareAbroad(v.laptop, v.annas, "home/lock", grant.Terms{HandOn: grant.See, Depth: 2})
	if _, err := v.passOn(grant.Subject{Tree: v.atLock.Tree, Member: tom.Self().ActsFor(), Path: "sam/tom"}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.passOn(v.kits); err != nil {
		t.Fatal(err)
	}
	if _, err := v.home.State(tom, "home/lock"); err != nil {
		t.Fatalf("tom cannot read the lock: %v", err)
	}
	if err := v.reads(v.anna); err == nil {
		t.Error("anna, who only manages, reads the lock")
	}
	kits := v.watch(v.kit)
	if _, err := v.laptop.Revoke(ctx, v.forget()); err != nil {
		t.Fatal(err)
	}
	v.ends("the home of who gave it is not known any more", kits)
	if _, err := v.home.State(tom, "home/lock"); err == nil {
		t.Error("tom reads the lock by the word of somebody of a home that is not known any more")
	}
	roster, err := v.laptop.Roster(ctx)
	if err != nil || len(roster.Grants) != 0 {
		t.Errorf("%d grants are left, %v", len(roster.Grants), err)
	}
}

// While the home of who passed something on is away, what was proved of it serves on, and what was not proved counts for
// nothing and keeps nobody from what they have otherwise.
func TestHomeOfAGiverAway(t *testing.T) {
	v := newVillage(t)
	v.home.ShareAbroad(v.laptop, v.annas, "home/lock", grant.Terms{HandOn: grant.See, Depth: 2})
	tom, eva := v.home.Invite(v.laptop, identity.Person, "sam/tom", "phone"), v.home.Invite(v.laptop, identity.Person, "sam/eva", "phone")
	for path, n := range map[identity.Path]*kindred.Node{"sam/tom": tom, "sam/eva": eva} {
		if _, err := v.passOn(grant.Subject{Tree: v.atLock.Tree, Member: n.Self().ActsFor(), Path: path}); err != nil {
			t.Fatal(err)
		}
	}
	reads := func(who *kindred.Node) error {
		_, err := v.home.State(who, "home/lock")
		return err
	}
	if err := reads(tom); err != nil {
		t.Fatal(err)
	}
	v.birch.Down()
	if err := reads(tom); err != nil {
		t.Errorf("tom, whose giver was a member a moment ago, reads: %v", err)
	}
	v.home.Restart() // and so forgets what was proved
	v.waits("eva is refused", func() bool { return code(reads(eva)) != "" })
	v.home.Share(v.laptop, "sam/eva", "home/lock", grant.Terms{Actions: grant.See})
	if err := eva.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	v.waits("eva reads by what the owner gave her", func() bool { return reads(eva) == nil })
}

// Who is a member still, a home tells to the gateways of homes that serve what somebody passed on, and to members who rest on
// it, once they show what that is; to owners, who may ask by name; and to nobody else. A proof tells more of a member than that.
func TestWhoAsksForGivers(t *testing.T) {
	v := newVillage(t)
	gatewaytest.Recognize(t, v.laptop, v.kim, "elm")
	v.home.ShareAbroad(v.laptop, v.annas, "home/lock", grant.Terms{Actions: grant.See, Depth: 1})
	if _, err := v.passOn(v.kits); err != nil {
		t.Fatal(err)
	}
	eva := v.birch.Invite(v.sam, identity.Person, "sam/eva", "phone")
	var passed []byte
	anna := v.anna.Self().ActsFor()
	v.home.Gateway.Keeper().View(func(s *tree.State) {
		for a := range s.Grants() {
			if a.Giver == anna {
				passed = a.Raw
			}
		}
	})
	at := func(h *gatewaytest.Home, who *kindred.Node) control.Client {
		door := h.Gateway.Node().Self()
		return control.Client{HTTP: who.HTTP(), Base: "kindred://" + door.Member().String() + "." + door.ID.Tree.String()}
	}
	homes := at(v.birch, v.home.Gateway.Node())
	named := control.ProofQuery{Also: []string{anna.String()}}
	shown := control.ProofQuery{Signed: [][]byte{passed}}
	forged := bytes.Clone(passed)
	forged[len(forged)-1] ^= 1
	for _, test := range []struct {
		name string
		of   interface {
			Prove(context.Context, control.ProofQuery) (control.Evidence, error)
		}
		q    control.ProofQuery
		want control.Code // the code of the answer; "": anna is proved
	}{
		{"another home's gateway, by name", homes, named, control.Refused},
		{"another home's gateway, of what she passed on", homes, shown, ""},
		{"another home's gateway, of what she did not sign", homes, control.ProofQuery{Signed: [][]byte{forged}}, control.Invalid},
		{"a guest, of what she passed on", at(v.home, v.anna), shown, control.NotFound},
		{"another home's owner", at(v.birch, v.laptop), named, ""},
		{"another member, by name", eva.Gateway(), named, control.Refused},
		{"another member, of what she passed on", eva.Gateway(), shown, ""},
		{"another member, of what she did not sign", eva.Gateway(), control.ProofQuery{Signed: [][]byte{forged}}, control.Invalid},
		{"the owner", v.sam.Gateway(), named, ""},
	} {
		e, err := test.of.Prove(t.Context(), test.q)
		if code2(err) != test.want || test.want == "" && err != nil {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
			continue
		}
		if err != nil {
			continue
		}
		p, err := credential.ParseProof(e.Proof)
		if err != nil || !slices.ContainsFunc(p.Entries, func(e credential.Entry) bool { return e.Member == anna }) {
			t.Errorf("%s: anna is not proved, %v", test.name, err)
		}
	}
}
