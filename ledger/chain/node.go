package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/config"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/mempool"
	"github.com/cometbft/cometbft/node"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/cometbft/cometbft/proxy"
	"github.com/cometbft/cometbft/types"

	"github.com/kindred-iot/kindred/ledger"
)

const (
	maxBlock      = 1 << 20  // bytes
	maxEvidence   = 64 << 10 // bytes of a block; one validator gives none against itself
	validatorFile = "validator.json"
)

// embedded is CometBFT's node and what it stands on.
type embedded struct {
	node      *node.Node
	consensus interface{ Wait() }
	app       *app
	dbs       databases
	settled   atomic.Bool // CometBFT's errors are worth a warning
}

// startNode makes the node, lets it do again what a crash cut off, and starts it. From then on onCommit is told of
// every block, first of the state that there is.
func startNode(ctx context.Context, cfg Config, open opener, onCommit func(committed) error) (_ *embedded, _ *app, err error) {
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "wal"), 0o700); err != nil {
		return nil, nil, err
	}
	n := &embedded{dbs: databases{open: open, dir: cfg.Dir}}
	defer func() {
		if r := recover(); r != nil { // CometBFT panics where what is on disk does not fit together
			err = fmt.Errorf("CometBFT gave up: %v", r)
			cfg.Log.Debug("CometBFT panicked", "err", err, "stack", string(debug.Stack()))
		}
		if err != nil {
			err = errors.Join(err, n.stop())
		}
	}()
	db, err := n.dbs.get("ledger")
	if err != nil {
		return nil, nil, err
	}
	if n.app, err = newApp(db, cfg, onCommit); err != nil {
		return nil, nil, err
	}
	validator, signedBefore, err := loadValidator(cfg)
	if err != nil {
		return nil, nil, err
	}
	settings := settings(cfg)
	if err := settings.ValidateBasic(); err != nil {
		return nil, nil, err
	}
	n.node, err = node.NewNodeWithContext(ctx, settings, validator,
		&p2p.NodeKey{PrivKey: ed25519.GenPrivKey()}, // nobody is to know it
		proxy.NewLocalClientCreator(n.app),
		func() (*types.GenesisDoc, error) { return genesis(cfg), nil },
		func(ctx *config.DBContext) (dbm.DB, error) { return n.dbs.get(ctx.ID) },
		node.DefaultMetricsProvider(settings.Instrumentation), // none
		logger{to: cfg.Log, settled: &n.settled})
	if err != nil {
		return nil, nil, err
	}
	if err := n.checkGenesis(cfg, signedBefore); err != nil {
		return nil, nil, err
	}
	rpc, err := n.node.ConfigureRPC() // serves nothing: it is the only way to the consensus state
	if err != nil {
		return nil, nil, err
	}
	n.consensus = rpc.ConsensusState.(interface{ Wait() })
	n.app.blocks = n.node.BlockStore()
	if err := onCommit(committed{height: n.app.height, before: n.app.state, after: n.app.state}); err != nil {
		return nil, nil, err
	}
	return n, n.app, n.node.Start()
}

// settings are CometBFT's for a chain with one validator: nothing listens, nothing is indexed, no waiting.
func settings(cfg Config) *config.Config {
	c := config.DefaultConfig()
	c.SetRoot(cfg.Dir)
	c.Moniker = "kindred" // or it would be the machine's name
	c.RPC.ListenAddress = ""
	c.P2P.ListenAddress = "tcp://127.0.0.1:0"
	c.P2P.AddrBook = "addrbook.json" // written when the node stops; nobody is in it
	c.P2P.PexReactor = false
	c.P2P.MaxNumInboundPeers = 0
	c.P2P.MaxNumOutboundPeers = 0
	c.Mempool.Recheck = false
	c.Mempool.Broadcast = false
	c.Mempool.Size = maxWaiting + 16 // and wakes
	c.Mempool.MaxTxsBytes = (maxWaiting + 16) * ledger.MaxTransaction
	c.Mempool.MaxTxBytes = ledger.MaxTransaction
	c.Consensus.WalPath = "wal/wal"
	// A round is lost where a crash fell between signing a proposal and logging it. There is nobody else to wait for.
	c.Consensus.TimeoutPropose = 500 * time.Millisecond
	c.Consensus.TimeoutPrevote = 50 * time.Millisecond
	c.Consensus.TimeoutPrecommit = 50 * time.Millisecond
	c.Consensus.TimeoutCommit = 0
	c.Consensus.SkipTimeoutCommit = true
	c.Consensus.CreateEmptyBlocks = false
	c.Consensus.CreateEmptyBlocksInterval = cfg.Interval
	c.Storage.DiscardABCIResponses = true
	c.TxIndex.Indexer = "null"
	return c
}

