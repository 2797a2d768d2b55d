package chain

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/types"

	"github.com/kindred-iot/kindred/ledger"
)

// Result codes of transactions. They are hashed into the next header.
const (
	codeDone    = abci.CodeTypeOK
	codeRefused = 1
	codeAlready = 2 // recorded before: nothing changed
)

// wakeSize is the length of a transaction that only asks for a block. No other is so short.
const wakeSize = 16

// app is the application that CometBFT drives: it holds the ledger's state and writes it to its database. CometBFT
// calls one method at a time. The order within a block, and what is kept where:
//
//	FinalizeBlock(h): state → next        nothing is written, nothing can be seen
//	Commit(h):        next → ledger.db    one synchronous batch
//	                  next → state        and onCommit is told
//
// An error or a panic in it halts consensus; nothing is written or shown after that.
type app struct {
	abci.BaseApplication
	db       dbm.DB
	log      *slog.Logger
	onCommit func(committed) error
	blocks   blockReader // nil until the node is made

	height uint64
	state  ledger.State // after the block at height
	next   *block       // finalized, not committed

	mu     sync.Mutex
	woken  [wakeSize]byte // the last wake of this node
	failed error          // the first fault
}

// block is what a finalized block does.
type block struct {
	height   uint64
	state    ledger.State
	writes   []ledger.Write
	outcomes map[[sha256.Size]byte]outcome
}

// outcome is what became of a transaction.
type outcome struct {
	provable uint64 // height of the first block that proves it
	err      error  // refused
}

// committed is a block that is on disk.
type committed struct {
	height        uint64
	before, after ledger.State // its header has the root of before
	outcomes      map[[sha256.Size]byte]outcome
	header        *types.Header // nil while CometBFT replays blocks before it starts
	commit        *types.Commit
}

// blockReader is what the app needs of CometBFT's block store.
type blockReader interface {
	LoadBlockMeta(height int64) *types.BlockMeta
	LoadSeenCommit(height int64) *types.Commit
}

func newApp(db dbm.DB, cfg Config, onCommit func(committed) error) (*app, error) {
	height, state, err := load(db, cfg.ChainID)
	if err != nil {
		return nil, err
	}
	return &app{
		db: db, log: cfg.Log, onCommit: onCommit, height: height, state: state,
	}, nil
}

// guard turns a panic into an error, and remembers the first error of a method that must not fail.
func (a *app) guard(doing string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v", r)
		a.log.Error("the ledger's application panicked", "doing", doing, "err", *err, "stack", string(debug.Stack()))
	}
	if *err == nil {
		return
	}
	*err = fmt.Errorf("%s: %w", doing, *err)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = *err
	}
}

// fault returns the error that made the app fail, if it did.
func (a *app) fault() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

// newWake returns a wake, the only one that is admitted until the next.
func (a *app) newWake() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	rand.Read(a.woken[:])
	return bytes.Clone(a.woken[:])
}

func (a *app) Info(context.Context, *abci.RequestInfo) (*abci.ResponseInfo, error) {
	res := &abci.ResponseInfo{AppVersion: 1, LastBlockHeight: int64(a.height)}
	if a.height > 0 {
		res.LastBlockAppHash = root(a.state)
	}
	return res, nil
}

func (a *app) InitChain(context.Context, *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	return &abci.ResponseInitChain{AppHash: root(a.state)}, nil
}

// CheckTx admits a transaction to the mempool. It never returns an error: CometBFT would panic.
func (a *app) CheckTx(_ context.Context, req *abci.RequestCheckTx) (res *abci.ResponseCheckTx, _ error) {
	var err error
	defer func() {
		if err != nil {
			res = &abci.ResponseCheckTx{Code: codeRefused, Log: err.Error()}
		}
	}()
	defer a.guard("checking a transaction", &err)
	if len(req.Tx) == wakeSize {
		a.mu.Lock()
		defer a.mu.Unlock()
		if !bytes.Equal(req.Tx, a.woken[:]) {
			return &abci.ResponseCheckTx{Code: codeRefused, Log: "a wake of another node"}, nil
		}
		return &abci.ResponseCheckTx{Code: codeDone}, nil
	}
	if refused := a.state.Check(req.Tx); refused != nil {
		return &abci.ResponseCheckTx{Code: codeRefused, Log: refused.Error()}, nil
	}
	return &abci.ResponseCheckTx{Code: codeDone}, nil
}

func (a *app) FinalizeBlock(_ context.Context, req *abci.RequestFinalizeBlock) (_ *abci.ResponseFinalizeBlock, err error) {
	defer a.guard(fmt.Sprintf("applying block %d", req.Height), &err)
	if req.Height != int64(a.height)+1 {
		return nil, fmt.Errorf("the state is that of block %d", a.height)
	}
	b := &block{height: a.height + 1, state: a.state, outcomes: make(map[[sha256.Size]byte]outcome, len(req.Txs))}
	results := make([]*abci.ExecTxResult, len(req.Txs))
	for i, tx := range req.Txs {
		results[i] = &abci.ExecTxResult{Code: b.apply(a.state, tx)}
	}
	a.next = b
	return &abci.ResponseFinalizeBlock{TxResults: results, AppHash: root(b.state)}, nil
}

// apply applies one transaction. before is the state before the block.
func (b *block) apply(before ledger.State, tx []byte) (code uint32) {
	if len(tx) == wakeSize {
		return codeDone
	}
	hash := sha256.Sum256(tx)
	state, writes, err := b.state.Apply(tx)
	switch {
	case err == nil:
		b.state, b.writes = state, append(b.writes, writes...)
		b.outcomes[hash] = outcome{provable: b.height + 1}
		return codeDone
	case errors.Is(err, ledger.ErrAlready):
		provable := b.height + 1 // by this block's doing, which makes a next one
		if errors.Is(before.Check(tx), ledger.ErrAlready) {
			provable = b.height
		}
		b.outcomes[hash] = outcome{provable: provable}
		return codeAlready
	default:
		b.outcomes[hash] = outcome{err: err}
		return codeRefused
	}
}

func (a *app) Commit(context.Context, *abci.RequestCommit) (_ *abci.ResponseCommit, err error) {
	b := a.next
	if b == nil {
		return nil, errors.New("no block to commit")
	}
	defer a.guard(fmt.Sprintf("committing block %d", b.height), &err)
	if err := save(a.db, b.height, b.writes); err != nil {
		return nil, err
	}
	done := committed{height: b.height, before: a.state, after: b.state, outcomes: b.outcomes}
	a.height, a.state, a.next = b.height, b.state, nil
	if a.blocks != nil {
		meta, commit := a.blocks.LoadBlockMeta(int64(b.height)), a.blocks.LoadSeenCommit(int64(b.height))
		if meta == nil || commit == nil {
			return nil, errors.New("the block store does not have it")
		}
		done.header, done.commit = &meta.Header, commit
	}
	if err := a.onCommit(done); err != nil {
		return nil, err
	}
	return &abci.ResponseCommit{}, nil
}

func root(s ledger.State) []byte {
	r := s.Root()
	return r[:]
}
