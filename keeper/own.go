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

// A topic is what leaves sign about themselves, each for itself alone, for the keeper to hand out. Of each leaf the
// newest such statement is kept, as long as the leaf has the key that signed it. It is no part of the roster: there is
// no head for it.
type topic struct {
	name   string // for errors
	prefix string // of its records in the store
	max    int    // bytes of a statement, at most
	open   func(raw []byte, of identity.Chain) (dated int64, err error)
}

var (
	addresses = topic{
		name: "an address record", prefix: addressPrefix, max: 16 << 10,
		open: func(raw []byte, of identity.Chain) (int64, error) {
			a, err := tree.OpenAddress(raw, of.ID.Tree, of.Member(), of.Key)
			return a.Time, err
		},
	}
	recipients = topic{
		name: "a recipient", prefix: recipientPrefix, max: 8 << 10,
		open: func(raw []byte, of identity.Chain) (int64, error) {
			r, err := tree.OpenRecipient(raw, of.ID.Tree, of.Member(), of.Key)
			return r.Time, err
		},
	}
	topics = []topic{addresses, recipients}
)

// An own is a verified statement of a leaf about itself.
type own struct {
	raw  []byte
	time int64
}

// key returns the key of the record for a member.
func (t topic) key(member identity.MemberID) string { return t.prefix + member.String() }

// verify opens the statement of a member.
func (t topic) verify(of identity.Chain, raw []byte) (own, error) {
	if len(raw) > t.max {
		return own{}, fmt.Errorf("%d bytes, of at most %d", len(raw), t.max)
	}
	dated, err := t.open(raw, of)
	if err != nil {
		return own{}, err
	}
	return own{raw, dated}, nil
}

// SetAddress keeps the address record that the leaf by signed for itself, in place of an older one. It is on disk when
// SetAddress returns nil.
func (k *Keeper) SetAddress(ctx context.Context, by identity.Chain, raw []byte) error {
	return k.setOwn(ctx, addresses, by, raw)
}

// Address returns the newest signed address record of a live member, a tree.Address, and whether there is one.
func (k *Keeper) Address(member identity.MemberID) (raw []byte, ok bool) {
	return k.ownOf(addresses, member)
}

// SetRecipient keeps the signed tree.Recipient that the leaf by signed for itself, in place of an older one. It is on
// disk when SetRecipient returns nil. Only apps and services have one: nobody else reads what is sealed.
func (k *Keeper) SetRecipient(ctx context.Context, by identity.Chain, raw []byte) error {
	if kind := by.Kind(); kind != identity.App && kind != identity.Service {
		return fmt.Errorf("keeper: keeping %s: %w", recipients.name, denied("%s is a %s, want an app or a service", by.ID.Path, kind))
	}
	return k.setOwn(ctx, recipients, by, raw)
}

// Recipient returns the newest signed tree.Recipient of a live member, and whether there is one.
func (k *Keeper) Recipient(member identity.MemberID) (raw []byte, ok bool) {
	return k.ownOf(recipients, member)
}

func (k *Keeper) setOwn(ctx context.Context, t topic, by identity.Chain, raw []byte) error {
	if err := k.keepOwn(ctx, t, by, raw); err != nil {
		return fmt.Errorf("keeper: keeping %s: %w", t.name, err)
	}
	return nil
}

func (k *Keeper) keepOwn(ctx context.Context, t topic, by identity.Chain, raw []byte) error {
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
	said, err := t.verify(by, raw)
	if err != nil {
		return err
	}
	if at := time.Unix(said.time, 0); at.After(k.clock().Add(credential.MaxSkew)) {
		return fmt.Errorf("it is dated %s, in the future", at.UTC().Format(time.RFC3339))
	}
	name := t.key(by.Member())
	old, ok := k.owns[name]
	switch {
	case ok && bytes.Equal(old.raw, raw):
		return nil
	case ok && old.time >= said.time:
		return fmt.Errorf("it is dated %s, and one from %s is there already",
			time.Unix(said.time, 0).UTC().Format(time.RFC3339), time.Unix(old.time, 0).UTC().Format(time.RFC3339))
	}
	if err := k.store.Save(ctx, map[string][]byte{name: raw}); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.owns[name] = said
	return nil
}

func (k *Keeper) ownOf(t topic, member identity.MemberID) (raw []byte, ok bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	said, ok := k.owns[t.key(member)]
	return said.raw, ok
}

func (k *Keeper) restoreOwns(ctx context.Context) error {
	for _, t := range topics {
		err := k.store.Scan(ctx, t.prefix, func(name string, value []byte) error {
			id, err := identity.ParseMemberID(strings.TrimPrefix(name, t.prefix))
			if err != nil {
				return err
			}
			e, ok := k.state.Member(id)
			if !ok {
				return fmt.Errorf("record %q: its member is %w", name, ErrNotLive)
			}
			if k.owns[name], err = t.verify(e.Chain, value); err != nil {
				return fmt.Errorf("record %q: %w", name, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
