package main

import (
	"bufio"
	"bytes"
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// berlin is the zone of the home in tests, noon a Saturday there.
var (
	berlin = mustZone("Europe/Berlin")
	noon   = time.Date(2026, 11, 28, 12, 0, 0, 0, berlin)
)

func mustZone(name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return loc
}

// A house is a tree as the command line sees it.
type house struct {
	*identitytest.Tree
	roster kindred.Roster
}

// newHouse makes owner sam with a laptop and a phone, anna with a phone, tom and, below him, another anna, and a home
// with a lock, a meter, and a bell in the porch.
func newHouse(t *testing.T) *house {
	h := &house{Tree: identitytest.NewTree(t, noon)}
	h.roster.Tree = h.ID
	for _, m := range []struct {
		kind identity.Kind
		path identity.Path
	}{
		{identity.Owner, "sam"}, {identity.App, "sam/laptop"}, {identity.App, "sam/phone"},
		{identity.Person, "sam/anna"}, {identity.App, "sam/anna/phone"},
		{identity.Owner, "tom"}, {identity.Person, "tom/eva"}, {identity.Person, "sam/eva"}, {identity.App, "sam/eva/phone"},
		{identity.Place, "home"}, {identity.Device, "home/lock"}, {identity.Device, "home/meter"},
		{identity.Place, "home/porch"}, {identity.Device, "home/porch/bell"},
	} {
		h.join(m.kind, m.path)
	}
	return h
}

func (h *house) join(kind identity.Kind, path identity.Path) {
	m := h.Add(kind, path)
	h.roster.Members = append(h.roster.Members, kindred.RosterMember{
		Member: control.Member{Path: path, Kind: kind.String(), Since: noon}, Who: m.Chain,
	})
	slices.SortFunc(h.roster.Members, func(a, b kindred.RosterMember) int { return cmp.Compare(a.Path, b.Path) })
}

// leave takes a member off the roster. Its party stays known.
func (h *house) leave(path identity.Path) {
	h.roster.Members = slices.DeleteFunc(h.roster.Members, func(m kindred.RosterMember) bool { return m.Path == path })
}

func (h *house) party(path identity.Path) journal.Party {
	return journal.Party{Member: h.At(path).Member(), ID: h.At(path).ID}
}

// give adds a grant whose ID begins with four letters.
func (h *house) give(name string, to, about identity.Path, t grant.Terms) tree.GrantID {
	id, err := tree.ParseGrantID("g-" + name + strings.Repeat("a", 26-len(name)))
	if err != nil {
		panic(err)
	}
	t.ID, t.Tree, t.Time, t.Giver = id, h.ID, noon.Unix(), h.At("sam").Member()
	t.Subject = grant.Subject{Tree: h.ID, Member: h.At(to).Member()}
	t.Thing.Member = h.At(about).Member()
	if t.Actions == 0 {
		t.Actions = grant.See
	}
	h.roster.Grants = append(h.roster.Grants, kindred.RosterGrant{Terms: t})
	return id
}

// talk returns a session whose user types the lines given, and what it writes.
func talk(lines ...string) (s *session, out, err *bytes.Buffer) {
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	var in bytes.Buffer
	for _, l := range lines {
		in.WriteString(l + "\n")
	}
	return &session{in: bufio.NewReader(&in), out: out, err: err, asks: true}, out, err
}
