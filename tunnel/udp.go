package tunnel

import (
	"errors"
	"fmt"
	"io"
)

const (
	// MaxDatagram is the longest UDP payload that is sent, in bytes: what fits
	// into a packet of IPv4.
	MaxDatagram = 65507
	maxReceived = 65527 // RFC 9298, §5
)

// ErrTooLong says that a datagram has more than [MaxDatagram] bytes. Nothing
// was sent, and the tunnel goes on.
var ErrTooLong = errors.New("tunnel: datagram too long")

// A udpConn carries datagrams. One goroutine reads at a time.
type udpConn struct {
	end
	in *capsules
}

// Read reads one datagram; io.EOF once the other side has ended the tunnel.
func (c *udpConn) Read(p []byte) (int, error) {
	for {
		if _, err := c.in.next(typeDatagram); err != nil {
			return 0, err
		}
		if c.in.left > maxReceived+8 {
			return 0, fmt.Errorf("tunnel: datagram of %d bytes, at most %d are allowed", c.in.left, maxReceived)
		}
		context, err := readVarint(byteReader{c.in})
		if err != nil {
			return 0, errors.New("tunnel: datagram without a context")
		}
		if context != 0 {
			continue // of an extension that was not agreed on
		}
		if c.in.left > maxReceived {
			return 0, fmt.Errorf("tunnel: datagram of %d bytes, at most %d are allowed", c.in.left, maxReceived)
		}
		n, err := io.ReadFull(c.in, p[:min(uint64(len(p)), c.in.left)])
		return n, err
	}
}

// Write sends one datagram of at most MaxDatagram bytes.
func (c *udpConn) Write(p []byte) (int, error) {
	if len(p) > MaxDatagram {
		return 0, fmt.Errorf("%w: %d bytes, at most %d are carried", ErrTooLong, len(p), MaxDatagram)
	}
	capsule := make([]byte, 0, len(p)+2*maxHeader)
	capsule = appendVarint(appendVarint(capsule, uint64(typeDatagram)), uint64(len(p)+1))
	if err := c.write(append(append(capsule, 0), p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// A byteReader reads the bytes of a capsule one by one.
type byteReader struct{ *capsules }

func (r byteReader) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r.capsules, b[:])
	return b[0], err
}
