package tunnel

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A capsuleType says what a capsule carries.
type capsuleType uint64

const (
	typeDatagram  capsuleType = 0x00       // RFC 9297, §3.5
	typeData      capsuleType = 0x2028d7f0 // draft-ietf-httpbis-connect-tcp, §3
	typeFinalData capsuleType = 0x2028d7f1
	typeWindow    capsuleType = 0x2b6b6e64 // Kindred's own
)

// maxUnknown bounds the capsules that are passed over, in bytes.
const maxUnknown = 64 << 10

// capsules reads a stream of capsules: next, then what is left of each.
type capsules struct {
	r    *bufio.Reader
	left uint64 // of the present capsule's value
}

func newCapsules(r io.Reader) *capsules { return &capsules{r: bufio.NewReader(r)} }

// next goes on to the next capsule of one of the types wanted, and returns its
// type; io.EOF if the stream ends after a whole capsule.
func (c *capsules) next(want ...capsuleType) (capsuleType, error) {
	for {
		if _, err := io.CopyN(io.Discard, c.r, int64(c.left)); err != nil {
			return 0, truncated(err)
		}
		c.left = 0
		if _, err := c.r.Peek(1); err != nil {
			return 0, err
		}
		kind, err := readVarint(c.r)
		if err != nil {
			return 0, truncated(err)
		}
		if c.left, err = readVarint(c.r); err != nil {
			return 0, truncated(err)
		}
		for _, w := range want {
			if capsuleType(kind) == w {
				return w, nil
			}
		}
		if c.left > maxUnknown {
			return 0, fmt.Errorf("tunnel: capsule of unknown type %#x and %d bytes, at most %d are passed over", kind, c.left, maxUnknown)
		}
	}
}

// Read reads from the present capsule's value.
func (c *capsules) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(uint64(len(p)), c.left)])
	c.left -= uint64(n)
	return n, truncated(err)
}

// readVarint reads a variable-length integer (RFC 9000, §16).
func readVarint(r io.ByteReader) (uint64, error) {
	first, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	n := uint64(first & 0x3f)
	for range 1<<(first>>6) - 1 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		n = n<<8 | uint64(b)
	}
	return n, nil
}

// appendVarint appends n in its shortest form; n is below 2⁶².
func appendVarint(b []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(b, byte(n))
	case n < 1<<14:
		return binary.BigEndian.AppendUint16(b, uint16(n)|1<<14)
	case n < 1<<30:
		return binary.BigEndian.AppendUint32(b, uint32(n)|2<<30)
	}
	return binary.BigEndian.AppendUint64(b, n|3<<62)
}

// truncated returns err, an end of input turned into an unexpected one.
func truncated(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
