package peer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	libp2ptransport "github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
)

// Protocol is the protocol's name in multistream-select.
const Protocol = "/kindred/http/1"

// Config is what a Host is made of.
type Config struct {
	// Key is the host's own: an ed25519.PrivateKey or *ecdsa.PrivateKey.
	Key crypto.Signer

	// Listen are the addresses to listen on: multiaddrs /ip4|ip6/IP/udp/PORT/quic-v1
	// or /ip4|ip6/IP/tcp/PORT; IP:PORT for UDP and, where it is free, TCP; or
	// :PORT for that on every interface. Port 0 lets the system choose. If
	// nil, every interface and ports that the system chooses; if empty and not
	// nil, none: the host only calls.
	Listen []string

	// Log receives what concerns the operator; nil is silence.
	Log *slog.Logger

	// Admit verifies a caller. from is the key it proved, hello what it showed,
	// nil if nothing. It is called once for a hello on a connection, and for
	// every stream that shows none; its context ends with the connection or
	// after ten seconds. An error refuses the caller. If Admit is nil, everyone
	// is refused.
	Admit func(ctx context.Context, from crypto.PublicKey, hello []byte) (Admission, error)

	// Handler serves the requests of admitted callers; Caller tells who calls.
	// Request contexts end when the caller goes away or the host is closed. A
	// handler may take over a request's stream (http.Hijacker): a net.Conn that
	// has CloseWrite and Reset too, and is closed when the handler returns, if
	// it is not then. From there on its context ends with the connection or the
	// host. Nil answers 404.
	Handler http.Handler

	// Relays are where others find the host who cannot reach it directly: addresses ending in /p2p/KEY, of at most
	// MaxRelays relays. It keeps reservations there if it listens. See SetRelays.
	Relays []string

	// MapPorts asks the router, where there is one that does (PCP, NAT-PMP, UPnP), to forward the ports listened on, and to
	// open its firewall for those of IPv6.
	MapPorts bool

	// Changed is called whenever Addresses or Reach may have changed. It must not wait. Nil is nobody.
	Changed func()

	// Refused answers the requests of callers that Admit refused (Caller tells
	// why); it must reveal nothing that a stranger may not know. Nil answers
	// 403. The stream is closed after one response.
	Refused http.Handler

	// Offended is told what strangers were turned away for, other than by Admit,
	// and how often: of each Offence once a second at most. It must not wait. Nil
	// is told nothing.
	Offended func(what Offence, times int)

	// Relay makes the host carry others' calls within limits; nil: it does not.
	Relay *RelayLimits
}

// An Admission is what verifying a caller came to.
type Admission struct {
	// Hello returns the hello to show to this caller, now: nil to show none. It
	// is called for every stream and request. A nil func shows none.
	Hello func() []byte

	// Value is for the handler, which finds it in Remote.Value.
	Value any
}

// A Host is one key on the network. It is safe for concurrent use.
type Host struct {
	cfg    Config
	log    *slog.Logger
	timing timing
	id     libp2ppeer.ID

	identity *libp2ptls.Identity       // for lanes
	sockets  *quicreuse.ConnManager    // of QUIC
	quicWay  libp2ptransport.Transport // over them
	swarm    *swarm.Swarm
	bus      event.Bus
	closers  []func() error // below the swarm, in order of closing
	carrier  *carrier       // nil: the host is no relay

	nets    nets
	outlook outlook
	relays  relays
	puncher puncher

	ctx    context.Context // ends when Close begins
	cancel context.CancelFunc

	closing  sync.Once
	closeErr error // of closing

	mu         sync.Mutex
	closed     bool                                  // nothing new is counted in running
	links      map[network.Conn]*link                // by live connection
	calls      map[*call]bool                        // open
	services   map[protocol.ID]network.StreamHandler // beside Protocol
	named      map[libp2ppeer.ID]bool                // relays that addresses of callees lead through
	transports []*transport                          // that were made

	strangers strangers
	turns     turns // for hellos
	calling   turns // for calling back, see seen.go
	offences  offences

	running sync.WaitGroup // goroutines of this package, and handlers
}

// New starts a host. The caller closes it.
func New(cfg Config) (*Host, error) { return newHost(cfg, defaultTiming) }

