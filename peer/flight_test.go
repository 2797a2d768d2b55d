package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	circuitpb "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/pb"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/proto"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/util"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	mss "github.com/multiformats/go-multistream"

	"github.com/kindred-iot/kindred/peer/peertest"
)

// elsewhere is where burglars come from.
var elsewhere = netip.MustParseAddr("127.0.0.2")

// TestBadFirstFlightTCP: what is not a handshake ends the connection, and nothing else.
func TestBadFirstFlightTCP(t *testing.T) {
	const tls = "\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n"
	p := newPlace(t)
	p.timing = hasty(func(t *timing) { t.hello = 300 * time.Millisecond })
	meter, phone := p.join("meter", greet, quiet), p.join("phone", nil, quiet)
	addr := at(meter, "/tcp/")
	undisturbed(t, phone, meter, []string{addr}, 5, func() {
		for _, tt := range []struct{ name, in string }{
			{"HTTP", "GET / HTTP/1.1\r\nHost: meter\r\n\r\n"},
			{"TLS without multistream", "\x16\x03\x01\x02\x00\x01\x00" + strings.Repeat("r", 512)},
			{"zeros", strings.Repeat("\x00", 64<<10)},
			{"an endless token", strings.Repeat("\xff", 1<<20)},
			{"protocols without end", "\x13/multistream/1.0.0\n" + strings.Repeat("\x06/none\n", 10_000)},
			{"a record too large", tls + "\x16\x03\x01\xff\xff" + strings.Repeat("r", 128<<10)},
			{"a ClientHello too large", tls + "\x16\x03\x01\x40\x00\x01\xff\xff\xff" + strings.Repeat("r", 128<<10)},
			{"an alert", tls + "\x15\x03\x01\x00\x02\x02\x28"},
			{"a multistream of another time", "\x13/multistream/9.9.9\n"},
		} {
			c, err := dialTCP(t, elsewhere, addr)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			go io.WriteString(c, tt.in) // as far as it is taken
			c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, c); errors.Is(err, context.DeadlineExceeded) || late(err) {
				t.Errorf("%s: the connection stays open", tt.name)
			}
			c.Close()
		}
	})
	eventually(t, "all are given up", func() bool { return meter.underWay(elsewhere) == 0 })
	if n := meter.strange(); n != 0 {
		t.Errorf("%d of them are connected", n)
	}
}

// TestBadFirstFlightQUIC sends datagrams that begin no connection, and altered copies of one that does.
func TestBadFirstFlightQUIC(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet, quiet), p.join("phone", nil, quiet)
	first := recorded(t, p, meter)[0]
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(elsewhere, 0)))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	to, err := net.ResolveUDPAddr("udp4", hostPort(at(meter, "/quic-v1")))
	if err != nil {
		t.Fatal(err)
	}
	verified := len(meter.seen())
	const calls = 5
	undisturbed(t, phone, meter, []string{at(meter, "/quic-v1")}, calls, func() {
		r := rand.New(rand.NewPCG(1, 2))
		for i := range 2000 {
			packet := slices.Clone(first)
			switch i % 5 {
			case 0: // altered at a place, and so not authentic
				packet[r.IntN(len(packet))] ^= byte(1 + r.IntN(255))
			case 1: // cut
				packet = packet[:r.IntN(len(packet))]
			case 2: // of nothing known
				for j := range packet {
					packet[j] = byte(r.Uint32())
				}
			case 3: // another version
				binary.BigEndian.PutUint32(packet[1:], r.Uint32())
			case 4: // as large as a datagram can be
				packet = append(packet, make([]byte, 60_000)...)
			}
			if _, err := socket.WriteTo(packet, to); err != nil {
				t.Errorf("packet %d: %v", i, err)
			}
		}
	})
	for _, hello := range meter.seen()[verified:] {
		if hello != "hello of phone" {
			t.Errorf("%q was verified", hello)
		}
	}
	if n := meter.underWay(elsewhere); n > maxHandshakes {
		t.Errorf("%d handshakes are under way", n)
	}
}

// recorded returns what a caller sends on a way to its first answer.
func recorded(t *testing.T, p *place, meter *member) [][]byte {
	var mu sync.Mutex
	var packets [][]byte
	tap := peertest.NewTap(t, meter.Addresses())
	keep := func(b []byte) {
		mu.Lock()
		defer mu.Unlock()
		packets = append(packets, bytes.Clone(b))
	}
	tap.Keep.Store(&keep)
	before := p.join("before", nil, quiet)
	get(t, before.client(func(g *Target) { g.Addresses = []string{tap.Address()} }, meter), "kindred://meter/")
	before.Close()
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(packets)
}

