// Package kindred puts a device or an app on a tree of trust: an identity on the network, in the manner of a listener
// and an HTTP client.
//
// A Node is a member of a tree at work. It holds the member's key and certificates in a directory, keeps its proof
// fresh at the home's gateway, and remembers what it must not forget of the tree. With it a device serves a thing
// (package thing) to whoever has a right to it, each request decided and told in the journal:
//
//	node, err := kindred.Join(ctx, kindred.Config{Dir: "thermometer", Listen: []string{":0"}}, invitation)
//	t := thing.New("Thermometer")
//	thing.Property(t, "temperature", "Air in the hall", sensor.Celsius).Unit("°C")
//	err = node.Serve(ctx, t)
//
// and an app uses things by their paths:
//
//	node, err := kindred.Open(ctx, kindred.Config{Dir: "phone"})
//	meter, err := node.Thing(ctx, "home/meter")
//	power, err := meter.Read(ctx, "power")
//
// Both ends prove who they are before anything is said; see doc/arch.md for a call from end to end. What a Node
// does not do is write the roster: that is the gateway's keeper.
package kindred

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/store"
	"github.com/kindred-iot/kindred/tree"
)

// Config says where a member lives and how it is reached. The zero value of each field but Dir is useful.
type Config struct {
	Dir    string           // the member's directory; one process at a time uses it
	Listen []string         // where to be reached: IP:PORT, :PORT or multiaddrs; nil: only calls others
	HTTPS  string           // where to serve software that knows nothing of Kindred, IP:PORT or :PORT; "": nowhere
	Log    *slog.Logger     // nil: silence
	Clock  func() time.Time // nil: the system's

	// GatewayAddresses are tried for the gateway beside those the node was told.
	GatewayAddresses []string

	// Relays are where the member is found from elsewhere: addresses that end in /p2p/KEY. If nil, those that the home's
	// gateway names.
	Relays []string

	// MapPorts asks the router, where there is one that does, to forward the ports listened on and open its firewall for IPv6.
	MapPorts bool

	// Moved is called when Addresses or Reach may have changed. It must not wait. Nil is nobody.
	Moved func()

	// Agree says why a service does not accept what is agreed on in the terms of a grant to it, nil that it does. If it is
	// nil itself, all is accepted that can be.
	Agree func(grant.Terms) error

	// Delete has a service that listens delete all that it got by an agreement which was withdrawn, and says what that
	// was, or why something is kept. It is called again, with each news of the home's, until all is deleted. If it is
	// nil, Demands and Answer are there for whoever runs the service.
	Delete func(ctx context.Context, a agreement.Agreement) (agreement.Deletion, error)

	// Gateway is for the gateway itself, whose own home is not across the network.
	Gateway *Gateway

	between func(Home) Home // somebody between the node and its gateway, in a test
}

// A Gateway is what the gateway's own node is given by the gateway.
type Gateway struct {
	Store   *store.DB                                                                    // open; the gateway closes it
	Home    Home                                                                         // its own keeper
	Live    func(ctx context.Context, hello credential.Hello) (credential.Proof, error)  // looks a caller up in the roster
	Handler func(caller func(context.Context) (credential.Principal, bool)) http.Handler // serves verified callers beside the node's own paths
	Refused http.Handler                                                                 // serves callers that are nobody yet
	Welcome func(who credential.Principal) error                                         // of another tree: nil if it has some business here
}

// Home is what a node asks of its gateway. control.Client is one, across the network.
type Home interface {
	Resolve(ctx context.Context, q control.Lookup) (control.Contact, error)
	Prove(ctx context.Context, q control.ProofQuery) (control.Evidence, error)
	Roster(ctx context.Context) (control.Roster, error)
	Announce(ctx context.Context, address []byte) (control.Contact, error)
	Publish(ctx context.Context, recipient []byte) error
	Readers(ctx context.Context, q control.ReadersQuery) (control.Readers, error)
	Revoke(ctx context.Context, notice []byte) (control.Report, error)
	Obeyed(ctx context.Context, leaf []byte) error
	Record(ctx context.Context, b control.Batch) (control.Recorded, error)
	Vouch(ctx context.Context, q control.VouchQuery) (control.Evidence, error)
	Certify(ctx context.Context, r control.ServerRequest) (control.ServerCertificate, error)
	Watch(ctx context.Context, each func(control.Event) error) error
}

// ErrNoMember says that a directory holds no member yet: its owner joins with an invitation, or makes a tree.
var ErrNoMember = errors.New("this directory holds no member of a tree")

// What is in a directory. Which keys are there depends on the member.
const (
	KeyLeaf   = "leaf"       // every member that connects
	KeyCA     = "ca"         // of the owner, person or place right above the leaf, where it was made here
	KeysDir   = "keys"       // the folder of keys
	StoreFile = "kindred.db" // what the member must not forget
)

