package chain

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/crypto/merkle"
	"github.com/cometbft/cometbft/types"
	gogotypes "github.com/cosmos/gogoproto/types"

	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
)

// appHashField is the application hash's place among a header's fields.
const appHashField = 10

// newProof returns the proof that the anchored validators signed header with commit. Of the votes it takes the
// youngest that are enough.
func newProof(anchor ledger.Anchor, header *types.Header, commit *types.Commit) (light.Proof, error) {
	fail := func(err error) (light.Proof, error) {
		return light.Proof{}, fmt.Errorf("proving block %d: %w", header.Height, err)
	}
	if !bytes.Equal(commit.BlockID.Hash, header.Hash()) {
		return fail(fmt.Errorf("the commit is for %v, its hash is %v", commit.BlockID.Hash, header.Hash()))
	}
	p := light.Proof{
		Height: uint64(commit.Height),
		Round:  uint32(commit.Round),
		Parts:  commit.BlockID.PartSetHeader.Total,
		Votes:  votes(anchor, commit),
	}
	copy(p.Root[:], commit.BlockID.PartSetHeader.Hash)
	fields, err := headerFields(header)
	if err != nil {
		return fail(err)
	}
	_, proofs := merkle.ProofsFromByteSlices(fields)
	for i, aunt := range proofs[appHashField].Aunts {
		copy(p.Aunts[i][:], aunt)
	}
	return p, nil
}

// votes returns the votes for the block, youngest first until they are enough, then in order of validators.
func votes(anchor ledger.Anchor, commit *types.Commit) []light.Vote {
	index := make(map[string]int, len(anchor.Validators))
	var total, power int64
	for i, v := range anchor.Validators {
		index[string(ed25519.PubKey(v.Key).Address())] = i
		total += v.Power
	}
	var all []light.Vote
	for _, sig := range commit.Signatures {
		if i, ok := index[string(sig.ValidatorAddress)]; ok && sig.BlockIDFlag == types.BlockIDFlagCommit {
			all = append(all, light.Vote{Validator: uint16(i), Time: sig.Timestamp.UnixNano(), Signature: sig.Signature})
		}
	}
	slices.SortStableFunc(all, func(a, b light.Vote) int { return cmp.Compare(b.Time, a.Time) })
	enough := slices.IndexFunc(all, func(v light.Vote) bool {
		power += anchor.Validators[v.Validator].Power
		return 3*power > 2*total
	})
	all = all[:enough+1] // none if there are not enough
	slices.SortFunc(all, func(a, b light.Vote) int { return cmp.Compare(a.Validator, b.Validator) })
	return all
}

// headerFields returns what a header's hash is computed over, as (*types.Header).Hash has it.
func headerFields(h *types.Header) ([][]byte, error) {
	id := h.LastBlockID.ToProto()
	version, err1 := h.Version.Marshal()
	date, err2 := gogotypes.StdTimeMarshal(h.Time)
	last, err3 := id.Marshal()
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, err
		}
	}
	chain, err1 := (&gogotypes.StringValue{Value: h.ChainID}).Marshal()
	height, err2 := (&gogotypes.Int64Value{Value: h.Height}).Marshal()
	for _, err := range []error{err1, err2} {
		if err != nil {
			return nil, err
		}
	}
	fields := [][]byte{version, chain, height, date, last}
	for _, value := range [][]byte{
		h.LastCommitHash, h.DataHash, h.ValidatorsHash, h.NextValidatorsHash, h.ConsensusHash, h.AppHash,
		h.LastResultsHash, h.EvidenceHash, h.ProposerAddress,
	} {
		field, err := (&gogotypes.BytesValue{Value: value}).Marshal()
		if err != nil {
			return nil, err
		}
		fields = append(fields, field)
	}
	return fields, nil
}
