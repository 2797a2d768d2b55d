package peer

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"

	"github.com/libp2p/go-libp2p/config"
	libp2p "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// maxCallBacks is how many hosts are called back at a time.
const maxCallBacks = 8

// callAs calls id at an address with a key made for the purpose and from a port of no other use, as somebody would from
// whom the NAT in front of it has never heard; and hangs up once it has proved its key.
func callAs(ctx context.Context, addr ma.Multiaddr, id libp2ppeer.ID) error {
	key, _, err := libp2p.GenerateEd25519Key(rand.Reader)
	switch {
	case err != nil:
		return err
	case isQUIC(addr):
		return callQUIC(ctx, key, addr, id)
	case isTCP(addr):
		return callTCP(ctx, key, addr, id)
	}
	return errors.New("not an address of QUIC or TCP")
}

func callTCP(ctx context.Context, key libp2p.PrivKey, addr ma.Multiaddr, id libp2ppeer.ID) (err error) {
	identity, err := libp2ptls.NewIdentity(key)
	if err != nil {
		return err
	}
	conn, err := new(manet.Dialer).DialContext(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it is of no more use
	config, _ := identity.ConfigForPeer(id)
	return tls.Client(begun(conn), config).HandshakeContext(ctx)
}

func callQUIC(ctx context.Context, key libp2p.PrivKey, addr ma.Multiaddr, id libp2ppeer.ID) (err error) {
	reset, err := config.PrivKeyToStatelessResetKey(key)
	if err != nil {
		return err
	}
	token, err := config.PrivKeyToTokenGeneratorKey(key)
	if err != nil {
		return err
	}
	sockets, err := quicreuse.NewConnManager(reset, token, quicreuse.DisableReuseport())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sockets.Close()) }()
	t, err := libp2pquic.NewTransport(key, sockets, nil, nil, &network.NullResourceManager{})
	if err != nil {
		return err
	}
	c, err := t.Dial(ctx, addr, id)
	if err != nil {
		return err
	}
	return c.Close()
}
