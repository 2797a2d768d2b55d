package pairing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// packKey returns the short form of a key, in which an invitation has them.
func packKey(pub crypto.PublicKey) ([]byte, error) {
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		if len(pub) == ed25519.PublicKeySize {
			return pub, nil
		}
	case *ecdsa.PublicKey:
		if pub.Curve != elliptic.P256() {
			break
		}
		point, err := pub.Bytes()
		if err != nil {
			return nil, err
		}
		const coordinate = 32
		y := point[2*coordinate]
		return append([]byte{2 | y&1}, point[1:1+coordinate]...), nil
	}
	return nil, fmt.Errorf("a key of type %T, want Ed25519 or ECDSA P-256", pub)
}

func unpackKey(data []byte) (crypto.PublicKey, error) {
	switch len(data) {
	case ed25519.PublicKeySize:
		return ed25519.PublicKey(data), nil
	case 33:
		if x, y := elliptic.UnmarshalCompressed(elliptic.P256(), data); x != nil {
			point := make([]byte, 65)
			point[0] = 4
			x.FillBytes(point[1:33])
			y.FillBytes(point[33:])
			return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		}
		return nil, errors.New("a key that is no point on P-256")
	}
	return nil, fmt.Errorf("a key of %d bytes, want 32 or 33", len(data))
}

// packAddress returns the short form of an address IP:PORT or /ip4|ip6/IP/udp/PORT/quic-v1, and nil for any other.
func packAddress(s string) []byte {
	if at, err := netip.ParseAddrPort(s); err == nil {
		return packAddrPort(at)
	}
	part := strings.Split(s, "/")
	if len(part) != 6 || part[0] != "" || part[3] != "udp" || part[5] != "quic-v1" {
		return nil
	}
	at, err := netip.ParseAddrPort(netipText(part[2], part[4]))
	if err != nil || (part[1] == "ip4") != at.Addr().Is4() || (part[1] == "ip6") != at.Addr().Is6() {
		return nil
	}
	return packAddrPort(at)
}

func netipText(ip, port string) string {
	if strings.Contains(ip, ":") {
		return "[" + ip + "]:" + port
	}
	return ip + ":" + port
}

func packAddrPort(at netip.AddrPort) []byte {
	if at.Addr().Zone() != "" {
		return nil
	}
	return append(at.Addr().AsSlice(), byte(at.Port()>>8), byte(at.Port()))
}

// unpackAddress returns the multiaddr of a short address.
func unpackAddress(data []byte) (string, error) {
	if len(data) != 6 && len(data) != 18 {
		return "", fmt.Errorf("an address of %d bytes, want 6 or 18", len(data))
	}
	ip, _ := netip.AddrFromSlice(data[:len(data)-2])
	port := int(data[len(data)-2])<<8 | int(data[len(data)-1])
	protocol := "ip4"
	if ip.Is6() {
		protocol = "ip6"
	}
	return "/" + protocol + "/" + ip.String() + "/udp/" + strconv.Itoa(port) + "/quic-v1", nil
}
