// Package journal is a node's tamper-evident log of who did what, under which
// grant, at which thing, and the gateway's replicas of such logs.
//
// # Entries
//
// An [Entry] says in a few words what somebody did or was refused. On disk and
// on the wire it is deterministic CBOR (RFC 8949 §4.2), a map:
//
//	 1  time        Unix milliseconds
//	 2  thing       party: where it happened
//	 3  caller      party: who asked; absent for strangers
//	 4  op          text: read, write, invoke, observe, …
//	 5  affordance  text
//	 6  outcome     1 served, 2 refused, 3 ended, 4 failed, 5 asked: of the
//	                caller's own account, before it knows
//	 7  grant       text: what allowed it
//	 8  reason      text: a short plain sentence
//	 9  as of       Unix milliseconds: how fresh the caller's proof was
//	10  offline     true when served by an offline term
//	11  count       how many calls the entry stands for
//	12  stream      pairs the beginning of a stream with its end
//	13  with        party: who got or lost a right
//	14  call        the caller's number for the call, the same at both ends
//	15  bytes       that a stream carried, at its end
//	16  one-sided   true when the caller, a tool, cannot sign a receipt
//	17  receipt     the signed [Receipt] for the call
//	18  signature   the signed [Countersignature] of it
//	19  sealed      {1: seal, ? 2: entry, 3: box}; see below
//	20  body        of the caller's own account: the SHA-256 of what it asked
//	                with, or was answered
//
//	party = { 1: member ID, ? 2: TreeID, 3: path }
//
// What is empty is absent; a party's TreeID is present only when it is not the
// log's own. Texts are at most 64 bytes (reasons 256) of printable characters.
// An entry takes about 150 bytes, one with a receipt and its
// countersignature about 800, [MaxEntry] at most.
//
// # Sealed entries
//
// What concerns one person alone can be sealed to them. A [Seal] is a key for
// AES-256-GCM (NIST SP 800-38D, with nonces of 12 random bytes in front). An
// entry with Op [MakeSeal] has in its box the 32-byte secret, as its maker
// sealed it to that person, which is no business of this package; its seal is
// the first 8 bytes of SHA-256("kindred/journal-seal" ‖ 00 ‖ secret). Entries
// sealed with it have the keys 1, 2, 4, 6 (served) and 19 alone: the seal, the
// number of the entry that made it (absent for 0), and in the box the whole
// entry, with its length before it in two bytes, big endian, and zeros behind,
// to a multiple of 256 bytes. Their op is "private", or "countersign" if that
// or the outcome 3 or 4 is inside, of which an entry before tells the beginning.
// The additional data is TreeID ‖ time, 8 bytes, big endian ‖ the thing's member
// ID ‖ op. The tree over the log is over the sealed form, so everybody verifies
// it. testdata/seal.json has an example.
//
// # The tree over them
//
// A node's entries, numbered from 0, are the leaves of an RFC 6962 Merkle tree
// (golang.org/x/mod/sumdb/tlog). Beside entry n are kept, one after the other,
// the 32-byte hashes of all subtrees that it completed: level 0 (the leaf), 1,
// 2, … up to the number of trailing one bits of n. So hash h(level, i) lies
// beside entry (i+1)·2^level − 1, and the root of any size, or the proof of any
// entry, takes a logarithmic number of reads.
//
// A [Checkpoint] is what the node vouches for with its leaf key: a signed
// statement of type "kindred/checkpoint" with this payload:
//
//	1  TreeID
//	2  member ID of the node
//	3  size: the number of entries
//	4  root: the RFC 6962 root over them
//	5  time: Unix milliseconds
//
// # Receipts
//
// The node that was called signs a [Receipt] for an action: a statement of type
// "kindred/receipt" that names the call, the entry for it by index and leaf
// hash, and the digests of what was sent and answered. Of reads, and of a stream
// as it goes, one receipt tells of many. The caller signs its name in turn, as
// "kindred/countersignature". An entry with Op [Countersign] keeps both; the
// caller's own log does likewise. The payloads are maps:
//
//	receipt: 1 TreeID · 2 node · 3 caller · 4 the caller's TreeID, if another ·
//	5 grant · 6 op · 7 affordance · 8 outcome · 9 time · 10 until ·
//	11 index · 12 leaf hash · 13 call · 14 SHA-256 of the request's body ·
//	15 of the response's · 16 entries · 17 count · 18 bytes · 19 part
//
//	countersignature: 1 the receipt's digest · 2 caller · 3 its TreeID · 4 time
//
// Times are Unix milliseconds; what is empty is absent. About several entries,
// the leaf hash is the SHA-256 of theirs, one after the other.
//
// # Audits and bundles
//
// An [Audit] compares a whole log with what is known of it from elsewhere:
// roots, and leaf hashes from receipts. A [Bundle] takes entries to somebody who
// has nothing else: the line "kindred journal 1", then parts, each with its
// length before it in four bytes, big endian. The first is a statement of type
// "kindred/journal-bundle" by its maker, with the maker's certificates:
//
//	1 TreeID · 2 time made · 3 charter · 4 number of parts that follow ·
//	5 SHA-256 over them with their lengths
//
// Each of the others is {1: [Excerpt]} or {2: [the certificates that an end of
// what was countersigned had]}. An excerpt has the node's certificates, a
// checkpoint it signed, the entries with their RFC 6962 inclusion proofs, and the proof that
// the tree recorded the same log. testdata/vectors.json has one of everything.
//
// # Writing and replicating
//
// [Log] writes. [Log.Append] is for what changes the world: the entry is on
// disk before the action. [Log.Note] is for reads: on disk within 100 ms, and
// [Log.Tally] for reads that may come often: those alike share an entry.
// Refusals of strangers are counted by the minute ([Log.Stranger]), so that
// nobody fills a disk by knocking.
//
// [Log.Since] gives a [Batch]: entries and a checkpoint over exactly the
// entries up to its end. [Replica.Accept] takes it if it continues what the
// replica has and the root is the one signed. A node that rewrites, drops or
// forks its history is found out there, with two signed checkpoints to show. What
// a [Quota] has no room for stays where it was written, and is handed in later.
//
// The package does not say what an entry means in plain words, and does not
// decide who may read a journal.
package journal

