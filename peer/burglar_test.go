package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	libp2p "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	libp2pyamux "github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-yamux/v5"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	mss "github.com/multiformats/go-multistream"
	"github.com/quic-go/quic-go"
)

// A burglar is the far end of a connection that keeps to no bound of this package: it speaks what is below by itself.
type burglar interface {
	open(context.Context) (io.ReadWriteCloser, error)
	gone() <-chan struct{} // closed when the connection is
	Close() error
}

// A way is how a burglar comes to a callee, and how a member does.
type way struct {
	name string
	ip   netip.Addr // of burglars

	// breaks connects a burglar with a key of its own.
	breaks func(t *testing.T, callee *member) (burglar, error)
	// leads are the addresses at which a member finds the callee by this way.
	leads func(callee *member) []string
}

// ways are all the ways to callees at p. Burglars have another address of this machine than members, but for those who
// come through the relay.
func (p *place) ways() []way {
	ip := netip.MustParseAddr("127.0.0.2")
	of := func(mark string) func(*member) []string {
		return func(m *member) []string { return []string{at(m, mark)} }
	}
	r := &relayed{place: p}
	return []way{
		{"QUIC", ip, func(t *testing.T, m *member) (burglar, error) { return breakQUIC(t, ip, at(m, "/quic-v1")) }, of("/quic-v1")},
		{"TCP", ip, func(t *testing.T, m *member) (burglar, error) { return breakTCP(t, ip, at(m, "/tcp/")) }, of("/tcp/")},
		{"relay", netip.MustParseAddr("127.0.0.1"), r.breaks, r.leads},
	}
}

// at is the address of m that has mark in it.
func at(m *member, mark string) string {
	for _, a := range m.Addresses() {
		if strings.Contains(a, mark) {
			return a
		}
	}
	panic("no address with " + mark)
}

// hostPort returns a multiaddr's.
func hostPort(addr string) string {
	_, hp, err := manet.DialArgs(ma.StringCast(addr))
	if err != nil {
		panic(err)
	}
	return hp
}

// identity is a new one in libp2p's TLS.
func identity(t *testing.T) (*libp2ptls.Identity, libp2p.PrivKey) {
	key, _, err := libp2p.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := libp2ptls.NewIdentity(key)
	if err != nil {
		t.Fatal(err)
	}
	return id, key
}

type quicBurglar struct {
	conn   *quic.Conn
	socket net.PacketConn
}

func breakQUIC(t *testing.T, from netip.Addr, addr string) (burglar, error) {
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.ResolveUDPAddr("udp4", hostPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	who, _ := identity(t)
	config, _ := who.ConfigForPeer("")
	config.NextProtos = []string{"libp2p"}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := quic.Dial(ctx, socket, to, config, &quic.Config{EnableDatagrams: true})
	if err != nil {
		socket.Close()
		return nil, err
	}
	t.Cleanup(func() { socket.Close() })
	return quicBurglar{conn, socket}, nil
}

func (b quicBurglar) open(ctx context.Context) (io.ReadWriteCloser, error) {
	return b.conn.OpenStreamSync(ctx)
}
func (b quicBurglar) gone() <-chan struct{} { return b.conn.Context().Done() }
func (b quicBurglar) Close() error {
	return errors.Join(b.conn.CloseWithError(0, ""), b.socket.Close())
}

// dialTCP connects from an address, and no more.
func dialTCP(t *testing.T, from netip.Addr, addr string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: 5 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp4", hostPort(addr))
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// breakTLS connects and does the handshake: what is left is yamux.
func breakTLS(t *testing.T, from netip.Addr, addr string) (net.Conn, error) {
	c, err := dialTCP(t, from, addr)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	if err := mss.SelectProtoOrFail("/tls/1.0.0", c); err != nil {
		return nil, err
	}
	_, key := identity(t)
	tls, err := libp2ptls.New(libp2ptls.ID, key, []upgrader.StreamMuxer{{ID: libp2pyamux.ID, Muxer: muxer{yamuxConfig()}}})
	if err != nil {
		return nil, err
	}
	secure, err := tls.SecureOutbound(t.Context(), c, "")
	if err != nil {
		return nil, err
	}
	return secure, c.SetDeadline(time.Time{})
}

type yamuxBurglar struct{ *yamux.Session }

func breakTCP(t *testing.T, from netip.Addr, addr string) (burglar, error) {
	c, err := breakTLS(t, from, addr)
	if err != nil {
		return nil, err
	}
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	s, err := yamux.Client(c, config, nil)
	return yamuxBurglar{s}, err
}

func (b yamuxBurglar) open(ctx context.Context) (io.ReadWriteCloser, error) {
	return b.Session.OpenStream(ctx)
}
func (b yamuxBurglar) gone() <-chan struct{} { return b.CloseChan() }

// relayed are those who come through a relay, made when the first does.
type relayed struct {
	place *place
	at    string
	asked map[*member]bool
}

func (r *relayed) leads(callee *member) []string {
	t := r.place.t
	if r.at == "" {
		between := r.place.join("relay", nil, quiet)
		between.swarm.Notify(&network.NotifyBundle{ConnectedF: func(_ network.Network, c network.Conn) {
			l := between.link(c) // a relay's callers have nothing to show
			l.mu.Lock()
			defer l.mu.Unlock()
			l.know()
		}})
		much := relay.DefaultResources()
		much.Limit, much.MaxCircuits = nil, 1000
		service, err := relay.New(bare{between.Host}, relay.WithResources(much))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { service.Close() })
		if r.at, err = WithKey(at(between, "/quic-v1"), between.public()); err != nil {
			t.Fatal(err)
		}
		r.asked = map[*member]bool{}
	}
	if !r.asked[callee] {
		info, err := libp2ppeer.AddrInfoFromP2pAddr(ma.StringCast(r.at))
		if err != nil {
			t.Fatal(err)
		}
		callee.choose(info.ID)
		if _, err := client.Reserve(t.Context(), bare{callee.Host}, *info); err != nil {
			t.Fatal(err)
		}
		r.asked[callee] = true
	}
	return []string{r.at + "/p2p-circuit"}
}

// breaks has a host of its own, for a relay is nothing to be spoken to in passing; its bounds are gone round.
func (r *relayed) breaks(t *testing.T, callee *member) (burglar, error) {
	leads := r.leads(callee)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(Config{Key: key, Listen: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	id, _ := peerID(callee.public())
	l, err := h.connect(network.WithAllowLimitedConn(t.Context(), Protocol), id, leads)
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return hostBurglar{h, l}, nil
}

type hostBurglar struct {
	*Host
	link *link
}

func (b hostBurglar) open(ctx context.Context) (io.ReadWriteCloser, error) {
	return b.link.conn.NewStream(network.WithAllowLimitedConn(ctx, Protocol))
}
func (b hostBurglar) gone() <-chan struct{} { return b.link.ctx.Done() }
