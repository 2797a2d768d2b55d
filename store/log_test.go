package store

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// stored is a row with where it is.
type stored struct {
	Name  string
	Index int64
	Row   Row
}

func collect(into *[]stored) func([]byte, int64, Row) error {
	return func(name []byte, index int64, row Row) error {
		*into = append(*into, stored{string(name), index, row})
		return nil
	}
}

func TestLogsAgainstSlices(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	db := openNew(t)
	names := []string{"porch", "gate", "meter"}
	model := make(map[string][]stored)
	for range 40 {
		name := names[random.IntN(len(names))]
		var rows []Row
		first := int64(len(model[name]))
		for i := range random.Int64N(5) {
			row := Row{
				Time: random.Int64N(50), Caller: random.Int64N(3) - 1, Thing: random.Int64N(3),
				Data: fmt.Appendf(nil, "%s %d", name, first+i), Hashes: make([]byte, random.IntN(2)*32),
			}
			rows = append(rows, row)
			model[name] = append(model[name], stored{name, first + i, row})
		}
		if err := db.LogAppend(t.Context(), []byte(name), first, rows, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		var got []stored
		err := db.LogRows(t.Context(), []byte(name), 1, 7, func(index int64, row Row) error { return collect(&got)([]byte(name), index, row) })
		if want := model[name][1:7]; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("LogRows(%s, 1, 7) = %v, %v, want %v", name, got, err, want)
		}
		var bytes int64
		for _, s := range model[name] {
			bytes += int64(len(s.Row.Data) + len(s.Row.Hashes))
		}
		if size, err := db.LogBytes(t.Context(), []byte(name)); err != nil || size != bytes {
			t.Errorf("LogBytes(%s) = %d, %v, want %d", name, size, err, bytes)
		}
		if size, _, err := db.LogSize(t.Context(), []byte(name)); err != nil || size != int64(len(model[name])) {
			t.Errorf("LogSize(%s) = %d, %v, want %d", name, size, err, len(model[name]))
		}
	}
	logs, err := db.LogNames(t.Context())
	if err != nil || len(logs) != 3 || string(logs[0]) != "gate" || string(logs[2]) != "porch" {
		t.Errorf("LogNames = %q, %v", logs, err)
	}
	for range 200 {
		since, until := random.Int64N(50), random.Int64N(60)
		caller, thing, newest := random.Int64N(3)-1, random.Int64N(3), random.IntN(2) == 1
		checkQuery(t, db, model, since, until, caller, thing, newest)
	}
}

// checkQuery compares a query with the same over the model.
func checkQuery(t *testing.T, db *DB, model map[string][]stored, since, until, caller, thing int64, newest bool) {
	t.Helper()
	var want []stored
	for _, rows := range model {
		for _, s := range rows {
			if s.Row.Time >= since && (s.Row.Time < until || until == 0) &&
				(caller == 0 || s.Row.Caller == caller) && (thing == 0 || s.Row.Thing == thing) {
				want = append(want, s)
			}
		}
	}
	var got []stored
	if err := db.LogQuery(t.Context(), since, until, caller, thing, newest, collect(&got)); err != nil {
		t.Fatal(err)
	}
	for name := range model {
		wantFrom, wantTo := int64(0), int64(0)
		for _, s := range want {
			if s.Name == name && wantTo == 0 {
				wantFrom, wantTo = s.Index, s.Index+1
			} else if s.Name == name {
				wantFrom, wantTo = min(wantFrom, s.Index), max(wantTo, s.Index+1)
			}
		}
		if from, to, err := db.LogSpan(t.Context(), []byte(name), since, until, caller, thing); from != wantFrom || to != wantTo || err != nil {
			t.Fatalf("LogSpan(%s, %d, %d, %d, %d) = %d, %d, %v, want %d, %d", name, since, until, caller, thing, from, to, err, wantFrom, wantTo)
		}
	}
	inOrder := func(a, b stored) int {
		if newest {
			return cmp.Compare(b.Row.Time, a.Row.Time)
		}
		return cmp.Compare(a.Row.Time, b.Row.Time)
	}
	if !slices.IsSortedFunc(got, inOrder) {
		t.Fatalf("LogQuery(newest %v) is not in order of time: %v", newest, got)
	}
	byPlace := func(a, b stored) int { return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Index, b.Index)) }
	slices.SortFunc(got, byPlace)
	slices.SortFunc(want, byPlace)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("LogQuery(%d, %d, %d, %d) = %v\nwant %v", since, until, caller, thing, got, want)
	}
}

