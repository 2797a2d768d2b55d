package keeper

import (
	"context"
	"crypto/rand"
	"fmt"
)

// rendezvousLen is the length of the secret with which members find each other, in bytes.
const rendezvousLen = 32

func newRendezvous() []byte {
	secret := make([]byte, rendezvousLen)
	rand.Read(secret) // never fails: crypto/rand
	return secret
}

// Rendezvous returns the secret with which the live members find each other where the gateway cannot be asked. It opens
// nothing. Whoever hands it to a member asks for it before making sure that the member is live: then it is none that
// was made when the member was taken away.
func (k *Keeper) Rendezvous() []byte {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.rendezvous
}

// restoreRendezvous restores the secret, and makes it where the roster is older than such secrets.
func (k *Keeper) restoreRendezvous(ctx context.Context) (err error) {
	k.rendezvous, err = k.store.Load(ctx, rendezvousKey)
	switch {
	case err != nil:
		return err
	case k.rendezvous == nil:
		k.rendezvous = newRendezvous()
		return k.store.Save(ctx, map[string][]byte{rendezvousKey: k.rendezvous})
	case len(k.rendezvous) != rendezvousLen:
		return fmt.Errorf("record %q has %d bytes, want %d", rendezvousKey, len(k.rendezvous), rendezvousLen)
	}
	return nil
}
