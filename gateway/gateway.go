// Package gateway runs a home: a Node with the keeper, the ledger, the pairing desk and the control API on it.
//
//	            phones, things, apps                      new members
//	                     │  kindred/http                       │
//	┌────────────────────▼─────────────────────────────────────▼──────┐
//	│ Node: who calls?    control: Home          pairing: Desk        │
//	│                      │  may they?           │                   │
//	│                     keeper: the roster, its one writer          │
//	│                      │ on disk       │ outbox                   │
//	│                     store           chain: the ledger           │
//	└─────────────────────────────────────────────────────────────────┘
//
// A gateway has a directory of its own, made by Found inside its owner's and movable to another machine: the keys of
// the places it keeps, of the keeper, of the ledger's validator and its own; one database; the ledger's folder. It
// holds no key of a person, so whoever steals it can add devices to its places, and neither people nor apps.
package gateway

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/keeper"
	"github.com/kindred-iot/kindred/ledger/chain"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/tree"
)

// Config says where a gateway lives and how it is reached.
type Config struct {
	Dir      string           // its own directory, see Dir
	Listen   []string         // IP:PORT, :PORT or multiaddrs
	HTTPS    string           // where tools are served, IP:PORT or :PORT; "": nowhere
	Interval time.Duration    // between the ledger's blocks when nothing happens; 0: chain.DefaultInterval
	Log      *slog.Logger     // nil: silence
	Clock    func() time.Time // nil: the system's

	Relays   []string // where the home's members are found from elsewhere: addresses that end in /p2p/KEY
	MapPorts bool     // ask the router to forward the ports listened on
	Moved    func()   // called when the addresses may have changed; must not wait; nil: nobody
}

// A Gateway is a running home.
type Gateway struct {
	cfg      Config
	db       *store.DB
	keys     identity.Keys
	chain    *chain.Chain
	keeper   *keeper.Keeper
	desk     *pairing.Desk
	replica  *journal.Replica
	lan      *lan
	node     *kindred.Node
	nodeUp   chan struct{} // closed when node is set: its calls may come before Open has it
	asks     asks
	takings  takings
	endings  endings
	watchers watchers
	signers  signers
	quota    *quota // of members' journals
	blocks   blocks
	places   sync.Mutex // held while places are made

	introductions introductions
	news          news
	givers        givers

	failed chan error // of what runs in the background
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

// The keys in a gateway's directory, beside its leaf's. Those of places are called "place-" and the member ID.
const (
	keyKeeper    = "keeper"
	keyValidator = "validator"
	keyPlace     = "place-"
)

const ledgerDir = "ledger"

// Open starts the gateway of a directory that Found made. The caller closes it.
func Open(ctx context.Context, cfg Config) (_ *Gateway, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	g := &Gateway{cfg: cfg, keys: identity.KeyDir(filepath.Join(cfg.Dir, kindred.KeysDir)), failed: make(chan error, 2), nodeUp: make(chan struct{})}
	g.introductions.g, g.news.g, g.givers.g = g, g, g
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("gateway: starting %s: %w", cfg.Dir, err), g.Close())
		}
	}()
	if g.db, err = store.Open(ctx, filepath.Join(cfg.Dir, kindred.StoreFile)); err != nil {
		return nil, err
	}
	self, charter, err := kindred.Settled(ctx, g.db)
	if err != nil {
		return nil, err
	}
	if err := g.startLedger(ctx, charter); err != nil {
		return nil, err
	}
	if err := g.startKeeper(ctx, self); err != nil {
		return nil, err
	}
	g.quota = newQuota(g.db.Room, cfg.Clock)
	g.replica = journal.NewReplica(g.db, self.Tree, g.quota.check)
	if g.lan, err = openLAN(ctx, g.db, g.keys, self.Tree, cfg.Clock); err != nil {
		return nil, err
	}
	g.desk, err = pairing.NewDesk(ctx, pairing.Config{Tree: self.Tree, Store: g.db, Gateway: host{g}, Log: cfg.Log, Now: cfg.Clock})
	if err != nil {
		return nil, err
	}
	return g, g.startNode(ctx)
}

