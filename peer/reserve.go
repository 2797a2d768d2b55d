package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	ma "github.com/multiformats/go-multiaddr"
)

// MaxRelays is at how many relays a host keeps reservations.
const MaxRelays = 4

// relays are those at which a host keeps reservations.
type relays struct {
	host *Host

	mu     sync.Mutex
	berths map[libp2ppeer.ID]*berth
	order  []libp2ppeer.ID // as they were given
}

// A berth is the reservation at one relay, by which others reach the host through that.
//
//	        connected, reserved
//	away ────────────────────────▶ moored ───┐
//	 ▲  tried again, ever later      │  ▲     │ renewed at half its time
//	 └────────────────────────────────┘  └────┘
//	    connection lost, or refused
type berth struct {
	host  *Host
	relay libp2ppeer.ID
	stop  context.CancelFunc
	soon  chan struct{} // the network changed: no more waiting

	mu    sync.Mutex
	addrs []ma.Multiaddr // the relay's
	until time.Time      // when the reservation ends; zero: there is none
	err   error          // why there is none
}

const (
	firstMooring = 250 * time.Millisecond
	lastMooring  = 30 * time.Second
)

// SetRelays makes the host keep a reservation at each of the relays given, at most MaxRelays, and at no other. They are
// addresses that end in /p2p/KEY, several of one relay where it has several. A host that does not listen keeps none.
func (h *Host) SetRelays(addrs []string) error {
	if err := h.relays.set(addrs); err != nil {
		return fmt.Errorf("peer: choosing relays: %w", err)
	}
	return nil
}

// CheckRelays says what is wrong with addresses for SetRelays; nil if nothing.
func CheckRelays(addrs []string) error {
	_, _, err := parseRelays(addrs)
	return err
}

// parseRelays reads the addresses of relays, and returns those of each and the order of the relays.
func parseRelays(addrs []string) (map[libp2ppeer.ID][]ma.Multiaddr, []libp2ppeer.ID, error) {
	byRelay := make(map[libp2ppeer.ID][]ma.Multiaddr)
	var order []libp2ppeer.ID
	for _, s := range addrs {
		addr, id, err := parseRelay(s)
		if err != nil {
			return nil, nil, err
		}
		if byRelay[id] == nil {
			order = append(order, id)
		}
		byRelay[id] = append(byRelay[id], addr)
	}
	if len(order) > MaxRelays {
		return nil, nil, fmt.Errorf("%d relays, of at most %d", len(order), MaxRelays)
	}
	return byRelay, order, nil
}

func (r *relays) set(addrs []string) error {
	byRelay, order, err := parseRelays(addrs)
	if err != nil || !r.host.listens() {
		return err
	}
	delete(byRelay, r.host.id) // the host's own relay
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, b := range r.berths {
		if byRelay[id] == nil {
			b.stop()
			delete(r.berths, id)
		}
	}
	r.order = order
	for id, addrs := range byRelay {
		if b := r.berths[id]; b != nil {
			b.mu.Lock()
			b.addrs = addrs
			b.mu.Unlock()
			continue
		}
		if !r.host.begin() {
			return ErrClosed
		}
		ctx, stop := context.WithCancel(r.host.ctx)
		b := &berth{host: r.host, relay: id, addrs: addrs, stop: stop, soon: make(chan struct{}, 1)}
		r.berths[id] = b
		go func() {
			defer r.host.running.Done()
			b.keep(ctx)
		}()
	}
	return nil
}

// parseRelay reads the address of a relay, which names it at its end.
func parseRelay(s string) (ma.Multiaddr, libp2ppeer.ID, error) {
	addr, err := parseAddress(s, "")
	if err != nil {
		return nil, "", err
	}
	full, err := ma.NewMultiaddr(s)
	if err != nil || isCircuit(addr) {
		return nil, "", fmt.Errorf("address %q: not of a relay", s)
	}
	_, id := libp2ppeer.SplitAddr(full)
	if id == "" {
		return nil, "", fmt.Errorf("address %q: it does not name the relay's key at its end (/p2p/…)", s)
	}
	return addr, id, nil
}

// all returns the berths, in the order in which the relays were given.
func (r *relays) all() []*berth {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*berth, 0, len(r.order))
	for _, id := range r.order {
		if b := r.berths[id]; b != nil {
			all = append(all, b)
		}
	}
	return all
}

// chose reports whether id is a relay at which the host wants to be reached. No other may open circuits to it.
func (r *relays) chose(id libp2ppeer.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.berths[id] != nil
}

