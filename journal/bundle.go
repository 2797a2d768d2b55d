package journal

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// TypeBundle is the type of the statement that a bundle begins with.
const TypeBundle signed.Type = "kindred/journal-bundle"

// bundleMagic begins a bundle, and says its version.
const bundleMagic = "kindred journal 1\n"

// Bounds of a bundle.
const (
	MaxBundle     = 64 << 20 // bytes
	MaxExcerpt    = 256      // entries of one excerpt
	maxItems      = 1024
	maxProofSteps = 64
)

// An Excerpt is some entries of one log, with what proves that they are in it.
type Excerpt struct {
	Node        identity.MemberID `cbor:"1,keyasint"`
	Chain       [][]byte          `cbor:"2,keyasint"` // of the node, DER, its own first
	Checkpoint  []byte            `cbor:"3,keyasint"` // signed by the node
	Entries     []ProvedEntry     `cbor:"4,keyasint,omitempty"`
	Recorded    []byte            `cbor:"5,keyasint,omitempty"` // what proves that the tree recorded where the log stood
	Consistency []byte            `cbor:"6,keyasint,omitempty"` // RFC 6962 hashes: what was recorded and signed is one log
}

// A ProvedEntry is an entry and its inclusion proof.
type ProvedEntry struct {
	Index int64  `cbor:"1,keyasint"`
	Data  []byte `cbor:"2,keyasint"`
	Proof []byte `cbor:"3,keyasint,omitempty"` // RFC 6962 hashes, 32 bytes each
}

// Marshal returns the excerpt in deterministic CBOR, less than signed.MaxSize bytes.
func (x Excerpt) Marshal() ([]byte, error) { return signed.Marshal(x) }

// ParseExcerpt reads what Marshal wrote. Nothing in it is verified.
func ParseExcerpt(data []byte) (Excerpt, error) {
	var x Excerpt
	if err := signed.Unmarshal(data, &x); err != nil {
		return Excerpt{}, fmt.Errorf("journal: reading entries with proofs: %w", err)
	}
	return x, nil
}

// Verify checks the node's signature and that the entries are in the log it signed.
func (x Excerpt) Verify(tree identity.TreeID, pub crypto.PublicKey) (Checkpoint, []Item, error) {
	fail := func(err error) (Checkpoint, []Item, error) {
		return Checkpoint{}, nil, fmt.Errorf("journal: verifying entries of %s: %w", x.Node, err)
	}
	c, err := OpenCheckpoint(x.Checkpoint, pub)
	if err != nil {
		return fail(err)
	}
	if c.Node != x.Node || c.Tree != tree {
		return fail(fmt.Errorf("the checkpoint is of %s in tree %s", c.Node, c.Tree))
	}
	var items []Item
	for _, e := range x.Entries {
		proof, err := hashesIn(e.Proof)
		if err != nil {
			return fail(err)
		}
		if e.Index < 0 || e.Index >= c.Size {
			return fail(fmt.Errorf("entry %d, of %d", e.Index, c.Size))
		}
		if err := tlog.CheckRecord(proof, c.Size, c.Root, e.Index, tlog.RecordHash(e.Data)); err != nil {
			return fail(fmt.Errorf("entry %d is not in the log that was signed: %w", e.Index, err))
		}
		item := Item{Node: x.Node, Index: e.Index, Raw: e.Data}
		if item.Entry, err = ParseEntry(tree, e.Data); err != nil {
			return fail(fmt.Errorf("entry %d: %w", e.Index, err))
		}
		items = append(items, item)
	}
	return c, items, nil
}

// VerifyRecorded checks that the log of a verified checkpoint and what was recorded of it, a size and a root, are one.
func (x Excerpt) VerifyRecorded(c Checkpoint, size int64, root tlog.Hash) error {
	proof, err := hashesIn(x.Consistency)
	if err == nil {
		switch {
		case size < 0:
			err = fmt.Errorf("size %d", size)
		case size == 0 || size == c.Size:
			if size == c.Size && root != c.Root {
				err = errors.New("two roots of one size")
			}
		case size < c.Size:
			err = tlog.CheckTree(proof, c.Size, c.Root, size, root)
		default:
			err = tlog.CheckTree(proof, size, root, c.Size, c.Root)
		}
	}
	if err != nil {
		return fmt.Errorf("journal: verifying entries of %s: what was recorded of its first %d entries is another log: %w", x.Node, size, err)
	}
	return nil
}

// Excerpt returns entries of a node's log that match, from index from on, with proofs against the checkpoint kept; and
// where to go on, -1 at the end. Of the filter Since, Until, Who and Thing count.
func (r *Replica) Excerpt(ctx context.Context, node identity.MemberID, f Filter, from int64) (x Excerpt, next int64, err error) {
	_, kept, err := r.port.LogSize(ctx, node[:])
	if err == nil {
		x, next, err = excerpt(ctx, r.port, r.tree, node, kept, f, from)
	}
	if err != nil {
		return x, -1, fmt.Errorf("journal: taking entries of %s: %w", node, err)
	}
	return x, next, nil
}

