package tunnel

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// end is what the ends of all tunnels have: the stream, and the reader of its
// capsules. One goroutine reads at a time.
type end struct {
	net.Conn
	in *capsules

	writing sync.Mutex
	out     []byte // a capsule being made; guarded by writing
	ended   bool   // all was written, or no more can be; guarded by writing
}

// write writes a capsule. One that was not written whole is the last. writing is
// held.
func (e *end) write(capsule []byte) error {
	if e.ended {
		return fmt.Errorf("tunnel: writing: %w", net.ErrClosed)
	}
	_, err := e.Conn.Write(capsule)
	e.ended = err != nil
	return err
}

// Abort implements [Conn].
func (e *end) Abort() error {
	if s, ok := e.Conn.(interface{ Reset() error }); ok {
		_ = s.Reset() // the stream may be over already
	}
	return e.Conn.Close()
}

const (
	bufferSize = 32 << 10
	maxHeader  = 8 // of a capsule of DATA: a type of 4 bytes, a length of 4 at most
)

// A tcpConn carries a stream of bytes.
type tcpConn struct {
	end
	last bool // the present capsule is the final one
}

// Read returns io.EOF once the other side has said that it wrote all, and
// io.ErrUnexpectedEOF where it went without.
func (c *tcpConn) Read(p []byte) (int, error) {
	for len(p) > 0 && c.in.left == 0 {
		if c.last {
			return 0, io.EOF
		}
		kind, err := c.in.next(typeData, typeFinalData)
		if err != nil {
			return 0, truncated(err)
		}
		c.last = kind == typeFinalData
	}
	if len(p) == 0 {
		return 0, nil
	}
	return c.in.Read(p)
}

// Write writes p in capsules of at most bufferSize bytes.
func (c *tcpConn) Write(p []byte) (n int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for first := true; first || len(p) > 0; first = false {
		part := p[:min(len(p), bufferSize)]
		c.room()
		if err := c.send(typeData, c.out[:maxHeader+copy(c.out[maxHeader:], part)]); err != nil {
			return n, err
		}
		n += len(part)
		p = p[len(part):]
	}
	return n, nil
}

// ReadFrom writes what it reads, with no second buffer.
func (c *tcpConn) ReadFrom(r io.Reader) (total int64, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.room()
	for {
		n, err := r.Read(c.out[maxHeader : maxHeader+bufferSize])
		if n > 0 {
			if err := c.send(typeData, c.out[:maxHeader+n]); err != nil {
				return total, err
			}
			total += int64(n)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, localError{err}
		}
	}
}

// A localError is the failure of what is carried, not of the tunnel.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// room makes room for a capsule. writing is held.
func (c *tcpConn) room() {
	if c.out == nil {
		c.out = make([]byte, maxHeader+bufferSize)
	}
}

// send writes a capsule whose value begins at maxHeader of b; the header is put
// right before it. writing is held.
func (c *tcpConn) send(kind capsuleType, b []byte) error {
	var header [2 * maxHeader]byte
	h := appendVarint(appendVarint(header[:0], uint64(kind)), uint64(len(b)-maxHeader))
	b = b[maxHeader-len(h):]
	copy(b, h)
	return c.write(b)
}

// CloseWrite says that all was written. Reading goes on.
func (c *tcpConn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.final()
}

func (c *tcpConn) final() error {
	if c.ended {
		return nil
	}
	var b [maxHeader]byte
	err := c.send(typeFinalData, b[:])
	c.ended = true
	return err
}

// closeWait is how long Close tries to say that all was written.
const closeWait = 250 * time.Millisecond

// Close says that all was written, if it was not said before, and ends the
// tunnel. A Write in progress is interrupted, and then the tunnel is aborted.
func (c *tcpConn) Close() error {
	if !c.writing.TryLock() {
		return c.Abort()
	}
	defer c.writing.Unlock()
	_ = c.Conn.SetWriteDeadline(time.Now().Add(closeWait)) // where there are deadlines
	if c.final() != nil {
		return c.Abort()
	}
	return c.Conn.Close()
}

const (
	// MaxDatagram is the longest UDP payload that is sent, in bytes: what fits
	// into a packet of IPv4.
	MaxDatagram = 65507
	maxReceived = 65527 // RFC 9298, §5
)

// ErrTooLong says that a datagram has more than [MaxDatagram] bytes. Nothing
// was sent, and the tunnel goes on.
var ErrTooLong = errors.New("tunnel: datagram too long")

// A udpConn carries datagrams.
type udpConn struct{ end }

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
	c.writing.Lock()
	defer c.writing.Unlock()
	c.out = appendVarint(c.out[:0], uint64(typeDatagram))
	c.out = appendVarint(c.out, uint64(len(p)+1))
	c.out = append(append(c.out, 0), p...)
	if err := c.write(c.out); err != nil {
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
