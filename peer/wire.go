package peer

import (
	"errors"
	"net"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-yamux/v5"
	"github.com/quic-go/quic-go"
)

// A wire is what runs under a link, seen as something that an answer comes back from, or does not.
type wire interface {
	// packets returns how many were sent and received so far, and whether they are counted at all: where they are not,
	// an answer is one to a probe.
	packets() (sent, received uint64, counted bool)

	// probe makes the other end send something. It may wait for that, not longer than some seconds, and says so if it
	// did in vain.
	probe() error

	// rtt is the round-trip time; 0 before it was measured.
	rtt() time.Duration

	// at is where the other end is now; nil where it stays as long as the connection lasts.
	at() net.Addr

	// close ends a stream. What was written is still delivered, and the other end learns that nobody reads on.
	close(network.Stream) error

	// gather follows a small write, and has it go out together with what others are about to write.
	gather()

	// received is how many bytes came while the other end was not known.
	received() uint64

	// lift says that the other end is known, and ends what bounds those who are not.
	lift()
}

// wireOf returns what runs under conn.
func wireOf(conn network.Conn) (wire, error) {
	var q *quic.Conn
	if conn.As(&q) {
		return quicWire{q}, nil
	}
	var y *yamux.Session
	var a *allowance
	if conn.As(&y) && conn.As(&a) {
		return yamuxWire{y, a}, nil
	}
	return nil, errors.New("neither QUIC nor yamux runs under the connection")
}

// A quicWire is a connection of packets.
type quicWire struct{ conn *quic.Conn }

func (w quicWire) packets() (sent, received uint64, counted bool) {
	s := w.conn.ConnectionStats()
	return s.PacketsSent, s.PacketsReceived, true
}

// probe sends a datagram (RFC 9221), which is acknowledged, and which nobody reads.
func (w quicWire) probe() error { return w.conn.SendDatagram([]byte{0}) }

func (w quicWire) rtt() time.Duration { return w.conn.ConnectionStats().SmoothedRTT }

// at tells of a caller that takes its connection along to another network (RFC 9000, §9).
func (w quicWire) at() net.Addr { return w.conn.RemoteAddr() }

func (w quicWire) close(s network.Stream) error { return s.Close() }

// gather sends the goroutine that makes packets to the end of the line of those that are ready to run. Write woke it, and
// Go runs next what was woken last: each answer would go in a packet of its own, while others, to requests that came
// together, are about to be written. Waking one that does nothing takes that place from it.
func (quicWire) gather() { go nothing() }

func nothing() {}

func (w quicWire) received() uint64 { return w.conn.ConnectionStats().BytesReceived }

// lift does nothing: QUIC's windows, 768 KiB a connection, grow only where something is read.
func (quicWire) lift() {}

// A yamuxWire runs over TCP, whose segments have to be acknowledged in time (see [silentTCP]), or over a relay's
// circuit, whose first part, the connection with the relay, is watched itself.
type yamuxWire struct {
	session   *yamux.Session
	allowance *allowance
}

func (yamuxWire) packets() (sent, received uint64, counted bool) { return 0, 0, false }

// probe pings, and waits for the answer.
func (w yamuxWire) probe() error {
	_, err := w.session.Ping()
	return err
}

func (w yamuxWire) rtt() time.Duration { return w.session.RTT() }

func (yamuxWire) at() net.Addr { return nil }

// close says that nothing more comes and then, so that a writer there does not wait for ever, resets the stream: yamux
// has nothing that ends one direction from the reading side. Data before the end of input survives the reset.
func (w yamuxWire) close(s network.Stream) error { return errors.Join(s.CloseWrite(), s.Reset()) }

// gather does nothing: yamux itself waits a moment for more, and a lane has nobody to share with.
func (yamuxWire) gather() {}

func (w yamuxWire) received() uint64 { return uint64(w.allowance.bytes.Load()) }

func (w yamuxWire) lift() { w.allowance.lift() }
