package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	libp2ptransport "github.com/libp2p/go-libp2p/core/transport"
	manet "github.com/multiformats/go-multiaddr/net"
)

// laneALPN is what TLS calls a lane: the registered name of what runs in it, since the first flight is read by everybody
// on the way, and is to tell them nothing of whose it is.
const laneALPN = "http/1.1"

// A lane is a connection of TCP that is one stream, beside a link of TCP on a LAN that is busy: nothing shares it, so that
// nothing has to be taken apart and put together again. It belongs to its link, and ends with it.
//
// The callee's port is the link's. TLS says what the connection is for: the caller asks for laneALPN where else it asks for
// yamux, which somebody who knows no lanes refuses.
type lane struct {
	secured
	link *link
	gone sync.Once
	done func() // counts it out, and ends what was taken for it
}

// A secured is a TLS connection.
type secured interface {
	net.Conn
	CloseWrite() error
	NetConn() net.Conn
}

// maxLanes is how many lanes there are beside one link.
const maxLanes = maxIdle

// lanes are what a link knows of its own. All of it is guarded by the link's mu.
type lanes struct {
	on    bool      // further streams are lanes
	after time.Time // none before: there were none to be had
	open  int
}

// tryAgain is how long nobody is asked for lanes who refused one: it may know nothing of them, or have been short of room.
const tryAgain = 5 * time.Minute

// widen has further streams of the link be lanes once it is busy, and reports whether that has just begun.
func (l *link) widen() bool {
	if l.requests.Swap(0) < l.host.timing.busy || !l.wide() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lanes.on || time.Now().Before(l.lanes.after) {
		return false
	}
	l.lanes.on = true
	return true
}

// wide reports whether there can be lanes: nothing is known to be in between, and it is known where the other end listens.
func (l *link) wide() bool {
	return l.way.Transport == TCP && (l.kind() == LAN || l.kind() == Loopback) && l.conn.Stat().Direction == network.DirOutbound
}

// lane counts one more lane of this end in, if there is to be one.
func (l *link) lane() bool {
	l.mu.Lock()
	on := l.lanes.on
	l.mu.Unlock()
	return on && l.enterLane(maxLanes)
}

// enterLane counts one more lane in, of at most so many.
func (l *link) enterLane(most int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lanes.open >= most {
		return false
	}
	l.lanes.open++
	return true
}

// leaveLane counts a lane out. After the last it has to be busy again for the next.
func (l *link) leaveLane() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lanes.open--; l.lanes.open == 0 {
		l.lanes.on = false
	}
}

// newLane makes a lane of a connection that was counted in, and is closed by close.
func newLane(conn secured, l *link, close func() error) *lane {
	s := &lane{secured: conn, link: l}
	stop := context.AfterFunc(l.ctx, func() { s.Reset() })
	s.done = func() {
		stop()
		_ = close() // whatever it says, it is closed
		l.leaveLane()
	}
	return s
}

// overLane opens a call on a lane of its own, whose callee was accepted; nil if there is to be none.
func (h *Host) overLane(ctx context.Context, id libp2ppeer.ID, t Target, hello frame) *call {
	l := h.best(id)
	if l == nil || !l.lane() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, h.timing.dial)
	defer cancel()
	conn, err := h.dialLane(ctx, l)
	if err != nil {
		l.leaveLane()
	} else {
		s := newLane(conn, l, conn.Close)
		c := newCall(l, s, t, hello)
		if err = c.hold(ctx); err == nil {
			return c
		}
		s.Reset()
	}
	if !errors.Is(ctx.Err(), context.Canceled) {
		h.log.Debug("no lane", "peer", id, "error", err)
		l.mu.Lock()
		l.lanes.on, l.lanes.after = false, time.Now().Add(tryAgain)
		l.mu.Unlock()
	}
	return nil
}

// dialLane makes a connection to where a link leads, with the proof of keys that is the same for all connections.
func (h *Host) dialLane(ctx context.Context, l *link) (*tls.Conn, error) {
	at, err := manet.ToNetAddr(l.conn.RemoteMultiaddr())
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Control: silentTCP(h.timing.silence)}
	raw, err := dialer.DialContext(ctx, at.Network(), at.String())
	if err != nil {
		return nil, err
	}
	conn, err := manet.WrapNetConn(raw)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	config, _ := h.identity.ConfigForPeer(l.conn.RemotePeer())
	config.NextProtos = []string{laneALPN}
	secure := tls.Client(begun(conn), config)
	err = secure.HandshakeContext(ctx)
	if err == nil && secure.ConnectionState().NegotiatedProtocol != laneALPN {
		err = errors.New("the callee knows no lanes")
	}
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return secure, nil
}

