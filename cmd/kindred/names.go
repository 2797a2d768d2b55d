package main

import (
	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

// names give members the names that people use: "anna" for sam/anna where there is only one, else the path.
type names struct {
	roster  kindred.Roster
	bearers map[string]int // how many people bear a name
}

func namesOf(r kindred.Roster) names {
	n := names{r, map[string]int{}}
	for _, m := range r.Members {
		if isPerson(m.Who.Kind()) {
			n.bearers[m.Who.ID.Path.Name()]++
		}
	}
	return n
}

func isPerson(k identity.Kind) bool { return k == identity.Owner || k == identity.Person }

// member names a member that a grant is for or about.
func (n names) member(id identity.TreeMember) string {
	for _, m := range n.roster.Members {
		if m.Who.TreeMember() == id {
			return n.plain(m.Who.ID.Path, m.Who.Kind())
		}
	}
	return n.roster.Name(id)
}

func (n names) plain(p identity.Path, kind identity.Kind) string {
	if isPerson(kind) && n.bearers[p.Name()] == 1 {
		return p.Name()
	}
	return string(p)
}

// party names somebody in a journal: an app by whoever it acts for. Who is not on the tree any more keeps the path that
// it had then.
func (n names) party(p journal.Party) string {
	if p.IsZero() {
		return "somebody"
	}
	if !n.roster.Of(p.ID.Tree) {
		return n.roster.Elsewhere(p.ID)
	}
	m, ok := n.roster.At(p.ID.Path)
	if !ok || m.Who.Member() != p.Member {
		return string(p.ID.Path)
	}
	above, ok := n.roster.At(p.ID.Path.Parent())
	if ok && above.Who.Member() == m.Who.ActsFor() {
		return n.plain(above.Who.ID.Path, above.Who.Kind())
	}
	return n.plain(p.ID.Path, m.Who.Kind())
}
