// Package chain runs the ledger: a CometBFT node with one validator, embedded in the process, which orders the
// transactions of package ledger and proves its records.
//
// There is no RPC and nothing listens but a consensus port on loopback that nobody is told of. The node keeps to
// the [slog.Logger] it is given, exits and kills nothing, and halts on purpose when it cannot go on: then
// [Chain.Done] is closed and [Chain.Err] says why.
//
// # Blocks
//
// The state's root hash after block H is in the header of block H+1, and what signs that header is the commit for
// H+1. So a transaction takes two blocks: one that holds it and one that proves it, which is made at once. Without
// transactions a block is made every [Config.Interval], so that proofs stay young:
//
//	         Submit                  Submit returns           Interval
//	            │                          │                      │
//	block  ─────┴─ H: transaction ─── H+1: root after H ───── H+2: root after H+1 (the same) ── …
//	                                       │ Prove: header H+1, votes on it, map as of H
//
// After a stop of any length [Start] returns when it has a block whose votes are younger than the start. It asks
// for it with a wake: a transaction of exactly 16 bytes, which changes nothing. A node admits only its own.
//
// # On disk
//
// A directory belongs to one chain and one process at a time:
//
//	state.db, blockstore.db, evidence.db   CometBFT's, goleveldb
//	ledger.db                              the records and charters, goleveldb
//	wal/                                   CometBFT's write-ahead log
//	addrbook.json                          CometBFT's, of no use here
//	validator.json                         what the validator signed last, so that it never signs two blocks of a height
//
// ledger.db changes in one synchronous batch a height, made when the block is committed:
//
//	"s"      ‖ key   →  value, of [ledger.Write]
//	"height"         →  the height that all of it belongs to, 8 bytes, big endian
//
// Blocks are on disk before the state is, so whatever a crash cut off is done again at the next start; what
// [Chain.Submit] has reported is never lost. The validator's key is not stored here. Nothing is pruned: a block takes
// about 3 KB, half of it in wal/, which CometBFT keeps below 1 GB.
package chain
