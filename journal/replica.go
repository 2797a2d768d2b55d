package journal

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"math"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/kindred-iot/kindred/identity"
)

// Replica holds the logs of a tree's nodes at the gateway. Its methods may be
// called from several goroutines. It may share its port with the gateway's own
// [Log]; its callers then leave the gateway's member ID to that.
type Replica struct {
	port  Port
	tree  identity.TreeID
	quota Quota
	mu    sync.Mutex // one Accept at a time: it reads, compares and then writes
}

// A Quota says whether the log of a node, which takes so many bytes of the disk,
// may take more; an error is that there is no room for them now. It is asked
// about one log at a time.
type Quota func(node identity.MemberID, taken, more int64) error

// rowBytes is about what an entry takes on the disk beside itself and its
// hashes, in the store's table and indexes.
const rowBytes = 100

// NewReplica returns the replica of tree that is kept in port, of logs that may
// grow as quota says; nil: without end.
func NewReplica(port Port, tree identity.TreeID, quota Quota) *Replica {
	return &Replica{port: port, tree: tree, quota: quota}
}

// Have returns how many entries of node's log the replica has, which is where
// the next batch should begin, and the checkpoint over them: nil for none.
func (r *Replica) Have(ctx context.Context, node identity.MemberID) (size int64, checkpoint []byte, err error) {
	size, checkpoint, err = r.port.LogSize(ctx, node[:])
	if err != nil {
		return 0, nil, fmt.Errorf("journal: measuring the replica of %s: %w", node, err)
	}
	return size, checkpoint, nil
}

// Nodes returns the nodes whose logs the port has.
func (r *Replica) Nodes(ctx context.Context) ([]identity.MemberID, error) {
	names, err := r.port.LogNames(ctx)
	if err != nil {
		return nil, fmt.Errorf("journal: listing the replicas: %w", err)
	}
	nodes := make([]identity.MemberID, len(names))
	for i, name := range names {
		if len(name) != len(nodes[i]) {
			return nil, fmt.Errorf("journal: listing the replicas: log %x is not called by a member ID", name)
		}
		nodes[i] = identity.MemberID(name)
	}
	return nodes, nil
}

