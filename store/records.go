package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// maxKey bounds a record's key, in bytes.
const maxKey = 256

// Save writes the changes in one durable transaction: afterwards each key holds
// its value, or nothing where the value is nil. An empty value that is not nil
// is kept as such. Keys are 1 to 256 bytes of printable ASCII without spaces,
// such as "head/00000000000000000012".
func (db *DB) Save(ctx context.Context, changes map[string][]byte) error {
	doing := fmt.Sprintf("saving %d records in", len(changes))
	keys := slices.Sorted(maps.Keys(changes))
	for _, key := range keys {
		if err := checkKey(key); err != nil {
			return db.fail(doing, err)
		}
	}
	return db.update(ctx, doing, func(ctx context.Context, tx *sql.Tx) error {
		for _, key := range keys {
			var err error
			if value := changes[key]; value == nil {
				_, err = tx.StmtContext(ctx, db.write.remove).ExecContext(ctx, key)
			} else {
				_, err = tx.StmtContext(ctx, db.write.put).ExecContext(ctx, key, value)
			}
			if err != nil {
				return fmt.Errorf("record %q: %w", key, err)
			}
		}
		return nil
	})
}

// Load returns the value of key; nil and no error when there is none.
func (db *DB) Load(ctx context.Context, key string) ([]byte, error) {
	var value []byte
	err := db.read.load.QueryRowContext(ctx, key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, db.fail(fmt.Sprintf("loading record %q from", key), err)
	}
	return present(value), nil
}

// Scan calls each with every record whose key begins with prefix, in the order
// of the keys' bytes, as they all were when Scan began. The value is each's to
// keep. Scan ends at the first error of each and returns it as it is. each may
// use the DB.
func (db *DB) Scan(ctx context.Context, prefix string, each func(key string, value []byte) error) error {
	from, to := "", "\x7f" // keys are ASCII below 0x7f
	if prefix != "" {
		if err := checkKey(prefix); err != nil {
			return db.fail("scanning", err)
		}
		last := len(prefix) - 1 // the byte after the prefix's last bounds it
		from, to = prefix, prefix[:last]+string(rune(prefix[last]+1))
	}
	return db.each(ctx, "scanning", db.read.scan, []any{from, to}, func(rows *sql.Rows) error {
		var key string
		var value []byte
		if err := rows.Scan(&key, &value); err != nil {
			return db.fail("scanning", err)
		}
		return each(key, present(value))
	})
}

// rows calls each for every row of a query, and returns its first error as it
// is.
func (db *DB) rows(ctx context.Context, doing, query string, args []any, each func(*sql.Rows) error) error {
	rows, err := db.reader.QueryContext(ctx, query, args...)
	return db.walk(doing, rows, err, each)
}

// each is rows for a prepared query.
func (db *DB) each(ctx context.Context, doing string, query *sql.Stmt, args []any, each func(*sql.Rows) error) error {
	rows, err := query.QueryContext(ctx, args...)
	return db.walk(doing, rows, err, each)
}

func (db *DB) walk(doing string, rows *sql.Rows, err error, each func(*sql.Rows) error) error {
	if err != nil {
		return db.fail(doing, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return db.fail(doing, err)
	}
	return nil
}

// present tells an empty value from an absent one.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("key %.40q has %d bytes, not 1 to %d", key, len(key), maxKey)
	}
	for i := range len(key) {
		if key[i] <= ' ' || key[i] >= 0x7f {
			return fmt.Errorf("key %q has a byte %#x that is not printable ASCII", key, key[i])
		}
	}
	return nil
}
