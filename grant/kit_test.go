package grant

import (
	"crypto/rand"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/tree"
)

// A Saturday, 15:30 in Berlin.
var now = time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC)

// A household, whose members are named by their paths.
type household struct{ *identitytest.Tree }

func newHousehold(t testing.TB) household {
	tr := identitytest.NewTree(t, now)
	for _, m := range []struct {
		kind identity.Kind
		path identity.Path
	}{
		{identity.Owner, "sam"}, {identity.App, "sam/laptop"}, {identity.App, "sam/phone"},
		{identity.Person, "sam/anna"}, {identity.App, "sam/anna/phone"}, {identity.Person, "carl"}, {identity.App, "carl/phone"},
		{identity.Place, "home"}, {identity.Device, "home/lock"}, {identity.Device, "home/gateway"},
		{identity.Place, "home/porch"}, {identity.Device, "home/porch/doorbell"},
		{identity.Place, "barn"}, {identity.Device, "barn/scale"}, {identity.Service, "bank"},
	} {
		tr.Add(m.kind, m.path)
	}
	return household{tr}
}

// terms returns what sam grants: everything, always, to who for what.
func (h household) terms(who, what identity.Path) Terms {
	return h.termsFor(Subject{Tree: h.ID, Member: h.At(who).Member()}, what)
}

func (h household) termsFor(who Subject, what identity.Path) Terms {
	return Terms{
		Tree: h.ID, ID: newID(), Giver: h.At("sam").Member(), Subject: who,
		Thing: Thing{Member: h.At(what).Member()}, Actions: Use, Time: now.Add(-time.Minute).Unix(),
	}
}

func (h household) principal(path identity.Path, asOf time.Time) credential.Principal {
	return credential.Principal{Chain: h.At(path).Chain, AsOf: asOf}
}

func newID() tree.GrantID {
	id, err := tree.NewGrantID(rand.Reader)
	if err != nil {
		panic(err)
	}
	return id
}

// stands returns the grant that Verify would make of terms, for tests of what comes after.
func stands(t Terms, asOf time.Time) Grant { return Grant{rules: &rules{terms: t}, asOf: asOf} }
