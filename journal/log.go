package journal

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/kindred-iot/kindred/identity"
)

// Log is a node's own journal. One Log at a time writes under a node's name. Its
// methods may be called from several goroutines.
type Log struct {
	port Port
	node identity.MemberID
	tree identity.TreeID
	key  crypto.Signer
	seed maphash.Seed

	wake chan struct{} // capacity 1: the writer has something to look at
	done chan struct{} // closed when the writer has ended

	mu        sync.Mutex
	queue     []*pending          // waiting to be written, oldest first
	waiting   int                 // how many of them somebody waits for
	tallied   map[uint64]*pending // in queue, by the sums of their kinds
	strangers strangers
	failed    error // why the last write failed; nil after one that did not
	closed    bool

	w writer // of the writer goroutine alone
}

// errClosed means that an entry came after Close.
var errClosed = errors.New("journal: the log is closed")

// Open opens the log of node, a member of tree whose leaf key is key, and
// starts its writer, which lives until [Log.Close]. A log that contradicts the
// checkpoint kept with it is a [*TamperError].
func Open(ctx context.Context, port Port, node identity.MemberID, tree identity.TreeID, key crypto.Signer) (*Log, error) {
	size, kept, err := port.LogSize(ctx, node[:])
	if err != nil {
		return nil, fmt.Errorf("journal: opening the log of %s: %w", node, err)
	}
	if err := checkKept(ctx, port, node, tree, size, kept); err != nil {
		return nil, err
	}
	edge, err := loadEdge(ctx, port, node[:], size)
	if err != nil {
		return nil, fmt.Errorf("journal: opening the log of %s: %w", node, err)
	}
	l := &Log{
		port: port, node: node, tree: tree, key: key,
		wake: make(chan struct{}, 1), done: make(chan struct{}), tallied: map[uint64]*pending{}, seed: maphash.MakeSeed(),
		w: writer{edge: edge},
	}
	go l.write(context.WithoutCancel(ctx))
	return l, nil
}

// checkKept compares the log with its checkpoint by the hashes kept beside the
// entries: quick, and enough not to go on from a damaged or shortened log.
func checkKept(ctx context.Context, port Port, node identity.MemberID, tree identity.TreeID, size int64, kept []byte) error {
	if kept == nil {
		return nil
	}
	c, err := ReadCheckpoint(kept)
	if err != nil {
		return err
	}
	if c.Node != node || c.Tree != tree {
		return fmt.Errorf("journal: opening the log of %s: its checkpoint is of %s in tree %s", node, c.Node, c.Tree)
	}
	if c.Size > size {
		return &TamperError{Node: node, Index: size, What: fmt.Sprintf("the checkpoint counts %d entries", c.Size), Kept: kept}
	}
	root, err := tlog.TreeHash(c.Size, keptHashes{ctx, port, node[:]})
	if err != nil {
		return fmt.Errorf("journal: opening the log of %s: %w", node, err)
	}
	if root != c.Root {
		return &TamperError{Node: node, What: fmt.Sprintf("the hashes of the first %d entries do not give the checkpoint's root", c.Size), Kept: kept}
	}
	return nil
}

// Append writes an entry and returns once it is on disk. Call it before an
// action that changes the world, and leave the action when it fails: the entry
// is then not in the log, or, if ctx ended first or the port failed both to
// write and to read, may be.
func (l *Log) Append(ctx context.Context, e Entry) error {
	_, err := l.AppendAt(ctx, e)
	return err
}

// A Place is where an entry stands in a log.
type Place struct {
	Index int64
	Leaf  tlog.Hash // RFC 6962 hash of the entry
}

// AppendAt is [Log.Append], and says where the entry stands.
func (l *Log) AppendAt(ctx context.Context, e Entry) (Place, error) {
	p, err := l.pendingOf(e)
	if err != nil {
		return Place{}, err
	}
	p.result = make(chan error, 1)
	if err := l.enqueue(p); err != nil {
		return Place{}, err
	}
	if err := l.await(ctx, p); err != nil {
		return Place{}, err
	}
	return p.place, nil
}

// Note writes an entry within 100 ms and does not wait for it, except when the
// disk does not keep up or the last write failed: then it is like [Log.Append].
// Call it for reads.
func (l *Log) Note(e Entry) error {
	p, err := l.pendingOf(e)
	if err != nil {
		return err
	}
	return l.note(p)
}

// NoteAt is [Log.Note], and calls at with where the entry stands once it is on
// disk. at must not wait, and not call the log.
func (l *Log) NoteAt(e Entry, at func(Place)) error {
	p, err := l.pendingOf(e)
	if err != nil {
		return err
	}
	p.at = at
	return l.note(p)
}

func (l *Log) pendingOf(e Entry) (*pending, error) {
	data, err := e.encode(l.tree)
	if err != nil {
		return nil, err
	}
	return &pending{row: e.row(data)}, nil
}

func (l *Log) note(p *pending) error {
	l.mu.Lock()
	p.noted = l.failed == nil && len(l.queue) < maxQueue
	l.mu.Unlock()
	if !p.noted {
		p.result = make(chan error, 1)
	}
	if err := l.enqueue(p); err != nil || p.noted {
		return err
	}
	return <-p.result // the writer answers whatever it took
}

