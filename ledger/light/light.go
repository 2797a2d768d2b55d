// Package light verifies that a ledger's state had a given root hash at a given time: with no node, no network and
// no clock, from an anchor and a proof of about 270 bytes (one validator).
//
// The ledger is a CometBFT chain. Validators sign the hash of a block header, and the header commits to the
// application hash: the root of the map of records that package ledger keeps. So a [Proof] holds the path from the
// application hash to the header's hash, and the votes of more than two thirds of the anchored power on that hash.
//
// # From the application hash to the header's hash
//
// A header's hash is the root of an RFC 6962 tree over its 14 fields, each in Protocol Buffers. The application hash
// is field 10, counted from zero; its leaf is the BytesValue 0x0a 0x20 ‖ hash. H being SHA-256:
//
//	n0   = H(0x00 ‖ 0x0a 0x20 ‖ application hash)
//	n1   = H(0x01 ‖ n0 ‖ aunt 0)       aunt 0: field 11
//	n2   = H(0x01 ‖ aunt 1 ‖ n1)       aunt 1: fields 8 and 9
//	n3   = H(0x01 ‖ n2 ‖ aunt 2)       aunt 2: fields 12 and 13
//	hash = H(0x01 ‖ aunt 3 ‖ n3)       aunt 3: fields 0 to 7
//
// # Votes
//
// A vote is an Ed25519 signature, by the rules of ZIP 215 as in CometBFT, over the length-delimited CanonicalVote of
// a precommit: height, round, block ID (header hash, number of parts and their hash), time, chain ID. Everything in
// a proof is covered by the signatures or leads to what they cover, so that no bit of it can be altered.
//
// # Time
//
// A header's own time is that of the votes on the block before; the age of a proof is measured from the votes in it.
// The block's time is the oldest vote counted: more than two thirds of the power voted at that time or later by
// their own clocks, so that fewer than a third of liars can make a proof older and never younger.
//
// # Not here
//
// Validators other than the anchored ones are not followed: their proof is refused. Whether a time is too old or in
// the future is for the caller to judge, and so is from which sequence of a tree an anchor counts.
package light

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"

	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/merkle"
)

const (
	// MaxValidators is how many validators an anchor can have.
	MaxValidators = 128

	maxChainID = 50
	maxPower   = math.MaxInt64 / 8 // of all validators together, as in CometBFT
	depth      = 4                 // of the application hash in the tree over the header
)

// ErrSignature is the error for a vote that the anchored validator did not sign. Either the proof is forged or
// damaged, or the ledger's validators have changed since the anchor was made, which a verifier cannot follow yet:
// it needs a new charter with a new anchor.
var ErrSignature = errors.New("not signed by the anchored validator (changed validators cannot be followed yet)")

// Proof says that a block header with a certain application hash was signed by the validators of a ledger.
type Proof struct {
	Height uint64             `cbor:"1,keyasint"`           // of the block, from 1
	Round  uint32             `cbor:"2,keyasint,omitempty"` // in which the validators agreed
	Parts  uint32             `cbor:"3,keyasint"`           // how many parts the block was sent in
	Root   merkle.Hash        `cbor:"4,keyasint"`           // over those parts
	Aunts  [depth]merkle.Hash `cbor:"5,keyasint"`           // from the application hash up
	Votes  []Vote             `cbor:"6,keyasint"`           // by ascending validator
}

// Vote is one validator's vote for the block.
type Vote struct {
	_         struct{} `cbor:",toarray"`
	Validator uint16   // index in the anchor's validators
	Time      int64    // of the vote, in nanoseconds since 1970
	Signature []byte   // Ed25519, 64 bytes
}

// Block is a block header that is known to have been signed.
type Block struct {
	Height uint64
	Time   time.Time   // the oldest vote counted, UTC
	Hash   merkle.Hash // of the header
}

