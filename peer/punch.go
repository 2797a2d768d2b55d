package peer

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"
)

// What came of punching a hole through NATs, so that a relayed path becomes a direct one.
const (
	PunchNever  = "never"  // it was not tried: one end does not know how others see it, or knows the other not yet
	PunchTrying = "trying" // it is being tried
	PunchFailed = "failed" // it was tried in vain, and will be again once the networks change
)

const (
	punchTimeout = 5 * time.Second // for one try; three are made
	punchPause   = time.Minute     // from a failure to the next, at least; doubled each time
	maxPunched   = 1024            // peers whose tries are remembered
	maxEarly     = 3               // times that an end which is not ready is asked again after earlyPause
	earlyPause   = time.Second
	lastTry      = 2 * time.Second // after a try, when no other has begun: it was the last
)

// A puncher makes relayed connections direct, by libp2p's DCUtR: the callee, once it knows who calls, and the caller tell
// each other, through the relay, where others see them, and both send at the same time.
type puncher struct {
	host *Host

	mu      sync.Mutex
	service *holepunch.Service // nil until it is known where others see the host
	closed  bool
	tries   map[libp2ppeer.ID]*punching
}

// A punching is what came of the tries with one peer.
type punching struct {
	outcome string
	ended   time.Time // when a try ended in vain, unless another has begun
	failed  time.Time // when all tries last had
	pause   time.Duration
	epoch   uint64 // of the networks, then
	outside string // where others saw the host, then
	early   int    // times in a row, on one connection, that the other end was not ready; it is asked again soon
}

// ready starts punching once there is something to tell, and tries again where something changed.
func (p *puncher) ready() {
	outside := p.host.outside()
	if len(outside) == 0 {
		return
	}
	p.mu.Lock()
	if p.service == nil && !p.closed {
		// It registers itself; there is at least one address, so it does at once.
		s, err := holepunch.NewService(bare{p.host}, acquainted{p.host}, p.host.outside,
			holepunch.DirectDialTimeout(punchTimeout), holepunch.WithAddrFilter(acquainted{p.host}), holepunch.WithTracer(p))
		if err != nil {
			p.host.log.Warn("no direct ways will be made of relayed ones", "error", err)
		}
		p.service = s
	}
	service := p.service
	p.mu.Unlock()
	if service == nil {
		return
	}
	for _, id := range p.due(key(outside)) {
		p.host.spawn(func() {
			if err := service.DirectConnect(id); err != nil && !errors.Is(err, holepunch.ErrHolePunchActive) {
				p.host.log.Debug("no direct way was made", "peer", id, "error", err)
			}
		})
	}
}

