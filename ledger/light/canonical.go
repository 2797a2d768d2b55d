package light

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/kindred-iot/kindred/merkle"
)

// headerHash returns the hash of the header whose field 10 is appHash. The package doc has the tree.
func headerHash(appHash merkle.Hash, aunts [depth]merkle.Hash) merkle.Hash {
	leaf := append([]byte{0x00, 0x0a, byte(len(appHash))}, appHash[:]...)
	n := merkle.Hash(sha256.Sum256(leaf))
	n = inner(n, aunts[0])
	n = inner(aunts[1], n)
	n = inner(n, aunts[2])
	return inner(aunts[3], n)
}

// inner returns the hash of an inner node of an RFC 6962 tree.
func inner(left, right merkle.Hash) merkle.Hash {
	var b [1 + 2*len(left)]byte
	b[0] = 0x01
	copy(b[1:], left[:])
	copy(b[1+len(left):], right[:])
	return sha256.Sum256(b[:])
}

// signBytes returns what a validator signed who voted at time, in nanoseconds since 1970, for the block with the
// given header hash.
func signBytes(chain string, p Proof, hash merkle.Hash, at int64) ([]byte, error) {
	vote := cmtproto.CanonicalVote{
		Type:   cmtproto.PrecommitType,
		Height: int64(p.Height),
		Round:  int64(p.Round),
		BlockID: &cmtproto.CanonicalBlockID{
			Hash:          hash[:],
			PartSetHeader: cmtproto.CanonicalPartSetHeader{Total: p.Parts, Hash: p.Root[:]},
		},
		Timestamp: time.Unix(0, at).UTC(),
		ChainID:   chain,
	}
	encoded, err := vote.Marshal()
	if err != nil {
		return nil, fmt.Errorf("encoding the vote: %w", err)
	}
	return append(binary.AppendUvarint(nil, uint64(len(encoded))), encoded...), nil
}
