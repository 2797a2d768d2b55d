package peer

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	libp2p "github.com/libp2p/go-libp2p/core/crypto"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"

	"github.com/kindred-iot/kindred/portmap"
)

// A NAT that shows each other end another address, as symmetric ones do, shows another to another port of the same relay
// as well (address and port-dependent mapping, RFC 4787 §4.1; the test is that of RFC 5780 §4.3, without a second
// address). So a relay names another port that it listens on, and the asker looks from there, too.

// alternateWait is how long a relay has to answer at its other port, which a firewall may keep shut.
const alternateWait = 2 * time.Second

// alternate returns another port of QUIC over IPv4 at which this host is reached by who is at the other end of l; 0: none.
func (h *Host) alternate(l *link) uint16 {
	at, ok := l.socket()
	if !ok {
		return 0
	}
	for _, a := range h.swarm.ListenAddresses() {
		other, ok := udpOf(a)
		if ok && other.Port() != at.Port() && (other.Addr() == at.Addr() || other.Addr().IsUnspecified()) {
			return other.Port()
		}
	}
	return 0
}

// socket returns where this end of a connection of QUIC over IPv4 is; false for any other.
func (l *link) socket() (netip.AddrPort, bool) {
	w, ok := l.wire.(quicWire)
	if !ok {
		return netip.AddrPort{}, false
	}
	local, ok := w.conn.LocalAddr().(*net.UDPAddr) // with the address at which it is called, also where every one is listened on
	if !ok {
		return netip.AddrPort{}, false
	}
	at := local.AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	return at, at.Addr().Is4()
}

// udpOf returns where an address of QUIC over IPv4 is; false for any other.
func udpOf(a ma.Multiaddr) (netip.AddrPort, bool) {
	ip := ipOf(a)
	if !isQUIC(a) || isCircuit(a) || !ip.Is4() {
		return netip.AddrPort{}, false
	}
	number, err := a.ValueForProtocol(ma.P_UDP)
	if err != nil {
		return netip.AddrPort{}, false
	}
	at, err := netip.ParseAddrPort(ip.String() + ":" + number)
	return at, err == nil
}

// lookAgain finds out where the relay at the other end of l sees this host at another port of its own, and notes it beside
// seen, which is what the relay says at the first.
func (h *Host) lookAgain(ctx context.Context, l *link, seen ma.Multiaddr, number uint16) {
	relay := l.conn.RemotePeer()
	ctx, cancel := context.WithTimeout(ctx, alternateWait)
	defer cancel()
	other, err := h.seenFrom(ctx, l, addressOf(portmap.UDP, netip.AddrPortFrom(ipOf(l.conn.RemoteMultiaddr()), number)))
	if err != nil {
		h.log.Info("a relay does not say at its other port how it sees this host", "relay", relay, "port", number, "error", err)
	}
	h.outlook.sawAgain(relay, l, seen, other)
}

// seenFrom asks the relay at the other end of l, at another address of its own, how it sees this host. It calls from the
// socket that l goes out from, or the answer would say nothing; and with a key made for the purpose, or the relay would
// take the connection for one on which the host can be called.
func (h *Host) seenFrom(ctx context.Context, l *link, at ma.Multiaddr) (ma.Multiaddr, error) {
	key, _, err := libp2p.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, err
	}
	identity, err := libp2ptls.NewIdentity(key)
	if err != nil {
		return nil, err
	}
	config, _ := identity.ConfigForPeer(l.conn.RemotePeer())
	conn, err := h.sockets.DialQUIC(quicreuse.WithAssociation(ctx, h.quicWay), at, config, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	from, ok := l.socket()
	if local, isUDP := conn.LocalAddr().(*net.UDPAddr); !ok || !isUDP || local.Port != int(from.Port()) {
		return nil, errors.New("this host has several sockets, and another was chosen")
	}
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	if until, ok := ctx.Deadline(); ok {
		_ = s.SetDeadline(until)
	}
	if err := mss.SelectProtoOrFail(seenProtocol, s); err != nil {
		return nil, fmt.Errorf("asking at %s: %w", at, err)
	}
	line, err := readLine(bufio.NewReader(s))
	if err != nil {
		return nil, err
	}
	addr, _, err := parseSeen(line)
	return addr, err
}
