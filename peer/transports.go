package peer

import (
	"errors"
	"net"

	"github.com/libp2p/go-libp2p/config"
	libp2p "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/sec"
	libp2ptransport "github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

// startSwarm makes the bare libp2p network: no identify, and so no address and
// no protocol is ever learned from, or told to, a peer.
func (h *Host) startSwarm(key libp2p.PrivKey) error {
	peers, err := pstoremem.NewPeerstore()
	if err != nil {
		return err
	}
	h.closers = append(h.closers, peers.Close)
	if err := errors.Join(peers.AddPrivKey(h.id, key), peers.AddPubKey(h.id, key.GetPublic())); err != nil {
		return err
	}
	perAddress := maxConns
	if h.cfg.Relay != nil {
		perAddress = h.cfg.Relay.withDefaults().conns()
	}
	manager, err := newResourceManager(perAddress)
	if err != nil {
		return err
	}
	limits := &gate{ResourceManager: manager, offended: h.offences.count, underWay: tally{most: maxHandshakes}}
	h.closers = append(h.closers, limits.Close)
	h.swarm, err = swarm.NewSwarm(h.id, peers, h.bus,
		swarm.WithResourceManager(limits),
		swarm.WithDialTimeout(h.timing.dial),
		swarm.WithDialTimeoutLocal(h.timing.dial),
		swarm.WithDialRanker(h.rank),
		swarm.WithUDPBlackHoleSuccessCounter(nil), // addresses are given, not gossip: always try
		swarm.WithIPv6BlackHoleSuccessCounter(nil))
	if err != nil {
		return err
	}
	h.swarm.Notify(&network.NotifyBundle{
		ConnectedF:    func(_ network.Network, c network.Conn) { h.connected(c) },
		DisconnectedF: func(_ network.Network, c network.Conn) { h.unlink(c) },
	})
	h.swarm.SetStreamHandler(h.accept)
	if err := h.quic(key, limits); err != nil {
		return err
	}
	if h.identity, err = libp2ptls.NewIdentity(key); err != nil {
		return err
	}
	yamux := upgrader.StreamMuxer{ID: yamux.ID, Muxer: muxer{yamuxConfig()}}
	secure, err := h.secured(key, limits, yamux)
	if err != nil {
		return err
	}
	direct, err := h.secured(key, limits, yamux, upgrader.StreamMuxer{ID: laneALPN, Muxer: soloist{}})
	if err != nil {
		return err
	}
	lan, err := h.tcp(direct, limits)
	if err != nil {
		return err
	}
	return errors.Join(h.swarm.AddTransport(h.quicWay), h.swarm.AddTransport(lan), h.throughRelays(secure))
}

// quic makes the transport for ways of all kinds.
func (h *Host) quic(key libp2p.PrivKey, limits *gate) error {
	reset, err := config.PrivKeyToStatelessResetKey(key)
	if err != nil {
		return err
	}
	token, err := config.PrivKeyToTokenGeneratorKey(key)
	if err != nil {
		return err
	}
	if h.sockets, err = quicreuse.NewConnManager(reset, token, limits.quic()...); err != nil {
		return err
	}
	h.closers = append(h.closers, h.sockets.Close)
	h.quicWay, err = libp2pquic.NewTransport(key, h.sockets, nil, nil, limits)
	return err
}

// tcp makes the transport that costs least where nothing is in between, and that remains where UDP is dropped.
func (h *Host) tcp(secure libp2ptransport.Upgrader, limits network.ResourceManager) (libp2ptransport.Transport, error) {
	dialer := &net.Dialer{Control: silentTCP(h.timing.silence)}
	return tcp.NewTCPTransport(secure, limits, nil, tcp.DisableReuseport(), tcp.WithConnectionTimeout(h.timing.dial),
		tcp.WithDialerForAddr(func(ma.Multiaddr) (tcp.ContextDialer, error) { return dialer, nil }))
}

// secured makes connections of byte streams, TCP's and a relay's circuits: TLS 1.3 as in QUIC, and in it what the caller
// asks for, the first before the second.
func (h *Host) secured(key libp2p.PrivKey, limits network.ResourceManager, in ...upgrader.StreamMuxer) (libp2ptransport.Upgrader, error) {
	tls, err := libp2ptls.New(libp2ptls.ID, key, in)
	if err != nil {
		return nil, err
	}
	secure, err := upgrader.New([]sec.SecureTransport{tls}, in, nil, limits, nil, upgrader.WithAcceptTimeout(h.timing.hello))
	return eager{secure, h}, err
}
