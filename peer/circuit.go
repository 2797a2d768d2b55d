package peer

import (
	"context"
	"errors"
	"sync"

	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	libp2ptransport "github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	ma "github.com/multiformats/go-multiaddr"
)

// A circuits is the transport for ways through relays. Libp2p's tries one relay at a time for each callee, so that a
// dead one would keep others waiting; here each relay has one to itself.
type circuits struct {
	*client.Client // listens, and dials through relays beyond maxNamed

	host   *Host
	secure libp2ptransport.Upgrader

	mu      sync.Mutex
	through map[libp2ppeer.ID]*client.Client
}

// throughRelays adds the transport for ways through relays, which brings circuits of others, too.
func (h *Host) throughRelays(secure libp2ptransport.Upgrader) error {
	base, err := client.New(bare{h}, secure)
	if err != nil {
		return err
	}
	t := &circuits{Client: base, host: h, secure: secure, through: make(map[libp2ppeer.ID]*client.Client)}
	if err := h.swarm.AddTransport(t); err != nil {
		return err
	}
	if err := h.swarm.Listen(ma.StringCast("/p2p-circuit")); err != nil {
		return err
	}
	base.Start()
	return nil
}

// Dial dials a callee through a relay.
func (t *circuits) Dial(ctx context.Context, addr ma.Multiaddr, id libp2ppeer.ID) (libp2ptransport.CapableConn, error) {
	c, err := t.dialer(addr)
	if err != nil {
		return nil, err
	}
	return c.Dial(ctx, addr, id)
}

func (t *circuits) dialer(addr ma.Multiaddr) (*client.Client, error) {
	ids := relaysOf([]ma.Multiaddr{addr})
	if len(ids) == 0 {
		return t.Client, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.through[ids[0]]; c != nil {
		return c, nil
	}
	if len(t.through) >= maxNamed {
		return t.Client, nil
	}
	c, err := client.New(bare{t.host}, t.secure)
	if err == nil {
		t.through[ids[0]] = c
	}
	return c, err
}

// Close ends what the transport does. The swarm calls it.
func (t *circuits) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.Client.Close()
	for _, c := range t.through {
		err = errors.Join(err, c.Close())
	}
	return err
}
