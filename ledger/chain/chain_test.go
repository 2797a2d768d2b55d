package chain

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/ledgertest"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/signed"
)

const testChain = "kindred-aaaaaaaabbbbbbbbccccccccdddddddd"

func testConfig(t testing.TB) Config {
	return Config{Dir: t.TempDir(), ChainID: testChain, Key: ledgertest.Key("validator"), Interval: time.Hour, Log: testLog(t)}
}

// testLog logs warnings to the test.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func testTree(t testing.TB, name string) *ledgertest.Tree {
	return ledgertest.NewTree(t, name, NewAnchor(testChain, ledgertest.Key("validator").Public().(ed25519.PublicKey)))
}

// run starts a chain that is stopped with the test.
func run(t testing.TB, cfg Config) *Chain {
	t.Helper()
	c, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, c) })
	return c
}

func stop(t testing.TB, c *Chain) {
	t.Helper()
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}

func submit(t testing.TB, c *Chain, tx []byte) {
	t.Helper()
	if err := c.Submit(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
}

// proved returns the record that the chain proves of a tree, as a verifier sees it, and the block.
func proved(t testing.TB, c *Chain, tree ledger.TreeID) (ledger.Record, light.Block) {
	t.Helper()
	p, b, err := c.Prove(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	root, record, err := p.AppHash(tree)
	if err != nil {
		t.Fatal(err)
	}
	block, err := light.Verify(c.Anchor(), b, root)
	if err != nil {
		t.Fatal(err)
	}
	return record, block
}

// wantHead checks that the chain proves a tree's head of a sequence.
func wantHead(t testing.TB, c *Chain, tree *ledgertest.Tree, sequence uint64) {
	t.Helper()
	record, _ := proved(t, c, tree.ID)
	want := ledger.Record{Charter: tree.Charter.Digest, Sequence: sequence, Head: tree.Head(sequence)}
	if record != want {
		t.Fatalf("the chain proves %+v, want %+v", record, want)
	}
}

func TestSubmitProve(t *testing.T) {
	c := run(t, testConfig(t))
	home := testTree(t, "home")
	if _, _, err := c.Prove(t.Context(), home.ID); !errors.Is(err, ledger.ErrUnknown) {
		t.Fatalf("proof of a tree that is not registered: %v", err)
	}
	submit(t, c, home.Register(1))
	wantHead(t, c, home, 1)
	for n := range uint64(5) {
		submit(t, c, home.Advance(n+2))
		wantHead(t, c, home, n+2)
	}
	submit(t, c, home.Advance(6)) // again
	wantHead(t, c, home, 6)
	for name, tx := range map[string][]byte{
		"a fork":        home.AdvanceTo(6, signed.Sum([]byte("another"))),
		"an old head":   home.Advance(5),
		"a second one":  home.Register(1),
		"nothing":       nil,
		"a wake's size": bytes.Repeat([]byte{1}, wakeSize),
		"too much":      make([]byte, ledger.MaxTransaction+1),
		"a gap":         home.Advance(8),
	} {
		if err := c.Submit(t.Context(), tx); err == nil || !strings.HasPrefix(err.Error(), "chain: submitting a transaction: ledger: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantHead(t, c, home, 6)
}

func TestRestart(t *testing.T) {
	cfg := testConfig(t)
	home := testTree(t, "home")
	c := run(t, cfg)
	submit(t, c, home.Register(1))
	_, before := proved(t, c, home.ID)
	for n := range uint64(3) {
		stop(t, c)
		if err := c.Submit(t.Context(), home.Advance(n+2)); !errors.Is(err, ErrStopped) {
			t.Fatalf("after Stop: %v", err)
		}
		began := time.Now()
		c = run(t, cfg)
		wantHead(t, c, home, n+1)
		if _, block := proved(t, c, home.ID); block.Time.Before(began) || block.Height <= before.Height {
			t.Fatalf("the first proof after a start at %v is of block %d, %v", began, block.Height, block.Time)
		}
		submit(t, c, home.Advance(n+2))
		wantHead(t, c, home, n+2)
	}
}

// TestInterval: proofs become younger with nothing submitted.
func TestInterval(t *testing.T) {
	cfg := testConfig(t)
	cfg.Interval = 50 * time.Millisecond
	c := run(t, cfg)
	home := testTree(t, "home")
	submit(t, c, home.Register(1))
	_, last := proved(t, c, home.ID)
	for range 4 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		select {
		case <-c.NewBlock():
		case <-ctx.Done():
			t.Fatal("no block was made")
		}
		cancel()
		wantHead(t, c, home, 1)
		_, block := proved(t, c, home.ID)
		if block.Time.Before(last.Time) {
			t.Fatalf("block %d is from %v, block %d before it from %v", block.Height, block.Time, last.Height, last.Time)
		}
		last = block
	}
}

// TestManyAtOnce: transactions of many trees, each submitted by several at once, with little room.
func TestManyAtOnce(t *testing.T) {
	c := run(t, testConfig(t))
	c.room = 3
	var all sync.WaitGroup
	for i := range 12 {
		tree := testTree(t, fmt.Sprint("tree ", i))
		for range 3 {
			all.Go(func() {
				for sequence := uint64(1); sequence <= 4; sequence++ {
					tx := tree.Register(1)
					if sequence > 1 {
						tx = tree.Advance(sequence)
					}
					// One of the others may be ahead by now.
					if err := c.Submit(t.Context(), tx); err != nil && !errors.Is(err, ledger.ErrPassed) {
						t.Error(err)
					}
					if record, _ := proved(t, c, tree.ID); record.Sequence < sequence {
						t.Errorf("submitted head %d, proved head %d", sequence, record.Sequence)
					}
				}
			})
		}
	}
	all.Wait()
	if len(c.waiting) != 0 {
		t.Errorf("%d transactions are still waited for", len(c.waiting))
	}
}

// TestContext: who gives up waiting is told so, and what was submitted goes its way.
func TestContext(t *testing.T) {
	c := run(t, testConfig(t))
	home := testTree(t, "home")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Submit(ctx, home.Register(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	submit(t, c, home.Register(1))
	wantHead(t, c, home, 1)

	if c, err := Start(ctx, testConfig(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("start with a cancelled context: %v, %v", c, err)
	}
}

// TestQuiet: nothing is worth a warning where nothing is wrong.
func TestQuiet(t *testing.T) {
	var log bytes.Buffer
	cfg := testConfig(t)
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	home := testTree(t, "home")
	for range 3 {
		c := run(t, cfg)
		submit(t, c, home.Register(1))
		stop(t, c)
		stop(t, c) // twice is once
	}
	if log.Len() > 0 {
		t.Errorf("logged:\n%s", &log)
	}
}

func TestNewChainID(t *testing.T) {
	id, err := NewChainID(bytes.NewReader(make([]byte, 20)))
	if want := "kindred-" + strings.Repeat("a", 32); err != nil || id != want {
		t.Errorf("%q, %v, want %q", id, err, want)
	}
	if _, err := NewChainID(bytes.NewReader(make([]byte, 19))); err == nil {
		t.Error("made from too little")
	}
}
