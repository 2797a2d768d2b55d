package chain

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	"github.com/cometbft/cometbft/types"

	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/ledgertest"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
)

// update has TestVectors write light's testdata anew.
var update = flag.Bool("update", false, "write ../light/testdata/vectors.json from CometBFT's own types")

// network is a set of validators that sign made-up blocks, all with CometBFT's own types.
type network struct {
	anchor ledger.Anchor
	keys   map[string]ed25519.PrivKey // by address
	set    *types.ValidatorSet
	random *rand.ChaCha8
}

func newNetwork(seed byte, powers ...int64) *network {
	n := &network{
		anchor: ledger.Anchor{Chain: testChain, Height: 1},
		keys:   make(map[string]ed25519.PrivKey),
		random: rand.NewChaCha8([32]byte{seed}),
	}
	var all []*types.Validator
	for i, power := range powers {
		key := ed25519.PrivKey(ledgertest.Key(fmt.Sprint("validator ", i)))
		n.keys[string(key.PubKey().Address())] = key
		n.anchor.Validators = append(n.anchor.Validators, ledger.Validator{Key: key.PubKey().Bytes(), Power: power})
		all = append(all, types.NewValidator(key.PubKey(), power))
	}
	n.set = types.NewValidatorSet(all) // in an order of its own
	return n
}

func (n *network) bytes(size int) []byte {
	b := make([]byte, size)
	n.random.Read(b)
	return b
}

// header makes up a header.
func (n *network) header(height int64) *types.Header {
	id := types.BlockID{Hash: n.bytes(32), PartSetHeader: types.PartSetHeader{Total: 1, Hash: n.bytes(32)}}
	return &types.Header{
		Version: cmtversion.Consensus{Block: 11, App: 1}, ChainID: n.anchor.Chain, Height: height,
		Time: time.UnixMilli(1_790_000_000_000).UTC(), LastBlockID: id, LastCommitHash: n.bytes(32), DataHash: n.bytes(32),
		ValidatorsHash: n.set.Hash(), NextValidatorsHash: n.set.Hash(), ConsensusHash: n.bytes(32), AppHash: n.bytes(32),
		LastResultsHash: n.bytes(32), EvidenceHash: n.bytes(32), ProposerAddress: n.set.Validators[0].Address,
	}
}

// commit has the validators vote on header, each as flag says; votes are dated a second apart, the first at at.
func (n *network) commit(t testing.TB, header *types.Header, round int32, at time.Time, flag func(i int) types.BlockIDFlag) *types.Commit {
	t.Helper()
	c := &types.Commit{
		Height: header.Height, Round: round,
		BlockID: types.BlockID{Hash: header.Hash(), PartSetHeader: types.PartSetHeader{Total: 1, Hash: n.bytes(32)}},
	}
	for i, v := range n.set.Validators {
		sig := types.CommitSig{BlockIDFlag: flag(i), ValidatorAddress: v.Address, Timestamp: at.Add(time.Duration(i) * time.Second)}
		if sig.BlockIDFlag == types.BlockIDFlagAbsent {
			sig = types.NewCommitSigAbsent()
		}
		c.Signatures = append(c.Signatures, sig)
		if sig.BlockIDFlag == types.BlockIDFlagAbsent {
			continue
		}
		signature, err := n.keys[string(v.Address)].Sign(c.VoteSignBytes(header.ChainID, int32(i)))
		if err != nil {
			t.Fatal(err)
		}
		c.Signatures[i].Signature = signature
	}
	return c
}

func all(int) types.BlockIDFlag { return types.BlockIDFlagCommit }

var voted = time.UnixMilli(1_790_000_012_345).UTC()

