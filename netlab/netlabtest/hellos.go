//go:build linux

package netlabtest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"

	"github.com/kindred-iot/kindred/netlab"
)

// Hellos returns what callers say in TLS before anything is encrypted, or is encrypted for more than its form: the
// beginning of each TCP connection, and the ClientHello of each connection of QUIC, whose packets everybody on the way
// can open (RFC 9001 §5.2).
func (c *Capture) Hellos() [][]byte {
	c.lab.t.Helper()
	crypto := map[string]map[uint64][]byte{} // by connection ID, and by where in the stream
	begun := map[string]int{}                // bytes of TCP that were taken, by connection and direction
	var hellos [][]byte
	for _, frame := range c.Packets() {
		p, ok := netlab.ParsePacket(frame)
		switch {
		case !ok:
		case p.Transport == netlab.TCP:
			way := p.From.String() + p.To.String()
			if begun[way] < beginning && len(p.Data) > 0 {
				begun[way] += len(p.Data)
				hellos = append(hellos, p.Data[:min(len(p.Data), beginning)])
			}
		default:
			for rest := p.Data; len(rest) > 0; {
				var id string
				var frames []byte
				if id, frames, rest, ok = openInitial(rest); !ok {
					break
				}
				if crypto[id] == nil {
					crypto[id] = map[uint64][]byte{}
				}
				cryptoFrames(frames, crypto[id])
			}
		}
	}
	for _, pieces := range crypto {
		var hello []byte
		for at := uint64(0); len(pieces[at]) > 0; at = uint64(len(hello)) {
			hello = append(hello, pieces[at]...)
		}
		for at, piece := range pieces { // what does not follow on what is there
			if at > uint64(len(hello)) {
				hellos = append(hellos, piece)
			}
		}
		hellos = append(hellos, hello)
	}
	return hellos
}

// beginning is how much of a TCP connection is certain to hold what is not encrypted, in bytes.
const beginning = 4096

// initialSalt is QUIC version 1's (RFC 9001 §5.2).
var initialSalt = []byte{
	0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a,
}

// openInitial opens the client's Initial packet (RFC 9000 §17.2.2) at the beginning of b. It returns the connection ID
// that the client chose, the frames, and what follows the packet.
func openInitial(b []byte) (id string, frames, rest []byte, ok bool) {
	const long, version1 = 0b1100_0000, 1
	if len(b) < 7 || b[0]&0b1111_0000 != long || binary.BigEndian.Uint32(b[1:]) != version1 {
		return "", nil, nil, false
	}
	at := 5
	take := func(n uint64) (taken []byte) { // nil at the end
		if n <= uint64(len(b)-at) {
			taken = b[at : at+int(n)]
			at += int(n)
		}
		return taken
	}
	number := func() (n uint64) {
		n, size := varint(b[at:])
		at += size
		return n
	}
	idLength := take(1)
	destination := take(uint64(idLength[0]))
	sourceLength := take(1)
	if destination == nil || sourceLength == nil || take(uint64(sourceLength[0])) == nil || take(number()) == nil {
		return "", nil, nil, false
	}
	length := number()
	header := at
	packet := take(length)
	const sample = 4 // bytes behind the packet number's first
	if len(packet) < sample+aes.BlockSize {
		return "", nil, nil, false
	}
	key, iv, mask := initialKeys(destination)
	clear := bytes.Clone(b[:at])
	var hidden [aes.BlockSize]byte
	mask.Encrypt(hidden[:], packet[sample:sample+aes.BlockSize])
	clear[0] ^= hidden[0] & 0b1111
	size := int(clear[0]&0b11) + 1
	for i := range size {
		clear[header+i] ^= hidden[1+i]
		iv[len(iv)-size+i] ^= clear[header+i]
	}
	frames, err := key.Open(nil, iv, clear[header+size:], clear[:header+size])
	return string(destination), frames, b[at:], err == nil
}

// initialKeys derives a client's keys from the connection ID that it chose.
func initialKeys(id []byte) (key cipher.AEAD, iv []byte, mask cipher.Block) {
	secret, err := hkdf.Extract(sha256.New, id, initialSalt)
	if err == nil {
		secret = expand(secret, "client in", sha256.Size)
		var block cipher.Block
		if block, err = aes.NewCipher(expand(secret, "quic key", 16)); err == nil {
			if key, err = cipher.NewGCM(block); err == nil {
				mask, err = aes.NewCipher(expand(secret, "quic hp", 16))
			}
		}
	}
	if err != nil {
		panic(err) // all lengths are constants
	}
	return key, expand(secret, "quic iv", 12), mask
}

// expand is TLS's HKDF-Expand-Label without a context (RFC 8446 §7.1).
func expand(secret []byte, label string, length int) []byte {
	label = "tls13 " + label
	info := append([]byte{byte(length >> 8), byte(length), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, secret, string(append(info, 0)), length)
	if err != nil {
		panic(err) // all lengths are constants
	}
	return out
}

// varint reads a number (RFC 9000 §16) and returns how long it is; beyond any length if there is none.
func varint(b []byte) (n uint64, size int) {
	if len(b) == 0 || len(b) < 1<<(b[0]>>6) {
		return 1 << 62, 0
	}
	size = 1 << (b[0] >> 6)
	n = uint64(b[0] & 0b0011_1111)
	for _, c := range b[1:size] {
		n = n<<8 | uint64(c)
	}
	return n, size
}

// cryptoFrames collects the CRYPTO frames (RFC 9000 §19.6) among those of a client's Initial packet.
func cryptoFrames(b []byte, pieces map[uint64][]byte) {
	const padding, ping, crypto = 0, 1, 6
	for len(b) > 0 {
		kind := b[0]
		b = b[1:]
		switch kind {
		case padding, ping:
		case crypto:
			at, n := varint(b)
			b = b[n:]
			length, n := varint(b)
			if b = b[n:]; length > uint64(len(b)) {
				return
			}
			pieces[at], b = b[:length], b[length:]
		default:
			return // an acknowledgement: the hello is over
		}
	}
}
