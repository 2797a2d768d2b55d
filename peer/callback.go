package peer

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/libp2p/go-libp2p/config"
	libp2p "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	ma "github.com/multiformats/go-multiaddr"
)

// maxCallBacks is how many hosts are called back at a time.
const maxCallBacks = 8

// callAs calls id at a QUIC address with a key made for the purpose and from a port of no other use, as somebody would
// from whom the NAT in front of it has never heard; and hangs up.
func callAs(ctx context.Context, addr ma.Multiaddr, id libp2ppeer.ID) (err error) {
	if !isQUIC(addr) {
		return errors.New("not an address of QUIC")
	}
	key, _, err := libp2p.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return err
	}
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