func (g *Gateway) startLedger(ctx context.Context, charter tree.Ruled) error {
	validator, err := g.keys.Open(keyValidator)
	if err != nil {
		return err
	}
	key, ok := validator.(ed25519.PrivateKey)
	if !ok {
		return fmt.Errorf("the validator's key is a %T, want Ed25519", validator)
	}
	g.chain, err = chain.Start(ctx, chain.Config{
		Dir: filepath.Join(g.cfg.Dir, ledgerDir), ChainID: charter.Anchors[0].Chain,
		Key: key, Interval: g.cfg.Interval, Log: g.cfg.Log,
	})
	return err
}

func (g *Gateway) startKeeper(ctx context.Context, self kindred.Self) error {
	key, err := g.keys.Open(keyKeeper)
	if err != nil {
		return err
	}
	g.keeper, err = keeper.Open(ctx, keeper.Config{
		Store: g.db, Ledger: g.chain, Key: key, Gateway: self.Gateway.Member,
		Clock: g.cfg.Clock, Log: g.cfg.Log, Notify: g.notify,
	})
	if err != nil {
		return err
	}
	background, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	g.wait.Go(func() {
		if err := g.keeper.Run(background); err != nil && background.Err() == nil {
			g.failed <- err
		}
	})
	g.wait.Go(func() { g.tidy(background) })
	g.wait.Go(func() { g.runEndings(background) })
	g.wait.Go(func() {
		select {
		case <-g.nodeUp:
			g.news.run(background)
		case <-background.Done():
		}
	})
	g.wait.Go(func() {
		select {
		case <-g.chain.Done():
			if background.Err() == nil {
				g.failed <- g.chain.Err()
			}
		case <-background.Done():
		}
	})
	return nil
}

func (g *Gateway) startNode(ctx context.Context) (err error) {
	h := &home{Gateway: g}
	g.node, err = kindred.Open(ctx, kindred.Config{
		Dir: g.cfg.Dir, Listen: g.cfg.Listen, HTTPS: g.cfg.HTTPS, Log: g.cfg.Log, Clock: g.cfg.Clock,
		Relays: g.cfg.Relays, MapPorts: g.cfg.MapPorts, Moved: g.cfg.Moved,
		Gateway: &kindred.Gateway{
			Store: g.db, Home: own{h}, Live: g.live, Refused: strangers(g.desk.Handler(), &g.introductions, asksAbroad{g}),
			Handler: h.handler, Welcome: g.welcome,
		},
	})
	if err != nil {
		return err
	}
	close(g.nodeUp)
	return g.node.Refresh(ctx)
}

// started returns the gateway's node to what serves it.
func (g *Gateway) started() *kindred.Node {
	<-g.nodeUp
	return g.node
}

// Node returns the gateway's own node.
func (g *Gateway) Node() *kindred.Node { return g.node }

// Run serves until ctx ends or the gateway cannot go on.
func (g *Gateway) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-g.failed:
		return fmt.Errorf("gateway: %w", err)
	}
}

// Close ends all that the gateway started and waits for it.
func (g *Gateway) Close() error {
	var errs []error
	g.watchers.close()
	if g.node != nil {
		errs = append(errs, g.node.Close())
	}
	if g.cancel != nil {
		g.cancel()
	}
	if g.chain != nil {
		errs = append(errs, g.chain.Stop())
	}
	g.wait.Wait()
	if g.db != nil {
		errs = append(errs, g.db.Close())
	}
	return errors.Join(errs...)
}

// member returns the live member with an ID.
func (g *Gateway) member(id identity.MemberID) (e tree.Entry, ok bool) {
	g.keeper.View(func(s *tree.State) { e, ok = s.Member(id) })
	return e, ok
}

// contact returns how to reach a member.
func (g *Gateway) contact(c identity.Chain) control.Contact {
	address, _ := g.keeper.Address(c.Member())
	found := control.Contact{Chain: c.Raw, Address: address}
	if c.Member() == g.started().Self().Member() {
		found.Relays = g.cfg.Relays
	}
	return found
}

// authority returns the authority of a place that the gateway keeps.
func (g *Gateway) authority(place tree.Entry) (*identity.Authority, error) {
	key, err := g.keys.Open(placeKey(place.Chain.Member()))
	if err != nil {
		return nil, err
	}
	return identity.NewAuthority(place.Chain, key)
}

func placeKey(id identity.MemberID) string { return keyPlace + id.String() }