import (
	"context"
	"fmt"

	"github.com/kindred-iot/kindred/identity"
)

// Row is one row of a log as a [Port] keeps it. It is an alias of a plain
// struct, so that a store need not import this package.
type Row = struct {
	Time   int64  // the entry's, Unix milliseconds
	Caller int64  // a tag of the caller to search by; 0 for strangers
	Thing  int64  // a tag of the thing to search by; 0 for none
	Data   []byte // the entry
	Hashes []byte // of the subtrees it completed
}

// Port is where logs are kept; package store's DB is one. A log's name is its
// node's member ID. All methods may be called from several goroutines.
type Port interface {
	// LogAppend appends rows as first, first+1, … and keeps checkpoint unless
	// nil, all in one durable transaction. It fails if the log's size is not
	// first. After an error everything was written or nothing.
	LogAppend(ctx context.Context, name []byte, first int64, rows []Row, checkpoint []byte) error
	// LogSize returns the number of rows and the checkpoint kept; 0 and nil for
	// a log that does not exist.
	LogSize(ctx context.Context, name []byte) (size int64, checkpoint []byte, err error)
	// LogBytes returns how many bytes of data and hashes the rows of a log have.
	LogBytes(ctx context.Context, name []byte) (int64, error)
	// LogNames returns the names of all logs.
	LogNames(ctx context.Context) ([][]byte, error)
	// LogRows calls each with the rows from ≤ index < to in order, and returns
	// each's first error as it is.
	LogRows(ctx context.Context, name []byte, from, to int64, each func(index int64, row Row) error) error
	// LogQuery calls each with the rows of all logs with since ≤ time < until
	// (0: no end) and these tags (0: any), in order of time, and returns each's
	// first error as it is.
	LogQuery(ctx context.Context, since, until, caller, thing int64, newest bool,
		each func(name []byte, index int64, row Row) error) error
	// LogSpan returns between which rows of one log all lie that LogQuery would
	// find there, from ≤ index < to, without reading those before; 0 and 0 for
	// none.
	LogSpan(ctx context.Context, name []byte, since, until, caller, thing int64) (from, to int64, err error)
}

// TamperError means that a log contradicts itself or what its node signed:
// entries were changed, left out or forked. The caller tells the owner, and
// takes no more entries of that node as true.
type TamperError struct {
	Node  identity.MemberID
	Index int64  // the first entry known to be wrong, or the first that may be
	What  string // what is wrong there
	Kept  []byte // the checkpoint kept, nil for none
	Shown []byte // the checkpoint it contradicts, nil for none
}

// Error names the node, the entry and what is wrong there.
func (e *TamperError) Error() string {
	return fmt.Sprintf("journal: the log of %s was tampered with at entry %d: %s", e.Node, e.Index, e.What)
}
