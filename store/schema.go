package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// applicationID marks the file as this program's: "Kind".
const applicationID = 0x4b696e64

// migrations bring the schema from user_version i to i+1. Once released, one is
// never changed; only added to.
var migrations = []string{
	`create table record (
		key   text primary key,
		value blob not null
	) strict;

	create table log (
		id         integer primary key,
		name       blob not null unique,
		checkpoint blob
	) strict;

	create table entry (
		log    integer not null references log (id),
		idx    integer not null,  -- from 0, without gaps
		time   integer not null,  -- Unix milliseconds
		caller integer not null,  -- tags to search by, meaningless here
		thing  integer not null,
		data   blob not null,
		hashes blob not null,
		primary key (log, idx)
	) strict, without rowid;
	create index entry_time on entry (time);
	create index entry_caller on entry (caller, time);
	create index entry_thing on entry (thing, time);`,

	`alter table log add column bytes integer not null default 0; -- of data and hashes of its entries
	update log set bytes = coalesce((select sum(length(data) + length(hashes)) from entry where entry.log = log.id), 0);`,
}

// create makes a new database at file unless there is one. It appears under its
// name only when complete.
func create(ctx context.Context, file string) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(file + "-wal"); err == nil {
		return fmt.Errorf("%w: it is gone, but its write-ahead log %s-wal is there", ErrDamaged, file)
	}
	made := file + ".new"
	for _, leftover := range []string{made, made + "-wal", made + "-shm"} {
		if err := os.Remove(leftover); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(made, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := fill(ctx, made); err != nil {
		return err
	}
	if err := os.Rename(made, file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// fill gives the empty file made its schema.
func fill(ctx context.Context, made string) error {
	pool, err := sql.Open("sqlite", dsn(made, "_txlock=immediate"))
	if err != nil {
		return err
	}
	pool.SetMaxOpenConns(1)
	_, err = pool.ExecContext(ctx, fmt.Sprintf(`pragma application_id = %d`, applicationID))
	if err == nil {
		err = migrate(ctx, pool, migrations)
	}
	return errors.Join(err, pool.Close())
}

// checkHeader refuses a file that this program did not make, and a file system
// that cannot do what durability needs.
func checkHeader(ctx context.Context, pool *sql.DB) error {
	var id int64
	if err := pool.QueryRowContext(ctx, `pragma application_id`).Scan(&id); err != nil {
		return err
	}
	if id != applicationID {
		return fmt.Errorf("%w: its application ID is %#x, not %#x", ErrDamaged, id, applicationID)
	}
	var mode string
	if err := pool.QueryRowContext(ctx, `pragma journal_mode`).Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its journal mode is %q, not \"wal\": the file system does not support it", mode)
	}
	return nil
}

// migrate applies the steps not yet applied, each in a transaction of its own.
func migrate(ctx context.Context, pool *sql.DB, steps []string) error {
	var version int
	if err := pool.QueryRowContext(ctx, `pragma user_version`).Scan(&version); err != nil {
		return err
	}
	if version < 0 || version > len(steps) {
		return fmt.Errorf("its schema has version %d, this program knows %d: it was written by a newer program", version, len(steps))
	}
	for i, step := range steps[version:] {
		if err := applyStep(ctx, pool, version+i+1, step); err != nil {
			return fmt.Errorf("bringing the schema to version %d: %w", version+i+1, err)
		}
	}
	return nil
}

func applyStep(ctx context.Context, pool *sql.DB, version int, step string) error {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // no effect once committed
	if _, err := tx.ExecContext(ctx, step); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`pragma user_version = %d`, version)); err != nil {
		return err
	}
	return tx.Commit()
}