// Excerpt is [Replica.Excerpt] for the node's own log, against a checkpoint that [Log.Checkpoint] made.
func (l *Log) Excerpt(ctx context.Context, f Filter, from int64, checkpoint []byte) (x Excerpt, next int64, err error) {
	x, next, err = excerpt(ctx, l.port, l.tree, l.node, checkpoint, f, from)
	if err != nil {
		return x, -1, fmt.Errorf("journal: taking entries of %s: %w", l.node, err)
	}
	return x, next, nil
}

// Consistency proves that the log with more entries begins with the one with fewer.
func (r *Replica) Consistency(ctx context.Context, node identity.MemberID, a, b int64) ([]byte, error) {
	return consistency(ctx, r.port, node, a, b)
}

// Consistency is [Replica.Consistency] for the node's own log.
func (l *Log) Consistency(ctx context.Context, a, b int64) ([]byte, error) {
	return consistency(ctx, l.port, l.node, a, b)
}

func consistency(ctx context.Context, port Port, node identity.MemberID, a, b int64) ([]byte, error) {
	more, fewer := max(a, b), min(a, b)
	if fewer <= 0 || fewer == more {
		return nil, nil
	}
	proof, err := tlog.ProveTree(more, fewer, keptHashes{ctx, port, node[:]})
	if err != nil {
		return nil, fmt.Errorf("journal: comparing %d with %d entries of %s: %w", fewer, more, node, err)
	}
	return hashesOut(proof), nil
}

func excerpt(ctx context.Context, port Port, tree identity.TreeID, node identity.MemberID, checkpoint []byte, f Filter, from int64) (Excerpt, int64, error) {
	x := Excerpt{Node: node, Checkpoint: checkpoint}
	if checkpoint == nil {
		return x, -1, errors.New("nothing of it is signed")
	}
	c, err := ReadCheckpoint(checkpoint)
	if err != nil {
		return x, -1, err
	}
	first, end, err := f.span(ctx, port, node, c.Size)
	if err != nil {
		return x, -1, err
	}
	next := int64(-1)
	err = port.LogRows(ctx, node[:], max(first, from), end, func(index int64, row Row) error {
		if len(x.Entries) == MaxExcerpt {
			next = index
			return errEnough
		}
		item, err := readItem(tree, node[:], index, row)
		if err != nil || !f.matches(item.Entry) {
			return err
		}
		x.Entries = append(x.Entries, ProvedEntry{Index: index, Data: row.Data})
		return nil
	})
	if err != nil && err != errEnough {
		return x, -1, err
	}
	for i, e := range x.Entries { // not while reading rows: proofs read rows of their own
		proof, err := tlog.ProveRecord(c.Size, e.Index, keptHashes{ctx, port, node[:]})
		if err != nil {
			return x, -1, err
		}
		x.Entries[i].Proof = hashesOut(proof)
	}
	return x, next, nil
}

// matches reports whether an entry lies in the filter's time, and is of its caller and thing.
func (f Filter) matches(e Entry) bool {
	since, until := f.bounds()
	return e.Time.UnixMilli() >= since && (until == 0 || e.Time.UnixMilli() < until) &&
		(f.Who.IsZero() || f.Who.same(e.Caller)) && (f.Thing.IsZero() || f.Thing.same(e.Thing))
}

func hashesOut(hashes []tlog.Hash) []byte {
	var out []byte
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out
}

func hashesIn(data []byte) ([]tlog.Hash, error) {
	if len(data)%tlog.HashSize != 0 || len(data) > maxProofSteps*tlog.HashSize {
		return nil, fmt.Errorf("a proof of %d bytes", len(data))
	}
	hashes := make([]tlog.Hash, len(data)/tlog.HashSize)
	for i := range hashes {
		copy(hashes[i][:], data[i*tlog.HashSize:])
	}
	return hashes, nil
}

// A Bundle is a part of a tree's journals for somebody who has nothing but the bundle. Nothing in it is verified by
// reading it, but that it is whole.
type Bundle struct {
	Tree     identity.TreeID
	Made     time.Time
	Charter  []byte   // the tree's, signed by the key that the TreeID names
	Maker    [][]byte // the certificates of whoever made the bundle, DER, its own first
	Excerpts []Excerpt
	Ends     [][][]byte // certificates of both ends of what was countersigned, a chain each

	statement signed.Statement
}

type wireManifest struct {
	Tree    [32]byte `cbor:"1,keyasint"`
	Made    int64    `cbor:"2,keyasint"`
	Charter []byte   `cbor:"3,keyasint"`
	Items   int      `cbor:"4,keyasint"`
	Sum     [32]byte `cbor:"5,keyasint"` // SHA-256 over the items, each with its length before it
}

