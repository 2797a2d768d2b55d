package peer

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	ma "github.com/multiformats/go-multiaddr"
)

// settling is how long the host waits for more to change before it tells of a change.
const settling = 50 * time.Millisecond

// watch notices what changes around the host, and does what follows from it, until the host is closed:
//
//	the networks that this machine is on, or it slept ─▶ every connection is doubted, relays are tried again
//	how others see the host, what forwards to it      ─▶ holes may be punched; Config.Changed is told
func (h *Host) watch() {
	var c clock
	var published []string
	var reach Reach
	look := time.NewTicker(h.timing.look)
	defer look.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case now := <-look.C:
			slept := c.slept(now)
			changed, err := h.nets.look()
			if err != nil {
				h.log.Warn("finding this machine's networks", "error", err)
			}
			if slept && !changed {
				h.nets.moved()
			}
			if !slept && !changed {
				continue
			}
			h.log.Info("the network changed", "addresses", h.nets.now(), "slept", slept)
			h.moved()
		case <-h.outlook.tell:
			select { // what else comes now is told with it
			case <-time.After(settling):
			case <-h.ctx.Done():
				return
			}
		}
		h.puncher.ready()
		if a, r := h.Addresses(), h.Reach(); !slices.Equal(a, published) || !r.equal(reach) {
			published, reach = a, r
			h.log.Debug("reached otherwise", "addresses", a, "nat", r.NAT, "door", r.Door, "seen", r.Seen)
			if h.cfg.Changed != nil {
				h.cfg.Changed()
			}
		}
	}
}

// equal reports whether nothing differs that others would want to know.
func (r Reach) equal(o Reach) bool {
	return r.NAT == o.NAT && r.Door == o.Door && slices.Equal(r.Seen, o.Seen) && slices.Equal(r.Mapped, o.Mapped) &&
		slices.Equal(r.Relays, o.Relays)
}

// moved follows a change of this machine's networks: what was connected has to show that it still is, and what was in
// vain may not be any more.
func (h *Host) moved() {
	for _, l := range h.live() {
		l.doubt()
	}
	h.relays.hurry()
}

// connected takes note of a new connection.
func (h *Host) connected(c network.Conn) {
	l := h.link(c)
	if l == nil {
		return
	}
	h.log.Debug("connected", "peer", c.RemotePeer(), "address", c.RemoteMultiaddr(), "direction", c.Stat().Direction)
	id, circuit := c.RemotePeer(), isCircuit(c.RemoteMultiaddr())
	h.mu.Lock()
	relay := h.named[id]
	h.mu.Unlock()
	if relay && !circuit && c.Stat().Direction == network.DirOutbound && !h.relays.chose(id) {
		h.spawn(func() {
			if err := h.askSeen(l.ctx, l); err != nil && l.ctx.Err() == nil {
				h.log.Debug("a relay does not say how it sees this host", "relay", id, "error", err)
			}
		})
	}
	if circuit && c.Stat().Direction == network.DirInbound {
		h.puncher.anew(id)
	}
	if !circuit && h.relayed(id) {
		h.spawn(h.quiet) // streams through the relay that nobody uses would be used again
	}
}

// spawn runs f in a goroutine that Close waits for, unless it began.
func (h *Host) spawn(f func()) {
	if !h.begin() {
		return
	}
	go func() {
		defer h.running.Done()
		f()
	}()
}

// superseded reports whether a relay carries the link, and there is a direct way by now.
func (l *link) superseded() bool {
	return l.kind() == Relayed && l.host.direct(l.conn.RemotePeer()) != nil
}

// doubtDirect has a direct connection with id prove that it lives. It is called when id calls through a relay: maybe
// because the direct way has ceased to exist for it.
func (h *Host) doubtDirect(id libp2ppeer.ID) {
	if c := h.direct(id); c != nil {
		if l := h.link(c); l != nil {
			l.doubt()
		}
	}
}

