package journal

import (
	"crypto"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// TypeCheckpoint is the type of a signed checkpoint.
const TypeCheckpoint signed.Type = "kindred/checkpoint"

// Checkpoint is what a node says of its log: that the root over its first Size
// entries is Root.
type Checkpoint struct {
	Tree identity.TreeID
	Node identity.MemberID
	Size int64
	Root tlog.Hash
	Time time.Time // when it said so, to the millisecond
}

type wireCheckpoint struct {
	Tree [32]byte `cbor:"1,keyasint"`
	Node [16]byte `cbor:"2,keyasint"`
	Size int64    `cbor:"3,keyasint"`
	Root [32]byte `cbor:"4,keyasint"`
	Time int64    `cbor:"5,keyasint"`
}

// OpenCheckpoint verifies a signed checkpoint with the node's public key. It
// does not compare it with any log.
func OpenCheckpoint(raw []byte, pub crypto.PublicKey) (Checkpoint, error) {
	s, err := signed.Parse(raw)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("journal: reading a checkpoint: %w", err)
	}
	var w wireCheckpoint
	if err := s.Open(pub, TypeCheckpoint, &w); err != nil {
		return Checkpoint{}, fmt.Errorf("journal: reading a checkpoint: %w", err)
	}
	return w.checkpoint()
}

// ReadCheckpoint reads a checkpoint that is kept here, without its
// signature, which a key since renewed may have made.
func ReadCheckpoint(raw []byte) (Checkpoint, error) {
	s, err := signed.Parse(raw)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("journal: reading a checkpoint: %w", err)
	}
	if s.Type != TypeCheckpoint {
		return Checkpoint{}, fmt.Errorf("journal: reading a checkpoint: it is a %q", s.Type)
	}
	var w wireCheckpoint
	if err := signed.Unmarshal(s.Payload, &w); err != nil {
		return Checkpoint{}, fmt.Errorf("journal: reading a checkpoint: %w", err)
	}
	return w.checkpoint()
}

func (w wireCheckpoint) checkpoint() (Checkpoint, error) {
	if w.Size < 0 || w.Time <= 0 || w.Time >= maxTime {
		return Checkpoint{}, fmt.Errorf("journal: reading a checkpoint: size %d or time %d out of range", w.Size, w.Time)
	}
	return Checkpoint{Tree: w.Tree, Node: w.Node, Size: w.Size, Root: w.Root, Time: time.UnixMilli(w.Time).UTC()}, nil
}

func (c Checkpoint) sign(key crypto.Signer) ([]byte, error) {
	w := wireCheckpoint{Tree: c.Tree, Node: c.Node, Size: c.Size, Root: c.Root, Time: c.Time.UnixMilli()}
	if _, err := w.checkpoint(); err != nil {
		return nil, err
	}
	return signed.Sign(key, TypeCheckpoint, w)
}

// Limits of a [Batch].
const (
	maxBatchEntries = 1024
	maxBatchBytes   = 256 << 10 // of entries, over which one more is not added
)

// Batch carries a log on to a replica: the entries From, From+1, … and a signed
// checkpoint over exactly all entries up to the last of them.
type Batch struct {
	From       int64    `cbor:"1,keyasint"`
	Entries    [][]byte `cbor:"2,keyasint"`
	Checkpoint []byte   `cbor:"3,keyasint"`
}

// Marshal returns the batch in deterministic CBOR: { 1: from, 2: [entries], 3:
// checkpoint }, less than 300 KiB.
func (b Batch) Marshal() ([]byte, error) { return signed.Marshal(b) }

// ParseBatch reads what Marshal wrote. What is in it is verified by
// [Replica.Accept].
func ParseBatch(data []byte) (Batch, error) {
	var b Batch
	if err := signed.Unmarshal(data, &b); err != nil {
		return Batch{}, fmt.Errorf("journal: reading a batch: %w", err)
	}
	if err := b.check(); err != nil {
		return Batch{}, fmt.Errorf("journal: reading a batch: %w", err)
	}
	return b, nil
}

func (b Batch) check() error {
	if b.From < 0 || b.From > 1<<40 {
		return fmt.Errorf("it begins at entry %d", b.From)
	}
	if len(b.Entries) > maxBatchEntries {
		return fmt.Errorf("%d entries, more than %d", len(b.Entries), maxBatchEntries)
	}
	size := 0
	for _, e := range b.Entries {
		size += len(e)
	}
	if size > maxBatchBytes+MaxEntry {
		return errors.New("its entries take more than 256 KiB")
	}
	return nil
}

// end is the number of entries in the log with the batch.
func (b Batch) end() int64 { return b.From + int64(len(b.Entries)) }