// Accept adds a batch of node's log, on disk when it returns nil. pub is the
// public key of node's live leaf. A batch may repeat entries the replica has;
// repeating all of one does nothing, so a batch whose answer was lost is simply
// sent again. It is refused, and nothing changed, when it
//
//   - begins after the end of the replica: a gap, see [Replica.Have];
//   - is malformed, or its checkpoint is not signed by pub, for this node, tree
//     and size;
//   - repeats an entry otherwise than it was, or its root is not the one signed:
//     a [*TamperError] with both checkpoints;
//   - is in order, and the [Quota] has no room for it: its error. The same
//     batch is taken later.
func (r *Replica) Accept(ctx context.Context, node identity.MemberID, b Batch, pub crypto.PublicKey) error {
	fail := func(err error) error {
		if t := (*TamperError)(nil); errors.As(err, &t) {
			return err
		}
		return fmt.Errorf("journal: accepting %d entries of %s from entry %d: %w", len(b.Entries), node, b.From, err)
	}
	if err := b.check(); err != nil {
		return fail(err)
	}
	c, err := OpenCheckpoint(b.Checkpoint, pub)
	if err != nil {
		return fail(err)
	}
	if c.Tree != r.tree || c.Node != node || c.Size != b.end() {
		return fail(fmt.Errorf("the checkpoint is over %d entries of %s in tree %s", c.Size, c.Node, c.Tree))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	size, kept, err := r.port.LogSize(ctx, node[:])
	if err != nil {
		return fail(err)
	}
	if b.From > size {
		return fail(fmt.Errorf("the replica has %d entries: those between are missing", size))
	}
	known := min(size, b.end()) - b.From // entries that the replica has
	if err := r.compare(ctx, node, b, known, kept); err != nil {
		return fail(err)
	}
	rows, root, err := r.extend(ctx, node, size, b, known)
	if err != nil {
		return fail(err)
	}
	if root != c.Root {
		return &TamperError{Node: node, Index: b.From, Kept: kept, Shown: b.Checkpoint, What: fmt.Sprintf(
			"%d entries have the root %v, signed was %v: these entries or some before differ from the node's", c.Size, root, c.Root)}
	}
	if len(rows) == 0 {
		return nil // the checkpoint kept covers as much
	}
	if err := r.checkRoom(ctx, node, size, rows); err != nil {
		return fail(err)
	}
	if err := r.port.LogAppend(ctx, node[:], size, rows, b.Checkpoint); err != nil {
		return fail(err)
	}
	return nil
}

// checkRoom asks whether there is room for rows in a log of size entries.
func (r *Replica) checkRoom(ctx context.Context, node identity.MemberID, size int64, rows []Row) error {
	if r.quota == nil {
		return nil
	}
	taken, err := r.port.LogBytes(ctx, node[:])
	if err != nil {
		return err
	}
	more := rowBytes * int64(len(rows))
	for _, row := range rows {
		more += int64(len(row.Data) + len(row.Hashes))
	}
	return r.quota(node, taken+rowBytes*size, more)
}

// compare checks that the first known entries of the batch are what the replica
// has.
func (r *Replica) compare(ctx context.Context, node identity.MemberID, b Batch, known int64, kept []byte) error {
	return r.port.LogRows(ctx, node[:], b.From, b.From+known, func(index int64, row Row) error {
		if !bytes.Equal(row.Data, b.Entries[index-b.From]) {
			return &TamperError{Node: node, Index: index, What: "it was another before", Kept: kept, Shown: b.Checkpoint}
		}
		return nil
	})
}

// extend returns the rows that the batch adds to a replica of size entries, and
// the root over all entries up to the batch's end.
func (r *Replica) extend(ctx context.Context, node identity.MemberID, size int64, b Batch, known int64) ([]Row, tlog.Hash, error) {
	e, err := loadEdge(ctx, r.port, node[:], min(size, b.end()))
	if err != nil {
		return nil, tlog.Hash{}, err
	}
	rows := make([]Row, 0, len(b.Entries)-int(known))
	for i, data := range b.Entries[known:] {
		entry, err := ParseEntry(r.tree, data)
		if err != nil {
			return nil, tlog.Hash{}, fmt.Errorf("entry %d: %w", b.From+known+int64(i), err)
		}
		row := entry.row(data)
		if row.Hashes, err = e.append(data); err != nil {
			return nil, tlog.Hash{}, err
		}
		rows = append(rows, row)
	}
	root, err := e.root()
	return rows, root, err
}

// Entries returns the entries of a node from index from on, as they stand in
// its log and as many as a batch holds; none at the end.
func (r *Replica) Entries(ctx context.Context, node identity.MemberID, from int64) ([][]byte, error) {
	entries, err := readEntries(ctx, r.port, node, from, math.MaxInt64)
	if err != nil {
		return nil, fmt.Errorf("journal: reading the replica of %s: %w", node, err)
	}
	return entries, nil
}

// readEntries reads as many entries as a batch holds.
func readEntries(ctx context.Context, port Port, node identity.MemberID, from, to int64) ([][]byte, error) {
	if from < 0 {
		return nil, fmt.Errorf("entry %d", from)
	}
	entries, bytes := [][]byte{}, 0
	err := port.LogRows(ctx, node[:], from, min(to, from+maxBatchEntries), func(_ int64, row Row) error {
		if bytes > maxBatchBytes {
			return errEnough
		}
		bytes += len(row.Data)
		entries = append(entries, row.Data)
		return nil
	})
	if err == errEnough {
		err = nil
	}
	return entries, err
}

// Query returns the entries that match, of all logs in the port.
func (r *Replica) Query(ctx context.Context, f Filter) ([]Item, error) {
	return query(ctx, r.port, r.tree, f)
}

// Verify reads node's whole log, recomputes every hash and compares with what
// is kept and with the checkpoint, which pub must have signed and which covers
// all entries. What is wrong is a [*TamperError].
func (r *Replica) Verify(ctx context.Context, node identity.MemberID, pub crypto.PublicKey) error {
	r.mu.Lock() // no Accept between reading the size and the rows
	defer r.mu.Unlock()
	covered, err := verify(ctx, r.port, r.tree, node, pub)
	if err != nil {
		return err
	}
	size, kept, err := r.Have(ctx, node)
	if err != nil {
		return err
	}
	if covered != size {
		return &TamperError{Node: node, Index: covered, What: fmt.Sprintf("the checkpoint covers %d of %d entries", covered, size), Kept: kept}
	}
	return nil
}
