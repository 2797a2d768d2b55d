package journal

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// edge is the right edge of a tree: the roots of the perfect subtrees whose
// sizes sum up to its own, one for each one bit of size. It is all that
// appending and the root need.
type edge struct {
	size   int64
	levels [63]tlog.Hash // by level; meaningful where size has that bit
}

// ReadHashes implements [tlog.HashReader] for the hashes on the edge.
func (e *edge) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		if e.size>>level&1 == 0 || n != e.size>>level-1 {
			return nil, fmt.Errorf("journal: hash %d of level %d is not on the edge of a tree of %d entries", n, level, e.size)
		}
		hashes[i] = e.levels[level]
	}
	return hashes, nil
}

// append adds an entry and returns the hashes to keep beside it.
func (e *edge) append(data []byte) ([]byte, error) {
	completed, err := tlog.StoredHashes(e.size, data, e)
	if err != nil {
		return nil, err
	}
	e.size++
	e.levels[len(completed)-1] = completed[len(completed)-1]
	kept := make([]byte, 0, len(completed)*tlog.HashSize)
	for _, h := range completed {
		kept = append(kept, h[:]...)
	}
	return kept, nil
}

// root returns the root over all entries.
func (e *edge) root() (tlog.Hash, error) { return tlog.TreeHash(e.size, e) }

// keptHashes reads the hashes kept beside a log's entries.
type keptHashes struct {
	ctx  context.Context // of the one call it is made for: tlog passes none
	port Port
	name []byte
}

// ReadHashes implements [tlog.HashReader].
func (k keptHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		entry := (n+1)<<level - 1
		found := false
		err := k.port.LogRows(k.ctx, k.name, entry, entry+1, func(_ int64, row Row) error {
			found = len(row.Hashes) >= (level+1)*tlog.HashSize
			if found {
				copy(hashes[i][:], row.Hashes[level*tlog.HashSize:])
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("journal: the hash of level %d beside entry %d of log %x is missing", level, entry, k.name)
		}
	}
	return hashes, nil
}

// loadEdge returns the edge of the first size entries of a log.
func loadEdge(ctx context.Context, port Port, name []byte, size int64) (edge, error) {
	e := edge{size: size}
	kept := keptHashes{ctx, port, name}
	for level := range len(e.levels) {
		if size>>level&1 == 0 {
			continue
		}
		hashes, err := kept.ReadHashes([]int64{tlog.StoredHashIndex(level, size>>level-1)})
		if err != nil {
			return edge{}, err
		}
		e.levels[level] = hashes[0]
	}
	return e, nil
}

// sameRow reports whether a stored row is the one that was to be written.
func sameRow(a, b Row) bool {
	return a.Time == b.Time && a.Caller == b.Caller && a.Thing == b.Thing &&
		bytes.Equal(a.Data, b.Data) && slices.Equal(a.Hashes, b.Hashes)
}
