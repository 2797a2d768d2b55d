package journal

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/store/storetest"
)

var update = flag.Bool("update", false, "write the vectors in testdata anew")

// anExcerpt takes entries of a lock's log of nine.
func anExcerpt(t testing.TB, f Filter) Excerpt {
	t.Helper()
	l := openLog(t, storetest.Open(t), lock)
	for i := range 9 {
		e := opened(i)
		if i%3 == 2 {
			e.Caller = guest
		}
		if err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint, err := l.Checkpoint(t.Context(), noon)
	if err != nil {
		t.Fatal(err)
	}
	x, next, err := l.Excerpt(t.Context(), f, 0, checkpoint)
	if err != nil || next != -1 {
		t.Fatal(next, err)
	}
	if x.Consistency, err = l.Consistency(t.Context(), 5, 9); err != nil {
		t.Fatal(err)
	}
	return x
}

func TestExcerpt(t *testing.T) {
	for _, f := range []Filter{{}, {Who: guest}, {Since: opened(3).Time, Until: opened(5).Time}, {Thing: porch}} {
		x := anExcerpt(t, f)
		c, items, err := x.Verify(home, keyOf(lock).Public())
		if err != nil || c.Size != 9 || len(items) != len(x.Entries) {
			t.Fatalf("%+v, %+v, %v", c, items, err)
		}
		var want []int64
		for i := range 9 {
			e := opened(i)
			if i%3 == 2 {
				e.Caller = guest
			}
			if f.matches(e) {
				want = append(want, int64(i))
			}
		}
		for i, item := range items {
			if item.Index != want[i] {
				t.Errorf("%+v gives entry %d, want %d", f, item.Index, want[i])
			}
		}
		if len(items) != len(want) {
			t.Errorf("%+v gives %d entries, want %v", f, len(items), want)
		}
	}
}

// counted counts the rows that are read of a port.
type counted struct {
	Port
	rows int
}

func (c *counted) LogRows(ctx context.Context, name []byte, from, to int64, each func(int64, Row) error) error {
	return c.Port.LogRows(ctx, name, from, to, func(index int64, row Row) error {
		c.rows++
		return each(index, row)
	})
}

func TestExcerptReadsLittleOfALongLog(t *testing.T) {
	const size, some = 4096, 10
	port := &counted{Port: storetest.Open(t)}
	l := openLog(t, port, lock)
	for i := range size {
		e := opened(i)
		if i == size/2 {
			e.Caller = guest
		}
		if err := l.Note(e); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint, err := l.Checkpoint(t.Context(), noon)
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		f           Filter
		first, want int
	}{
		"the end":       {Filter{Since: opened(size - some).Time}, size - some, some},
		"the beginning": {Filter{Until: opened(some).Time}, 0, some},
		"one caller":    {Filter{Who: guest}, size / 2, 1},
		"nothing":       {Filter{Since: opened(size).Time}, 0, 0},
	} {
		port.rows = 0
		x, next, err := l.Excerpt(t.Context(), test.f, 0, checkpoint)
		if err != nil || next != -1 || len(x.Entries) != test.want || test.want > 0 && x.Entries[0].Index != int64(test.first) {
			t.Errorf("%s: %d entries, next %d, %v", what, len(x.Entries), next, err)
		}
		if most := test.want * (1 + 2*bits.Len(size)); port.rows > most { // each, and the hashes of its proof
			t.Errorf("%s: %d rows were read for %d entries, want at most %d", what, port.rows, test.want, most)
		}
	}
}

func TestExcerptWhereTheClockWasSet(t *testing.T) {
	l := openLog(t, storetest.Open(t), lock)
	random := rand.New(rand.NewPCG(1, 2))
	entries := make([]Entry, MaxExcerpt+100)
	for i := range entries {
		entries[i] = opened(random.IntN(40))
		entries[i].Caller = []Party{anna, guest, {}}[random.IntN(3)]
		if err := l.Note(entries[i]); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint, err := l.Checkpoint(t.Context(), noon)
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		f := Filter{Since: opened(random.IntN(40)).Time, Until: opened(random.IntN(60)).Time, Who: []Party{anna, guest, {}}[random.IntN(3)]}
		if random.IntN(3) == 0 {
			f = Filter{}
		}
		var got, want []int64
		for from := int64(0); from >= 0; {
			var x Excerpt
			if x, from, err = l.Excerpt(t.Context(), f, from, checkpoint); err != nil {
				t.Fatal(err)
			}
			for _, e := range x.Entries {
				got = append(got, e.Index)
			}
		}
		for i, e := range entries {
			if f.matches(e) {
				want = append(want, int64(i))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v gives entries %d, want %d", f, got, want)
		}
	}
}

func TestExcerptRefused(t *testing.T) {
	x := anExcerpt(t, Filter{})
	for what, change := range map[string]func(*Excerpt){
		"an entry changed":      func(x *Excerpt) { x.Entries[4].Data = mustEncode(t, opened(44)) },
		"an entry moved":        func(x *Excerpt) { x.Entries[4].Index = 5 },
		"an entry from nowhere": func(x *Excerpt) { x.Entries[4].Index = 9 },
		"no proof":              func(x *Excerpt) { x.Entries[4].Proof = nil },
		"half a proof":          func(x *Excerpt) { x.Entries[4].Proof = x.Entries[4].Proof[:40] },
		"an endless proof":      func(x *Excerpt) { x.Entries[4].Proof = make([]byte, 65*32) },
		"another's name":        func(x *Excerpt) { x.Node = porch.Member },
		"a checkpoint of another": func(x *Excerpt) {
			x.Checkpoint = mustSign(t, func() ([]byte, error) {
				return Checkpoint{Tree: home, Node: lock.Member, Size: 9, Time: noon}.sign(keyOf(porch))
			})
		},
	} {
		y := x
		y.Entries = slices.Clone(x.Entries)
		change(&y)
		if _, _, err := y.Verify(home, keyOf(lock).Public()); err == nil {
			t.Errorf("%s: it was taken", what)
		}
	}
	c, _, err := x.Verify(home, keyOf(lock).Public())
	if err != nil {
		t.Fatal(err)
	}
	var five edge
	for _, e := range x.Entries[:5] {
		if _, err := five.append(e.Data); err != nil {
			t.Fatal(err)
		}
	}
	root, err := five.root()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.VerifyRecorded(c, 5, root); err != nil {
		t.Error(err)
	}
	for size, root := range map[int64][32]byte{5: c.Root, 4: root, 9: root, 12: root, -1: root} {
		if err := x.VerifyRecorded(c, size, root); err == nil {
			t.Errorf("%d entries with root %x were taken for the same log", size, root)
		}
	}
}

func aBundle(t testing.TB) Bundle {
	return Bundle{
		Tree: home, Made: noon, Charter: []byte("a charter"), Maker: [][]byte{[]byte("a certificate")},
		Excerpts: []Excerpt{anExcerpt(t, Filter{Who: guest})}, Ends: [][][]byte{{[]byte("one"), []byte("above")}},
	}
}

func TestBundle(t *testing.T) {
	data := mustSign(t, func() ([]byte, error) { return aBundle(t).Sign(keyOf(anna)) })
	b, err := ParseBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.VerifyMaker(keyOf(anna).Public()); err != nil {
		t.Error(err)
	}
	if err := b.VerifyMaker(keyOf(guest).Public()); err == nil {
		t.Error("another is taken for its maker")
	}
	if b.Tree != home || !b.Made.Equal(noon) || len(b.Excerpts) != 1 || len(b.Excerpts[0].Entries) != 3 || len(b.Ends) != 1 {
		t.Errorf("%+v", b)
	}
	again, err := b.Sign(keyOf(anna))
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("made again it is another: %v", err)
	}
	for cut := range data { // whatever is missing is missed
		if cut%7 == 0 || cut < 100 {
			if _, err := ParseBundle(data[:cut]); err == nil {
				t.Fatalf("%d of %d bytes were taken for all", cut, len(data))
			}
		}
	}
	for _, at := range []int{len(data) - 1, len(data) / 2, 30} {
		changed := bytes.Clone(data)
		changed[at] ^= 1
		b, err := ParseBundle(changed)
		if err == nil {
			err = b.VerifyMaker(keyOf(anna).Public())
		}
		if err == nil {
			t.Errorf("a bundle with another byte %d was taken", at)
		}
	}
	if _, err := ParseBundle([]byte(strings.Replace(string(data), "journal 1", "journal 2", 1))); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("of another version: %v", err)
	}
	if _, err := ParseBundle(append(data, 0)); err == nil {
		t.Error("a byte too many was taken")
	}
}

