package keeper

import (
	"context"
	"fmt"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// What members signed outlives them: a receipt that two ends signed is verified by certificates that the roster may no
// longer have. So the certificates of a member that is taken away, and of one whose leaf has another key from then on,
// are kept, with the change that ends them, for as long as the home.

func pastKey(member identity.MemberID, sequence uint64) string {
	return fmt.Sprintf("%s%s/%020d", pastPrefix, member, sequence)
}

// Past returns the certificates, DER, leaf first, that a member had before it was taken away, or before its leaf had
// another key; the oldest first.
func (k *Keeper) Past(ctx context.Context, member identity.MemberID) (chains [][][]byte, err error) {
	err = k.store.Scan(ctx, pastPrefix+member.String()+"/", func(name string, value []byte) error {
		var raw [][]byte
		if err := signed.Unmarshal(value, &raw); err != nil {
			return fmt.Errorf("record %q: %w", name, err)
		}
		chains = append(chains, raw)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("keeper: looking for the certificates that %s had: %w", member, err)
	}
	return chains, nil
}