// TestAgainstCometBFT: our proofs verify exactly where CometBFT's own light verification accepts the commit.
func TestAgainstCometBFT(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	verdicts := make(map[bool]int)
	for range 300 {
		var powers []int64
		for range 1 + random.IntN(7) {
			powers = append(powers, 1+random.Int64N(4))
		}
		n := newNetwork(byte(random.Uint32()), powers...)
		header := n.header(1 + random.Int64N(1_000_000))
		commit := n.commit(t, header, random.Int32N(3), voted, func(int) types.BlockIDFlag {
			return types.BlockIDFlag([]byte{1, 2, 2, 2, 2, 3}[random.IntN(6)]) // absent, for the block, for none
		})
		chainID := n.anchor.Chain
		if random.IntN(10) == 0 {
			n.anchor.Chain, chainID = "kindred-other", "kindred-other"
		}
		want := n.set.VerifyCommitLight(chainID, commit.BlockID, commit.Height, commit)
		p, err := newProof(n.anchor, header, commit)
		if err != nil {
			t.Fatal(err)
		}
		block, err := light.Verify(n.anchor, p, merkle.Hash(header.AppHash))
		if (err == nil) != (want == nil) {
			t.Fatalf("powers %v: light says %v, CometBFT %v", powers, err, want)
		}
		verdicts[err == nil]++
		if err != nil {
			continue
		}
		if block.Height != uint64(header.Height) || !bytes.Equal(block.Hash[:], header.Hash()) {
			t.Fatalf("block %+v, want %d %v", block, header.Height, header.Hash())
		}
		if oldest := oldestVote(p); !block.Time.Equal(oldest) || block.Time.Before(voted) {
			t.Fatalf("block at %v, its oldest vote is from %v", block.Time, oldest)
		}
	}
	if verdicts[true] < 50 || verdicts[false] < 50 {
		t.Fatalf("accepted and refused: %v", verdicts)
	}
}

func oldestVote(p light.Proof) time.Time {
	oldest := p.Votes[0].Time
	for _, v := range p.Votes {
		oldest = min(oldest, v.Time)
	}
	return time.Unix(0, oldest)
}

// TestYoungestVotes: of the votes there are, a proof has the youngest that are enough.
func TestYoungestVotes(t *testing.T) {
	n := newNetwork(1, 1, 1, 1, 1)
	header := n.header(7)
	p, err := newProof(n.anchor, header, n.commit(t, header, 0, voted, all))
	if err != nil {
		t.Fatal(err)
	}
	block, err := light.Verify(n.anchor, p, merkle.Hash(header.AppHash))
	if err != nil || len(p.Votes) != 3 || !block.Time.Equal(voted.Add(time.Second)) {
		t.Errorf("%d votes, block at %v, %v", len(p.Votes), block.Time, err)
	}
}

func TestNewProofRefuses(t *testing.T) {
	n := newNetwork(1, 1)
	header := n.header(7)
	if _, err := newProof(n.anchor, n.header(8), n.commit(t, header, 0, voted, all)); err == nil || !strings.Contains(err.Error(), "proving block 8: the commit is for ") {
		t.Error(err)
	}
}

// vector is one of light's testdata/vectors.json: Because is part of the reason that this package gives to refuse it.
type vector struct {
	Name    string     `json:"name"`
	Anchor  string     `json:"anchor"`
	AppHash string     `json:"appHash"`
	Proof   string     `json:"proof"`
	Height  uint64     `json:"height,omitempty"`
	Time    *time.Time `json:"time,omitempty"`
	Hash    string     `json:"hash,omitempty"`
	Because string     `json:"because,omitempty"`
}

const (
	vectorsFile  = "../light/testdata/vectors.json"
	aboutVectors = "Ledger proofs: anchor and proof are deterministic CBOR, all bytes hexadecimal. Those with a reason must be refused."
)

