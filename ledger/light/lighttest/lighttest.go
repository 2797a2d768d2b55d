// Package lighttest makes ledger proofs for tests, with the keys of a ledger's validators and no node. What it makes
// is put together from CometBFT's own parts (the Merkle tree over a header, the canonical vote), apart from package
// light, so that one checks the other.
package lighttest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"testing"
	"time"

	cmtmerkle "github.com/cometbft/cometbft/crypto/merkle"
	"github.com/cometbft/cometbft/libs/protoio"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"

	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/merkle"
)

const (
	fields   = 14 // of a header
	appField = 10 // the application hash
)

// A Chain is the validators of a ledger. Each has the power 1.
type Chain struct {
	ID   string
	Keys []ed25519.PrivateKey
}

// New makes a chain with so many validators.
func New(t testing.TB, id string, validators int) *Chain {
	t.Helper()
	c := &Chain{ID: id}
	for range validators {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c.Keys = append(c.Keys, key)
	}
	return c
}

// Anchor returns where a verifier starts from: the chain's first block.
func (c *Chain) Anchor() ledger.Anchor {
	a := ledger.Anchor{Chain: c.ID, Height: 1}
	for _, key := range c.Keys {
		a.Validators = append(a.Validators, ledger.Validator{Key: key.Public().(ed25519.PublicKey), Power: 1})
	}
	return a
}

// Sign returns the proof that the block at a height has the application hash. Every validator votes for it at the
// time given.
func (c *Chain) Sign(t testing.TB, height uint64, at time.Time, appHash merkle.Hash) light.Proof {
	t.Helper()
	var voters []int
	for i := range c.Keys {
		voters = append(voters, i)
	}
	return c.SignBy(t, height, at, appHash, voters...)
}

// SignBy is Sign with the votes of some validators only, in ascending order.
func (c *Chain) SignBy(t testing.TB, height uint64, at time.Time, appHash merkle.Hash, voters ...int) light.Proof {
	t.Helper()
	hash, aunts := header(t, height, appHash)
	p := light.Proof{Height: height, Parts: 1, Root: merkle.LeafHash(hash, []byte("parts"))}
	if copy(p.Aunts[:], aunts) != len(aunts) {
		t.Fatalf("lighttest: %d aunts", len(aunts))
	}
	vote := cmtproto.CanonicalVote{
		Type:   cmtproto.PrecommitType,
		Height: int64(height),
		BlockID: &cmtproto.CanonicalBlockID{
			Hash:          hash[:],
			PartSetHeader: cmtproto.CanonicalPartSetHeader{Total: p.Parts, Hash: p.Root[:]},
		},
		Timestamp: at.UTC(),
		ChainID:   c.ID,
	}
	message, err := protoio.MarshalDelimited(&vote)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range voters {
		p.Votes = append(p.Votes, light.Vote{
			Validator: uint16(i), Time: at.UnixNano(), Signature: ed25519.Sign(c.Keys[i], message),
		})
	}
	return p
}

// header returns the hash of a header with the application hash, and the path between the two. Its other fields
// hold nothing that a block would: nobody but a node reads them.
func header(t testing.TB, height uint64, appHash merkle.Hash) (merkle.Hash, []merkle.Hash) {
	t.Helper()
	var leaves [fields][]byte
	for i := range leaves {
		leaves[i] = bytes.Repeat([]byte{byte(i), byte(height)}, 8)
	}
	leaves[appField] = append([]byte{0x0a, byte(len(appHash))}, appHash[:]...) // BytesValue
	root, proofs := cmtmerkle.ProofsFromByteSlices(leaves[:])
	var aunts []merkle.Hash
	for _, aunt := range proofs[appField].Aunts {
		aunts = append(aunts, merkle.Hash(aunt))
	}
	return merkle.Hash(root), aunts
}
