// Package store keeps a member's state in one SQLite file.
//
// It knows nothing of what it keeps. Others declare the ports they need, in
// plain Go types, and [DB] fits them:
//
//   - records: a key, a value. [DB.Save] writes any number of them in one
//     transaction, [DB.Load] and [DB.Scan] read them;
//   - logs: rows that are only ever appended, several logs side by side, each
//     with its last checkpoint. [DB.LogAppend] writes, [DB.LogRows] reads in
//     order, [DB.LogQuery] searches all logs by time, caller and thing, and
//     [DB.LogSpan] says where in one log that would lead.
//
// # What a write promises
//
// A write that returned nil is on disk: the file is in WAL mode with
// synchronous=FULL, so the transaction was synced before the call returned. A
// write that returned an error wrote all or nothing, and nearly always nothing;
// after an error the caller finds out by reading. Writes happen one after the
// other and are not cut short when their context ends; one that has not begun
// by then returns the context's error. Reads run beside writes, each on one
// snapshot. All methods may be called from several goroutines.
//
// # The directory
//
// The file lives in a directory that one process at a time may use. [Open]
// takes that [Lock] and holds it until [DB.Close]; the operating system lets go
// of it when the process dies, however it dies. The file has mode 0600, a
// directory made here 0700.
//
// # The file
//
// The SQLite application ID is 0x4b696e64 ("Kind"); user_version counts the
// migrations applied. A new file is made under another name and renamed once
// complete, so that an empty or half-made file is always damage and never
// mistaken for a fresh start.
//
//	record(key, value)
//	log(id, name, checkpoint, bytes)
//	entry(log, idx, time, caller, thing, data, hashes)   indexed by time, (caller, time), (thing, time)
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// DB is an open file. Use [Open] to get one.
type DB struct {
	file   string
	lock   *DirLock
	writer *sql.DB // one connection: writes queue here
	reader *sql.DB // as many as there are readers: a reader may read again inside Scan
	write  writeStatements
	read   readStatements
}

// writeStatements belong to the writer connection.
type writeStatements struct {
	put, remove, nameLog, growLog, appendEntry *sql.Stmt
}

// readStatements are prepared on each reader connection that uses them.
type readStatements struct {
	load, scan, size, bytes, rows *sql.Stmt
}

// Open opens the database at file, makes it (and its directory) when there is
// none, and brings its schema up to date. Errors wrap [ErrInUse] when another
// process, or this one, holds the directory, and [ErrDamaged] when the file is
// not what it should be.
func Open(ctx context.Context, file string) (*DB, error) {
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("store: opening %q: %w", file, err)
	}
	lock, err := Lock(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	db := &DB{file: file, lock: lock}
	if err := db.open(ctx); err != nil {
		return nil, errors.Join(db.fail("opening", err), db.Close())
	}
	return db, nil
}

func (db *DB) open(ctx context.Context) error {
	if err := create(ctx, db.file); err != nil {
		return err
	}
	if err := os.Chmod(db.file, 0o600); err != nil {
		return err
	}
	var err error
	if db.writer, err = sql.Open("sqlite", dsn(db.file, "_txlock=immediate")); err != nil {
		return err
	}
	db.writer.SetMaxOpenConns(1)
	if db.reader, err = sql.Open("sqlite", dsn(db.file, "_pragma=query_only(on)")); err != nil {
		return err
	}
	db.reader.SetMaxIdleConns(4)
	if err := checkHeader(ctx, db.writer); err != nil {
		return err
	}
	if err := migrate(ctx, db.writer, migrations); err != nil {
		return err
	}
	return db.prepare(ctx)
}

func (db *DB) prepare(ctx context.Context) error {
	for _, s := range []struct {
		pool *sql.DB
		stmt **sql.Stmt
		text string
	}{
		{db.reader, &db.read.load, `select value from record where key = ?`},
		{db.reader, &db.read.scan, `select key, value from record where key >= ? and key < ? order by key`},
		{db.reader, &db.read.size, selectSize},
		{db.reader, &db.read.bytes, `select bytes from log where name = ?`},
		{db.reader, &db.read.rows, selectRows},
		{db.writer, &db.write.put, `insert into record (key, value) values (?, ?) on conflict (key) do update set value = excluded.value`},
		{db.writer, &db.write.remove, `delete from record where key = ?`},
		{db.writer, &db.write.nameLog, `insert into log (name) values (?) on conflict (name) do nothing`},
		{db.writer, &db.write.growLog, `update log set bytes = bytes + ?, checkpoint = coalesce(?, checkpoint) where id = ?`},
		{db.writer, &db.write.appendEntry, `insert into entry (log, idx, time, caller, thing, data, hashes) values (?, ?, ?, ?, ?, ?, ?)`},
	} {
		stmt, err := s.pool.PrepareContext(ctx, s.text)
		if err != nil {
			return err
		}
		*s.stmt = stmt
	}
	return nil
}

// Close waits for writes under way, folds the write-ahead log into the file and
// lets go of the directory. The DB must not be used after.
func (db *DB) Close() error {
	var errs []error
	// The writer goes last: the last connection to close folds the log in, and
	// a reader's may not write.
	for _, pool := range []*sql.DB{db.reader, db.writer} {
		if pool == nil {
			continue
		}
		if err := pool.Close(); err != nil {
			errs = append(errs, db.fail("closing", err))
		}
	}
	return errors.Join(append(errs, db.lock.Release())...)
}

// Check reads the whole file and returns an error wrapping [ErrDamaged] that
// names the first thing wrong with it. It takes about a second for every 200 MB.
func (db *DB) Check(ctx context.Context) error {
	var result string
	if err := db.reader.QueryRowContext(ctx, `pragma integrity_check(1)`).Scan(&result); err != nil {
		return db.fail("checking", err)
	}
	if result != "ok" {
		return db.fail("checking", fmt.Errorf("%w: %s", ErrDamaged, result))
	}
	return nil
}

// update runs f in one durable transaction, which the end of ctx no longer
// interrupts once it has begun: an interrupted commit would leave the caller in
// doubt for no gain.
func (db *DB) update(ctx context.Context, doing string, f func(context.Context, *sql.Tx) error) error {
	conn, err := db.writer.Conn(ctx) // waits for the turn, as long as ctx lasts
	if err != nil {
		return db.fail(doing, err)
	}
	defer conn.Close()
	if err := ctx.Err(); err != nil {
		return db.fail(doing, err)
	}
	ctx = context.WithoutCancel(ctx)
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return db.fail(doing, err)
	}
	if err := f(ctx, tx); err != nil {
		tx.Rollback() // on failure SQLite rolls back when the connection is next used
		return db.fail(doing, err)
	}
	if err := tx.Commit(); err != nil {
		return db.fail(doing, err)
	}
	return nil
}

// dsn names the file for the driver, however odd its path, with the pragmas
// every connection needs.
func dsn(file, extra string) string {
	path := filepath.ToSlash(file)
	if !strings.HasPrefix(path, "/") && runtime.GOOS == "windows" {
		path = "/" + path // file:///C:/…
	}
	u := url.URL{Scheme: "file", OmitHost: true, Path: path}
	return u.String() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=synchronous(full)" +
		"&_pragma=foreign_keys(on)&_pragma=trusted_schema(off)&_pragma=cell_size_check(on)&" + extra
}
