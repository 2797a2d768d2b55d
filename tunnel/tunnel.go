// Package tunnel carries TCP connections and UDP datagrams over HTTP/1.1, by
// the upgrades made for it. It knows nothing of who asks and of what lies
// behind the far end: whoever serves it decides both.
//
// # Protocol
//
//	GET /services/tcp/8554 HTTP/1.1
//	Connection: Upgrade
//	Upgrade: connect-tcp
//	Capsule-Protocol: ?1
//
//	HTTP/1.1 101 Switching Protocols
//	Connection: Upgrade
//	Upgrade: connect-tcp
//	Capsule-Protocol: ?1
//
// From there on both sides send capsules (RFC 9297, §3.2): a type, a length,
// both QUIC's variable-length integers (RFC 9000, §16), and a value.
//
//	connect-tcp   DATA 0x2028d7f0        the bytes of the connection
//	              FINAL_DATA 0x2028d7f1  the same, and there are no more
//	              WINDOW 0x2b6b6e64      a number: so many bytes more may be sent
//	connect-udp   DATAGRAM 0x00          a context ID, which is 0, and one UDP payload
//
// TCP is carried as draft-ietf-httpbis-connect-tcp has it, UDP as RFC 9298. The
// resource alone names where it goes, so no host and no port is in the request.
//
// Many tunnels share a connection, and its flow control with it: one whose far
// end does not read would hold up all. So each end takes in what comes at once
// and says how much it may be: a request for TCP and its answer both carry
//
//	Kindred-Window: 1048576
//
// the bytes that the other end may send at first, and WINDOW capsules grant more
// as they are read. Where either lacks the header there are no windows.
//
// A FINAL_DATA capsule is TCP's FIN: the other direction goes on. A tunnel that
// ends without one was broken, and so is the connection at the other end (RST),
// so that nobody takes a part for the whole. A tunnel for UDP ends with its
// stream, and when nothing was carried for [UDPIdle].
//
// # Bounds
//
// A tunnel for TCP holds at most a [Window] of bytes in each direction, one for
// UDP a datagram: whoever does not read has the other end wait, or lose
// datagrams.
// Capsules of other types are passed over, those of more than [maxUnknown] bytes
// break the tunnel, and so do datagrams of more than 65,527 bytes (RFC 9298, §5).
// What is sent has at most [MaxDatagram].
package tunnel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// The networks that are carried, named as in package net.
const (
	TCP = "tcp"
	UDP = "udp"
)

// UDPIdle is how long a tunnel for UDP lives with nothing to carry. NATs wait
// as long (RFC 4787, §4.3).
const UDPIdle = 2 * time.Minute

// Token returns a network's upgrade token; "" if it is not carried.
func Token(network string) string {
	switch network {
	case TCP:
		return "connect-tcp"
	case UDP:
		return "connect-udp"
	}
	return ""
}

// Asked reports whether a request asks for a tunnel to a network.
func Asked(r *http.Request, network string) bool {
	return r.Method == http.MethodGet && has(r.Header, "Connection", "upgrade") && has(r.Header, "Upgrade", Token(network))
}

// has reports whether a header's list holds a token.
func has(h http.Header, name, token string) bool {
	for _, list := range h.Values(name) {
		for item := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}

// A Conn is one end of a tunnel. For TCP it also has CloseWrite, and a Close
// before that says that all was written. For UDP, Read and Write take one
// datagram each: one that is longer than the buffer is cut off, as with a
// [net.UDPConn]. Where the stream underneath has no deadlines, setting one for
// writing, and for UDP one for reading, is [os.ErrNoDeadline].
type Conn interface {
	net.Conn
	// Abort ends the tunnel so that the other end does not take it for complete.
	Abort() error
}

// Accept turns a request that [Asked] for a tunnel into one, and carries it to
// a connection until [Carry] has done so; the request's context ends it. It
// takes both over. What w's header holds is answered too. Where the stream
// cannot be had nothing was answered, and the error is [http.ErrNotSupported].
func Accept(w http.ResponseWriter, r *http.Request, network string, to net.Conn) error {
	defer to.Close()
	stream, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("tunnel: taking over the stream: %w", err)
	}
	defer stream.Close()
	var in io.Reader = stream
	if n := buffered.Reader.Buffered(); n > 0 {
		head, _ := buffered.Reader.Peek(n) // which is there
		in = io.MultiReader(bytes.NewReader(bytes.Clone(head)), stream)
	}
	answer := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + Token(network) + "\r\nCapsule-Protocol: ?1\r\n"
	window := windowIn(r.Header)
	if window > 0 {
		answer += fmt.Sprintf("%s: %d\r\n", windowHeader, Window)
	}
	var also strings.Builder
	_ = w.Header().Write(&also) // a Builder takes all
	answer += also.String() + "\r\n"
	if _, err := io.WriteString(stream, answer); err != nil {
		return fmt.Errorf("tunnel: answering: %w", err)
	}
	return Carry(r.Context(), newConn(network, stream, in, window), to)
}

// windowHeader says how many bytes an end takes in before they are read.
const windowHeader = "Kindred-Window"

// windowIn reads the other end's window; 0 if it knows of none.
func windowIn(h http.Header) uint64 {
	n, err := strconv.ParseUint(h.Get(windowHeader), 10, 32)
	if err != nil || n < minWindow {
		return 0
	}
	return n
}

// Dial asks for a tunnel at a URL, with further headers, if there are any. If
// something else is answered it returns that, with a nil Conn; the caller closes
// the body. The context ends the asking alone.
func Dial(ctx context.Context, c *http.Client, url, network string, header http.Header) (Conn, *http.Response, error) {
	if Token(network) == "" {
		return nil, nil, fmt.Errorf("tunnel: dialing: %w", net.UnknownNetworkError(network))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("tunnel: dialing: %w", err)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", Token(network))
	req.Header.Set("Capsule-Protocol", "?1")
	if network == TCP {
		req.Header.Set(windowHeader, strconv.Itoa(Window))
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("tunnel: dialing: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, resp, nil
	}
	body, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || !has(resp.Header, "Upgrade", Token(network)) {
		resp.Body.Close()
		return nil, nil, errors.New("tunnel: dialing: the answer switches to another protocol")
	}
	stream, ok := body.(net.Conn)
	if !ok {
		stream = bare{body}
	}
	return newConn(network, stream, stream, windowIn(resp.Header)), nil, nil
}

func newConn(network string, stream net.Conn, in io.Reader, window uint64) Conn {
	if network == UDP {
		return &udpConn{end: end{Conn: stream}, in: newCapsules(in)}
	}
	return newTCP(stream, in, window)
}

// A bare stream has no deadlines and no addresses: net/http's own.
type bare struct{ io.ReadWriteCloser }

func (bare) LocalAddr() net.Addr              { return nowhere{} }
func (bare) RemoteAddr() net.Addr             { return nowhere{} }
func (bare) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (bare) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (bare) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

func (b bare) CloseWrite() error {
	if half, ok := b.ReadWriteCloser.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

type nowhere struct{}

func (nowhere) Network() string { return "http" }
func (nowhere) String() string  { return "" }