// TestVectors compares light's test vectors with what CometBFT's types give.
func TestVectors(t *testing.T) {
	got, err := json.MarshalIndent(struct {
		About   string   `json:"about"`
		Vectors []vector `json:"vectors"`
	}{aboutVectors, makeVectors(t)}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(vectorsFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what CometBFT's types give; see -update", vectorsFile)
	}
}

func makeVectors(t *testing.T) []vector {
	var out []vector
	add := func(name string, anchor ledger.Anchor, appHash []byte, p light.Proof, because string) {
		v := vector{Name: name, Anchor: encode(t, anchor), AppHash: hex.EncodeToString(appHash), Proof: encode(t, p), Because: because}
		block, err := light.Verify(anchor, p, merkle.Hash(appHash))
		if because != "" {
			if err == nil || !strings.Contains(err.Error(), because) {
				t.Errorf("%s: %v, want %q", name, err, because)
			}
		} else {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			v.Height, v.Time, v.Hash = block.Height, &block.Time, block.Hash.String()
		}
		out = append(out, v)
	}
	for _, size := range []int{1, 4, 16} {
		n := newNetwork(byte(size), slices.Repeat([]int64{10}, size)...)
		header := n.header(1_000_000)
		p, err := newProof(n.anchor, header, n.commit(t, header, 0, voted, all))
		if err != nil {
			t.Fatal(err)
		}
		add(fmt.Sprintf("%d validators", size), n.anchor, header.AppHash, p, "")
	}
	n := newNetwork(5, 1, 2, 3)
	header := n.header(1)
	full, err := newProof(n.anchor, header, n.commit(t, header, 2, voted, all))
	if err != nil {
		t.Fatal(err)
	}
	add("unequal powers, round 2, block 1", n.anchor, header.AppHash, full, "")
	for _, spoil := range spoils(n) {
		anchor, appHash, p := n.anchor, bytes.Clone(header.AppHash), full
		anchor.Validators = append([]ledger.Validator(nil), anchor.Validators...)
		p.Votes = append([]light.Vote(nil), p.Votes...)
		spoil.by(&anchor, appHash, &p)
		add(spoil.name, anchor, appHash, p, spoil.because)
	}
	return out
}

// spoil makes a good proof, of blocks that validators with powers 1, 2 and 3 signed, a bad one.
type spoil struct {
	name    string
	because string
	by      func(a *ledger.Anchor, appHash []byte, p *light.Proof)
}

func spoils(n *network) []spoil {
	first := n.anchor.Validators[0]
	return []spoil{
		{"no votes", "votes of power 0, of more than two thirds of 6", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Votes = nil }},
		{"too few votes", "of more than two thirds of 6", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Votes = p.Votes[:1] }},
		{"exactly two thirds", "votes of power 6, of more than two thirds of 9", func(a *ledger.Anchor, _ []byte, p *light.Proof) {
			p.Votes = p.Votes[len(p.Votes)-2:]
			a.Validators[0].Power, a.Validators[1].Power, a.Validators[2].Power = 3, 3, 3
		}},
		{"a validator twice", "want ascending order", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Votes[0] = p.Votes[1] }},
		{"validators in another order", "want ascending order", func(_ *ledger.Anchor, _ []byte, p *light.Proof) {
			p.Votes[0], p.Votes[1] = p.Votes[1], p.Votes[0]
		}},
		{"no such validator", "validator 3 of 3", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Votes[len(p.Votes)-1].Validator = 3 }},
		{"more votes than validators", "4 votes of 3 validators", func(_ *ledger.Anchor, _ []byte, p *light.Proof) {
			p.Votes = []light.Vote{p.Votes[0], p.Votes[0], p.Votes[0], p.Votes[0]}
		}},
		{"another validator's vote", "not signed by the anchored validator", func(_ *ledger.Anchor, _ []byte, p *light.Proof) {
			p.Votes[0].Signature = p.Votes[1].Signature
		}},
		{"a short signature", "signature of 63 bytes, want 64", func(_ *ledger.Anchor, _ []byte, p *light.Proof) {
			p.Votes[0].Signature = p.Votes[0].Signature[:63]
		}},
		{"changed validators", "changed validators cannot be followed yet", func(a *ledger.Anchor, _ []byte, _ *light.Proof) {
			for i := range a.Validators {
				a.Validators[i].Key = ed25519.PrivKey(ledgertest.Key(fmt.Sprint("later ", i))).PubKey().Bytes()
			}
		}},
		{"another chain", "not signed", func(a *ledger.Anchor, _ []byte, _ *light.Proof) { a.Chain = "kindred-other" }},
		{"another application hash", "not signed", func(_ *ledger.Anchor, appHash []byte, _ *light.Proof) { appHash[0] ^= 1 }},
		{"another height", "not signed", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Height++ }},
		{"another round", "not signed", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Round = 0 }},
		{"made younger", "not signed", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Votes[0].Time += int64(time.Hour) }},
		{"before 1970", "before 1970", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Votes[0].Time = -1 }},
		{"height 0", "there is no such height", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Height = 0 }},
		{"height 2^63", "there is no such height", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Height = 1 << 63 }},
		{"round 2^31", "there is no round 2147483648", func(_ *ledger.Anchor, _ []byte, p *light.Proof) { p.Round = 1 << 31 }},
		{"before the anchor", "the anchor counts from height 2", func(a *ledger.Anchor, _ []byte, _ *light.Proof) { a.Height = 2 }},
		{"anchor: no chain", "anchor: chain ID of 0 bytes", func(a *ledger.Anchor, _ []byte, _ *light.Proof) { a.Chain = "" }},
		{"anchor: long chain", "anchor: chain ID of 51 bytes", func(a *ledger.Anchor, _ []byte, _ *light.Proof) { a.Chain = strings.Repeat("c", 51) }},
		{"anchor: no validators", "anchor: 0 validators", func(a *ledger.Anchor, _ []byte, _ *light.Proof) { a.Validators = nil }},
		{"anchor: many validators", "anchor: 129 validators", func(a *ledger.Anchor, _ []byte, _ *light.Proof) {
			a.Validators = make([]ledger.Validator, light.MaxValidators+1)
		}},
		{"anchor: a validator twice", "is listed twice", func(a *ledger.Anchor, _ []byte, _ *light.Proof) { a.Validators[2] = first }},
		{"anchor: a short key", "key of 31 bytes", func(a *ledger.Anchor, _ []byte, _ *light.Proof) { a.Validators[0].Key = first.Key[:31] }},
		{"anchor: no power", "power 0", func(a *ledger.Anchor, _ []byte, _ *light.Proof) { a.Validators[0].Power = 0 }},
		{"anchor: negative power", "power -1", func(a *ledger.Anchor, _ []byte, _ *light.Proof) { a.Validators[0].Power = -1 }},
		{"anchor: too much power", "power 1152921504606846975", func(a *ledger.Anchor, _ []byte, _ *light.Proof) {
			a.Validators[1].Power = 1<<60 - 1
		}},
	}
}

func encode(t testing.TB, v any) string {
	t.Helper()
	b, err := signed.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// TestOwnProof: the proofs that a running chain gives verify, are accepted by CometBFT's own verification of the same
// commit, and are small.
func TestOwnProof(t *testing.T) {
	c := run(t, testConfig(t))
	home := testTree(t, "home")
	submit(t, c, home.Register(1))
	_, p, err := c.Prove(t.Context(), home.ID)
	if err != nil {
		t.Fatal(err)
	}
	block := c.Block()
	commit := c.node.node.BlockStore().LoadSeenCommit(int64(block.Height))
	set := types.NewValidatorSet([]*types.Validator{types.NewValidator(ed25519.PubKey(c.Anchor().Validators[0].Key), 1)})
	if err := set.VerifyCommitLight(testChain, commit.BlockID, int64(block.Height), commit); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(commit.BlockID.Hash, block.Hash[:]) {
		t.Errorf("block %v, the commit is for %v", block.Hash, commit.BlockID.Hash)
	}
	if size := len(encode(t, p)) / 2; size > 300 {
		t.Errorf("a proof of %d bytes", size)
	} else {
		t.Logf("a proof of %d bytes", size)
	}
}
