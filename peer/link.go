package peer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// A link is what a host knows of one live connection.
//
//	          dialed by us, or its caller accepted
//	strange ───────────────────────────────────────▶ known
//	   │ 15 s                                          │ 5 min without a stream, unless it is kept
//	   ▼                                               ▼
//	closed ◀────── packets sent, none back for 3 s ── closed
//
// The caller's end sees to it that packets are sent where a stream is open.
type link struct {
	host    *Host
	conn    network.Conn
	wire    wire             // under conn
	way     Path             // without its RTT
	key     crypto.PublicKey // the other end's
	from    netip.Prefix     // the other end's address, or its relay's
	since   time.Time        // when it was made
	examine chan struct{}    // holds one token for each stream being examined
	verdict chan struct{}    // holds one token while a stranger's hello is verified

	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	stranger bool                  // it is not known who the other end is; see know
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
	probing  bool                  // the other end is being made to answer
}

// An admission is the verdict on one hello, being made until done is closed.
type admission struct {
	done   chan struct{}
	result Admission
	err    error
}

// A traffic counts a connection's packets at some time.
type traffic struct {
	at             time.Time
	sent, received uint64
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
		admitted: make(map[digest]*admission),
		used:     time.Now(),
		way: Path{
			Kind:    pathKind(conn.RemoteMultiaddr()),
			Address: conn.RemoteMultiaddr().String(),
			Since:   conn.Stat().Opened,
		},
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

// path tells how the link runs.
func (l *link) path() Path {
	p := l.way
	p.RTT = l.wire.rtt()
	return p
}

// admit returns the verdict on what the other end showed. A hello is verified
// once, even if several streams show it at the same time; refusals are not
// remembered.
func (l *link) admit(shown frame) (Admission, error) {
	if l.refusedEnough() {
		return Admission{}, errRefusedEnough
	}
	l.mu.Lock()
	if shown.kind == frameNone {
		l.mu.Unlock()
		result, err := l.examined(nil)
		l.recognize(err)
		return result, err
	}
	a := l.admitted[shown.digest]
	if a == nil && shown.kind == frameDigest {
		l.mu.Unlock()
		return Admission{}, errForgotten
	}
	first := a == nil
	if first {
		a = &admission{done: make(chan struct{})}
		l.remember(shown.digest, a)
	}
	l.mu.Unlock()
	if first {
		a.result, a.err = l.examined(shown.hello)
		l.recognize(a.err)
		if a.err != nil {
			l.forget(shown.digest)
		}
		close(a.done)
	}
	<-a.done
	return a.result, a.err
}

var errRefusedEnough = fmt.Errorf("refused %d times on this connection", maxRefused)

// refusedEnough reports whether nothing more is verified for the other end.
func (l *link) refusedEnough() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stranger && l.refused >= maxRefused
}

// remember keeps a under d, and the oldest no longer. l.mu is held.
func (l *link) remember(d digest, a *admission) {
	if len(l.recent) == maxAdmitted {
		delete(l.admitted, l.recent[0])
		l.recent = l.recent[1:]
	}
	l.admitted[d] = a
	l.recent = append(l.recent, d)
}

func (l *link) forget(d digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.admitted, d)
	l.recent = slices.DeleteFunc(l.recent, func(r digest) bool { return r == d })
}

// examined verifies a hello when its turn has come, and none at once. A stranger's are verified one after the other.
func (l *link) examined(hello []byte) (Admission, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.host.timing.admit)
	defer cancel()
	if hello == nil {
		return l.verify(ctx, nil)
	}
	who := string(l.conn.RemotePeer())
	if l.strange() {
		who = l.from.String()
		select {
		case l.verdict <- struct{}{}:
			defer func() { <-l.verdict }()
		case <-ctx.Done():
			return Admission{}, context.Cause(ctx)
		}
		if l.refusedEnough() { // while it waited
			return Admission{}, errRefusedEnough
		}
	}
	if err := l.host.turns.take(ctx, who); err != nil {
		return Admission{}, fmt.Errorf("too many others are being verified: %w", err)
	}
	defer l.host.turns.give()
	return l.verify(ctx, hello)
}

