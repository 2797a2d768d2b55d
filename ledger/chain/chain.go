package chain

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
)

// DefaultInterval is how often a block is made when there is nothing to put in it.
const DefaultInterval = 10 * time.Minute

// ErrStopped is what Chain.Err and whatever was waiting return after Stop.
var ErrStopped = errors.New("the ledger was stopped")

// Config says which chain to run and where. Dir, ChainID and Key are required.
type Config struct {
	Dir      string             // the chain's own; made if it is not there
	ChainID  string             // of NewChainID
	Key      ed25519.PrivateKey // the validator's, used for nothing else
	Interval time.Duration      // between blocks with nothing in them; DefaultInterval if 0
	Log      *slog.Logger       // CometBFT's messages go there too, its errors as warnings, the rest at debug or below; nil: nothing is logged
}

// NewChainID returns the ID of a new chain: "kindred-" and 32 random characters.
func NewChainID(random io.Reader) (string, error) {
	var b [20]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("chain: making a chain ID: %w", err)
	}
	return "kindred-" + base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").EncodeToString(b[:]), nil
}

// NewAnchor returns the anchor of a chain with one validator, from its beginning. It can be written into a charter
// before the chain is first started.
func NewAnchor(chainID string, validator ed25519.PublicKey) ledger.Anchor {
	return ledger.Anchor{
		Chain:      chainID,
		Validators: []ledger.Validator{{Key: validator, Power: 1}},
		Height:     1,
	}
}

// Chain is a running ledger. Its methods are safe for concurrent use.
type Chain struct {
	anchor ledger.Anchor
	node   *embedded
	app    *app
	log    *slog.Logger

	life    context.Context // done when the chain stops or halts; its cause says why
	end     context.CancelCauseFunc
	blocks  chan struct{}  // capacity 1
	watcher sync.WaitGroup // of the goroutine that waits for consensus to end

	stop    sync.Once
	stopErr error

	mu         sync.Mutex
	latest     *view
	waiting    map[[sha256.Size]byte]*submission
	room       int           // how many may be waiting
	refreshing chan struct{} // held by whoever asks for a block
}

// view is what the newest block proves. It never changes.
type view struct {
	height   uint64
	block    light.Block
	proof    light.Proof   // of proved.Root()
	proved   ledger.State  // whose root is in the block's header: the state before it
	state    ledger.State  // after it
	replaced chan struct{} // closed when there is a newer view
}

// submission is a transaction that is on its way into a block.
type submission struct {
	done     chan struct{} // closed when the fields below are set
	provable uint64        // height of the first block that proves what it did
	err      error         // why it was refused
}

// Start runs the chain in cfg.Dir, from its beginning or from where it stopped or crashed, and returns when it has
// made a block. The context bounds that only. Stop ends the chain; the directory cannot be used twice at once.
func Start(ctx context.Context, cfg Config) (*Chain, error) {
	c, err := start(ctx, cfg, openDB)
	if err != nil {
		return nil, fmt.Errorf("chain: starting in %s: %w", cfg.Dir, err)
	}
	return c, nil
}

// start is Start with its databases opened by open.
func start(ctx context.Context, cfg Config, open opener) (*Chain, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	c := &Chain{
		anchor:     NewAnchor(cfg.ChainID, cfg.Key.Public().(ed25519.PublicKey)),
		log:        cfg.Log,
		blocks:     make(chan struct{}, 1),
		refreshing: make(chan struct{}, 1),
		waiting:    make(map[[sha256.Size]byte]*submission),
		room:       maxWaiting,
	}
	c.life, c.end = context.WithCancelCause(context.Background())
	began := time.Now()
	if c.node, c.app, err = startNode(ctx, cfg, open, c.commit); err != nil {
		c.end(err)
		return nil, err
	}
	c.watcher.Go(c.watch)
	if err := c.fresh(ctx, began); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	c.node.settled.Store(true)
	return c, nil
}

