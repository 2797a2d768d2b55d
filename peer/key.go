package peer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"fmt"

	libp2p "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
)

// privateKey returns signer as libp2p's key. The QUIC transport derives secrets
// from the private key's bytes, so they must be in memory.
func privateKey(signer crypto.Signer) (libp2p.PrivKey, error) {
	var std crypto.PrivateKey
	switch k := signer.(type) {
	case ed25519.PrivateKey:
		if len(k) != ed25519.PrivateKeySize {
			return nil, fmt.Errorf("Ed25519 key of %d bytes", len(k))
		}
		std = &k
	case *ecdsa.PrivateKey:
		std = k
	default:
		return nil, fmt.Errorf("unsupported key type %T", signer)
	}
	key, _, err := libp2p.KeyPairFromStdKey(std)
	return key, err
}

// peerID returns the libp2p name of the holder of key.
func peerID(key crypto.PublicKey) (libp2ppeer.ID, error) {
	var pub libp2p.PubKey
	var err error
	switch k := key.(type) {
	case ed25519.PublicKey:
		pub, err = libp2p.UnmarshalEd25519PublicKey(k)
	case *ecdsa.PublicKey:
		if k == nil || k.Curve == nil {
			return "", fmt.Errorf("empty ECDSA key")
		}
		pub, err = libp2p.ECDSAPublicKeyFromPubKey(*k)
	default:
		return "", fmt.Errorf("unsupported key type %T", key)
	}
	if err != nil {
		return "", err
	}
	return libp2ppeer.IDFromPublicKey(pub)
}

// remoteKey returns the key that the other end of conn proved.
func remoteKey(conn network.Conn) (crypto.PublicKey, error) {
	key, err := libp2p.PubKeyToStdKey(conn.RemotePublicKey())
	if err != nil {
		return nil, err
	}
	switch key.(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey:
		return key, nil
	}
	return nil, fmt.Errorf("unsupported key type %T", key)
}
