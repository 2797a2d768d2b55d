package grant

import (
	"slices"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// An Index finds, among the grants of a home, the few that are for one leaf, so that Decide looks at no others. The
// zero Index is empty and ready. It may be read by several goroutines while none changes it.
type Index struct {
	grants   map[tree.GrantID]Grant
	subjects map[Subject][]tree.GrantID
}

// Set puts a grant in, in place of the one with the same ID.
func (x *Index) Set(g Grant) {
	if g.rules == nil {
		return
	}
	if x.grants == nil {
		x.grants, x.subjects = map[tree.GrantID]Grant{}, map[Subject][]tree.GrantID{}
	}
	t := &g.rules.terms
	x.Delete(t.ID)
	x.grants[t.ID] = g
	subject := t.Subject.plain()
	x.subjects[subject] = append(x.subjects[subject], t.ID)
}

// Delete takes a grant out, if it is there.
func (x *Index) Delete(id tree.GrantID) {
	g, ok := x.grants[id]
	if !ok {
		return
	}
	delete(x.grants, id)
	subject := g.rules.terms.Subject.plain()
	left := slices.DeleteFunc(x.subjects[subject], func(other tree.GrantID) bool { return other == id })
	if x.subjects[subject] = left; len(left) == 0 {
		delete(x.subjects, subject)
	}
}

// plain returns a subject without what it is called.
func (s Subject) plain() Subject {
	s.Path = ""
	return s
}

// Len returns how many grants there are.
func (x *Index) Len() int { return len(x.grants) }

// For returns the grants that are for a leaf, whatever they are about.
func (x *Index) For(who identity.Chain) []Grant {
	var found []Grant
	add := func(subject Subject) {
		for _, id := range x.subjects[subject] {
			found = append(found, x.grants[id])
		}
	}
	for _, member := range groups(who, false) {
		add(Subject{Tree: who.ID.Tree, Member: member})
	}
	for _, link := range who.Line {
		add(Subject{Tree: who.ID.Tree, Member: link.Member, Below: true})
	}
	return found
}
