package keeper

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// maxAddress is the size of a signed address record in bytes, at most.
const maxAddress = 16 << 10

// An address is a verified address record.
type address struct {
	raw  []byte
	time int64
}

// SetAddress keeps the address record that the leaf by signed for itself, in place of an older one. It is on disk when
// SetAddress returns nil. It is no part of the roster: there is no head for it.
func (k *Keeper) SetAddress(ctx context.Context, by identity.Chain, raw []byte) error {
	if err := k.setAddress(ctx, by, raw); err != nil {
		return fmt.Errorf("keeper: keeping an address record: %w", err)
	}
	return nil
}

func (k *Keeper) setAddress(ctx context.Context, by identity.Chain, raw []byte) error {
	end, err := k.take(ctx) // no head is signed for it, so being behind does not matter
	if err != nil {
		return err
	}
	defer end()
	if err := k.settle(ctx); err != nil { // a change in doubt may have taken the member away
		return err
	}
	if err := k.checkLive(by); err != nil {
		return err
	}
	a, err := k.openAddress(by, raw)
	if err != nil {
		return err
	}
	if at := time.Unix(a.time, 0); at.After(k.clock().Add(credential.MaxSkew)) {
		return fmt.Errorf("it is dated %s, in the future", at.UTC().Format(time.RFC3339))
	}
	old, ok := k.addresses[by.Member()]
	switch {
	case ok && bytes.Equal(old.raw, raw):
		return nil
	case ok && old.time >= a.time:
		return fmt.Errorf("it is dated %s, and a record from %s is there already",
			time.Unix(a.time, 0).UTC().Format(time.RFC3339), time.Unix(old.time, 0).UTC().Format(time.RFC3339))
	}
	if err := k.store.Save(ctx, map[string][]byte{addressPrefix + by.Member().String(): raw}); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.addresses[by.Member()] = a
	return nil
}

// openAddress verifies the address record of a member.
func (k *Keeper) openAddress(of identity.Chain, raw []byte) (address, error) {
	if len(raw) > maxAddress {
		return address{}, fmt.Errorf("%d bytes, of at most %d", len(raw), maxAddress)
	}
	a, err := tree.OpenAddress(raw, k.signer.tree, of.Member(), of.Key)
	if err != nil {
		return address{}, err
	}
	return address{raw, a.Time}, nil
}

// Address returns the newest signed address record of a live member, a tree.Address, and whether there is one.
func (k *Keeper) Address(member identity.MemberID) (raw []byte, ok bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	a, ok := k.addresses[member]
	return a.raw, ok
}

func (k *Keeper) restoreAddresses(ctx context.Context) error {
	return k.store.Scan(ctx, addressPrefix, func(name string, value []byte) error {
		id, err := identity.ParseMemberID(strings.TrimPrefix(name, addressPrefix))
		if err != nil {
			return err
		}
		e, ok := k.state.Member(id)
		if !ok {
			return fmt.Errorf("record %q: its member is %w", name, ErrNotLive)
		}
		if k.addresses[id], err = k.openAddress(e.Chain, value); err != nil {
			return fmt.Errorf("record %q: %w", name, err)
		}
		return nil
	})
}
