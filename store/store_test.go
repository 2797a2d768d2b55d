package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func openAt(t testing.TB, file string) *DB {
	t.Helper()
	db, err := Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() }) // tests that reopen close it themselves first
	return db
}

func openNew(t testing.TB) *DB {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "kindred.db"))
}

// contents is everything Scan gives.
func contents(t testing.TB, db *DB, prefix string) (keys []string, values map[string][]byte) {
	t.Helper()
	values = make(map[string][]byte)
	err := db.Scan(t.Context(), prefix, func(key string, value []byte) error {
		keys = append(keys, key)
		values[key] = value
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys, values
}

func TestRecordsAgainstMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	file := filepath.Join(t.TempDir(), "kindred.db")
	db := openAt(t, file)
	model := make(map[string][]byte)
	prefixes := []string{"", "a", "a/", "head/", "head/0", "~", "z"}
	for round := range 60 {
		changes := make(map[string][]byte)
		for range random.IntN(8) {
			key := []string{"a", "a/", "a~", "head/", "hea", "~", "~~"}[random.IntN(7)] + strings.Repeat("0", random.IntN(3))
			switch random.IntN(3) {
			case 0:
				changes[key] = nil
				delete(model, key)
			case 1:
				changes[key] = []byte{}
				model[key] = []byte{}
			default:
				changes[key] = fmt.Appendf(nil, "%d\x00\xff", random.Int())
				model[key] = changes[key]
			}
		}
		if err := db.Save(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		if round%20 == 19 {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = openAt(t, file)
		}
		for _, prefix := range prefixes {
			want := slices.DeleteFunc(slices.Sorted(maps.Keys(model)), func(k string) bool { return !strings.HasPrefix(k, prefix) })
			keys, values := contents(t, db, prefix)
			if !slices.Equal(keys, want) {
				t.Fatalf("round %d: Scan(%q) = %q, want %q", round, prefix, keys, want)
			}
			for key, value := range values {
				loaded, err := db.Load(t.Context(), key)
				if err != nil || loaded == nil || string(loaded) != string(model[key]) || string(value) != string(model[key]) {
					t.Fatalf("round %d: %q loaded as %q, %v and scanned as %q, want %q", round, key, loaded, err, value, model[key])
				}
			}
		}
	}
	if value, err := db.Load(t.Context(), "absent"); value != nil || err != nil {
		t.Errorf("Load(absent) = %q, %v, want nil, nil", value, err)
	}
}

func TestSaveRefusesKeysAndWritesNothing(t *testing.T) {
	db := openNew(t)
	for _, key := range []string{"", "a b", "a\n", "ü", "\x7f", strings.Repeat("k", maxKey+1)} {
		err := db.Save(t.Context(), map[string][]byte{"good": []byte("1"), key: []byte("2")})
		if err == nil || !strings.Contains(err.Error(), "key ") {
			t.Errorf("Save(%q) = %v, want an error about the key", key, err)
		}
	}
	if keys, _ := contents(t, db, ""); len(keys) != 0 {
		t.Errorf("%q were written beside a refused key", keys)
	}
}

func TestScan(t *testing.T) {
	db := openNew(t)
	for i := range 5 {
		if err := db.Save(t.Context(), map[string][]byte{fmt.Sprint("k", i): []byte("old")}); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("is a snapshot, and each may write and read", func(t *testing.T) {
		err := db.Scan(t.Context(), "k", func(key string, value []byte) error {
			if string(value) != "old" {
				t.Errorf("%s = %q, want the value from before Scan", key, value)
			}
			if err := db.Save(t.Context(), map[string][]byte{"k4": []byte("new"), "k9": []byte("new")}); err != nil {
				return err
			}
			now, err := db.Load(t.Context(), "k9")
			if string(now) != "new" {
				t.Errorf("Load within Scan = %q, want what was just saved", now)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Run("ends at the first error", func(t *testing.T) {
		stop, seen := errors.New("stop"), 0
		err := db.Scan(t.Context(), "k", func(string, []byte) error { seen++; return stop })
		if err != stop || seen != 1 {
			t.Errorf("Scan = %v after %d records, want %v after 1", err, seen, stop)
		}
	})
}

func TestEndedContextWritesNothing(t *testing.T) {
	db := openNew(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := db.Save(ctx, map[string][]byte{"k": []byte("v")}); !errors.Is(err, context.Canceled) {
		t.Errorf("Save = %v, want %v", err, context.Canceled)
	}
	if value, err := db.Load(t.Context(), "k"); value != nil || err != nil {
		t.Errorf("Load = %q, %v after a write whose context had ended", value, err)
	}
}

func TestBegunWriteIsNotCutShort(t *testing.T) {
	db := openNew(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.update(ctx, "testing", func(ctx context.Context, tx *sql.Tx) error {
		cancel()
		_, err := tx.StmtContext(ctx, db.write.put).ExecContext(ctx, "k", []byte("v"))
		return err
	})
	if value, loadErr := db.Load(t.Context(), "k"); err != nil || loadErr != nil || string(value) != "v" {
		t.Errorf("update = %v, Load = %q, %v, want it written", err, value, loadErr)
	}
}

func TestOneProcessADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sam", "gateway")
	db := openAt(t, filepath.Join(dir, "kindred.db"))
	_, err := Open(t.Context(), filepath.Join(dir, "kindred.db"))
	want := fmt.Sprintf("store: directory %s is in use by process %d: two processes cannot use one directory", dir, os.Getpid())
	if !errors.Is(err, ErrInUse) || err.Error() != want {
		t.Errorf("second Open = %v\nwant %s", err, want)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("Lock = %v, want %v", err, ErrInUse)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), filepath.Join(dir, "kindred.db")); !errors.Is(err, ErrInUse) {
		t.Errorf("Open of a locked directory = %v, want %v", err, ErrInUse)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sam")
	db := openAt(t, filepath.Join(dir, "kindred.db"))
	if err := db.Save(t.Context(), map[string][]byte{"k": []byte("v")}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		"": fs.ModeDir | 0o700, "kindred.db": 0o600, "kindred.db-wal": 0o600, "kindred.db-shm": 0o600, "kindred.lock": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%q: mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 2 {
		t.Errorf("after Close: %v, %v, want the database and the lock file alone", names, err)
	}
}

func TestOddDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a b?c%20d#e&_pragma=query_only(on)`)
	db := openAt(t, filepath.Join(dir, "kindred.db"))
	if err := db.Save(t.Context(), map[string][]byte{"k": []byte("v")}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "kindred.db-wal")); err != nil {
		t.Error(err)
	}
}