func FuzzBundle(f *testing.F) {
	f.Add(mustSign(f, func() ([]byte, error) { return aBundle(f).Sign(keyOf(anna)) }))
	f.Add([]byte(bundleMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBundle(data)
		if err != nil {
			return
		}
		for _, x := range b.Excerpts {
			_, _, _ = x.Verify(b.Tree, keyOf(lock).Public())
		}
	})
}

// vectors are for other implementations. Keys are Ed25519, made from the seeds.
type vectors struct {
	Tree             string   `json:"tree"`
	NodeSeed         string   `json:"node_seed"`
	CallerSeed       string   `json:"caller_seed"`
	Entries          []string `json:"entries"`
	Roots            []string `json:"roots"` // over the first 0, 1, 2, … entries
	Checkpoint       string   `json:"checkpoint"`
	Receipt          string   `json:"receipt"`
	Countersignature string   `json:"countersignature"`
	Exchange         string   `json:"exchange"` // an entry that carries both
	Excerpt          string   `json:"excerpt"`  // of entries 2, 5 and 8, consistent with the first 5
	Bundle           string   `json:"bundle"`
}

func TestVectors(t *testing.T) {
	text := hex.EncodeToString
	x := anExcerpt(t, Filter{Who: guest})
	encoded, err := x.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	raw := mustSign(t, func() ([]byte, error) { return receipt(t).Sign(keyOf(lock)) })
	_, name, err := ReadReceipt(raw)
	if err != nil {
		t.Fatal(err)
	}
	c := Countersignature{Receipt: name, Caller: anna.Member, Tree: home, Time: noon}
	counter := mustSign(t, func() ([]byte, error) { return c.Sign(keyOf(anna)) })
	v := vectors{
		Tree: home.String(), NodeSeed: text(keyOf(lock).Seed()), CallerSeed: text(keyOf(anna).Seed()),
		Checkpoint: text(x.Checkpoint), Receipt: text(raw), Countersignature: text(counter), Excerpt: text(encoded),
		Exchange: text(mustEncode(t, Entry{
			Time: noon, Thing: lock, Caller: anna, Op: Countersign, Affordance: "unlock", Outcome: Served, Call: 77,
			Exchange: &Exchange{Receipt: raw, Countersignature: counter},
		})),
		Bundle: text(mustSign(t, func() ([]byte, error) { return aBundle(t).Sign(keyOf(anna)) })),
	}
	entries, roots := logOf(t, 9)
	for _, e := range entries {
		v.Entries = append(v.Entries, text(e))
	}
	for _, r := range roots {
		v.Roots = append(v.Roots, text(r[:]))
	}
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "vectors.json")
	if *update {
		if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(got, '\n'), want) {
		t.Errorf("%s is not what is written now", file)
	}
}
