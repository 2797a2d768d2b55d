package journal

import (
	"reflect"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// logOf returns so many entries, and the roots of all their beginnings.
func logOf(t testing.TB, size int) (entries [][]byte, roots []tlog.Hash) {
	t.Helper()
	var e edge
	for i := range size + 1 {
		root, err := e.root()
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, root)
		if i < size {
			entries = append(entries, mustEncode(t, opened(i)))
			if _, err := e.append(entries[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return entries, roots
}

func TestAudit(t *testing.T) {
	entries, roots := logOf(t, 9)
	rewritten := slices.Clone(entries)
	rewritten[4] = mustEncode(t, opened(44))
	broken := slices.Clone(entries)
	broken[2] = []byte{0xa0}
	at := func(size int64, by string) Expected { return Expected{Size: size, Root: roots[size], By: by} }
	for name, test := range map[string]struct {
		entries [][]byte
		expect  []Expected
		leaves  []ExpectedLeaf
		want    []Finding
	}{
		"all is well": {
			entries: entries, expect: []Expected{at(9, "lock"), at(5, "home"), at(0, "sam"), at(5, "sam")},
			leaves: []ExpectedLeaf{{Index: 8, Leaf: LeafOf(entries[8]), By: "anna"}, {Index: 0, Leaf: LeafOf(entries[0]), By: "anna"}},
		},
		"none, and nothing expected": {},
		"longer than anybody knows":  {entries: entries, expect: []Expected{at(3, "lock")}},
		"cut off": {
			entries: entries[:6], expect: []Expected{at(9, "home"), at(6, "lock")},
			leaves: []ExpectedLeaf{{Index: 7, Leaf: LeafOf(entries[7]), By: "anna"}},
			want:   []Finding{{Problem: Missing, Index: 6, Size: 9, By: "home"}, {Problem: Missing, Index: 6, Size: 8, By: "anna"}},
		},
		"all of it gone": {
			expect: []Expected{at(9, "home")},
			want:   []Finding{{Problem: Missing, Index: 0, Size: 9, By: "home"}},
		},
		"an entry rewritten": {
			entries: rewritten, expect: []Expected{at(4, "sam"), at(5, "home"), at(9, "lock")},
			want: []Finding{{Problem: Rewritten, Index: 5, Size: 5, By: "home"}, {Problem: Rewritten, Index: 9, Size: 9, By: "lock"}},
		},
		"an entry dropped": {
			entries: slices.Delete(slices.Clone(entries), 3, 4), expect: []Expected{at(9, "lock"), at(8, "home")},
			want: []Finding{{Problem: Rewritten, Index: 8, Size: 8, By: "home"}, {Problem: Missing, Index: 8, Size: 9, By: "lock"}},
		},
		"two roots of one size": {
			entries: entries, expect: []Expected{at(5, "lock, to the home"), {Size: 5, Root: roots[4], By: "lock, to sam"}},
			want: []Finding{
				{Problem: Forked, Index: 5, Size: 5, By: "lock, to the home", Also: "lock, to sam"},
				{Problem: Rewritten, Index: 5, Size: 5, By: "lock, to sam"},
			},
		},
		"another entry than somebody has a receipt for": {
			entries: rewritten, leaves: []ExpectedLeaf{{Index: 4, Leaf: LeafOf(entries[4]), By: "anna"}},
			want: []Finding{{Problem: Forked, Index: 4, By: "anna"}},
		},
		"no entry": {
			entries: broken[:3],
			want:    []Finding{{Problem: Unreadable, Index: 2, Detail: "journal: reading an entry: signed: decoding *journal.wireEntry: not in the deterministic form of RFC 8949 section 4.2.1"}},
		},
	} {
		a := NewAudit(home, lock.Member)
		for _, e := range test.expect {
			a.Expect(e)
		}
		for _, e := range test.leaves {
			a.ExpectLeaf(e)
		}
		for _, data := range test.entries {
			if err := a.Add(data); err != nil {
				t.Fatal(err)
			}
		}
		got := a.Findings()
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v\nwant %+v", name, got, test.want)
		}
	}
}