// verify asks Config.Admit. A panic there refuses this caller and nobody else.
func (l *link) verify(ctx context.Context, hello []byte) (result Admission, err error) {
	if l.host.cfg.Admit == nil {
		return Admission{}, errors.New("this host admits nobody")
	}
	defer func() {
		if p := recover(); p != nil {
			l.host.log.Error("verifying a caller panicked", "peer", l.conn.RemotePeer(), "panic", p, "stack", string(debug.Stack()))
			result, err = Admission{}, fmt.Errorf("verifying panicked: %v", p)
		}
	}()
	return l.host.cfg.Admit(ctx, l.key, hello)
}

// recognize notes whether the other end was accepted.
func (l *link) recognize(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.know()
	} else {
		l.refused++
	}
}

// keep notes that the other end is somebody, and that the link need not be used until then.
func (l *link) keep(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.know()
	if until.After(l.kept) {
		l.kept = until
	}
}

// frames returns the two frames with which a stream to the other end begins:
// what is shown of hello, and the hello that is held.
func (l *link) frames(hello frame) (shown, held frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if hello.kind == frameFull && hello.digest == l.shown {
		hello = hello.short()
	}
	return hello, l.held
}

// accepted notes that the other end accepted the hello shown and that we
// accepted the one it showed.
func (l *link) accepted(shown digest, theirs frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.know()
	l.shown, l.held = shown, theirs
}

// serves notes that the other end answered; served reports whether it ever did.
func (l *link) serves() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.serving {
		l.serving = true
		close(l.answered)
	}
}

// opens waits until a further stream may be opened: before the other end has answered, it may take us for strangers.
func (l *link) opens(ctx context.Context) error {
	l.mu.Lock()
	if l.serving || l.opened < strangeStreams {
		l.opened++
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	select {
	case <-l.answered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
}

func (l *link) served() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.serving
}

// startOver makes the next stream show its hello in full.
func (l *link) startOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown, l.held = digest{}, frame{}
}

// tend looks at all connections until the host is closed.
func (h *Host) tend() {
	ticker := time.NewTicker(h.timing.tick)
	defer ticker.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-ticker.C:
		}
		h.mu.Lock()
		links := make([]*link, 0, len(h.links))
		for _, l := range h.links {
			links = append(links, l)
		}
		h.mu.Unlock()
		for _, l := range links {
			if why := l.overdue(); why != nil {
				l.cut(why)
			} else {
				l.probe()
			}
		}
		h.tell()
	}
}

// tell tells the owner what strangers were turned away for.
func (h *Host) tell() {
	for o, n := range h.offences.take() {
		h.log.Debug("strangers were turned away", "for", o, "times", n)
		if h.cfg.Offended != nil {
			h.cfg.Offended(o, n)
		}
	}
}

// probe makes the other end answer, if this end called, something of the call is still open, and nothing came back
// since the last look: so that a way that has ceased to exist is noticed though nothing is being said.
func (l *link) probe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	silent := after(l.traffic.at, l.host.timing.tick/2)
	open := !after(l.used, l.host.timing.tick/2)
	if l.probing || !silent || !open || l.conn.Stat().Direction != network.DirOutbound || !l.host.begin() {
		return
	}
	l.probing = true
	go func() {
		defer l.host.running.Done()
		l.wire.probe()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.probing = false
	}()
}

// unanswered is the number of packets that a connection sends in vain before its other end counts as gone. A live end
// answers each packet but bare acknowledgements, of which at most two follow the last packet received; QUIC's probes to
// a dead one make the number up within the second.
const unanswered = 4

// overdue says why the link is to be closed; nil if it is not.
func (l *link) overdue() error {
	t := l.host.timing
	sent, received, counted := l.wire.packets()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conn.GetStreams()) > 0 {
		l.used = time.Now()
	}
	if l.traffic.at.IsZero() || received != l.traffic.received {
		l.traffic = traffic{time.Now(), sent, received}
	}
	switch {
	case l.stranger && after(l.since, t.tick) && l.wire.received() >= strangeBytes && len(l.verdict) == 0: // none is due
		l.host.offences.count(Flooding)
		return fmt.Errorf("%d bytes from a stranger", strangeBytes)
	case l.stranger && after(l.conn.Stat().Opened, t.strange):
		if !l.spoke {
			l.host.offences.count(Silence)
		}
		return fmt.Errorf("no accepted caller within %v", t.strange)
	case after(l.used, t.idle) && !time.Now().Before(l.kept):
		return fmt.Errorf("unused for %v", t.idle)
	case counted && sent >= l.traffic.sent+unanswered && after(l.traffic.at, t.silence):
		return fmt.Errorf("%w: no packet came back for %v", ErrUnreachable, t.silence)
	}
	return nil
}