// hurry makes all that wait try again now.
func (r *relays) hurry() {
	for _, b := range r.all() {
		select {
		case b.soon <- struct{}{}:
		default:
		}
	}
}

// keep keeps the reservation until ctx ends.
func (b *berth) keep(ctx context.Context) {
	wait := firstMooring
	for ctx.Err() == nil {
		moored, err := b.moor(ctx)
		b.note(time.Time{}, err)
		if ctx.Err() != nil {
			return
		}
		if moored {
			wait = firstMooring
		}
		b.host.log.Info("no reservation at a relay", "relay", b.relay, "error", err)
		select {
		case <-time.After(wait):
			wait = min(2*wait, lastMooring)
		case <-b.soon:
			wait = firstMooring
		case <-ctx.Done():
		}
	}
}

// note says how the reservation stands.
func (b *berth) note(until time.Time, err error) {
	b.mu.Lock()
	changed := b.until.IsZero() != until.IsZero()
	b.until, b.err = until, err
	b.mu.Unlock()
	if changed {
		b.host.outlook.changed()
	}
}

// moor connects with the relay, and reserves and renews until the connection or a renewal fails.
func (b *berth) moor(ctx context.Context) (moored bool, err error) {
	b.mu.Lock()
	addrs := b.addrs
	b.mu.Unlock()
	l, err := b.host.connectRelay(ctx, b.relay, addrs)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	l.moor(true)
	defer l.moor(false)
	for {
		until, err := b.reserve(ctx)
		if err != nil {
			if l.ctx.Err() != nil {
				err = context.Cause(l.ctx)
			}
			return moored, err
		}
		b.note(until, nil)
		if !moored {
			moored = true
			asking.Go(func() {
				if err := b.host.askSeen(ctx, l); err != nil && ctx.Err() == nil {
					b.host.log.Info("a relay does not say how it sees this host", "relay", b.relay, "error", err)
				}
			})
		}
		select {
		case <-time.After(time.Until(until) / 2):
		case <-ctx.Done():
			return moored, errors.Join(errLost, context.Cause(l.ctx))
		}
	}
}

var errLost = errors.New("the connection was lost")

// reserve makes or renews the reservation.
func (b *berth) reserve(ctx context.Context) (until time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, b.host.timing.hello)
	defer cancel()
	r, err := client.Reserve(ctx, bare{b.host}, libp2ppeer.AddrInfo{ID: b.relay})
	if err != nil {
		return time.Time{}, err
	}
	if time.Until(r.Expiration) < time.Second {
		return time.Time{}, fmt.Errorf("a reservation until %s, which is over at once", r.Expiration)
	}
	return r.Expiration, nil
}

// addresses returns where the host is reached through the relay; none without a reservation.
func (b *berth) addresses() []ma.Multiaddr {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return nil
	}
	var all []ma.Multiaddr
	for _, a := range b.addrs {
		all = append(all, circuitAt(a, b.relay))
	}
	return all
}

// circuitAt is the address of whoever keeps a reservation at a relay.
func circuitAt(addr ma.Multiaddr, relay libp2ppeer.ID) ma.Multiaddr {
	return ma.StringCast(addr.String() + "/p2p/" + relay.String() + "/p2p-circuit")
}

// connectRelay returns a direct link with a relay.
func (h *Host) connectRelay(ctx context.Context, id libp2ppeer.ID, addrs []ma.Multiaddr) (*link, error) {
	h.swarm.Peerstore().AddAddrs(id, addrs, peerstore.TempAddrTTL)
	h.swarm.Backoff().Clear(id)
	ctx = network.WithForceDirectDial(network.WithDialPeerTimeout(ctx, h.timing.dial), "a relay")
	conn, err := h.swarm.DialPeer(ctx, id)
	if err != nil {
		var texts []string
		for _, a := range addrs {
			texts = append(texts, a.String())
		}
		return nil, h.dialError(ctx, err, texts)
	}
	l := h.link(conn)
	if l == nil {
		return nil, errLost
	}
	return l, nil
}

// listens reports whether the host is there to be called.
func (h *Host) listens() bool { return h.cfg.Listen == nil || len(h.cfg.Listen) > 0 }

// relaysOf returns the names of the relays that addresses lead through.
func relaysOf(addrs []ma.Multiaddr) []libp2ppeer.ID {
	var ids []libp2ppeer.ID
	for _, a := range addrs {
		if at, ok := relayOf(a); ok {
			if id, err := libp2ppeer.IDFromP2PAddr(at); err == nil && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}