// TestReplay sends again, and again, what a member sent: nobody is let in by it, and no request is served twice.
func TestReplay(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet, quiet), p.join("phone", nil, quiet)
	packets := recorded(t, p, meter)
	verified := len(meter.seen())
	to, err := net.ResolveUDPAddr("udp4", hostPort(at(meter, "/quic-v1")))
	if err != nil {
		t.Fatal(err)
	}
	undisturbed(t, phone, meter, []string{at(meter, "/quic-v1")}, 5, func() {
		for range 50 {
			socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(elsewhere, 0)))
			if err != nil {
				t.Error(err)
				return
			}
			for _, packet := range packets {
				socket.WriteTo(packet, to)
			}
			socket.Close()
		}
	})
	for _, hello := range meter.seen()[verified:] {
		if hello != "hello of phone" {
			t.Errorf("%q was verified again", hello)
		}
	}
	eventually(t, "all are given up", func() bool { return meter.underWay(elsewhere) == 0 })
}

// frameOf is yamux's header.
func frameOf(kind byte, flags uint16, stream, length uint32) []byte {
	b := []byte{0, kind}
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, stream)
	return binary.BigEndian.AppendUint32(b, length)
}

// TestBadFrames: what is not yamux, or more than it allows, ends the connection.
func TestBadFrames(t *testing.T) {
	const data, window, ping, syn = 0, 1, 2, 1
	p := newPlace(t)
	meter, phone := p.join("meter", greet, quiet), p.join("phone", nil, quiet)
	addr := at(meter, "/tcp/")
	for _, tt := range []struct {
		name string
		in   []byte
	}{
		{"another version", []byte("\x07\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00")},
		{"an unknown type", frameOf(9, 0, 1, 0)},
		{"more than the window", append(frameOf(data, syn, 1, 300<<10), make([]byte, 300<<10)...)},
		{"four gigabytes", append(frameOf(data, syn, 1, 1<<32-1), make([]byte, 1<<10)...)},
		{"a stream twice", append(frameOf(window, syn, 1, 0), frameOf(window, syn, 1, 0)...)},
		{"the callee's streams", frameOf(window, syn, 2, 0)},
		{"many streams", slices.Concat(frames(window, syn, strangeStreams+1)...)},
		{"pings without end", bytes.Repeat(frameOf(ping, syn, 0, 1), strangeBytes/10)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			undisturbed(t, phone, meter, []string{addr}, 3, func() {
				c, err := breakTLS(t, elsewhere, addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				go c.Write(tt.in)
				c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := io.Copy(io.Discard, c); late(err) {
					t.Error("the connection stays open")
				}
			})
		})
	}
}

// frames are those of the caller's first n streams.
func frames(kind byte, flags uint16, n int) (all [][]byte) {
	for i := range n {
		all = append(all, frameOf(kind, flags, uint32(2*i+1), 0))
	}
	return all
}

// TestAnotherAnswers: at the callee's address, on any way, is the holder of another key. It is shown nothing.
func TestAnotherAnswers(t *testing.T) {
	everyWay(t, patient, func(t *testing.T, p *place, w way, meter *member) {
		camera, phone := p.join("camera", greet, quiet), p.join("phone", nil, quiet)
		leads := w.leads(camera)
		if w.name == "relay" {
			leads = []string{liar(t, camera) + "/p2p-circuit"}
		}
		_, err := phone.client(func(g *Target) { g.Addresses = leads }, meter).Get("kindred://meter/")
		if !errors.Is(err, ErrWrongKey) || errors.Is(err, ErrUnreachable) {
			t.Errorf("got %v", err)
		}
		if len(camera.seen()) != 0 {
			t.Error("a hello was shown to another key")
		}
	})
}

// liar makes m a relay that answers for everybody itself, and returns its address.
func liar(t *testing.T, m *member) string {
	key, err := privateKey(m.key)
	if err != nil {
		t.Fatal(err)
	}
	tls, err := libp2ptls.New(libp2ptls.ID, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	bare{m.Host}.SetStreamHandler(proto.ProtoIDv2Hop, func(s network.Stream) {
		defer s.Reset()
		var asked circuitpb.HopMessage
		r := util.NewDelimitedReader(s, 4096)
		defer r.Close()
		if r.ReadMsg(&asked) != nil {
			return
		}
		ok := circuitpb.Status_OK
		kind := circuitpb.HopMessage_STATUS
		if util.NewDelimitedWriter(s).WriteMsg(&circuitpb.HopMessage{Type: &kind, Status: &ok}) != nil {
			return
		}
		choice := mss.NewMultistreamMuxer[string]()
		choice.AddHandler(libp2ptls.ID, nil)
		if _, _, err := choice.Negotiate(s); err != nil {
			return
		}
		tls.SecureInbound(t.Context(), streamConn{s}, libp2ppeer.ID(""))
	})
	addr, err := WithKey(at(m, "/quic-v1"), m.public())
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// A streamConn is a stream as a net.Conn.
type streamConn struct{ network.Stream }

func (streamConn) LocalAddr() net.Addr  { return address("here") }
func (streamConn) RemoteAddr() net.Addr { return address("there") }
