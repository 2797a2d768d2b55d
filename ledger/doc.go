// Package ledger says what a ledger records of a tree, and which record may follow which.
//
// The ledger proves what is latest, never who rules: it keeps digests, and whoever reads them needs the charter and
// the head that they name. The package is pure and deterministic: no I/O, no clock, and every node that applies the
// same transactions to the same [State] gets the same one, with the same root hash. Package chain runs it on a
// blockchain, package light verifies that a chain signed a root hash.
//
// # State
//
// For every tree one record, deterministic CBOR (package signed):
//
//	{ 1: charter digest, ? 2: epoch, 3: sequence, 4: head digest }
//
// Field 5 is kept for a charter that is pending; this version does not follow a record that has one. The records are
// in a map of package merkle at the key of kind "ledger/record" and the TreeID. Its root is the application hash.
// Beside it the state keeps the charters, by digest: they name the keys that transactions must be signed with.
//
// # Transactions
//
// A transaction is a signed statement of at most [MaxTransaction] bytes, without certificates. Each is for one
// chain and one tree:
//
//	kindred/register    { 1: chain ID, 2: TreeID, 3: [charter, …], 4: sequence, 5: head digest }
//	                    by the root key that the last charter names
//	kindred/advance     { 1: chain ID, 2: TreeID, 3: charter digest, 4: sequence, 5: head digest }
//	                    by the keeper key that the recorded charter names
//	kindred/recharter   to come: a tree's next charter
//	kindred/validators  to come: a change of the chain's validators
//
// A tree's record goes like this; n is the sequence:
//
//	(none) ── register n ──→ at n ── advance n+1 ──→ at n+1 ── …
//
// The charters of a registration lead back to the TreeID, and the last one has an anchor on this chain that counts
// from the sequence or from before it. What is recorded already is told apart from what may not follow (ErrAlready,
// ErrPassed), so that a keeper can submit the same bytes until it knows that they arrived.
//
// Nothing here tells how many members a tree has: head digests are of statements with random values in them.
package ledger

import (
	"errors"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// Names from packages that light and chain have no other use for.
type (
	Anchor    = tree.Anchor
	Validator = tree.Validator
	TreeID    = identity.TreeID
)

// Errors that callers tell apart.
var (
	// ErrAlready says that the record is what the transaction asks for: it was applied, or another that says the
	// same was. Treat it as done.
	ErrAlready = errors.New("is recorded already")
	// ErrPassed says that the ledger has another head of that sequence, or a later one. The transaction can never
	// be applied: whoever signed it works from an old or a forked state, and must not sign on top of it.
	ErrPassed = errors.New("the ledger has gone past it")
	// ErrUnknown says that the tree was never registered.
	ErrUnknown = errors.New("the tree is not registered on this ledger")
	// ErrUnsupported says that the transaction is of a type that this version does not apply yet.
	ErrUnsupported = errors.New("transactions of this type are not understood by this version")
)
