package peer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
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
	way     Path             // without its RTT
	key     crypto.PublicKey // the other end's
	from    netip.Prefix     // the other end's address, or its relay's
	since   time.Time        // when it was made
	examine chan struct{}    // holds one token for each stream being examined
	verdict chan struct{}    // holds one token while a stranger's hello is verified

	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc

	heard atomic.Int64 // when something that was said last got through, in nanoseconds since 1970

	mu       sync.Mutex
	stranger bool                  // it is not known who the other end is; see know
	met      bool                  // the other end was dialed by us, or accepted by its hello
	guest    bool                  // the other end asks how it is seen, see seen.go
	asking   bool                  // we ask so
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
	retired  bool                  // there is a better way: closed as soon as nothing goes over it

	settled chan struct{} // closed once met, or the connection has ended
	settle  sync.Once     // closes settled
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
		met:      conn.Stat().Direction == network.DirOutbound,
		admitted: make(map[digest]*admission),
		used:     time.Now(),
		way:      wayOf(conn),
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
		l.meet()
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

// meet makes the other end known. l.mu is held.
func (l *link) meet() {
	l.know()
	l.met = true
	l.settle.Do(func() { close(l.settled) })
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
	l.meet()
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
		for _, l := range h.live() {
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
	silent := after(l.traffic.at, l.host.timing.probe)
	open := l.moored || !after(l.used, 2*l.host.timing.tick)
	if silent && open && l.conn.Stat().Direction == network.DirOutbound {
		l.ask()
	}
}

// doubt gives the other end a moment to show that it is still there.
func (l *link) doubt() {
	sent, received, _ := l.wire.packets()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.doubted.at.IsZero() {
		l.doubted = traffic{time.Now(), sent, received}
	}
	l.ask()
}

// large is how many bytes of a write show, when they are taken, that the other end takes some.
const large = 16 << 10

// said notes that n bytes were written, and hears that some were read. A ping may take long behind what is being sent, so
// that its answer is not waited for while either goes on.
func (l *link) said(n int) {
	if n >= large {
		l.hears()
	}
}

func (l *link) hears() { l.heard.Store(time.Now().UnixNano()) }

// ask makes the other end answer. l.mu is held.
func (l *link) ask() {
	if !l.probing.IsZero() || !l.host.begin() {
		return
	}
	l.probing = time.Now()
	go func() {
		defer l.host.running.Done()
		err := l.wire.probe()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.probing = time.Time{}
		if _, _, counted := l.wire.packets(); !counted && err == nil {
			l.traffic.at, l.doubted = time.Now(), traffic{}
		}
	}()
}

// unanswered is the number of packets that a connection sends in vain before its other end counts as gone. A live end
// answers each packet but bare acknowledgements, of which at most two follow the last packet received; QUIC's probes to
// a dead one make the number up within the second.
const unanswered = 4

// silent reports whether the other end has answered nothing of enough packets for d. l.mu is held.
func (l *link) silent(sent uint64, d time.Duration) bool {
	return sent >= l.traffic.sent+unanswered && after(l.traffic.at, d)
}

// drop closes the link if nothing was answered for a while. It is called when there is reason to think that the other end
// has closed it.
func (l *link) drop() {
	sent, _, counted := l.wire.packets()
	l.mu.Lock()
	silent := counted && l.silent(sent, l.host.timing.doubt)
	l.mu.Unlock()
	if silent {
		l.cancel(fmt.Errorf("%w: the other end makes another connection", ErrUnreachable))
		l.conn.Close()
	}
}

// overdue says why the link is to be closed; nil if it is not.
func (l *link) overdue() error {
	t := l.host.timing
	sent, received, counted := l.wire.packets()
	streams := len(l.conn.GetStreams())
	superseded := streams == 0 && l.kind() == Relayed && l.host.direct(l.conn.RemotePeer()) != nil
	l.mu.Lock()
	defer l.mu.Unlock()
	if streams > l.side {
		l.used = time.Now()
	}
	if l.traffic.at.IsZero() || received != l.traffic.received {
		l.traffic = traffic{time.Now(), sent, received}
	}
	if received != l.doubted.received {
		l.doubted = traffic{}
	}
	switch {
	case l.stranger && after(l.since, t.tick) && l.wire.received() >= strangeBytes && len(l.verdict) == 0: // none is due
		l.host.offences.count(Flooding)
		return fmt.Errorf("%d bytes from a stranger", strangeBytes)
	case l.stranger && !l.guest && after(l.conn.Stat().Opened, t.strange):
		if !l.spoke {
			l.host.offences.count(Silence)
		}
		return fmt.Errorf("no accepted caller within %v", t.strange)
	case !l.moored && after(l.used, t.idle) && !time.Now().Before(l.kept):
		return fmt.Errorf("unused for %v", t.idle)
	case superseded && after(l.used, t.supersede):
		return errors.New("there is a direct way by now")
	case l.retired && streams <= l.side:
		return errors.New("there is a way on this network by now")
	case counted && l.silent(sent, t.silence):
		return fmt.Errorf("%w: no packet came back for %v", ErrUnreachable, t.silence)
	case !counted && !l.probing.IsZero() && after(l.probing, t.stalled) && after(time.Unix(0, l.heard.Load()), t.stalled):
		return fmt.Errorf("%w: no answer for %v", ErrUnreachable, t.stalled)
	case !l.doubted.at.IsZero() && after(l.doubted.at, max(t.doubt, 4*l.wire.rtt())):
		return fmt.Errorf("%w: no answer since the network changed", ErrUnreachable)
	}
	return nil
}
