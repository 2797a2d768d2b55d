package tree_test

import (
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

func leafNumber(n int) (leaf merkle.Hash) {
	binary.BigEndian.PutUint32(leaf[:], uint32(n))
	return leaf
}

func leaves(from, to int) (all []merkle.Hash) {
	for n := from; n < to; n++ {
		all = append(all, leafNumber(n))
	}
	return all
}

func TestListForgetsByTime(t *testing.T) {
	var l tree.RevocationList
	l = l.Next(1, now, nil)
	l = l.Next(2, now, leaves(0, 3))
	l = l.Next(3, now.Add(time.Second), leaves(3, 4))
	for _, test := range []struct {
		name string
		at   time.Time
		from uint64
		left []merkle.Hash
	}{
		{"seven days after the first", now.Add(tree.ListedFor), 0, leaves(0, 4)},
		{"a second more", now.Add(tree.ListedFor + time.Second), 2, leaves(3, 4)},
		{"another second more", now.Add(tree.ListedFor + 2*time.Second), 3, nil},
		{"a year later", now.Add(365 * 24 * time.Hour), 3, nil},
		{"a clock set back", now.Add(-time.Hour), 0, leaves(0, 4)},
	} {
		next := l.Next(4, test.at, nil)
		var left []merkle.Hash
		for _, r := range next.Revoked {
			left = append(left, r.Leaf)
		}
		if next.From != test.from || !slices.Equal(left, test.left) {
			t.Errorf("%s: from %d, %d left; want from %d, %d left", test.name, next.From, len(left), test.from, len(test.left))
		}
	}
	if l.From != 0 || len(l.Revoked) != 4 {
		t.Error("Next changed what it was called on")
	}
}

// Entries of one head that do not all fit: a proof as of that head saw all of them gone.
func TestListForgetsByNumber(t *testing.T) {
	l := tree.RevocationList{}.Next(5, now, leaves(0, tree.MaxListed))
	if l.From != 0 || len(l.Revoked) != tree.MaxListed {
		t.Fatalf("full: from %d, %d listed", l.From, len(l.Revoked))
	}
	l = l.Next(6, now, nil)
	if l.From != 0 || len(l.Revoked) != tree.MaxListed {
		t.Fatalf("nothing more: from %d, %d listed", l.From, len(l.Revoked))
	}
	l = l.Next(7, now, leaves(5000, 5002))
	if l.From != 5 || len(l.Revoked) != tree.MaxListed || l.Names(leafNumber(0)) || l.Names(leafNumber(1)) || !l.Names(leafNumber(2)) {
		t.Errorf("two more: from %d, %d listed", l.From, len(l.Revoked))
	}
	l = l.Next(8, now, leaves(6000, 6000+2*tree.MaxListed))
	if l.From != 8 || len(l.Revoked) != tree.MaxListed || !l.Names(leafNumber(6000+2*tree.MaxListed-1)) {
		t.Errorf("twice as many as fit: from %d, %d listed", l.From, len(l.Revoked))
	}
}

// A list against all that was ever taken away: every proof that it claims to judge, it judges rightly.
func TestListAgainstModel(t *testing.T) {
	r := mathrand.New(mathrand.NewPCG(7, 0))
	var all []tree.Revoked
	var l tree.RevocationList
	at := now
	for sequence := uint64(1); sequence <= 400; sequence++ {
		at = at.Add(time.Duration(r.IntN(12)) * time.Hour)
		var taken []merkle.Hash
		for range r.IntN(40) {
			taken = append(taken, leafNumber(len(all)))
			all = append(all, tree.Revoked{Leaf: leafNumber(len(all)), Sequence: sequence, Time: at.Unix()})
		}
		from := l.From
		l = l.Next(sequence, at, taken)
		if l.From < from || len(l.Revoked) > tree.MaxListed {
			t.Fatalf("head %d: from %d after %d, %d listed", sequence, l.From, from, len(l.Revoked))
		}
		raw, err := signed.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tree.OpenRevocationList(raw, tree.Head{Sequence: sequence, Revoked: signed.Sum(raw)}); err != nil {
			t.Fatalf("head %d: %v", sequence, err)
		}
		for _, g := range all {
			// A proof as of the head before had it.
			if asOf := g.Sequence - 1; asOf >= l.From && !l.Names(g.Leaf) {
				t.Fatalf("head %d: complete from %d, and says nothing of what head %d took away", sequence, l.From, g.Sequence)
			}
			if recent := at.Sub(time.Unix(g.Time, 0)) <= tree.ListedFor; recent && len(all) <= tree.MaxListed && !l.Names(g.Leaf) {
				t.Fatalf("head %d: what head %d took away %s ago is not listed", sequence, g.Sequence, at.Sub(time.Unix(g.Time, 0)))
			}
		}
	}
	if l.From == 0 {
		t.Error("nothing ever fell off")
	}
}

func TestOpenRevocationList(t *testing.T) {
	head := tree.Head{Sequence: 9}
	at := func(sequences ...uint64) (l tree.RevocationList) {
		for _, s := range sequences {
			l.Revoked = append(l.Revoked, tree.Revoked{Sequence: s})
		}
		return l
	}
	from := func(n uint64, l tree.RevocationList) tree.RevocationList { l.From = n; return l }
	for _, test := range []struct {
		name string
		list tree.RevocationList
		want string
	}{
		{"empty", at(), ""},
		{"in order", at(1, 1, 5, 9), ""},
		{"from its own head", from(9, at()), ""},
		{"from the head whose rest it lists", from(5, at(5, 6)), ""},
		{"from a later head", from(10, at()), "it knows of head 10"},
		{"of a later head", at(1, 10), "it knows of head 10"},
		{"out of order", at(5, 4), "an entry of head 4 after head 5"},
		{"of what it does not cover", from(5, at(4)), "an entry of head 4 after head 5"},
		{"too long", at(make([]uint64, tree.MaxListed+1)...), "1025 entries, of at most 1024"},
	} {
		raw, err := signed.Marshal(test.list)
		if err != nil {
			t.Fatal(err)
		}
		head.Revoked = signed.Sum(raw)
		got, err := tree.OpenRevocationList(raw, head)
		check(t, test.name, err, test.want)
		if err == nil && (got.From != test.list.From || !slices.Equal(got.Revoked, test.list.Revoked)) {
			t.Errorf("%s: read as %+v", test.name, got)
		}
	}
	_, err := tree.OpenRevocationList([]byte{0xa1, 1, 2}, head)
	check(t, "of another head", err, fmt.Sprintf("tree: reading the revocation list of head 9: its digest is %s, the head names %s", signed.Sum([]byte{0xa1, 1, 2}), head.Revoked))
	junk := []byte("junk")
	_, err = tree.OpenRevocationList(junk, tree.Head{Sequence: 9, Revoked: signed.Sum(junk)})
	check(t, "junk", err, "tree: reading the revocation list of head 9: signed: decoding")
}
