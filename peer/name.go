package peer

import (
	"crypto"
	"fmt"

	libp2p "github.com/libp2p/go-libp2p/core/crypto"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// WithKey returns an address with the name of the holder of key at its end: addr/p2p/NAME.
func WithKey(addr string, key crypto.PublicKey) (string, error) {
	id, err := peerID(key)
	if err != nil {
		return "", fmt.Errorf("peer: naming a key: %w", err)
	}
	return addr + "/p2p/" + id.String(), nil
}

// KeyOf returns the key that an address such as WithKey returns is of. Names of ECDSA keys are hashes, which do not
// give the key away; the error says so.
func KeyOf(addr string) (crypto.PublicKey, error) {
	fail := func(err error) (crypto.PublicKey, error) { return nil, fmt.Errorf("peer: reading %q: %w", addr, err) }
	a, err := ma.NewMultiaddr(addr)
	if err != nil {
		return fail(err)
	}
	if _, err := parseAddress(addr, ""); err != nil {
		return fail(err)
	}
	_, id := libp2ppeer.SplitAddr(a)
	pub, err := id.ExtractPublicKey()
	if err != nil {
		return fail(fmt.Errorf("it names no key at its end (/p2p/…): %w", err))
	}
	key, err := libp2p.PubKeyToStdKey(pub)
	if err != nil {
		return fail(err)
	}
	return key, nil
}
