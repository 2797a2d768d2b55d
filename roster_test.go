package kindred_test

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/tree"
)

// Another home gives a member the ID of anna here. An owner is shown who that is, and removing anna ends what is hers alone.
func TestRosterTellsNamesakesApart(t *testing.T) {
	here, other := identitytest.NewTree(t, time.Now()), identitytest.NewTree(t, time.Now())
	var r kindred.Roster
	for _, m := range []*identitytest.Member{
		here.Add(identity.Owner, "sam"), here.Add(identity.Person, "sam/anna"), here.Add(identity.Place, "home"),
		here.Add(identity.Device, "home/lock"), here.Add(identity.Device, "home/meter"),
	} {
		r.Members = append(r.Members, kindred.RosterMember{Who: m.Chain})
	}
	sam, anna, lock, meter := here.At("sam"), here.At("sam/anna"), here.At("home/lock"), here.At("home/meter")
	namesake := grant.Subject{Tree: other.ID, Member: anna.Member(), Path: "kim"}
	for i, terms := range []grant.Terms{
		{Giver: sam.Member(), Subject: grant.Subject{Tree: here.ID, Member: anna.Member()}, Thing: grant.Thing{Member: meter.Member()}},
		{Giver: sam.Member(), Subject: namesake, Thing: grant.Thing{Member: lock.Member()}},
		{
			Giver: anna.Member(), GiverTree: other.ID, Subject: grant.Subject{Tree: here.ID, Member: sam.Member()},
			Thing: grant.Thing{Member: lock.Member()},
		},
	} {
		terms.Tree, terms.ID = here.ID, tree.GrantID{byte(i + 1)}
		r.Grants = append(r.Grants, kindred.RosterGrant{Terms: terms})
	}
	r.Others = []kindred.RosterOther{{}}
	r.Others[0].Other, r.Others[0].Name = other.ID, "oak"
	for member, want := range map[identity.TreeMember]string{
		anna.TreeMember(): "sam/anna", namesake.TreeMember(): "oak:kim", r.Grants[2].Terms.GiverMember(): "oak:kim",
	} {
		if got := r.Name(member); got != want {
			t.Errorf("%s is called %s, want %s", member, got, want)
		}
	}
	m, _ := r.At("sam/anna")
	if ended := r.Ended(m); len(ended) != 1 || ended[0].Terms.ID != r.Grants[0].Terms.ID {
		t.Errorf("with anna ends %+v", ended)
	}
	if things := r.Member(m).Things; len(things) != 1 || things[0] != meter.Member() {
		t.Errorf("of anna's removal are told %v, want the meter, %s", things, meter.Member())
	}
}
