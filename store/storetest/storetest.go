// Package storetest opens databases for tests and makes their writes fail.
//
// A program that keeps state must come through two kinds of failing writes: one
// that left nothing behind, and one that is on disk although an error was
// returned (a commit whose answer was lost, a crash right after it). [Points]
// runs a scenario through both, at each of its writes in turn.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/kindred-iot/kindred/store"
)

// ErrInjected is what a write made to fail returns.
var ErrInjected = errors.New("storetest: this write was made to fail")

// Open opens a new database in a directory of its own, closed when the test
// ends.
func Open(t testing.TB) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "kindred.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// Fault is how a write fails.
type Fault int

const (
	// Failed means that nothing was written.
	Failed Fault = iota
	// Happened means that everything was written and an error returned all the
	// same.
	Happened
)

// String returns "failed" or "failed but happened".
func (f Fault) String() string {
	if f == Happened {
		return "failed but happened"
	}
	return "failed"
}

// DB is a database whose writes can be made to fail. Reads are those of the
// database inside.
type DB struct {
	*store.DB

	mu     sync.Mutex
	writes int
	fail   map[int]Fault
}

// Wrap returns db with no fault set.
func Wrap(db *store.DB) *DB { return &DB{DB: db, fail: make(map[int]Fault)} }

// FailAt makes write number n fail, counted from 1 since Wrap.
func (db *DB) FailAt(n int, f Fault) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.fail[n] = f
}

// Writes returns how many writes were begun since Wrap.
func (db *DB) Writes() int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.writes
}

// Save is [store.DB.Save], unless made to fail.
func (db *DB) Save(ctx context.Context, changes map[string][]byte) error {
	return db.inject(func() error { return db.DB.Save(ctx, changes) })
}

// LogAppend is [store.DB.LogAppend], unless made to fail.
func (db *DB) LogAppend(ctx context.Context, name []byte, first int64, rows []store.Row, checkpoint []byte) error {
	return db.inject(func() error { return db.DB.LogAppend(ctx, name, first, rows, checkpoint) })
}

func (db *DB) inject(write func() error) error {
	db.mu.Lock()
	db.writes++
	fault, faulty := db.fail[db.writes]
	db.mu.Unlock()
	if faulty && fault == Failed {
		return ErrInjected
	}
	if err := write(); err != nil || !faulty {
		return err
	}
	return ErrInjected
}

// Points runs scenario on a new database with no fault, to count its writes,
// and then, each time on a new one, with one fault: every write by every
// [Fault]. The scenario does what the program does, meets the error as the
// program would, and checks what must hold afterwards.
func Points(t *testing.T, scenario func(t *testing.T, db *DB)) {
	writes := 0
	t.Run("no fault", func(t *testing.T) {
		db := Wrap(Open(t))
		scenario(t, db)
		writes = db.Writes()
	})
	if writes == 0 {
		t.Fatal("storetest: the scenario wrote nothing")
	}
	for n := 1; n <= writes; n++ {
		for _, fault := range []Fault{Failed, Happened} {
			t.Run(fmt.Sprintf("write %d of %d %s", n, writes, fault), func(t *testing.T) {
				db := Wrap(Open(t))
				db.FailAt(n, fault)
				scenario(t, db)
				if db.Writes() < n {
					t.Fatalf("storetest: the scenario wrote %d times, so write %d never failed", db.Writes(), n)
				}
			})
		}
	}
}
