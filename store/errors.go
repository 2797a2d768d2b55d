package store

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

var (
	// ErrInUse means that another process uses the directory. The caller stops,
	// or tries again once that process has ended.
	ErrInUse = errors.New("two processes cannot use one directory")

	// ErrFull means that the disk is full. What was written before is safe; the
	// caller frees space and repeats the write.
	ErrFull = errors.New("the disk is full")

	// ErrDamaged means that the file is not a database of this program, or
	// parts of it are unreadable. The caller stops and restores a copy.
	ErrDamaged = errors.New("the file is damaged")
)

// fail says what was being done to which file, and gives SQLite's result codes
// the meaning that callers branch on.
func (db *DB) fail(doing string, err error) error {
	return fmt.Errorf("store: %s %s: %w", doing, db.file, classify(err))
}

func classify(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w (%w)", ErrFull, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return err
}
