package tree_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/tree"
)

// What was stored fits together, or the roster stays empty.
func TestRestore(t *testing.T) {
	h, other := household(t), household(t)
	g := h.grant("sam")
	h.do(tree.Update{Grants: []tree.Admitted{g}, Checkpoints: []tree.JournalCheckpoint{{Member: h.id("home/lock"), Checkpoint: tree.Checkpoint{Size: 3}}}})
	lock := h.id("home/lock")
	without := func(all []identity.Chain, path identity.Path) []identity.Chain {
		return slices.DeleteFunc(all, func(c identity.Chain) bool { return c.ID.Path == path })
	}
	type parts struct {
		entries []merkle.Entry
		chains  []identity.Chain
		grants  map[tree.GrantID][]byte
	}
	at := func(p *parts, key merkle.Hash) *merkle.Entry {
		return &p.entries[slices.IndexFunc(p.entries, func(e merkle.Entry) bool { return e.Key == key })]
	}
	for _, test := range []struct {
		name  string
		spoil func(p *parts)
		want  string
	}{
		{"in order", func(*parts) {}, ""},
		{"a member's certificates lost", func(p *parts) { p.chains = without(p.chains, "home/lock") }, "2 entries are of no member or grant shown"},
		{"the certificates of one above lost", func(p *parts) { p.chains = without(p.chains, "home/porch") }, `"porch" above it is not live with this certificate`},
		{"an entry lost", func(p *parts) {
			p.entries = slices.DeleteFunc(p.entries, func(e merkle.Entry) bool { return e.Key == tree.MemberKey(lock) })
		}, "member home/lock: it is not in the roster"},
		{"an entry twice", func(p *parts) { p.entries = append(p.entries, p.entries[0]) }, "two entries with the key "},
		{"an entry damaged", func(p *parts) { at(p, tree.MemberKey(lock)).Value = []byte{1} }, "member home/lock: signed: decoding *tree.Member"},
		{"a journal damaged", func(p *parts) { at(p, tree.CheckpointKey(lock)).Value = []byte{1} }, "member home/lock: signed: decoding *tree.Checkpoint"},
		{"an entry of nobody", func(p *parts) {
			p.entries = append(p.entries, merkle.Entry{Key: merkle.Hash{1}, Value: []byte{1}})
		}, "1 entries are of no member or grant shown"},
		{"a member twice", func(p *parts) { p.chains = append(p.chains, p.chains[0]) }, "it is there twice"},
		{"two members at a path", func(p *parts) {
			p.chains = append(p.chains, h.tr.Add(identity.Device, "home/lock").Chain)
		}, "member home/lock: the path is taken by member " + lock.String()},
		{"another certificate", func(p *parts) {
			p.chains = append(without(p.chains, "home/lock"), h.reissue(h.At("home/lock"), "home/lock").Chain)
		}, "member home/lock: "},
		{"a member of another tree", func(p *parts) { p.chains = append(p.chains, other.At("home/lock").Chain) }, "it is of tree " + other.tr.ID.String()},
		{"a grant lost", func(p *parts) { clear(p.grants) }, "1 entries are of no member or grant shown"},
		{"a grant of nobody", func(p *parts) { p.grants[tree.GrantID{1}] = g.Raw }, "it is not in the roster"},
		{"another grant", func(p *parts) { p.grants[g.ID] = h.grant("sam").Raw }, "grant " + g.ID.String() + ": the statement is not the one in the roster"},
		{"a grant damaged", func(p *parts) { p.grants[g.ID] = []byte{1} }, "grant " + g.ID.String() + ": signed: reading a statement"},
	} {
		p := parts{h.entries(), h.chains(), maps.Clone(h.statements())}
		test.spoil(&p)
		s := tree.NewState(h.tr.ID)
		err := s.Restore(slices.Values(p.entries), p.chains, p.grants)
		check(t, test.name, err, test.want)
		want := merkle.Map{}.Root()
		if err == nil {
			want = h.State.Root()
		}
		if s.Root() != want {
			t.Errorf("%s: the root is %s, want %s", test.name, s.Root(), want)
		}
	}
	err := h.Restore(slices.Values(h.entries()), h.chains(), h.statements())
	check(t, "where there is a roster", err, "tree: restoring the roster: there is one already")
	if h.State.Tree() != h.tr.ID {
		t.Error("another tree")
	}
}
