package journal

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/kindred-iot/kindred/store/storetest"
)

// TestHashesAgainstTlog compares the edge, and what is kept beside entries, with
// a tlog that keeps every hash in one list.
func TestHashesAgainstTlog(t *testing.T) {
	const size = 70
	db := storetest.Open(t)
	name := []byte("name")
	var all []tlog.Hash
	model := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			hashes[i] = all[index]
		}
		return hashes, nil
	})
	var e edge
	for n := range int64(size) {
		data := fmt.Appendf(nil, "entry %d", n)
		more, err := tlog.StoredHashes(n, data, model)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, more...)
		hashes, err := e.append(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.LogAppend(t.Context(), name, n, []Row{{Data: data, Hashes: hashes}}, nil); err != nil {
			t.Fatal(err)
		}
		want, err := tlog.TreeHash(n+1, model)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.root(); err != nil || got != want {
			t.Fatalf("root over %d = %v, %v, want %v", n+1, got, err, want)
		}
		loaded, err := loadEdge(t.Context(), db, name, n+1)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := loaded.root(); err != nil || got != want {
			t.Fatalf("root over %d as loaded = %v, %v, want %v", n+1, got, err, want)
		}
	}
	kept := keptHashes{t.Context(), db, name}
	root, err := tlog.TreeHash(size, kept)
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(size) {
		proof, err := tlog.ProveRecord(size, n, kept)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckRecord(proof, size, root, n, tlog.RecordHash(fmt.Appendf(nil, "entry %d", n))); err != nil {
			t.Errorf("proof of entry %d: %v", n, err)
		}
		old, err := tlog.TreeHash(n+1, kept)
		if err != nil {
			t.Fatal(err)
		}
		longer, err := tlog.ProveTree(size, n+1, kept)
		if err != nil {
			t.Fatal(err)
		}
		if err := tlog.CheckTree(longer, size, root, n+1, old); err != nil {
			t.Errorf("proof that %d entries grew to %d: %v", n+1, size, err)
		}
	}
	if _, err := kept.ReadHashes([]int64{tlog.StoredHashIndex(0, size)}); err == nil {
		t.Error("a hash beyond the end was read")
	}
}