func newHost(cfg Config, t timing) (*Host, error) {
	gologshim.SetDefaultHandler(slog.DiscardHandler) // libp2p would write to standard error, which is not its own
	key, err := privateKey(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("peer: starting a host: %w", err)
	}
	id, err := libp2ppeer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("peer: starting a host: %w", err)
	}
	h := &Host{
		cfg: cfg, log: cfg.Log, timing: t, id: id,
		links:    make(map[network.Conn]*link),
		calls:    make(map[*call]bool),
		services: make(map[protocol.ID]network.StreamHandler),
		named:    make(map[libp2ppeer.ID]bool),
		bus:      eventbus.NewBus(),

		strangers: strangers{most: maxStrangers},
		turns:     turns{most: maxVerified},
		calling:   turns{most: maxCallBacks},
	}
	h.outlook = outlook{host: h, seen: make(map[libp2ppeer.ID]sighting), tell: make(chan struct{}, 1), knock: make(chan struct{}, 1)}
	h.relays = relays{host: h, berths: make(map[libp2ppeer.ID]*berth)}
	h.puncher = puncher{host: h, tries: make(map[libp2ppeer.ID]*punching)}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	if err := h.startSwarm(key); err != nil {
		return nil, errors.Join(fmt.Errorf("peer: starting a host: %w", err), h.Close())
	}
	if cfg.Relay != nil {
		if err := h.startRelay(*cfg.Relay); err != nil {
			return nil, errors.Join(fmt.Errorf("peer: starting a relay: %w", err), h.Close())
		}
	}
	if _, err := h.nets.look(); err != nil {
		h.log.Warn("finding this machine's networks", "error", err)
	}
	h.running.Go(h.tend)
	if err := h.listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("peer: listening: %w", err), h.Close())
	}
	h.running.Go(h.watch)
	if cfg.MapPorts && h.listens() {
		h.running.Go(h.mapPorts)
	}
	if err := h.relays.set(cfg.Relays); err != nil {
		return nil, errors.Join(fmt.Errorf("peer: choosing relays: %w", err), h.Close())
	}
	return h, nil
}

// listen starts listening. Of the default addresses one suffices, for a machine may lack IPv6.
func (h *Host) listen() error {
	list := h.cfg.Listen
	if list == nil {
		list = defaultListen
	}
	must, maybe, err := parseListen(list)
	if err != nil || len(must) == 0 {
		return err
	}
	if h.cfg.Listen == nil {
		return h.swarm.Listen(append(must, maybe...)...)
	}
	for _, a := range must {
		if err := h.swarm.Listen(a); err != nil {
			return fmt.Errorf("on %s: %w", a, err)
		}
	}
	for _, a := range maybe {
		if err := h.swarm.Listen(a); err != nil {
			h.log.Info("listening", "on", a, "error", err)
		}
	}
	return nil
}

// Close ends all calls and connections and waits until every goroutine of the
// host, and every handler, has returned. Responses that were not yet delivered
// are lost. A handler that does not heed its request's context delays it.
func (h *Host) Close() error {
	h.closing.Do(func() { h.closeErr = h.close() })
	return h.closeErr
}

func (h *Host) close() error {
	h.mu.Lock()
	h.closed = true
	calls := slices.Collect(maps.Keys(h.calls))
	h.mu.Unlock()
	h.cancel()
	var errs []error
	errs = append(errs, h.puncher.close())
	if h.swarm != nil {
		errs = append(errs, h.swarm.Close())
	}
	for _, c := range calls {
		c.Close()
	}
	for _, closer := range slices.Backward(h.closers) {
		errs = append(errs, closer())
	}
	h.running.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("peer: closing the host: %w", err)
	}
	return nil
}

// begin counts one more goroutine that Close waits for; false if Close began.
func (h *Host) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.running.Add(1)
	}
	return !h.closed
}

// Disconnect closes every connection with the holder of key, and with them all
// calls and requests in progress. Later calls connect anew.
func (h *Host) Disconnect(key crypto.PublicKey) error {
	id, err := peerID(key)
	if err != nil {
		return fmt.Errorf("peer: disconnecting: %w", err)
	}
	if err := h.swarm.ClosePeer(id); err != nil {
		return fmt.Errorf("peer: disconnecting %s: %w", id, err)
	}
	return nil
}

// Path tells how the holder of key is connected at present; false if it is not.
func (h *Host) Path(key crypto.PublicKey) (Path, bool) {
	id, err := peerID(key)
	if err != nil {
		return Path{}, false
	}
	if l := h.best(id); l != nil {
		return l.path(), true
	}
	return Path{}, false
}

// addresses makes addrs the only ones at which the swarm looks for id. At no
// moment is there none, lest a concurrent dial fail.
func (h *Host) addresses(id libp2ppeer.ID, addrs []string) error {
	now := make(map[string]bool)
	store := h.swarm.Peerstore()
	for _, s := range addrs {
		a, err := parseAddress(s, id)
		if err != nil {
			return err
		}
		now[string(a.Bytes())] = true
		h.passes(a)
		store.AddAddr(id, a, peerstore.TempAddrTTL)
	}
	for _, old := range store.Addrs(id) {
		if !now[string(old.Bytes())] {
			store.SetAddr(id, old, 0)
		}
	}
	return nil
}

// after reports whether d has passed since t.
func after(t time.Time, d time.Duration) bool { return time.Since(t) > d }
