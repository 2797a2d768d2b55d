package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
)

// Row is one row of a log. It is an alias of a plain struct so that a port
// declared elsewhere can name the same type.
type Row = struct {
	Time   int64  // Unix milliseconds
	Caller int64  // a tag to search by; 0 for none
	Thing  int64  // a tag to search by; 0 for none
	Data   []byte // the row itself
	Hashes []byte // kept beside it
}

// LogAppend appends rows to the log called name as its rows first, first+1, …
// and, unless checkpoint is nil, keeps that as the log's checkpoint, all in one
// durable transaction. It is an error if the log's size is not first. A log
// exists from the first append on; rows may be empty.
func (db *DB) LogAppend(ctx context.Context, name []byte, first int64, rows []Row, checkpoint []byte) error {
	doing := fmt.Sprintf("appending %d rows at %d to log %x in", len(rows), first, name)
	return db.update(ctx, doing, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.StmtContext(ctx, db.write.nameLog).ExecContext(ctx, name); err != nil {
			return err
		}
		var id, size int64
		if err := tx.QueryRowContext(ctx, selectSize, name).Scan(&id, &size, new([]byte)); err != nil {
			return err
		}
		if size != first {
			return fmt.Errorf("it has %d rows", size)
		}
		insert, grown := tx.StmtContext(ctx, db.write.appendEntry), 0
		for i, r := range rows {
			_, err := insert.ExecContext(ctx, id, first+int64(i), r.Time, r.Caller, r.Thing, present(r.Data), present(r.Hashes))
			if err != nil {
				return fmt.Errorf("row %d: %w", first+int64(i), err)
			}
			grown += len(r.Data) + len(r.Hashes)
		}
		_, err := tx.StmtContext(ctx, db.write.growLog).ExecContext(ctx, grown, checkpoint, id)
		return err
	})
}

const selectSize = `select id, coalesce((select max(idx) + 1 from entry where log = id), 0), checkpoint from log where name = ?`

// LogSize returns how many rows a log has, and its checkpoint: 0 and nil when
// there is no such log.
func (db *DB) LogSize(ctx context.Context, name []byte) (size int64, checkpoint []byte, err error) {
	var id int64
	err = db.read.size.QueryRowContext(ctx, name).Scan(&id, &size, &checkpoint)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, db.fail(fmt.Sprintf("measuring log %x in", name), err)
	}
	return size, checkpoint, nil
}

// LogBytes returns how many bytes of data and hashes the rows of a log have; 0
// when there is no such log.
func (db *DB) LogBytes(ctx context.Context, name []byte) (size int64, err error) {
	err = db.read.bytes.QueryRowContext(ctx, name).Scan(&size)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, db.fail(fmt.Sprintf("measuring log %x in", name), err)
	}
	return size, nil
}

// LogNames returns the names of all logs in byte order.
func (db *DB) LogNames(ctx context.Context) ([][]byte, error) {
	var names [][]byte
	err := db.rows(ctx, "listing the logs of", `select name from log order by name`, nil, func(rows *sql.Rows) error {
		var name []byte
		if err := rows.Scan(&name); err != nil {
			return db.fail("listing the logs of", err)
		}
		names = append(names, name)
		return nil
	})
	return names, err
}

const selectRows = `select idx, time, caller, thing, data, hashes from entry
	where log = (select id from log where name = ?) and idx >= ? and idx < ? order by idx`

// LogRows calls each with the log's rows from index from up to but not
// including to, in order, as they were when it began. It ends at the first
// error of each and returns it as it is. each may use the DB, and keep the row.
func (db *DB) LogRows(ctx context.Context, name []byte, from, to int64, each func(index int64, row Row) error) error {
	doing := fmt.Sprintf("reading log %x in", name)
	return db.each(ctx, doing, db.read.rows, []any{name, from, to}, func(rows *sql.Rows) error {
		var index int64
		var r Row
		if err := rows.Scan(&index, &r.Time, &r.Caller, &r.Thing, &r.Data, &r.Hashes); err != nil {
			return db.fail(doing, err)
		}
		r.Data, r.Hashes = present(r.Data), present(r.Hashes)
		return each(index, r)
	})
}

const selectFound = `select name, idx, time, caller, thing, data, hashes from entry join log on log.id = entry.log where `

// LogQuery calls each with the rows of all logs whose time lies from since up
// to but not including until, with that caller's and that thing's tag unless 0,
// by time, oldest or newest first. An until of 0 means no end. It ends at the
// first error of each and returns it as it is. each may use the DB, and keep
// what it is given.
func (db *DB) LogQuery(ctx context.Context, since, until, caller, thing int64, newest bool,
	each func(name []byte, index int64, row Row) error) error {
	where, args := searched(since, until, caller, thing)
	query := selectFound + where
	if newest {
		query += ` order by time desc, log desc, idx desc`
	} else {
		query += ` order by time, log, idx`
	}
	return db.rows(ctx, "searching", query, args, func(rows *sql.Rows) error {
		var name []byte
		var index int64
		var r Row
		if err := rows.Scan(&name, &index, &r.Time, &r.Caller, &r.Thing, &r.Data, &r.Hashes); err != nil {
			return db.fail("searching", err)
		}
		r.Data, r.Hashes = present(r.Data), present(r.Hashes)
		return each(name, index, r)
	})
}

// LogSpan returns between which rows of one log all lie that [DB.LogQuery]
// would find there: from ≤ index < to, 0 and 0 for none. It reads no row where
// at most one tag is given, only an index.
func (db *DB) LogSpan(ctx context.Context, name []byte, since, until, caller, thing int64) (from, to int64, err error) {
	where, args := searched(since, until, caller, thing)
	query := selectSpan + where
	if err := db.reader.QueryRowContext(ctx, query, append([]any{name}, args...)...).Scan(&from, &to); err != nil {
		return 0, 0, db.fail(fmt.Sprintf("searching log %x in", name), err)
	}
	return from, to, nil
}

// selectSpan begins a search by time or tag: +log has it not begin by the log,
// which would be row by row.
const selectSpan = `select coalesce(min(idx), 0), coalesce(max(idx) + 1, 0) from entry where +log = (select id from log where name = ?) and `

// searched is the condition for a time, an until of 0 meaning no end, and for
// tags, 0 meaning any; with its arguments.
func searched(since, until, caller, thing int64) (where string, args []any) {
	if until == 0 {
		until = math.MaxInt64
	}
	where, args = `time >= ? and time < ?`, []any{since, until}
	if caller != 0 {
		where, args = where+` and caller = ?`, append(args, caller)
	}
	if thing != 0 {
		where, args = where+` and thing = ?`, append(args, thing)
	}
	return where, args
}
