package keeper

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/tree"
)

// Create makes the roster of a new tree: first, its first members, head 1 over them, and the tree's registration for
// the ledger, which Run submits. The charter is the tree's first; key is the keeper key that it names, and root the
// root key, which signs the registration and is not needed again.
//
// Nothing is made unless Create returns nil, except where the error says that this is not known: then Open tells. If
// the store holds a roster already, nothing is changed and the error is ErrExists.
func Create(ctx context.Context, store Store, charter []byte, key, root crypto.Signer, first tree.Update, now time.Time) error {
	if err := create(ctx, store, charter, key, root, first, now); err != nil {
		return fmt.Errorf("keeper: making a roster: %w", err)
	}
	return nil
}

func create(ctx context.Context, store Store, charter []byte, key, root crypto.Signer, first tree.Update, now time.Time) error {
	if raw, err := store.Load(ctx, headKey); err != nil || raw != nil {
		if err == nil {
			err = ErrExists
		}
		return err
	}
	id, err := identity.TreeIDOf(root.Public())
	if err != nil {
		return err
	}
	s, err := newSigner(charter, id, key)
	if err != nil {
		return err
	}
	if len(first.Members) == 0 || len(first.Grants)+len(first.Remove)+len(first.Revoke)+len(first.Checkpoints) > 0 {
		return errors.New("a first change admits members and does nothing else")
	}
	for _, a := range first.Members {
		if err := checkAdmission(a, now); err != nil {
			return err
		}
	}
	first.Time = now
	step := &step{}
	if step.change, err = tree.NewState(id).Plan(first); err != nil {
		return err
	}
	none := &moment{revocations: tree.RevocationList{From: 1}}
	if step.moment, err = s.next(none, step.change, now); err != nil {
		return err
	}
	step.item.sequence = step.moment.head.Sequence
	step.item.tx, err = ledger.NewRegister(root, s.chain(), [][]byte{charter}, step.item.sequence, step.moment.digest)
	if err != nil {
		return err
	}
	if err := step.fill(first); err != nil {
		return err
	}
	step.records[charterKey], step.records[rendezvousKey] = charter, newRendezvous()
	return save(ctx, store, step.records)
}

// newSigner checks that a charter is the tree's and names the key.
func newSigner(charter []byte, id identity.TreeID, key crypto.Signer) (signer, error) {
	ruled, err := tree.OpenCharter(charter, id)
	if err != nil {
		return signer{}, err
	}
	if !identity.SameKey(ruled.KeeperKey(), key.Public()) {
		return signer{}, errors.New("the key is not the keeper key that the charter names")
	}
	return signer{charter: ruled, tree: id, key: key}, nil
}
