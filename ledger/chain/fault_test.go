package chain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	dbm "github.com/cometbft/cometbft-db"

	"github.com/kindred-iot/kindred/ledger/ledgertest"
)

var errDisk = errors.New("the disk is full")

// faulty fails the n-th batch written to ledger.db, and all after it.
type faulty struct {
	dbm.DB
	n    int // batches to go
	mode string
}

// How a batch fails.
const (
	failed   = "failed"
	happened = "failed but happened"
	panicked = "panicked"
)

type faultyBatch struct {
	dbm.Batch
	db *faulty
}

func (f *faulty) NewBatch() dbm.Batch { return &faultyBatch{f.DB.NewBatch(), f} }

func (b *faultyBatch) WriteSync() error {
	if b.db.n--; b.db.n > 0 {
		return b.Batch.WriteSync()
	}
	if b.db.n == 0 && b.db.mode == happened {
		return errors.Join(errDisk, b.Batch.WriteSync())
	}
	if b.db.mode == panicked {
		panic(errDisk)
	}
	return errDisk
}

// TestFaultAtEveryWrite: the application writes once a block. Whether that write failed, or failed but happened, the
// chain halts and says so, still proves what it has, and its next start has everything that was acknowledged.
func TestFaultAtEveryWrite(t *testing.T) {
	for _, mode := range []string{failed, happened, panicked} {
		// One or two: the blocks of the start. Then two for each head: the block that holds it, the block that proves it.
		for n := 1; n <= 7; n++ {
			t.Run(fmt.Sprintf("write %d %s", n, mode), func(t *testing.T) { testFault(t, n, mode) })
		}
	}
}

func testFault(t *testing.T, n int, mode string) {
	cfg := testConfig(t)
	cfg.Log = nil // it would be full of the stack traces asked for
	home := testTree(t, "home")
	open := func(name, dir string) (dbm.DB, error) {
		db, err := openDB(name, dir)
		if name == "ledger" && err == nil {
			db = &faulty{DB: db, n: n, mode: mode}
		}
		return db, err
	}
	acknowledged := uint64(0)
	txs := [][]byte{home.Register(1), home.Advance(2), home.Advance(3), home.Advance(4)}
	c, err := start(t.Context(), cfg, open)
	for err == nil {
		if err = c.Submit(t.Context(), txs[acknowledged]); err == nil {
			acknowledged++
		}
	}
	if !strings.Contains(err.Error(), errDisk.Error()) || !strings.Contains(err.Error(), "halted") {
		t.Fatalf("after %d heads: %v", acknowledged, err)
	}
	if low, high := uint64(max(0, (n-3)/2)), uint64(max(0, (n-2)/2)); acknowledged < low || acknowledged > high {
		t.Fatalf("%d heads acknowledged, want %d or %d", acknowledged, low, high)
	}
	if c != nil {
		<-c.Done()
		if !strings.Contains(c.Err().Error(), errDisk.Error()) {
			t.Fatalf("halted: %v", c.Err())
		}
		if acknowledged > 0 {
			wantHead(t, c, home, acknowledged) // a halted chain proves what it has
		}
		if err := c.Submit(t.Context(), txs[acknowledged]); err == nil || !strings.Contains(err.Error(), errDisk.Error()) {
			t.Fatalf("submitting to a halted chain: %v", err)
		}
		stop(t, c)
	}

	c = run(t, cfg)
	if acknowledged > 0 {
		record, _ := proved(t, c, home.ID)
		if record.Sequence < acknowledged {
			t.Fatalf("head %d acknowledged, head %d found", acknowledged, record.Sequence)
		}
	}
	submit(t, c, txs[acknowledged]) // the same bytes again
	wantHead(t, c, home, acknowledged+1)
}

// TestLostApplication: ledger.db is made again from the blocks.
func TestLostApplication(t *testing.T) {
	cfg := testConfig(t)
	home := testTree(t, "home")
	c := run(t, cfg)
	submit(t, c, home.Register(1))
	submit(t, c, home.Advance(2))
	stop(t, c)
	if err := os.RemoveAll(filepath.Join(cfg.Dir, "ledger.db")); err != nil {
		t.Fatal(err)
	}
	wantHead(t, run(t, cfg), home, 2)
}

// TestRefusedDirectory: what must not be started says why, and ends nothing.
func TestRefusedDirectory(t *testing.T) {
	remove := func(name string) func(*testing.T, *Config) {
		return func(t *testing.T, cfg *Config) {
			if err := os.RemoveAll(filepath.Join(cfg.Dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, cfg *Config)
		want  string
	}{
		{"another chain", func(_ *testing.T, cfg *Config) { cfg.ChainID = "kindred-other" }, `it holds the chain "` + testChain},
		{"another validator", func(_ *testing.T, cfg *Config) { cfg.Key = ledgertest.Key("other") }, "another validator than the key given"},
		{"what was signed is lost", remove(validatorFile), "validator.json is missing"},
		{"what was signed is damaged", func(t *testing.T, cfg *Config) {
			if err := os.WriteFile(filepath.Join(cfg.Dir, validatorFile), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "reading validator.json"},
		{"blocks are lost", remove("blockstore.db"), ""},
		{"CometBFT's state is lost", remove("state.db"), ""},
		{"in use", func(t *testing.T, cfg *Config) { run(t, *cfg) }, "is another process using it?"},
		{"no key", func(_ *testing.T, cfg *Config) { cfg.Key = nil }, "validator key of 0 bytes"},
		{"no chain ID", func(_ *testing.T, cfg *Config) { cfg.ChainID = "" }, "no chain ID given"},
		{"no directory", func(_ *testing.T, cfg *Config) { cfg.Dir = "" }, "no directory given"},
		{"negative interval", func(_ *testing.T, cfg *Config) { cfg.Interval = -1 }, "interval -1ns"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := testConfig(t)
			c := run(t, cfg)
			submit(t, c, testTree(t, "home").Register(1))
			stop(t, c)
			test.spoil(t, &cfg)
			c, err := Start(t.Context(), cfg)
			if err == nil {
				stop(t, c)
				t.Fatal("it started")
			}
			if !strings.HasPrefix(err.Error(), "chain: starting in "+cfg.Dir+": ") || !strings.Contains(err.Error(), test.want) {
				t.Error(err)
			}
			t.Log(err)
		})
	}
}