// relayed reports whether there is a connection with id through a relay.
func (h *Host) relayed(id libp2ppeer.ID) bool {
	return slices.ContainsFunc(h.swarm.ConnsToPeer(id), func(c network.Conn) bool { return isCircuit(c.RemoteMultiaddr()) })
}

// quiet closes the streams that are kept for further requests, so that those go the best way there is by now.
func (h *Host) quiet() {
	for _, t := range h.made() {
		t.CloseIdleConnections()
	}
}

// renew has further requests to the holder of key go over streams that are made now.
func (h *Host) renew(key crypto.PublicKey) {
	for _, t := range h.made() {
		for _, p := range t.all() {
			if p.leadsTo(key) {
				p.renew()
			}
		}
	}
}

// expire closes the streams that were kept for further requests for long enough, or whose connection has ended.
func (h *Host) expire() {
	before := time.Now().Add(-callerIdle)
	for _, t := range h.made() {
		for _, p := range t.all() {
			p.expire(before)
		}
	}
}

// made returns the transports that were made.
func (h *Host) made() []*transport {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.transports)
}

// maxNamed is how many relays of others are remembered.
const maxNamed = 64

// passes notes the relay that an address leads through, which will be asked how it sees this host: for a direct way the
// other end has to know that. All ways to the relay are known before the first is tried: several of its addresses wait
// for one dial, which knows no more than was known when it began.
func (h *Host) passes(addr ma.Multiaddr) {
	if at, ok := relayOf(addr); ok {
		at, id := libp2ppeer.SplitAddr(at)
		h.swarm.Peerstore().AddAddr(id, at, peerstore.TempAddrTTL)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range relaysOf([]ma.Multiaddr{addr}) {
		if len(h.named) < maxNamed {
			h.named[id] = true
		}
	}
}

// seek looks for a better way to the other end of l in the background, if addrs name any: once for the same addresses and
// networks. From a relay every other way leads away, and from a direct way those on the networks
// that this machine is on by now.
func (h *Host) seek(l *link, addrs []string) {
	kind := l.kind()
	if order[kind] < order[Direct] {
		return
	}
	var better []ma.Multiaddr
	for _, s := range addrs {
		a, err := parseAddress(s, "")
		if err != nil {
			continue
		}
		near := pathKind(a) == LAN && h.nets.near(ipOf(a))
		if kind == Relayed && pathKind(a) != Relayed || kind == Direct && near {
			better = append(better, a)
		}
	}
	try := fmt.Sprint(h.nets.changes(), better)
	l.mu.Lock()
	due := l.sought != try
	l.sought = try
	l.mu.Unlock()
	switch {
	case !due, len(better) == 0:
	case kind == Relayed:
		h.spawn(func() { h.straighten(l) })
	default:
		h.spawn(func() { h.comeHome(l, better) })
	}
}

// straighten dials the other end of a relayed link directly. The next streams use what comes of it.
func (h *Host) straighten(l *link) {
	ctx := network.WithForceDirectDial(network.WithDialPeerTimeout(l.ctx, h.timing.dial), "a better way")
	if _, err := h.swarm.DialPeer(ctx, l.conn.RemotePeer()); err != nil && ctx.Err() == nil {
		h.log.Debug("no better way than through a relay", "peer", l.conn.RemotePeer(), "error", err)
	}
}

// comeHome tries whether the other end of a direct link answers on this network. If so the link is closed as soon as
// nothing goes over it, and the next streams find the better way: the swarm makes no second connection beside a first.
func (h *Host) comeHome(l *link, addrs []ma.Multiaddr) {
	for _, a := range addrs {
		t := h.swarm.TransportForDialing(a)
		if t == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(l.ctx, h.timing.doubt)
		c, err := t.Dial(ctx, a, l.conn.RemotePeer())
		cancel()
		if err != nil {
			continue
		}
		if err := c.Close(); err != nil {
			h.log.Debug("hanging up", "peer", l.conn.RemotePeer(), "error", err)
		}
		l.mu.Lock()
		l.retired = true
		l.mu.Unlock()
		h.quiet()
		return
	}
}

// pause waits until ctx ends or d has passed.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