func (cfg Config) check() (Config, error) {
	switch {
	case cfg.Dir == "":
		return cfg, errors.New("no directory given")
	case cfg.ChainID == "":
		return cfg, errors.New("no chain ID given")
	case len(cfg.Key) != ed25519.PrivateKeySize:
		return cfg, fmt.Errorf("validator key of %d bytes, want %d", len(cfg.Key), ed25519.PrivateKeySize)
	case cfg.Interval < 0:
		return cfg, fmt.Errorf("interval %v between blocks, want more than 0", cfg.Interval)
	}
	if cfg.Interval == 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// fresh waits for a block that was voted on after began and proves all that is recorded. The first block after a
// crash may carry votes from before it, and transactions.
func (c *Chain) fresh(ctx context.Context, began time.Time) error {
	for height := c.view().height; ; {
		if err := c.node.wake(); err != nil {
			return err
		}
		v, err := c.after(ctx, height)
		if err != nil {
			return fmt.Errorf("waiting for the first block: %w", err)
		}
		if !v.block.Time.Before(began) && v.proved.Root() == v.state.Root() {
			if ahead := time.Until(v.block.Time); ahead > time.Minute {
				c.log.Warn("the ledger's time is ahead of this machine's clock", "by", ahead)
			}
			return nil
		}
		height = v.height
	}
}

// Refresh asks for a block and returns when Prove proves as of one that was voted on after the call. Several callers at
// once share a block.
func (c *Chain) Refresh(ctx context.Context) error {
	began := time.Now()
	select {
	case c.refreshing <- struct{}{}:
		defer func() { <-c.refreshing }()
	case <-c.Done():
		return fmt.Errorf("chain: refreshing: %w", c.Err())
	case <-ctx.Done():
		return fmt.Errorf("chain: refreshing: %w", context.Cause(ctx))
	}
	if v := c.view(); !v.block.Time.Before(began) && v.proved.Root() == v.state.Root() {
		return nil
	}
	if err := c.fresh(ctx, began); err != nil {
		return fmt.Errorf("chain: refreshing: %w", err)
	}
	return nil
}

// watch ends the chain when consensus does. CometBFT stops it on any error of the application and on any panic.
func (c *Chain) watch() {
	c.node.wait()
	err := c.app.fault()
	if err == nil {
		err = errors.New("consensus ended")
	}
	c.end(fmt.Errorf("the ledger has halted: %w", err)) // of no effect after Stop
	if c.Err() != ErrStopped {
		c.log.Error("the ledger has halted", "err", err)
	}
}

// Stop ends the chain and waits until its files are closed. What waits in Submit or Prove returns ErrStopped.
func (c *Chain) Stop() error {
	c.stop.Do(func() {
		c.end(ErrStopped)
		c.stopErr = c.node.stop()
		c.watcher.Wait()
	})
	if c.stopErr != nil {
		return fmt.Errorf("chain: stopping: %w", c.stopErr)
	}
	return nil
}

// Done is closed when the chain was stopped or has halted.
func (c *Chain) Done() <-chan struct{} { return c.life.Done() }

// Err returns nil while the chain runs, then ErrStopped or why it halted. A halted chain still proves what it has;
// Stop it and Start it again.
func (c *Chain) Err() error { return context.Cause(c.life) }

// Anchor returns where a verifier starts from to check this chain's proofs: its beginning.
func (c *Chain) Anchor() ledger.Anchor {
	a := c.anchor
	a.Validators = append([]ledger.Validator(nil), a.Validators...)
	return a
}

// NewBlock returns a channel that gets a value after every block, when Prove has something newer to give; values
// that nobody has received yet are merged into one. It is always the same channel, for one reader, and is never
// closed (see Done).
func (c *Chain) NewBlock() <-chan struct{} { return c.blocks }

// Block returns the newest block.
func (c *Chain) Block() light.Block { return c.view().block }

// Prove returns the newest proof of the tree's record: that the record is in a map, and that the ledger signed the
// map's root. It is as old as the newest block. The error wraps ledger.ErrUnknown where there is no such tree. After
// Submit it proves what was submitted, or something newer.
func (c *Chain) Prove(ctx context.Context, tree ledger.TreeID) (ledger.Proof, light.Proof, error) {
	fail := func(err error) (ledger.Proof, light.Proof, error) {
		return ledger.Proof{}, light.Proof{}, fmt.Errorf("chain: proving: %w", err)
	}
	v := c.view()
	p, err := v.proved.Prove(tree)
	if _, registered := v.state.Record(tree); err != nil && registered {
		if v, err = c.after(ctx, v.height); err != nil { // the block that proves it is being made
			return fail(err)
		}
		p, err = v.proved.Prove(tree)
	}
	if err != nil {
		return fail(err)
	}
	return p, v.proof, nil
}

func (c *Chain) view() *view {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest
}

// after returns the first view it sees of a block above height.
func (c *Chain) after(ctx context.Context, height uint64) (*view, error) {
	for {
		v := c.view()
		if v.height > height {
			return v, nil
		}
		select {
		case <-v.replaced:
		case <-c.Done():
			return nil, c.Err()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// commit is told of every block once it is on disk, and of the state when the node starts (b.header nil). It makes
// the block's proof, and checks it as a stranger would: a chain that cannot prove its records must not go on.
func (c *Chain) commit(b committed) error {
	v := &view{height: b.height, proved: b.before, state: b.after, replaced: make(chan struct{})}
	if b.header != nil {
		var err error
		if v.proof, err = newProof(c.anchor, b.header, b.commit); err != nil {
			return err
		}
		if v.block, err = light.Verify(c.anchor, v.proof, v.proved.Root()); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.latest != nil {
		close(c.latest.replaced)
	}
	c.latest = v
	for hash, o := range b.outcomes {
		if s := c.waiting[hash]; s != nil {
			delete(c.waiting, hash)
			s.provable, s.err = o.provable, o.err
			close(s.done)
		}
	}
	select {
	case c.blocks <- struct{}{}:
	default:
	}
	return nil
}