// Verify checks that more than two thirds of the anchored power signed a block header with the given application
// hash, no lower than the anchor's height, and returns what is known of it. Errors wrap [ErrSignature] where the
// anchor may be out of date.
func Verify(anchor ledger.Anchor, p Proof, appHash merkle.Hash) (Block, error) {
	fail := func(err error) (Block, error) {
		return Block{}, fmt.Errorf("light: verifying block %d of %q: %w", p.Height, anchor.Chain, err)
	}
	total, err := checkAnchor(anchor)
	if err != nil {
		return fail(err)
	}
	if err := p.check(anchor); err != nil {
		return fail(err)
	}
	var power int64
	for _, v := range p.Votes {
		power += anchor.Validators[v.Validator].Power
	}
	if 3*power <= 2*total {
		return fail(fmt.Errorf("votes of power %d, of more than two thirds of %d", power, total))
	}
	hash := headerHash(appHash, p.Aunts)
	oldest := int64(math.MaxInt64)
	for _, v := range p.Votes {
		message, err := signBytes(anchor.Chain, p, hash, v.Time)
		if err != nil {
			return fail(err)
		}
		if !ed25519.PubKey(anchor.Validators[v.Validator].Key).VerifySignature(message, v.Signature) {
			return fail(fmt.Errorf("vote of validator %d: %w", v.Validator, ErrSignature))
		}
		oldest = min(oldest, v.Time)
	}
	return Block{Height: p.Height, Time: time.Unix(0, oldest).UTC(), Hash: hash}, nil
}

// checkAnchor returns the total power of the anchored validators. An anchor comes from a charter, which anyone may
// have written.
func checkAnchor(a ledger.Anchor) (total int64, err error) {
	if n := len(a.Chain); n == 0 || n > maxChainID {
		return 0, fmt.Errorf("anchor: chain ID of %d bytes, want 1 to %d", n, maxChainID)
	}
	if n := len(a.Validators); n == 0 || n > MaxValidators {
		return 0, fmt.Errorf("anchor: %d validators, want 1 to %d", n, MaxValidators)
	}
	seen := make(map[[ed25519.PubKeySize]byte]bool, len(a.Validators))
	for i, v := range a.Validators {
		if len(v.Key) != ed25519.PubKeySize {
			return 0, fmt.Errorf("anchor: validator %d: key of %d bytes, want %d", i, len(v.Key), ed25519.PubKeySize)
		}
		key := [ed25519.PubKeySize]byte(v.Key)
		if seen[key] {
			return 0, fmt.Errorf("anchor: validator %d: key %x is listed twice", i, key)
		}
		seen[key] = true
		if v.Power <= 0 || v.Power > maxPower-total {
			return 0, fmt.Errorf("anchor: validator %d: power %d, want more than 0 and at most %d in all", i, v.Power, int64(maxPower))
		}
		total += v.Power
	}
	return total, nil
}

// check checks the form of p: everything that needs no signature.
func (p Proof) check(a ledger.Anchor) error {
	switch {
	case p.Height == 0 || p.Height > math.MaxInt64:
		return errors.New("there is no such height")
	case p.Height < a.Height:
		return fmt.Errorf("the anchor counts from height %d", a.Height)
	case p.Round > math.MaxInt32:
		return fmt.Errorf("there is no round %d", p.Round)
	case len(p.Votes) > len(a.Validators):
		return fmt.Errorf("%d votes of %d validators", len(p.Votes), len(a.Validators))
	}
	for i, v := range p.Votes {
		switch {
		case int(v.Validator) >= len(a.Validators):
			return fmt.Errorf("vote %d: validator %d of %d", i, v.Validator, len(a.Validators))
		case i > 0 && v.Validator <= p.Votes[i-1].Validator:
			return fmt.Errorf("vote %d: validator %d after %d, want ascending order", i, v.Validator, p.Votes[i-1].Validator)
		case v.Time <= 0:
			return fmt.Errorf("vote %d: at %d ns, before 1970", i, v.Time)
		case len(v.Signature) != ed25519.SignatureSize:
			return fmt.Errorf("vote %d: signature of %d bytes, want %d", i, len(v.Signature), ed25519.SignatureSize)
		}
	}
	return nil
}