// takeLane takes a lane that somebody has made, if it has a link on which it was accepted.
func (h *Host) takeLane(conn libp2ptransport.CapableConn, from secured) {
	l := h.laned(conn)
	if l == nil || !l.enterLane(2*maxLanes) { // those that the caller has just closed may be among them
		h.log.Debug("a lane beside no known connection, or one too many", "peer", conn.RemotePeer(), "address", conn.RemoteMultiaddr())
		_ = conn.Close() // nothing was said on it
		return
	}
	unlinger(from.NetConn())
	s := newLane(from, l, conn.Close)
	if !h.begin() {
		s.Reset()
		return
	}
	go h.take(newServed(s, l))
}

// unlinger has what was written be delivered though the connection is closed: libp2p wants that of none of its own.
func unlinger(conn net.Conn) {
	if c, ok := conn.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(-1) // fails on a connection that has ended
	}
}

// laned returns the link beside which somebody may have a lane: the youngest of TCP on which they are known, from the same
// machine, or what comes from afar would pass for what came on the link.
func (h *Host) laned(lane libp2ptransport.CapableConn) (young *link) {
	id, at := lane.RemotePeer(), ipOf(lane.RemoteMultiaddr())
	for _, l := range h.live() {
		if l.conn.RemotePeer() == id && l.way.Transport == TCP && ipOf(l.conn.RemoteMultiaddr()) == at && l.someone() &&
			(young == nil || l.since.After(young.since)) {
			young = l
		}
	}
	return young
}

// Write writes to the lane. That the other end has closed it is said like of a stream: maybe it has answered.
func (s *lane) Write(p []byte) (int, error) {
	n, err := s.secured.Write(p)
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		err = &network.StreamError{Remote: true, TransportError: err}
	}
	return n, err
}

// Close ends the lane. What was written is still delivered.
func (s *lane) Close() error {
	err := net.ErrClosed
	s.gone.Do(func() {
		err = nil
		s.done()
	})
	return err
}

// Reset ends the lane at once.
func (s *lane) Reset() error {
	if c, ok := s.NetConn().(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0) // fails on a connection that has ended
	}
	err := s.NetConn().Close()
	_ = s.Close() // after which there is nothing to deliver
	return err
}

// ResetWithError ends the lane at once. There are no codes on it.
func (s *lane) ResetWithError(network.StreamErrorCode) error { return s.Reset() }

// CloseRead does nothing: a lane is closed in one go.
func (s *lane) CloseRead() error { return nil }

// The rest of network.Stream.
func (s *lane) ID() string                    { return fmt.Sprintf("%s-lane", s.link.conn.ID()) }
func (s *lane) Protocol() protocol.ID         { return Protocol }
func (s *lane) SetProtocol(protocol.ID) error { return nil }
func (s *lane) Stat() network.Stats           { return s.link.conn.Stat().Stats }
func (s *lane) Conn() network.Conn            { return s.link.conn }
func (s *lane) Scope() network.StreamScope    { return &network.NullScope{} }

// A soloist is the muxer of lanes, which have nothing to share.
type soloist struct{}

// NewConn returns the connection as it is. Those that this host makes do not come here.
func (soloist) NewConn(conn net.Conn, called bool, _ network.PeerScope) (network.MuxedConn, error) {
	c, ok := conn.(secured)
	if !called || !ok {
		return nil, errors.New("a lane that nobody asked for")
	}
	return &solo{secured: c}, nil
}

var errSolo = errors.New("a lane is one stream")

// A solo is a lane that has come in, until it is taken.
type solo struct {
	secured
	closed atomic.Bool
}

// As finds the lane.
func (s *solo) As(target any) bool {
	t, ok := target.(**solo)
	if ok {
		*t = s
	}
	return ok
}

// Close closes the connection.
func (s *solo) Close() error {
	s.closed.Store(true)
	return s.secured.Close()
}

// CloseWithError closes the connection.
func (s *solo) CloseWithError(network.ConnErrorCode) error { return s.Close() }

// IsClosed reports whether it was closed.
func (s *solo) IsClosed() bool { return s.closed.Load() }

// OpenStream fails.
func (s *solo) OpenStream(context.Context) (network.MuxedStream, error) { return nil, errSolo }

// AcceptStream fails.
func (s *solo) AcceptStream() (network.MuxedStream, error) { return nil, errSolo }

// A sorted is a listener that keeps lanes from libp2p.
type sorted struct {
	libp2ptransport.Listener
	host *Host
}

// Accept returns the next connection that is no lane.
func (l sorted) Accept() (libp2ptransport.CapableConn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		var s *solo
		if !conn.As(&s) {
			return conn, nil
		}
		l.host.takeLane(conn, s.secured)
	}
}
