package chain

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/kindred-iot/kindred/ledger"
)

// testApp is an application without CometBFT.
func testApp(t *testing.T) (*app, *[]committed) {
	t.Helper()
	var blocks []committed
	a, err := newApp(dbm.NewMemDB(), testConfig(t), func(b committed) error {
		blocks = append(blocks, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return a, &blocks
}

// block has the app apply a block and returns the result codes.
func (a *app) block(t *testing.T, txs ...[]byte) (codes []uint32, appHash []byte) {
	t.Helper()
	res, err := a.FinalizeBlock(t.Context(), &abci.RequestFinalizeBlock{Height: int64(a.height) + 1, Txs: txs})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Commit(t.Context(), &abci.RequestCommit{}); err != nil {
		t.Fatal(err)
	}
	for _, r := range res.TxResults {
		codes = append(codes, r.Code)
	}
	return codes, res.AppHash
}

func TestAppBlocks(t *testing.T) {
	a, blocks := testApp(t)
	home, other := testTree(t, "home"), testTree(t, "other")
	wake := make([]byte, wakeSize)
	fork := home.AdvanceTo(2, other.Head(2))
	var last []byte
	for height, test := range []struct {
		name     string
		txs      [][]byte
		codes    []uint32
		provable []uint64 // of each transaction but wakes; 0 if it is refused
	}{
		0: {"empty", nil, nil, nil},
		1: {"register, twice in a block", [][]byte{home.Register(1), home.Register(1)}, []uint32{codeDone, codeAlready}, []uint64{3, 3}},
		2: {"register again in a later block", [][]byte{home.Register(1)}, []uint32{codeAlready}, []uint64{3}},
		3: {"a wake changes nothing", [][]byte{wake}, []uint32{codeDone}, nil},
		4: {"one after the other", [][]byte{home.Advance(2), home.Advance(3), other.Register(5)}, []uint32{codeDone, codeDone, codeDone}, []uint64{6, 6, 6}},
		5: {"refused", [][]byte{fork, []byte("hello"), nil}, []uint32{codeRefused, codeRefused, codeRefused}, []uint64{0, 0, 0}},
	} {
		before := a.state.Root()
		codes, hash := a.block(t, test.txs...)
		if !slices.Equal(codes, test.codes) {
			t.Fatalf("%s: codes %v, want %v", test.name, codes, test.codes)
		}
		changed := slices.Contains(codes, codeDone) && test.name != "a wake changes nothing"
		if changed == bytes.Equal(hash, before[:]) {
			t.Errorf("%s: the application hash changed: %v", test.name, !changed)
		}
		b := (*blocks)[height]
		if b.height != uint64(height)+1 || b.before.Root() != before || !bytes.Equal(root(b.after), hash) {
			t.Errorf("%s: told of block %d", test.name, b.height)
		}
		for i, want := range test.provable {
			o := b.outcomes[sha256.Sum256(test.txs[i])]
			if o.provable != want || (o.err == nil) != (want > 0) {
				t.Errorf("%s: transaction %d: block %d proves it, %v, want %d", test.name, i, o.provable, o.err, want)
			}
		}
		last = hash
	}

	again, err := newApp(a.db, testConfig(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := again.Info(t.Context(), &abci.RequestInfo{})
	if err != nil || info.LastBlockHeight != 6 || !bytes.Equal(info.LastBlockAppHash, last) {
		t.Errorf("loaded: %+v, %v, want block 6 with %x", info, err, last)
	}
}

func TestAppCheckTx(t *testing.T) {
	a, _ := testApp(t)
	home := testTree(t, "home")
	wake := a.newWake()
	for _, test := range []struct {
		name string
		tx   []byte
		want string
	}{
		{"good", home.Register(1), ""},
		{"too early", home.Advance(2), "not registered"},
		{"own wake", wake, ""},
		{"a strange wake", make([]byte, wakeSize), "a wake of another node"},
		{"nothing", nil, "ledger: reading a transaction"},
	} {
		res, err := a.CheckTx(t.Context(), &abci.RequestCheckTx{Tx: test.tx})
		if err != nil || res.IsOK() != (test.want == "") || !strings.Contains(res.Log, test.want) {
			t.Errorf("%s: %+v, %v, want %q", test.name, res, err, test.want)
		}
	}
	a.newWake()
	if res, err := a.CheckTx(t.Context(), &abci.RequestCheckTx{Tx: wake}); err != nil || res.IsOK() {
		t.Errorf("an old wake: %+v, %v", res, err)
	}
}

// TestAppFaults: blocks out of order, and errors while a block is told of, are faults and stay so.
func TestAppFaults(t *testing.T) {
	a, _ := testApp(t)
	if _, err := a.FinalizeBlock(t.Context(), &abci.RequestFinalizeBlock{Height: 2}); err == nil || !strings.Contains(err.Error(), "applying block 2: the state is that of block 0") {
		t.Error(err)
	}
	first := a.fault()
	if first == nil {
		t.Error("no fault")
	}
	if _, err := a.Commit(t.Context(), &abci.RequestCommit{}); err == nil {
		t.Error("committed nothing")
	}
	a.onCommit = func(committed) error { return errors.New("no proof") }
	if _, err := a.FinalizeBlock(t.Context(), &abci.RequestFinalizeBlock{Height: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Commit(t.Context(), &abci.RequestCommit{}); err == nil || !strings.Contains(err.Error(), "committing block 1: no proof") {
		t.Error(err)
	}
	if a.fault() != first {
		t.Errorf("the first fault was %v, now it is %v", first, a.fault())
	}
}

func TestLoadDamaged(t *testing.T) {
	home := testTree(t, "home")
	for name, damage := range map[string]func(db dbm.DB) error{
		"height of 1 bytes, want 8": func(db dbm.DB) error { return db.Set(heightKey, []byte{1}) },
		"unknown key":               func(db dbm.DB) error { return db.Set([]byte("s?"), []byte{1}) },
		"is missing":                func(db dbm.DB) error { return db.Delete(append([]byte("sc"), home.Charter.Digest[:]...)) },
	} {
		db := dbm.NewMemDB()
		_, writes, err := ledger.NewState(testChain).Apply(home.Register(1))
		if err != nil {
			t.Fatal(err)
		}
		if err := save(db, 1, writes); err != nil {
			t.Fatal(err)
		}
		if err := damage(db); err != nil {
			t.Fatal(err)
		}
		if _, _, err := load(db, testChain); err == nil || !strings.Contains(err.Error(), name) || !strings.HasPrefix(err.Error(), "reading ledger.db: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