// due returns who is connected with us through a relay alone, called us, and may be tried.
func (p *puncher) due(outside string) (ids []libp2ppeer.ID) {
	h := p.host
	for _, l := range h.live() {
		id := l.conn.RemotePeer()
		if l.kind() != Relayed || l.conn.Stat().Direction != network.DirInbound || !l.someone() || h.direct(id) != nil {
			continue
		}
		p.mu.Lock()
		t := p.tries[id]
		ok := t == nil || t.settled() == PunchFailed && t.due(h.nets.changes(), outside)
		p.mu.Unlock()
		if ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// settled returns the outcome, which is known some time after the last of the tries: each end counts for itself.
func (t *punching) settled() string {
	if t.outcome == PunchTrying && !t.ended.IsZero() && after(t.ended, lastTry) {
		t.outcome = PunchFailed
	}
	return t.outcome
}

// due reports whether another try is worth it.
func (t *punching) due(epoch uint64, outside string) bool {
	if t.early > 0 && t.early <= maxEarly {
		return after(t.failed, earlyPause)
	}
	return after(t.failed, t.pause) && (t.epoch != epoch || t.outside != outside)
}

// anew notes that id calls through a relay on a new connection, maybe from another network: it may be ready by now.
// Libp2p's service tries at once, unless it still waits for an answer on a connection that is no more.
func (p *puncher) anew(id libp2ppeer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tries[id]; t != nil {
		t.early = 0
	}
}

// key makes addresses comparable.
func key(addrs []ma.Multiaddr) (s string) {
	for _, a := range addrs {
		s += a.String() + " "
	}
	return s
}

// outcome tells what came of punching a hole towards id.
func (p *puncher) outcome(id libp2ppeer.ID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.tries[id]; t != nil {
		return t.settled()
	}
	return PunchNever
}

// Trace notes what libp2p's service does.
func (p *puncher) Trace(e *holepunch.Event) {
	outside := key(p.host.outside())
	p.host.log.Debug("punching a hole", "peer", e.Remote, "what", e.Type, "how", e.Evt, "own", outside)
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tries[e.Remote]
	if t == nil {
		if len(p.tries) >= maxPunched {
			clear(p.tries)
		}
		t = &punching{pause: punchPause}
		p.tries[e.Remote] = t
	}
	note := func(outcome string) {
		if t.settled() == PunchFailed && after(t.failed, punchPause) {
			t.pause *= 2
		}
		t.outcome, t.failed, t.epoch, t.outside = outcome, time.Now(), p.host.nets.changes(), outside
	}
	switch evt := e.Evt.(type) {
	case *holepunch.EndHolePunchEvt:
		if evt.Success {
			delete(p.tries, e.Remote)
			return
		}
		note(PunchTrying)
		t.ended = t.failed
	case *holepunch.ProtocolErrorEvt: // the other end does not know yet where others see it, or we do not
		note(PunchFailed)
		if t.early++; t.early <= maxEarly {
			p.host.spawn(func() {
				if pause(p.host.ctx, earlyPause+settling) == nil {
					p.ready()
				}
			})
		}
	case *holepunch.DirectDialEvt:
		if evt.Success {
			delete(p.tries, e.Remote)
			return
		}
		t.outcome, t.ended = PunchTrying, time.Time{}
	default:
		t.outcome, t.ended, t.early = PunchTrying, time.Time{}, 0
	}
}

// close ends punching.
func (p *puncher) close() error {
	p.mu.Lock()
	p.closed = true
	service := p.service
	p.mu.Unlock()
	if service == nil {
		return nil
	}
	return service.Close()
}

// acquainted decides for libp2p's service who may learn where others see the host: nobody whose hello was not accepted,
// and whom the host did not call.
type acquainted struct{ host *Host }

// IdentifyConn waits until it is known whether the other end may.
func (a acquainted) IdentifyConn(c network.Conn) { <-a.IdentifyWait(c) }

// IdentifyWait is closed once the other end may, or has gone.
func (a acquainted) IdentifyWait(c network.Conn) <-chan struct{} {
	if l := a.host.link(c); l != nil {
		return l.settled
	}
	gone := make(chan struct{})
	close(gone)
	return gone
}

// Start does nothing.
func (acquainted) Start() {}

// Close does nothing.
func (acquainted) Close() error { return nil }

// FilterLocal returns what a peer is told of where others see the host.
func (a acquainted) FilterLocal(id libp2ppeer.ID, addrs []ma.Multiaddr) []ma.Multiaddr {
	for _, c := range a.host.swarm.ConnsToPeer(id) {
		if l := a.host.link(c); l != nil && l.someone() {
			return addrs
		}
	}
	return nil
}

// FilterRemote returns what is tried of the addresses that a peer names: public ones of QUIC, and a few. Nobody makes the
// host knock at doors within its own network.
func (a acquainted) FilterRemote(_ libp2ppeer.ID, addrs []ma.Multiaddr) []ma.Multiaddr {
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(a ma.Multiaddr) bool { return !isQUIC(a) || !isPublic(a) })
	return addrs[:min(len(addrs), maxOutside)]
}