// Sync returns once everything noted before it is on disk.
func (l *Log) Sync(ctx context.Context) error {
	return l.call(ctx, func(context.Context) error { return nil })
}

// Checkpoint writes what was noted, and signs and keeps a checkpoint over all
// entries, made at now.
func (l *Log) Checkpoint(ctx context.Context, now time.Time) ([]byte, error) {
	var raw []byte
	err := l.call(ctx, func(ctx context.Context) error {
		root, err := l.w.edge.root()
		if err != nil {
			return err
		}
		raw, err = Checkpoint{Tree: l.tree, Node: l.node, Size: l.w.edge.size, Root: root, Time: now}.sign(l.key)
		if err != nil {
			return err
		}
		return l.port.LogAppend(ctx, l.node[:], l.w.edge.size, nil, raw)
	})
	if err != nil {
		return nil, fmt.Errorf("journal: signing a checkpoint: %w", err)
	}
	return raw, nil
}

// Since returns the entries from index from on, as many as a batch holds, with
// a checkpoint made at now, or where there are more at the time of the last that
// it covers. Without new entries the batch has none. It is an
// error if the log has fewer than from entries: then it lost some that a
// replica has.
func (l *Log) Since(ctx context.Context, now time.Time, from int64) (Batch, error) {
	fail := func(err error) (Batch, error) {
		return Batch{}, fmt.Errorf("journal: reading the log of %s from entry %d: %w", l.node, from, err)
	}
	if err := l.Sync(ctx); err != nil {
		return fail(err)
	}
	size, _, err := l.port.LogSize(ctx, l.node[:])
	if err != nil {
		return fail(err)
	}
	if from < 0 || from > size {
		return fail(fmt.Errorf("it has %d entries", size))
	}
	b := Batch{From: from}
	if b.Entries, err = readEntries(ctx, l.port, l.node, from, size); err != nil {
		return fail(err)
	}
	root, err := tlog.TreeHash(b.end(), keptHashes{ctx, l.port, l.node[:]})
	if err != nil {
		return fail(err)
	}
	if b.end() < size { // of later it says nothing, and must not read as if there were nothing
		last, err := ParseEntry(l.tree, b.Entries[len(b.Entries)-1])
		if err != nil {
			return fail(err)
		}
		if last.Time.Before(now) {
			now = last.Time
		}
	}
	b.Checkpoint, err = Checkpoint{Tree: l.tree, Node: l.node, Size: b.end(), Root: root, Time: now}.sign(l.key)
	if err != nil {
		return fail(err)
	}
	return b, nil
}

// Entries returns the node's own entries from index from on, as they stand in
// the log and as many as a batch holds; none at the end.
func (l *Log) Entries(ctx context.Context, from int64) ([][]byte, error) {
	if err := l.Sync(ctx); err != nil {
		return nil, err
	}
	entries, err := readEntries(ctx, l.port, l.node, from, math.MaxInt64)
	if err != nil {
		return nil, fmt.Errorf("journal: reading the log of %s: %w", l.node, err)
	}
	return entries, nil
}

// Have returns how many entries are on disk, and the checkpoint kept: nil for
// none.
func (l *Log) Have(ctx context.Context) (size int64, checkpoint []byte, err error) {
	if err := l.Sync(ctx); err != nil {
		return 0, nil, err
	}
	return l.port.LogSize(ctx, l.node[:])
}

// errEnough ends a reading early.
var errEnough = errors.New("enough")

// Query returns the entries that match, of all logs in the port, with what was
// noted before.
func (l *Log) Query(ctx context.Context, f Filter) ([]Item, error) {
	if err := l.Sync(ctx); err != nil {
		return nil, err
	}
	return query(ctx, l.port, l.tree, f)
}

// By calls each with the entries of one caller among the node's own from index
// from on, with what was noted before, until each returns false or it has looked
// at so many entries of anybody. It returns where to go on.
func (l *Log) By(ctx context.Context, caller Party, from, most int64, each func(Item) bool) (next int64, err error) {
	if err := l.Sync(ctx); err != nil {
		return from, err
	}
	next, tag := from, caller.tag()
	err = l.port.LogRows(ctx, l.node[:], from, from+most, func(index int64, row Row) error {
		next = index + 1
		if row.Caller != tag {
			return nil
		}
		item, err := readItem(l.tree, l.node[:], index, row)
		if err == nil && item.Entry.Caller.same(caller) && !each(item) {
			err = errEnough
		}
		return err
	})
	if err != nil && err != errEnough {
		return next, fmt.Errorf("journal: reading the log of %s: %w", l.node, err)
	}
	return next, nil
}

// Verify reads the whole log, recomputes every hash and compares with what is
// kept and with the last checkpoint, whose signature must be by the key the log
// was opened with: after a renewal, sign a checkpoint first. What is wrong is a
// [*TamperError].
func (l *Log) Verify(ctx context.Context) error {
	if err := l.Sync(ctx); err != nil {
		return err
	}
	_, err := verify(ctx, l.port, l.tree, l.node, l.key.Public())
	return err
}

// Close writes everything noted and counted and ends the writer. The error says
// how many entries could not be written.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.poke()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil && len(l.queue)+len(l.w.doubt) > 0 {
		return fmt.Errorf("journal: closing the log of %s: %d entries may not be on disk: %w", l.node, len(l.queue)+len(l.w.doubt), l.failed)
	}
	return nil
}