func TestLogAppendOnlyAtTheEnd(t *testing.T) {
	db := openNew(t)
	name := []byte("log")
	if err := db.LogAppend(t.Context(), name, 0, []Row{{}, {}}, []byte("checkpoint 2")); err != nil {
		t.Fatal(err)
	}
	for _, first := range []int64{-1, 0, 1, 3} {
		err := db.LogAppend(t.Context(), name, first, []Row{{}}, []byte("wrong"))
		if err == nil || !strings.Contains(err.Error(), "it has 2 rows") {
			t.Errorf("LogAppend at %d of 2 = %v, want an error naming the size", first, err)
		}
	}
	if size, checkpoint, err := db.LogSize(t.Context(), name); size != 2 || string(checkpoint) != "checkpoint 2" || err != nil {
		t.Errorf("LogSize = %d, %q, %v after refused appends", size, checkpoint, err)
	}
	if err := db.LogAppend(t.Context(), name, 2, []Row{{}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := db.LogAppend(t.Context(), name, 3, nil, []byte("checkpoint 3")); err != nil {
		t.Fatal(err)
	}
	if size, checkpoint, err := db.LogSize(t.Context(), name); size != 3 || string(checkpoint) != "checkpoint 3" || err != nil {
		t.Errorf("LogSize = %d, %q, %v", size, checkpoint, err)
	}
	if size, checkpoint, err := db.LogSize(t.Context(), []byte("none")); size != 0 || checkpoint != nil || err != nil {
		t.Errorf("LogSize of no log = %d, %q, %v", size, checkpoint, err)
	}
}

func TestLogQueryEndsAtFirstError(t *testing.T) {
	db := openNew(t)
	if err := db.LogAppend(t.Context(), []byte("log"), 0, []Row{{}, {}, {}}, nil); err != nil {
		t.Fatal(err)
	}
	stop, seen := errors.New("stop"), 0
	if err := db.LogQuery(t.Context(), 0, 0, 0, 0, true, func([]byte, int64, Row) error { seen++; return stop }); err != stop || seen != 1 {
		t.Errorf("LogQuery = %v after %d rows, want %v after 1", err, seen, stop)
	}
}

func TestQueriesUseIndexes(t *testing.T) {
	db := openNew(t)
	for _, test := range []struct {
		caller, thing int64
		index         string
	}{{0, 0, "entry_time"}, {3, 0, "entry_caller"}, {0, 3, "entry_thing"}} {
		where, args := searched(1, 2, test.caller, test.thing)
		plan := planOf(t, db, selectFound+where+` order by time desc, log desc, idx desc`, args...)
		if !strings.Contains(plan, test.index) || strings.Contains(plan, "TEMP B-TREE") {
			t.Errorf("%s is searched by\n%s, want %s and no sorting", where, plan, test.index)
		}
		plan = planOf(t, db, selectSpan+where, append([]any{[]byte("log")}, args...)...)
		if !strings.Contains(plan, "COVERING INDEX "+test.index) {
			t.Errorf("the span of %s is found by\n%s, want %s and no rows", where, plan, test.index)
		}
	}
}

func planOf(t *testing.T, db *DB, query string, args ...any) string {
	t.Helper()
	rows, err := db.reader.Query(`explain query plan `+query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&plan, detail)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}

// A database from before logs were measured measures them.
func TestLogsAreMeasured(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kindred.db")
	db, err := Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"gate", "gate", "porch"} {
		rows := []Row{{Data: make([]byte, 100), Hashes: make([]byte, 32)}}
		if err := db.LogAppend(t.Context(), []byte(name), int64(i%2), rows[:1-i/2], nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, undo := range []string{`alter table log drop column bytes`, `pragma user_version = 1`} {
		if _, err := db.writer.Exec(undo); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for name, want := range map[string]int64{"gate": 264, "porch": 0, "none": 0} {
		if got, err := db.LogBytes(t.Context(), []byte(name)); got != want || err != nil {
			t.Errorf("LogBytes(%s) = %d, %v, want %d", name, got, err, want)
		}
	}
}