// item is one of what follows the manifest. One field is set.
type item struct {
	Excerpt *Excerpt `cbor:"1,keyasint,omitempty"`
	End     [][]byte `cbor:"2,keyasint,omitempty"`
}

// Sign returns the bundle signed by its maker's key, whose certificates it has, in bytes: a line that says its version,
// then items with their lengths before them, four bytes each, big endian. The first is the signed manifest.
func (b Bundle) Sign(key crypto.Signer) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("journal: making a bundle: %w", err) }
	var body []byte
	items := 0
	add := func(i item) error {
		data, err := signed.Marshal(i)
		if err == nil {
			body, items = appendItem(body, data), items+1
		}
		return err
	}
	for i := range b.Excerpts {
		if err := add(item{Excerpt: &b.Excerpts[i]}); err != nil {
			return fail(err)
		}
	}
	for _, chain := range b.Ends {
		if err := add(item{End: chain}); err != nil {
			return fail(err)
		}
	}
	manifest, err := signed.Sign(key, TypeBundle, wireManifest{
		Tree: b.Tree, Made: b.Made.UnixMilli(), Charter: b.Charter, Items: items, Sum: sha256.Sum256(body),
	}, b.Maker...)
	if err != nil {
		return fail(err)
	}
	out := append(appendItem([]byte(bundleMagic), manifest), body...)
	if len(out) > MaxBundle || items > maxItems {
		return fail(fmt.Errorf("%d bytes in %d parts, at most %d in %d: take fewer entries", len(out), items, MaxBundle, maxItems))
	}
	return out, nil
}

func appendItem(out, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32(out, uint32(len(data))), data...)
}

// ParseBundle reads what Sign wrote.
func ParseBundle(data []byte) (Bundle, error) {
	b, err := parseBundle(data)
	if err != nil {
		return Bundle{}, fmt.Errorf("journal: reading a bundle: %w", err)
	}
	return b, nil
}

func parseBundle(data []byte) (b Bundle, err error) {
	if len(data) > MaxBundle {
		return b, fmt.Errorf("%d bytes, more than %d", len(data), MaxBundle)
	}
	rest, ok := bytes.CutPrefix(data, []byte(bundleMagic))
	if !ok {
		return b, fmt.Errorf("it does not begin with %q: it is none, or of another version", bundleMagic)
	}
	first, body, err := cutItem(rest)
	if err != nil {
		return b, err
	}
	if b.statement, err = signed.Parse(first); err != nil {
		return b, err
	}
	var m wireManifest
	if err := signed.Unmarshal(b.statement.Payload, &m); err != nil {
		return b, err
	}
	if b.statement.Type != TypeBundle || m.Made <= 0 || m.Made >= maxTime || m.Items < 0 || m.Items > maxItems {
		return b, fmt.Errorf("it begins with a %q of %d parts, made at %d", b.statement.Type, m.Items, m.Made)
	}
	if sha256.Sum256(body) != m.Sum {
		return b, errors.New("it was changed after it was signed, or is not whole")
	}
	b.Tree, b.Made, b.Charter, b.Maker = m.Tree, time.UnixMilli(m.Made).UTC(), m.Charter, b.statement.Chain
	for range m.Items {
		var i item
		var raw []byte
		if raw, body, err = cutItem(body); err != nil {
			return b, err
		}
		if err := signed.Unmarshal(raw, &i); err != nil {
			return b, err
		}
		switch {
		case i.Excerpt != nil && i.End == nil:
			b.Excerpts = append(b.Excerpts, *i.Excerpt)
		case i.End != nil && i.Excerpt == nil:
			b.Ends = append(b.Ends, i.End)
		default:
			return b, errors.New("a part that is neither entries nor certificates")
		}
	}
	if len(body) > 0 {
		return b, fmt.Errorf("%d bytes after its end", len(body))
	}
	return b, nil
}

func cutItem(data []byte) (item, rest []byte, err error) {
	if len(data) < 4 {
		return nil, nil, errors.New("it ends in the middle")
	}
	n := binary.BigEndian.Uint32(data)
	if n > signed.MaxSize || int(n) > len(data)-4 {
		return nil, nil, fmt.Errorf("a part of %d bytes, where %d are left", n, len(data)-4)
	}
	return data[4 : 4+n], data[4+n:], nil
}

// VerifyMaker checks that the holder of the key made the bundle as it is.
func (b Bundle) VerifyMaker(pub crypto.PublicKey) error {
	if err := b.statement.Open(pub, TypeBundle, new(wireManifest)); err != nil {
		return fmt.Errorf("journal: verifying a bundle: %w", err)
	}
	return nil
}
