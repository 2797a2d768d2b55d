package journal

import (
	"context"
	"crypto"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/kindred-iot/kindred/store/storetest"
)

// carry replicates node's log as far as it goes and returns the batches.
func carry(t testing.TB, l *Log, node Party, r *Replica) (batches []Batch) {
	t.Helper()
	for {
		have, _, err := r.Have(t.Context(), node.Member)
		if err != nil {
			t.Fatal(err)
		}
		b, err := l.Since(t.Context(), noon, have)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Entries) == 0 {
			return batches
		}
		data, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 300<<10 {
			t.Fatalf("a batch of %d entries takes %d bytes", len(b.Entries), len(data))
		}
		if b, err = ParseBatch(data); err != nil {
			t.Fatal(err)
		}
		if err := r.Accept(t.Context(), node.Member, b, keyOf(node).Public()); err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
}

func TestReplicate(t *testing.T) {
	db, gateway := storetest.Open(t), storetest.Open(t)
	r := NewReplica(gateway, home, nil)
	l, p := openLog(t, db, lock), openLog(t, db, porch)
	if got := carry(t, l, lock, r); got != nil {
		t.Errorf("an empty log gave %v", got)
	}
	for i := range 3 * maxBatchEntries {
		if err := l.Note(opened(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 { // long entries: bytes bound the batch
		for j := range maxBatchEntries {
			e := opened(3*maxBatchEntries + i*maxBatchEntries + j)
			e.Reason = strings.Repeat("r", maxReason)
			if err := l.Note(e); err != nil {
				t.Fatal(err)
			}
		}
	}
	batches := carry(t, l, lock, r)
	if len(batches) < 5 || len(batches) > 8 {
		t.Errorf("%d batches", len(batches))
	}
	appendAll(t, p, opened(7))
	carry(t, p, porch, r)
	if a, b := onDisk(t, db, lock), onDisk(t, gateway, lock); !slices.Equal(a, b) || len(a) != 5*maxBatchEntries {
		t.Errorf("%d entries at the node, %d at the gateway", len(a), len(b))
	}
	for _, b := range batches { // every answer may be lost
		if err := r.Accept(t.Context(), lock.Member, b, keyOf(lock).Public()); err != nil {
			t.Errorf("repeated: %v", err)
		}
	}
	for _, node := range []Party{lock, porch} {
		if err := r.Verify(t.Context(), node.Member, keyOf(node).Public()); err != nil {
			t.Error(err)
		}
	}
	nodes, err := r.Nodes(t.Context())
	if err != nil || len(nodes) != 2 {
		t.Errorf("Nodes = %v, %v", nodes, err)
	}
	items, err := r.Query(t.Context(), Filter{Until: noon.Add(8 * time.Second), Since: noon.Add(7 * time.Second)})
	if err != nil || len(items) != 2 || items[0].Node == items[1].Node {
		t.Errorf("Query = %v, %v, want the second's entries of both nodes", items, err)
	}
}

func TestCheckpoint(t *testing.T) {
	l := openLog(t, storetest.Open(t), lock)
	for n := range int64(4) {
		raw, err := l.Checkpoint(t.Context(), noon)
		if err != nil {
			t.Fatal(err)
		}
		c, err := OpenCheckpoint(raw, keyOf(lock).Public())
		if err != nil || c.Size != n || c.Tree != home || c.Node != lock.Member || !c.Time.Equal(noon) {
			t.Errorf("checkpoint %+v, %v, want size %d of %s", c, err, n, lock.Member)
		}
		b, err := l.Since(t.Context(), noon, 0)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := OpenCheckpoint(b.Checkpoint, keyOf(lock).Public()); err != nil || again != c {
			t.Errorf("Since signs %+v, %v, Checkpoint %+v", again, err, c)
		}
		if _, err := OpenCheckpoint(raw, keyOf(porch).Public()); err == nil {
			t.Error("opened with another's key")
		}
		if err := l.Note(opened(int(n))); err != nil { // the next one covers it
			t.Fatal(err)
		}
	}
	if _, err := l.Since(t.Context(), noon, 5); err == nil || !strings.Contains(err.Error(), "it has 4 entries") {
		t.Errorf("Since beyond the end = %v", err)
	}
	if _, err := l.Checkpoint(t.Context(), time.Time{}); err == nil {
		t.Error("a checkpoint without a time was signed")
	}
}

// resign makes b's checkpoint anew for other entries, as a node does that
// forks its history.
func resign(t *testing.T, key crypto.Signer, all [][]byte, from int64) Batch {
	t.Helper()
	var e edge
	for _, data := range all {
		if _, err := e.append(data); err != nil {
			t.Fatal(err)
		}
	}
	root, err := e.root()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := Checkpoint{Tree: home, Node: lock.Member, Size: e.size, Root: root, Time: noon}.sign(key)
	if err != nil {
		t.Fatal(err)
	}
	return Batch{From: from, Entries: all[from:], Checkpoint: raw}
}

func TestAcceptRefuses(t *testing.T) {
	key, pub := keyOf(lock), keyOf(lock).Public()
	var entries [][]byte
	for i := range 8 {
		entries = append(entries, mustEncode(t, opened(i)))
	}
	forged := mustEncode(t, opened(99))
	swapped := func(n int) [][]byte { all := slices.Clone(entries); all[n] = forged; return all }
	unsigned := func(b Batch, f func(*Batch)) Batch { b.Entries = slices.Clone(b.Entries); f(&b); return b }
	good := resign(t, key, entries, 5)
	sized := func(size int64, party Party) []byte {
		raw, err := Checkpoint{Tree: party.ID.Tree, Node: party.Member, Size: size, Root: tlog.Hash{1}, Time: noon}.sign(key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	foreign := lock
	foreign.ID.Tree = other
	for _, test := range []struct {
		name  string
		batch Batch
		at    int64 // of a TamperError; -1 for another error
		want  string
	}{
		{"a gap", resign(t, key, entries, 6), -1, "the replica has 5 entries"},
		{"a rewritten entry that was known", resign(t, key, swapped(3), 2), 3, "it was another before"},
		{"a fork before the batch", resign(t, key, swapped(3), 5), 5, "or some before"},
		{"an entry changed on the way", unsigned(good, func(b *Batch) { b.Entries[1] = forged }), 5, "have the root"},
		{"an entry left out", unsigned(good, func(b *Batch) { b.Entries = b.Entries[1:] }), -1, "the checkpoint is over 8"},
		{"a shorter history", resign(t, key, swapped(0)[:4], 1), 1, "have the root"},
		{"something that is no entry", resign(t, key, append(slices.Clone(entries), []byte("x")), 5), -1, "entry 8: journal: reading an entry"},
		{"another's key", resign(t, keyOf(porch), entries, 5), -1, "reading a checkpoint"},
		{"another's checkpoint", unsigned(good, func(b *Batch) { b.Checkpoint = sized(8, porch) }), -1, "the checkpoint is over 8 entries of " + porch.Member.String()},
		{"another tree's checkpoint", unsigned(good, func(b *Batch) { b.Checkpoint = sized(8, foreign) }), -1, "in tree " + other.String()},
		{"a checkpoint over more", unsigned(good, func(b *Batch) { b.Checkpoint = sized(9, lock) }), -1, "the checkpoint is over 9"},
		{"no checkpoint", unsigned(good, func(b *Batch) { b.Checkpoint = nil }), -1, "reading a checkpoint"},
		{"a negative beginning", unsigned(good, func(b *Batch) { b.From = -1 }), -1, "begins at entry -1"},
		{"too many entries", Batch{Entries: make([][]byte, maxBatchEntries+1)}, -1, "more than 1024"},
		{"too many bytes", Batch{Entries: [][]byte{make([]byte, maxBatchBytes), make([]byte, MaxEntry+1)}}, -1, "more than 256 KiB"},
	} {
		t.Run(test.name, func(t *testing.T) {
			db := storetest.Open(t)
			r := NewReplica(db, home, nil)
			first := resign(t, key, entries[:5], 0)
			if err := r.Accept(t.Context(), lock.Member, first, pub); err != nil {
				t.Fatal(err)
			}
			err := r.Accept(t.Context(), lock.Member, test.batch, pub)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), lock.Member.String()) {
				t.Errorf("Accept = %v, want %q and the node", err, test.want)
			}
			tampered := (*TamperError)(nil)
			if errors.As(err, &tampered) != (test.at >= 0) {
				t.Errorf("Accept = %T, want a TamperError: %v", err, test.at >= 0)
			}
			if tampered != nil {
				want := TamperError{Node: lock.Member, Index: test.at, What: tampered.What, Kept: first.Checkpoint, Shown: test.batch.Checkpoint}
				if !reflect.DeepEqual(*tampered, want) {
					t.Errorf("%+v\nwant %+v", *tampered, want)
				}
			}
			wantOnDisk(t, db, lock, 0, 1, 2, 3, 4)
			if err := r.Accept(t.Context(), lock.Member, good, pub); err != nil {
				t.Errorf("the true batch after it: %v", err)
			}
			wantOnDisk(t, db, lock, 0, 1, 2, 3, 4, 5, 6, 7)
		})
	}
}

// TestAcceptFaultPoints repeats a batch whose writing failed, as a node does.
func TestAcceptFaultPoints(t *testing.T) {
	source := storetest.Open(t)
	l := openLog(t, source, lock)
	appendAll(t, l, opened(0), opened(1), opened(2), opened(3))
	storetest.Points(t, func(t *testing.T, db *storetest.DB) {
		r := NewReplica(db, home, nil)
		var all [][]byte
		for _, data := range onDiskRaw(t, source) {
			all = append(all, data)
			b := resign(t, keyOf(lock), all, int64(len(all)-1))
			err := r.Accept(t.Context(), lock.Member, b, keyOf(lock).Public())
			if errors.Is(err, storetest.ErrInjected) {
				err = r.Accept(t.Context(), lock.Member, b, keyOf(lock).Public())
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		wantOnDisk(t, db, lock, 0, 1, 2, 3)
		if err := r.Verify(t.Context(), lock.Member, keyOf(lock).Public()); err != nil {
			t.Error(err)
		}
	})
}

func onDiskRaw(t *testing.T, port Port) (all [][]byte) {
	t.Helper()
	err := port.LogRows(t.Context(), lock.Member[:], 0, 1<<40, func(_ int64, row Row) error {
		all = append(all, row.Data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestVerifyFindsTampering(t *testing.T) {
	db, gateway := storetest.Open(t), storetest.Open(t)
	l := openLog(t, db, lock)
	for i := range 13 {
		appendAll(t, l, opened(i))
	}
	carry(t, l, lock, NewReplica(gateway, home, nil))
	forged := mustEncode(t, opened(99))
	var rewritten edge // a consistent history, all of its hashes recomputed
	for _, test := range []struct {
		name  string
		alter func(index int64, row *Row) bool
		at    int64
		want  string
	}{
		{"nothing", func(int64, *Row) bool { return true }, -1, ""},
		{"an entry changed", func(i int64, r *Row) bool {
			if i == 5 {
				r.Data = forged
			}
			return true
		}, 5, "hashes"},
		{"an entry spoilt", func(i int64, r *Row) bool {
			if i == 5 {
				r.Data = append(slices.Clone(r.Data), 0)
			}
			return true
		}, 5, "reading an entry"},
		{"an entry filed under another time", func(i int64, r *Row) bool {
			if i == 5 {
				r.Time++
			}
			return true
		}, 5, "filed under"},
		{"an entry filed under another caller", func(i int64, r *Row) bool {
			if i == 5 {
				r.Caller = guest.tag()
			}
			return true
		}, 5, "filed under"},
		{"an entry left out", func(i int64, _ *Row) bool { return i != 5 }, 5, "missing"},
		{"the end cut off", func(i int64, _ *Row) bool { return i < 11 }, 11, "missing"},
		{"a hash changed", func(i int64, r *Row) bool {
			if i == 7 {
				r.Hashes = slices.Clone(r.Hashes)
				r.Hashes[100] ^= 1
			}
			return true
		}, 7, "hashes"},
		{"all rewritten", func(i int64, r *Row) bool {
			if i == 0 {
				rewritten = edge{}
			}
			e := opened(int(i))
			e.Grant = "g-none"
			*r = e.row(mustEncode(t, e))
			r.Hashes, _ = rewritten.append(r.Data)
			return true
		}, 0, "the checkpoint says"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := NewReplica(altered{gateway, test.alter}, home, nil).Verify(t.Context(), lock.Member, keyOf(lock).Public())
			if test.at < 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			tampered := (*TamperError)(nil)
			if !errors.As(err, &tampered) || tampered.Index != test.at || !strings.Contains(tampered.What, test.want) || tampered.Kept == nil {
				t.Errorf("Verify = %v, want entry %d: %q", err, test.at, test.want)
			}
		})
	}
	if err := NewReplica(gateway, home, nil).Verify(t.Context(), lock.Member, keyOf(porch).Public()); err == nil {
		t.Error("verified with another's key")
	}
}

// shortened is a port whose logs lost all from entry size on.
type shortened struct {
	altered
	size int64
}

func (s shortened) LogSize(ctx context.Context, name []byte) (int64, []byte, error) {
	_, checkpoint, err := s.Port.LogSize(ctx, name)
	return s.size, checkpoint, err
}

func TestShortenedLogIsFound(t *testing.T) {
	db := storetest.Open(t)
	l := openLog(t, db, lock)
	appendAll(t, l, opened(0), opened(1), opened(2))
	raw, err := l.Checkpoint(t.Context(), noon)
	if err != nil {
		t.Fatal(err)
	}
	for size := range int64(3) {
		port := shortened{altered{db, func(index int64, _ *Row) bool { return index < size }}, size}
		_, opening := Open(t.Context(), port, lock.Member, home, keyOf(lock))
		verifying := NewReplica(port, home, nil).Verify(t.Context(), lock.Member, keyOf(lock).Public())
		for _, err := range []error{opening, verifying} {
			tampered := (*TamperError)(nil)
			if !errors.As(err, &tampered) || tampered.Index != size || string(tampered.Kept) != string(raw) {
				t.Errorf("with %d of 3 entries: %v, want a TamperError there", size, err)
			}
		}
	}
}

// TestVerifyUnsigned appends to a replica what its node never signed.
func TestVerifyUnsigned(t *testing.T) {
	db := storetest.Open(t)
	l := openLog(t, db, lock)
	appendAll(t, l, opened(0), opened(1))
	r := NewReplica(db, home, nil)
	for covered, want := range []string{"covers 0 of 2", "covers 2 of 3"} {
		err := r.Verify(t.Context(), lock.Member, keyOf(lock).Public())
		if tampered := (*TamperError)(nil); !errors.As(err, &tampered) || !strings.Contains(tampered.What, want) {
			t.Errorf("%d: Verify = %v, want %q", covered, err, want)
		}
		if _, err := l.Checkpoint(t.Context(), noon); err != nil {
			t.Fatal(err)
		}
		if err := r.Verify(t.Context(), lock.Member, keyOf(lock).Public()); err != nil {
			t.Error(err)
		}
		appendAll(t, l, opened(2+covered))
	}
}

func FuzzParseBatch(f *testing.F) {
	l := openLog(f, storetest.Open(f), lock)
	appendAll(f, l, opened(1), opened(2))
	b, err := l.Since(f.Context(), noon, 0)
	if err != nil {
		f.Fatal(err)
	}
	data, err := b.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBatch(data)
		if err != nil {
			return
		}
		again, err := b.Marshal()
		if err != nil || string(again) != string(data) {
			t.Errorf("%x was read and is written as %x, %v", data, again, err)
		}
	})
}

func FuzzOpenCheckpoint(f *testing.F) {
	key := keyOf(lock)
	raw, err := Checkpoint{Tree: home, Node: lock.Member, Size: 3, Time: noon}.sign(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ReadCheckpoint(data)
		if err != nil {
			if _, err := OpenCheckpoint(data, key.Public()); err == nil {
				t.Errorf("%x was opened, but cannot be read", data)
			}
			return
		}
		opened, err := OpenCheckpoint(data, key.Public())
		if err == nil && opened != c {
			t.Errorf("%x was opened as %+v and read as %+v", data, opened, c)
		}
		if again, err := c.sign(key); err != nil {
			t.Errorf("%+v was read and cannot be signed: %v (%x)", c, err, again)
		}
	})
}
