package tree_test

import (
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// A thief with the phone makes anna's neighbour a member, who shares something on; what was made before, and by others,
// stays.
func TestMadeSince(t *testing.T) {
	h := household(t)
	member := func(path identity.Path) identity.MemberID { return h.At(path).Member() }
	phone, laptop := member("sam/anna/phone"), identity.MemberID{9}
	person, app := h.At("sam/anna"), h.At("sam/anna/phone")
	stolen := now.Unix()
	for _, test := range []struct {
		name  string
		made  []tree.Making
		by    []identity.MemberID
		found []int
	}{
		{"nothing", nil, []identity.MemberID{phone}, nil},
		{"before", []tree.Making{{By: phone, Since: stolen - 1}, {By: phone, Since: stolen}}, []identity.MemberID{phone}, []int{1}},
		{"by another", []tree.Making{{By: laptop, Since: stolen}}, []identity.MemberID{phone}, nil},
		{"by what was made", []tree.Making{
			{By: phone, Since: stolen + 2},
			{By: laptop, Since: stolen, Made: person.Chain},
			{By: person.Member(), Since: stolen + 1, Made: app.Chain},
		}, []identity.MemberID{laptop}, []int{0, 1, 2}},
		{"what is below goes, whoever put it there", []tree.Making{
			{By: identity.MemberID{7}, Since: stolen, Made: app.Chain},
			{By: laptop, Since: stolen, Made: person.Chain},
			{By: phone, Since: stolen},
		}, []identity.MemberID{laptop}, []int{0, 1, 2}},
		{"by way of one that is gone", []tree.Making{
			{By: phone, Since: stolen + 1},
			{By: laptop, Since: stolen, Gone: phone},
		}, []identity.MemberID{laptop}, []int{0, 1}},
		{"by one that is gone and was there before", []tree.Making{
			{By: phone, Since: stolen + 1},
			{By: laptop, Since: stolen - 1, Gone: phone},
		}, []identity.MemberID{laptop}, nil},
		{"in a ring", []tree.Making{
			{By: person.Member(), Since: stolen, Made: app.Chain},
			{By: app.Member(), Since: stolen, Made: person.Chain},
		}, []identity.MemberID{laptop}, nil},
	} {
		if found := tree.MadeSince(test.made, test.by, time.Unix(stolen, 0)); !slices.Equal(found, test.found) {
			t.Errorf("%s: %v, want %v", test.name, found, test.found)
		}
	}
}