// A Node is a member of a tree at work. Its methods may be called from several goroutines.
type Node struct {
	cfg      Config
	log      *slog.Logger
	db       *store.DB
	room     func() (free, all int64, err error) // on the disk of db
	keys     identity.Keys
	key      crypto.Signer
	self     identity.Chain
	domain   string // what URLs call its tree
	home     Home
	gateway  GatewayRef
	journal  *journal.Log
	host     *peer.Host
	http     *http.Client
	https    *httpsServer // nil: none
	grants   *grant.Cache
	calls    calls // being served now
	receipts receipts
	accounts accounts
	usage    usage
	refusals refusals
	trust    trust
	noticing sync.Mutex // held while what revocations are kept is changed together with what is trusted
	apart    apart
	contact  contacts
	proofs   proofs
	sessions sessions
	link     link
	endings  endings

	others others

	rendezvous rendezvous
	neighbours neighbours
	vault      ownVault
	readers    readers
	seals      seals

	cancel context.CancelFunc // ends what runs in the background
	wait   sync.WaitGroup
	closed sync.Once
}

// Open puts the member that lives in a directory on the network. The caller closes the node.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	n, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("kindred: opening %s: %w", cfg.Dir, err)
	}
	return n, nil
}

func open(ctx context.Context, cfg Config) (_ *Node, err error) {
	cfg = cfg.withDefaults()
	keys := identity.KeyDir(filepath.Join(cfg.Dir, KeysDir))
	key, err := keys.Open(KeyLeaf)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoMember
	}
	if err != nil {
		return nil, err
	}
	db, err := openStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, log: cfg.Log, db: db, room: db.Room, keys: keys, key: key, grants: grant.NewCache(256)}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if err := n.load(ctx); err != nil {
		return nil, err
	}
	n.journal, err = journal.Open(ctx, db, n.self.Member(), n.self.ID.Tree, key)
	if err != nil {
		return nil, err
	}
	if err := n.receipts.load(ctx, n); err != nil {
		return nil, err
	}
	return n, n.connect()
}

func openStore(ctx context.Context, cfg Config) (*store.DB, error) {
	if cfg.Gateway != nil {
		return cfg.Gateway.Store, nil
	}
	return store.Open(ctx, filepath.Join(cfg.Dir, StoreFile))
}

func (cfg Config) withDefaults() Config {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Listen == nil {
		cfg.Listen = []string{}
	}
	return cfg
}

// load reads what the directory says of the member.
func (n *Node) load(ctx context.Context) error {
	s, err := loadSelf(ctx, n.db)
	if err != nil {
		return err
	}
	if err := n.trust.load(ctx, n.db, s.Tree); err != nil {
		return err
	}
	if err := n.apart.load(ctx, n.db); err != nil {
		return err
	}
	if err := n.calls.start(n); err != nil {
		return err
	}
	if err := n.adopt(s.Chain); err != nil {
		return err
	}
	if err := n.loadForked(ctx); err != nil {
		return err
	}
	n.gateway = s.Gateway
	n.gateway.Addresses = append(slices.Clone(n.cfg.GatewayAddresses), n.gateway.Addresses...)
	if err := n.vault.load(ctx, n); err != nil {
		return err
	}
	return n.proofs.load(ctx, n.db)
}

// adopt takes a certificate chain for the node's own.
func (n *Node) adopt(chain [][]byte) error {
	at, err := identity.ValidFrom(chain)
	if err != nil {
		return err
	}
	self, err := identity.Verify(chain, n.trust.tree(), n.trust.charter().RootCertificate(), at)
	if err != nil {
		return err
	}
	if !identity.SameKey(self.Key, n.key.Public()) {
		return errors.New("the certificate is for another key than the one kept here")
	}
	n.self, n.domain = self, self.ID.Tree.String()
	return nil
}

