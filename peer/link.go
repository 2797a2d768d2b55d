package peer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"golang.org/x/time/rate"
)

// A link is what a host knows of one live connection.
//
//	          dialed by us, or its caller accepted
//	strange ───────────────────────────────────────▶ known
//	   │ 15 s                                          │ 5 min without a stream, unless it is kept
//	   ▼                                               ▼
//	closed ◀──────────── what was sent unanswered ─── closed
//
// The caller's end sees to it that something is sent where a stream is open. A guest, who asks how it is seen, is neither
// strange nor known: it is closed when unused.
type link struct {
	host    *Host
	conn    network.Conn
	wire    wire             // under conn
	way     Path             // as it was made, without its RTT
	at      net.Addr         // where the other end was then, see wire
	key     crypto.PublicKey // the other end's
	from    netip.Prefix     // the other end's address, or its relay's
	since   time.Time        // when it was made
	examine chan struct{}    // holds one token for each stream being examined
	verdict chan struct{}    // holds one token while a stranger's hello is verified

	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc

	requests atomic.Int64 // made on it since the last look
	heard    atomic.Int64 // when something that was said last got through, in nanoseconds since 1970

	mu       sync.Mutex
	stranger bool                  // it is not known who the other end is; see know
	met      bool                  // the other end was dialed by us, or accepted by its hello
	guest    bool                  // the other end asks how it is seen, see seen.go
	asking   bool                  // we ask so
	knocking bool                  // the other end asks whether a port leads to it, see door.go
	knocks   *rate.Limiter         // how often it may; nil: it did not yet
	side     int                   // streams open that are no use of the link
	moored   bool                  // wanted though no stream may be open
	admitted map[digest]*admission // hellos shown by the other end, at most maxAdmitted
	refused  int                   // verifications that failed
	spoke    bool                  // the other end opened a stream as it is due
	bad      int                   // streams of a stranger that it did not
	recent   []digest              // keys of admitted, oldest first
	serving  bool                  // the other end has answered on a stream of ours
	opened   int                   // streams that we opened before it did
	answered chan struct{}         // closed when it does
	shown    digest                // our hello that the other end accepted; zero if none
	held     frame                 // the other end's hello that we accepted; none or full
	used     time.Time             // when a stream was last seen open
	kept     time.Time             // until then it need not be used
	traffic  traffic               // as of the last look that found an answer
	probing  time.Time             // since when the other end is being made to answer; zero: it is not
	doubted  traffic               // as of when it was asked to show that it is there; zero: it was not
	sought   string                // for which networks and addresses a better way was looked for
	lanes    lanes                 // beside it
	retired  bool                  // there is a better way: closed as soon as nothing goes over it

	settled chan struct{} // closed once met, or the connection has ended
	settle  sync.Once     // closes settled
}

// link returns the link of conn, made if need be; nil if its key is unusable
// or it is closed.
func (h *Host) link(conn network.Conn) *link {
	l, gone := h.enter(conn)
	if gone != nil {
		gone.turnAway(Crowding, errCrowded)
	}
	return l
}

var errCrowded = errors.New("too many connections of strangers")

// enter returns the link of conn, and that of a stranger who has to go for it.
func (h *Host) enter(conn network.Conn) (l, gone *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.links[conn]; l != nil {
		return l, nil
	}
	key, err := remoteKey(conn)
	var under wire
	if err == nil {
		under, err = wireOf(conn)
	}
	if err != nil {
		h.log.Warn("closing a connection", "peer", conn.RemotePeer(), "error", err)
		conn.Close()
		return nil, nil
	}
	if conn.IsClosed() {
		return nil, nil // unlink may have been called already
	}
	l = &link{
		host: h, conn: conn, wire: under, key: key,
		from: neighbourhood(conn.RemoteMultiaddr()), since: time.Now(),
		examine:  make(chan struct{}, maxExamined),
		verdict:  make(chan struct{}, 1),
		answered: make(chan struct{}),
		stranger: conn.Stat().Direction != network.DirOutbound,
		met:      conn.Stat().Direction == network.DirOutbound,
		admitted: make(map[digest]*admission),
		used:     time.Now(),
		way:      wayOf(conn.RemoteMultiaddr(), conn.Stat().Opened),
		at:       under.at(),
		settled:  make(chan struct{}),
	}
	if l.met {
		l.settle.Do(func() { close(l.settled) })
	}
	l.ctx, l.cancel = context.WithCancelCause(h.ctx)
	h.links[conn] = l
	if l.stranger {
		return l, h.strangers.enter(l)
	}
	l.wire.lift()
	return l, nil
}

// unlink forgets a connection that is closed.
func (h *Host) unlink(conn network.Conn) {
	h.mu.Lock()
	l := h.links[conn]
	delete(h.links, conn)
	if l != nil {
		h.strangers.leave(l)
	}
	h.mu.Unlock()
	if l != nil {
		l.cancel(network.ErrReset)
		l.settle.Do(func() { close(l.settled) })
		h.outlook.forget(l)
		if l.kind() != Relayed && h.relayed(conn.RemotePeer()) {
			h.outlook.changed() // a hole may have to be punched anew
		}
	}
}

// turnAway closes the connection of a stranger; not of one that has just become known.
func (l *link) turnAway(o Offence, why error) {
	if l.strange() {
		l.host.offences.count(o)
		l.cut(why)
	}
}

// cut closes the connection and says why.
func (l *link) cut(why error) {
	l.host.log.Debug("closing a connection", "peer", l.conn.RemotePeer(), "address", l.conn.RemoteMultiaddr(), "why", why)
	l.cancel(why)
	l.conn.Close()
}

// know notes that the other end is someone, and ends what bounds strangers. l.mu is held.
func (l *link) know() {
	if l.stranger {
		l.stranger = false
		l.host.strangers.leave(l)
		l.wire.lift()
	}
}

// strange reports whether the other end is not known.
func (l *link) strange() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stranger
}

// crowded reports whether the other end, a stranger, has more streams open than it may.
func (l *link) crowded() bool { return l.strange() && l.conn.Stat().NumStreams > strangeStreams }

// ill notes what became of a stream that the other end opened. Strangers who do not keep to the protocol are cut off.
func (l *link) ill(err error) {
	var bad malformedError
	l.mu.Lock()
	if err == nil {
		l.spoke = true
	}
	if err == nil || !l.stranger {
		l.mu.Unlock()
		return
	}
	l.bad++
	enough := l.bad >= maxRefused
	l.mu.Unlock()
	if errors.As(err, &bad) {
		l.host.offences.count(Malformed)
	}
	if enough {
		l.cut(fmt.Errorf("%d streams that could not be read, the last: %w", maxRefused, err))
	}
}

// live returns the links that there are.
func (h *Host) live() []*link {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.links))
}

// kind tells what kind of path the link is.
func (l *link) kind() string { return l.way.Kind }

// someone reports whether the other end was dialed by us, or accepted by its hello.
func (l *link) someone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.met
}

// moor says whether the link is wanted though no stream may be open.
func (l *link) moor(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moored = on
}
