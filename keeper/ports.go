package keeper

import (
	"context"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/tree"
)

// A Store keeps the keeper's records. Nobody else writes under its keys.
type Store interface {
	// Save makes all changes or none, and has them on disk when it returns nil; a nil value deletes. After an error
	// either may be the case, which Load then tells.
	Save(ctx context.Context, changes map[string][]byte) error
	// Load returns the value of a key; nil and no error if there is none.
	Load(ctx context.Context, key string) ([]byte, error)
	// Scan calls each for every key with a prefix, in the order of the keys.
	Scan(ctx context.Context, prefix string, each func(key string, value []byte) error) error
}

// A Ledger records heads.
type Ledger interface {
	// Submit returns nil once Prove proves what the transaction records, or something newer, after any crash.
	// Submitting what is recorded already succeeds, or fails with ledger.ErrAlready. After any other error the
	// transaction may be recorded or not.
	Submit(ctx context.Context, tx []byte) error
	// Prove returns the newest proof of a tree's record; an error that is ledger.ErrUnknown if it has none.
	Prove(ctx context.Context, tree identity.TreeID) (ledger.Proof, light.Proof, error)
	// Block returns the newest block.
	Block() light.Block
	// NewBlock returns a channel that gets a value after every block. Run is its reader.
	NewBlock() <-chan struct{}
}

// A Refresher is a Ledger that can be asked for a block.
type Refresher interface {
	// Refresh returns nil once Prove proves as of a block that was voted on after the call.
	Refresh(ctx context.Context) error
}

// An Event tells what happened to the roster. Either a change is on disk that took something away. Or Recorded is set:
// the ledger proves the head with this Sequence, or proves it as of a newer block.
type Event struct {
	Sequence  uint64
	Revoked   []merkle.Hash    // leaf hashes: of entries taken away, and of those before a move or a theft
	Members   []identity.Chain // the members taken away, by path
	Grants    []tree.Admitted  // the grants taken away, the oldest first
	Statement []byte           // the signed tree.Revocation that asked for it
	Recorded  *light.Block     // the newest block
}