// connect starts the host and what keeps the node up to date.
func (n *Node) connect() error {
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	n.link.moved = make(chan struct{}, 1)
	n.endings.more = make(chan struct{}, 1)
	n.rendezvous.start()
	handler := n.handler()
	cfg := peer.Config{
		Key: n.key, Listen: n.cfg.Listen, Log: n.log, Admit: n.admit, Handler: handler, Offended: n.countOffence,
		Relays: n.cfg.Relays, MapPorts: n.cfg.MapPorts, Changed: n.moved,
	}
	if g := n.cfg.Gateway; g != nil {
		cfg.Refused = g.Refused
	}
	host, err := peer.New(cfg)
	if err != nil {
		return err
	}
	n.host = host
	n.http = &http.Client{
		Transport: n.roundTripper(),
		// Or whoever is called could have the node do, somewhere else, whatever it may do there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	n.home = control.Client{HTTP: n.http, Base: n.url(n.gateway.Member)}
	if g := n.cfg.Gateway; g != nil {
		n.home = g.Home
	}
	if n.cfg.between != nil {
		n.home = n.cfg.between(n.home)
	}
	n.accounts.start(ctx, n)
	n.link.inTouch, n.link.found = make(chan struct{}), make(chan struct{})
	if c, err := n.remembered(ctx, n.gateway.Member); err == nil {
		n.follow(c.Relays)
	}
	if n.cfg.HTTPS != "" && len(n.cfg.Listen) == 0 {
		return errors.New("who serves HTTPS listens for members too: they bring what was taken away")
	}
	if n.cfg.HTTPS != "" {
		if n.https, err = listenHTTPS(n, n.cfg.HTTPS, handler); err != nil {
			return err
		}
		n.wait.Go(func() { n.https.serve(ctx) })
		n.wait.Go(func() { n.https.keepCertified(ctx) })
	}
	if len(n.cfg.Listen) > 0 {
		n.wait.Go(func() { n.keepUp(ctx) })
		n.wait.Go(func() { n.appear(ctx) })
	}
	return nil
}

// Close takes the member off the network and waits for all that the node started.
func (n *Node) Close() (err error) {
	n.closed.Do(func() { err = n.close() })
	return err
}

func (n *Node) close() error {
	var errs []error
	if n.cancel != nil {
		n.accounts.close()
		n.cancel()
	}
	if n.host != nil {
		errs = append(errs, n.host.Close())
	}
	if n.https != nil {
		errs = append(errs, n.https.close())
	}
	n.wait.Wait()
	n.calls.stop()
	if n.journal != nil {
		errs = append(errs, n.journal.Close())
	}
	if n.cfg.Gateway == nil {
		errs = append(errs, n.db.Close())
	}
	return errors.Join(errs...)
}

// Self returns the member's verified chain.
func (n *Node) Self() identity.Chain { return n.self }

// AsOf returns the newest moment of which the node knows how its tree stood; zero if it never heard.
func (n *Node) AsOf() time.Time { return n.trust.snapshot().AsOf() }

// Addresses returns where the node can be reached, as multiaddrs that end in the name of its key (/p2p/KEY); none if it
// only calls.
func (n *Node) Addresses() []string {
	var named []string
	for _, a := range n.host.Addresses() {
		if a, err := peer.WithKey(a, n.key.Public()); err == nil {
			named = append(named, a)
		}
	}
	return named
}

// HTTPS returns the URLs under which software that knows nothing of Kindred finds the node, the best one first; none if
// the node does not serve it, or its gateway has not yet said what its names are.
func (n *Node) HTTPS() []string {
	if n.https == nil {
		return nil
	}
	return n.https.urls()
}

// Reach tells what the node knows of how it is reached from elsewhere.
func (n *Node) Reach() peer.Reach { return n.host.Reach() }

// Survey tells what Reach does, once the home's relays were asked how they see the node, and which relays those are.
func (n *Node) Survey(ctx context.Context) (peer.Reach, []string, error) {
	relays := n.cfg.Relays
	if c, err := n.remembered(ctx, n.gateway.Member); err == nil && relays == nil {
		relays = c.Relays
	}
	r, err := n.host.Survey(ctx, relays)
	if err != nil {
		return r, relays, fmt.Errorf("kindred: asking how this node is seen: %w", err)
	}
	return r, relays, nil
}

// GatewayAddresses returns where the home's gateway says that it is, or said last.
func (n *Node) GatewayAddresses(ctx context.Context) []string {
	c, err := n.lookUp(ctx, control.Lookup{Member: n.gateway.Member.String()})
	if err != nil {
		if c, err = n.remembered(ctx, n.gateway.Member); err != nil {
			return nil
		}
	}
	return c.Addresses
}

// moved hears that addresses have changed: the gateway is to be told.
func (n *Node) moved() {
	select {
	case n.link.moved <- struct{}{}:
	default:
	}
	n.rendezvous.again()
	if n.cfg.Moved != nil {
		n.cfg.Moved()
	}
}

// follow has the node be found at the relays that the home's gateway names.
func (n *Node) follow(relays []string) {
	if n.cfg.Relays != nil || n.cfg.Gateway != nil {
		return
	}
	if err := n.host.SetRelays(relays); err != nil {
		n.log.Warn("the gateway names relays that cannot be used", "error", err)
	}
}

// Journal returns the node's own journal.
func (n *Node) Journal() *journal.Log { return n.journal }

// Store returns the node's database.
func (n *Node) Store() *store.DB { return n.db }

// HTTP returns a client for URLs kindred://MEMBER.TREE/…, whose every connection is verified on both ends. It follows no
// redirection.
func (n *Node) HTTP() *http.Client { return n.http }

// Gateway returns the API of the home's gateway.
func (n *Node) Gateway() control.Client {
	return control.Client{HTTP: n.http, Base: n.url(n.gateway.Member)}
}

// Authority returns the authority of the owner, person or place right above the member, if its key is kept here.
func (n *Node) Authority() (*identity.Authority, error) {
	key, err := n.keys.Open(KeyCA)
	if err != nil {
		return nil, err
	}
	at, err := identity.ValidFrom(n.self.Raw)
	if err != nil {
		return nil, err
	}
	above, err := identity.Verify(n.self.Raw[1:], n.trust.tree(), n.trust.charter().RootCertificate(), at)
	if err != nil {
		return nil, err
	}
	return identity.NewAuthority(above, key)
}

// url returns the base URL of a member of the node's tree.
func (n *Node) url(member identity.MemberID) string {
	return peer.Scheme + "://" + member.String() + "." + n.domain
}

// Charter returns the tree's charter.
func (n *Node) Charter() tree.Ruled { return n.trust.charter() }
