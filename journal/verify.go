package journal

import (
	"bytes"
	"context"
	"crypto"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/kindred-iot/kindred/identity"
)

// verify reads a whole log and recomputes all that is kept beside its entries.
// The checkpoint's signature must be by pub. It returns how many entries the
// checkpoint covers.
func verify(ctx context.Context, port Port, tree identity.TreeID, node identity.MemberID, pub crypto.PublicKey) (covered int64, err error) {
	size, kept, err := port.LogSize(ctx, node[:])
	if err != nil {
		return 0, fmt.Errorf("journal: verifying the log of %s: %w", node, err)
	}
	tampered := func(index int64, format string, args ...any) error {
		return &TamperError{Node: node, Index: index, What: fmt.Sprintf(format, args...), Kept: kept}
	}
	checkpoint := Checkpoint{Tree: tree, Node: node, Root: emptyRoot}
	if kept != nil {
		if checkpoint, err = OpenCheckpoint(kept, pub); err != nil {
			return 0, tampered(0, "the checkpoint: %v", err)
		}
		if checkpoint.Tree != tree || checkpoint.Node != node || checkpoint.Size > size {
			return 0, tampered(size, "its checkpoint counts %d entries of %s in tree %s", checkpoint.Size, checkpoint.Node, checkpoint.Tree)
		}
	}
	var e edge
	checkRoot := func() error {
		if e.size != checkpoint.Size {
			return nil
		}
		if root, err := e.root(); err != nil || root != checkpoint.Root {
			return tampered(0, "the first %d entries have the root %v, the checkpoint says %v", e.size, root, checkpoint.Root)
		}
		return nil
	}
	if err := checkRoot(); err != nil {
		return 0, err
	}
	err = port.LogRows(ctx, node[:], 0, size, func(index int64, row Row) error {
		if index != e.size {
			return tampered(e.size, "it is missing")
		}
		if what := checkRow(&e, tree, row); what != "" {
			return tampered(index, "%s", what)
		}
		return checkRoot()
	})
	if err != nil {
		return 0, err
	}
	if e.size != size {
		return 0, tampered(e.size, "it is missing")
	}
	return checkpoint.Size, nil
}

var emptyRoot = func() tlog.Hash { h, _ := new(edge).root(); return h }()

// checkRow adds the row to the edge and says what is wrong with it, if anything.
func checkRow(e *edge, tree identity.TreeID, row Row) string {
	entry, err := ParseEntry(tree, row.Data)
	if err != nil {
		return err.Error()
	}
	hashes, err := e.append(row.Data)
	if err != nil {
		return err.Error()
	}
	if !bytes.Equal(hashes, row.Hashes) {
		return "its hashes are not those kept"
	}
	if want := entry.row(row.Data); row.Time != want.Time || row.Caller != want.Caller || row.Thing != want.Thing {
		return "it is filed under another time, caller or thing"
	}
	return ""
}