// genesis is the chain's beginning. It follows from the chain ID and the validator alone. Its time is the first
// header's and nothing else's; a later one would make a machine wait whose clock was never set.
func genesis(cfg Config) *types.GenesisDoc {
	params := types.DefaultConsensusParams()
	params.Block.MaxBytes = maxBlock
	params.Evidence.MaxBytes = maxEvidence
	return &types.GenesisDoc{
		GenesisTime:     time.Unix(0, 0).UTC(),
		ChainID:         cfg.ChainID,
		InitialHeight:   1,
		ConsensusParams: params,
		Validators:      []types.GenesisValidator{{PubKey: ed25519.PrivKey(cfg.Key).PubKey(), Power: 1}},
	}
}

// checkGenesis checks that the directory is this chain's: CometBFT takes whatever it finds.
func (n *embedded) checkGenesis(cfg Config, signedBefore bool) error {
	g := n.node.GenesisDoc()
	if g.ChainID != cfg.ChainID {
		return fmt.Errorf("it holds the chain %q, not %q", g.ChainID, cfg.ChainID)
	}
	if key := ed25519.PrivKey(cfg.Key).PubKey(); len(g.Validators) != 1 || !g.Validators[0].PubKey.Equals(key) {
		return fmt.Errorf("its chain has another validator than the key given, %x", key.Bytes())
	}
	if height := n.node.BlockStore().Height(); height > 0 && !signedBefore {
		return fmt.Errorf("%s is missing, and the chain is at block %d: the validator could sign twice", validatorFile, height)
	}
	return nil
}

// loadValidator returns the signer of votes, who remembers in a file what it signed last, and whether there was one.
// (CometBFT's own way to load it ends the process where it fails.)
func loadValidator(cfg Config) (_ *privval.FilePV, signedBefore bool, err error) {
	file := filepath.Join(cfg.Dir, validatorFile)
	v := privval.NewFilePV(ed25519.PrivKey(cfg.Key), "", file)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return v, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	if err := cmtjson.Unmarshal(data, &v.LastSignState); err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", validatorFile, err)
	}
	return v, true, nil
}

// wake asks for a block with nothing in it.
func (n *embedded) wake() error {
	tx := n.app.newWake()
	return n.node.Mempool().CheckTx(tx, nil, mempool.TxInfo{})
}

// admit gives a transaction to the mempool. It was not admitted, without an error, if a block has overtaken it.
func (n *embedded) admit(tx []byte) (admitted bool, err error) {
	err = n.node.Mempool().CheckTx(tx, func(r *abci.ResponseCheckTx) { admitted = r.IsOK() }, mempool.TxInfo{})
	if errors.Is(err, mempool.ErrTxInCache) {
		return false, nil
	}
	return admitted, err
}

// wait returns when consensus has ended.
func (n *embedded) wait() { n.consensus.Wait() }

// stop stops what was started and closes every file.
func (n *embedded) stop() error {
	n.settled.Store(false)
	var err error
	if n.node != nil && n.node.IsRunning() {
		err = n.node.Stop()
	}
	return errors.Join(err, n.dbs.close())
}

// databases opens each database once and closes them all. CometBFT closes some of its own.
type databases struct {
	open opener
	dir  string
	mu   sync.Mutex
	all  []*database
}

// database is a database that may be closed more than once.
type database struct {
	dbm.DB
	once sync.Once
	err  error
}

func (d *database) Close() error {
	d.once.Do(func() { d.err = d.DB.Close() })
	return d.err
}

func (d *databases) get(name string) (dbm.DB, error) {
	db, err := d.open(name, d.dir)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, &database{DB: db})
	return d.all[len(d.all)-1], nil
}

func (d *databases) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, db := range d.all {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}
