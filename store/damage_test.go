package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// made returns a closed database with 1,000 records.
func made(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "kindred.db")
	db := openAt(t, file)
	changes := make(map[string][]byte)
	for i := range 1000 {
		changes[fmt.Sprintf("k%03d", i)] = []byte(strings.Repeat("v", 100))
	}
	if err := db.Save(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOpenRefuses(t *testing.T) {
	tests := []struct {
		name    string
		harm    func(t *testing.T, file string)
		damaged bool
		want    string
	}{
		{"an empty file", func(t *testing.T, file string) { write(t, file, nil) }, true, "application ID is 0x0"},
		{"another kind of file", func(t *testing.T, file string) { write(t, file, []byte(strings.Repeat("not a database ", 100))) }, true, "file is not a database"},
		{"a damaged header", func(t *testing.T, file string) { overwrite(t, file, 0, 100) }, true, "file is not a database"},
		{"a damaged schema", func(t *testing.T, file string) { overwrite(t, file, 100, 3996) }, true, "malformed"},
		{"a missing file with its log left", func(t *testing.T, file string) {
			if err := os.Rename(file, file+"-wal"); err != nil {
				t.Fatal(err)
			}
		}, true, "write-ahead log"},
		{"another program's database", func(t *testing.T, file string) { pragma(t, file, `pragma application_id = 7`) }, true, "application ID is 0x7"},
		{"a newer schema", func(t *testing.T, file string) { pragma(t, file, `pragma user_version = 1000`) }, false, "written by a newer program"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := made(t)
			test.harm(t, file)
			db, err := Open(t.Context(), file)
			if err == nil {
				db.Close()
				t.Fatal("Open succeeded")
			}
			if errors.Is(err, ErrDamaged) != test.damaged || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("Open = %v, want %q (damaged: %v) naming %s", err, test.want, test.damaged, file)
			}
			lock, err := Lock(filepath.Dir(file))
			if err != nil {
				t.Fatalf("the refused Open kept the lock: %v", err)
			}
			lock.Release()
		})
	}
}

func TestDamageFoundInUse(t *testing.T) {
	file := made(t)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	db := openAt(t, file)
	if err := db.Check(t.Context()); err != nil {
		t.Fatalf("Check of a whole file = %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	overwrite(t, file, info.Size()/2, 8192)
	db = openAt(t, file)
	if err := db.Check(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("Check = %v, want %v", err, ErrDamaged)
	}
	err = db.Scan(t.Context(), "", func(string, []byte) error { return nil })
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), file) {
		t.Errorf("Scan = %v, want %v naming the file", err, ErrDamaged)
	}
}

func TestLeftoversOfMakingAreReplaced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kindred.db")
	write(t, file+".new", []byte("half a database"))
	write(t, file+".new-wal", []byte("half a log"))
	openAt(t, file)
	if _, err := os.Stat(file + ".new"); !os.IsNotExist(err) {
		t.Errorf("Stat of the leftover = %v, want it gone", err)
	}
}

func TestMigrationIsAllOrNothing(t *testing.T) {
	file := made(t)
	db := openAt(t, file)
	steps := append(migrations[:len(migrations):len(migrations)], `create table later (x integer); insert into nowhere values (1)`)
	if err := migrate(t.Context(), db.writer, steps); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("version %d", len(steps))) {
		t.Errorf("migrate = %v, want an error naming version %d", err, len(steps))
	}
	var tables, version int
	if err := db.writer.QueryRow(`select count(*) from sqlite_schema where name = 'later'`).Scan(&tables); err != nil {
		t.Fatal(err)
	}
	if err := db.writer.QueryRow(`pragma user_version`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	if tables != 0 || version != len(migrations) {
		t.Errorf("after a failed step: %d tables of it, version %d, want 0, %d", tables, version, len(migrations))
	}
	steps[len(steps)-1] = `create table later (x integer)`
	if err := migrate(t.Context(), db.writer, steps); err != nil {
		t.Fatal(err)
	}
}

func TestDiskFull(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kindred.db")
	db := openAt(t, file)
	if _, err := db.writer.Exec(`pragma max_page_count = 100`); err != nil {
		t.Fatal(err)
	}
	value := []byte(strings.Repeat("v", 10_000))
	saved, full := 0, error(nil)
	for full == nil && saved < 1000 {
		full = db.Save(t.Context(), map[string][]byte{fmt.Sprintf("a%03d", saved): value, fmt.Sprintf("b%03d", saved): value})
		if full == nil {
			saved++
		}
	}
	if !errors.Is(full, ErrFull) || !strings.Contains(full.Error(), "saving 2 records in "+file+": ") {
		t.Fatalf("Save = %v, want %v", full, ErrFull)
	}
	for _, name := range []string{"full", "reopened"} {
		if keys, _ := contents(t, db, ""); len(keys) != 2*saved {
			t.Errorf("%s: %d records, want the %d saved and no half transaction", name, len(keys), 2*saved)
		}
		if err := db.Check(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "full" {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = openAt(t, file) // and there is space again
		}
	}
	if err := db.Save(t.Context(), map[string][]byte{"more": value}); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// overwrite puts n bytes of rubbish at offset.
func overwrite(t *testing.T, file string, offset, n int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat("\xa5", int(n))), offset); err != nil {
		t.Fatal(err)
	}
}

func pragma(t *testing.T, file, statement string) {
	t.Helper()
	db := openAt(t, file)
	if _, err := db.writer.Exec(statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
