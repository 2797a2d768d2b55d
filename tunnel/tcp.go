package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	bufferSize = 32 << 10 // of what is read, and written, at once
	maxHeader  = 8        // of a capsule: a type of 4 bytes, a length of 4 at most

	// Window is how many bytes an end takes in before they are read.
	Window    = 1 << 20
	minWindow = bufferSize
)

// A tcpConn carries a stream of bytes. What comes in is taken off the stream at
// once, so that whoever does not read holds up no other stream of the connection
// underneath: the other end sends no more than a window beyond what was read. If
// it does not know of windows, the stream itself has to hold it up.
//
//	          stream ──▶ take ──▶ buffer ──▶ Read
//	                      │                   │ window
//	                      │ credit            ▼
//	stream ◀── send ◀── Write, ReadFrom, CloseWrite
type tcpConn struct {
	end
	in       *capsules
	windowed bool          // the other end knows of windows
	taken    chan struct{} // closed when take has ended

	turn  sync.Mutex // to write
	final bool       // all was written; guarded by turn

	mu          sync.Mutex
	changed     sync.Cond // of what follows
	buffer      bytes.Buffer
	last        bool  // the other side has written all
	err         error // why take ended
	credit      uint64
	owed        uint64 // bytes that were read and not granted anew
	read, write deadline
}

// newTCP returns the end of a tunnel on a stream. window is the other end's; 0
// if it knows of none.
func newTCP(stream net.Conn, in io.Reader, window uint64) *tcpConn {
	c := &tcpConn{end: end{Conn: stream}, in: newCapsules(in), windowed: window > 0, credit: window, taken: make(chan struct{})}
	c.changed.L = &c.mu
	go c.take() // until the stream ends, for which Close waits
	return c
}

// take takes in what the other side sends, until the stream ends.
func (c *tcpConn) take() {
	defer close(c.taken)
	err := c.takeAll()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	c.changed.Broadcast()
}

func (c *tcpConn) takeAll() error {
	part := make([]byte, bufferSize)
	for {
		kind, err := c.in.next(typeData, typeFinalData, typeWindow)
		if err != nil {
			return truncated(err)
		}
		if kind == typeWindow {
			more, err := readVarint(byteReader{c.in})
			if err != nil {
				return errors.New("tunnel: window without a number")
			}
			c.mu.Lock()
			c.credit += more
			c.changed.Broadcast()
			c.mu.Unlock()
			continue
		}
		for c.in.left > 0 {
			n, err := c.in.Read(part)
			if err := c.keep(part[:n]); err != nil {
				return err
			}
			if err != nil {
				return err
			}
		}
		if kind == typeFinalData {
			c.mu.Lock()
			c.last = true
			c.changed.Broadcast()
			c.mu.Unlock()
		}
	}
}

// keep keeps what came in until it is read.
func (c *tcpConn) keep(part []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.windowed && c.buffer.Len() >= bufferSize && !c.ended() {
		c.changed.Wait()
	}
	switch {
	case c.last:
		return errors.New("tunnel: more data after the last")
	case c.buffer.Len()+len(part) > Window:
		return fmt.Errorf("tunnel: more than the %d bytes of the window", Window)
	}
	c.buffer.Write(part)
	c.changed.Broadcast()
	return nil
}

// ended reports whether this end was closed. mu is held.
func (c *tcpConn) ended() bool { return c.read.closed }

// Read returns io.EOF once the other side has said that it wrote all, and
// io.ErrUnexpectedEOF where it went without.
func (c *tcpConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.buffer.Len() == 0 && len(p) > 0 {
		switch {
		case c.last:
			return 0, io.EOF
		case c.read.closed:
			return 0, net.ErrClosed
		case c.err != nil:
			return 0, c.err
		case c.read.passed:
			return 0, os.ErrDeadlineExceeded
		}
		c.changed.Wait()
	}
	n, _ := c.buffer.Read(p) // there is something, or nothing was asked for
	c.changed.Broadcast()
	c.owed += uint64(n)
	if grant := c.owed; c.windowed && !c.last && grant >= Window/4 {
		c.owed = 0
		c.mu.Unlock()
		value := appendVarint(nil, grant)
		capsule := appendVarint(appendVarint(nil, uint64(typeWindow)), uint64(len(value)))
		_ = c.end.write(append(capsule, value...)) // if the stream is broken, reading tells
		c.mu.Lock()
	}
	return n, nil
}

// Write writes p in capsules of at most bufferSize bytes.
func (c *tcpConn) Write(p []byte) (int, error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	n, err := c.copy(bytes.NewReader(p), make([]byte, maxHeader+min(len(p), bufferSize)))
	return int(n), err
}

// ReadFrom writes what it reads, with no second buffer.
func (c *tcpConn) ReadFrom(r io.Reader) (int64, error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	return c.copy(r, make([]byte, maxHeader+bufferSize))
}

// copy writes what r gives, through a buffer with room for a header. turn is held.
func (c *tcpConn) copy(r io.Reader, buffer []byte) (total int64, err error) {
	if c.final {
		return 0, fmt.Errorf("tunnel: writing: %w", net.ErrClosed)
	}
	for {
		n, err := r.Read(buffer[maxHeader:])
		for part := buffer[maxHeader : maxHeader+n]; len(part) > 0; {
			room, err := c.room(len(part))
			if err != nil {
				return total, err
			}
			// The header stands right before the part: in place of what was sent.
			at := maxHeader + n - len(part)
			if err := c.send(typeData, buffer[at-maxHeader:at+room]); err != nil {
				return total, err
			}
			part, total = part[room:], total+int64(room)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, localError{err}
		}
	}
}

// room waits until the other end takes something of n bytes, and returns how much.
func (c *tcpConn) room(n int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.windowed {
		return n, nil
	}
	for c.credit == 0 {
		switch {
		case c.write.closed:
			return 0, net.ErrClosed
		case c.err != nil:
			return 0, c.err
		case c.write.passed:
			return 0, os.ErrDeadlineExceeded
		}
		c.changed.Wait()
	}
	n = int(min(uint64(n), c.credit))
	c.credit -= uint64(n)
	return n, nil
}

// A localError is the failure of what is carried, not of the tunnel.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// send writes a capsule whose value begins at maxHeader of b; the header is put
// right before it.
func (c *tcpConn) send(kind capsuleType, b []byte) error {
	var header [2 * maxHeader]byte
	h := appendVarint(appendVarint(header[:0], uint64(kind)), uint64(len(b)-maxHeader))
	b = b[maxHeader-len(h):]
	copy(b, h)
	return c.end.write(b)
}

// CloseWrite says that all was written. Reading goes on.
func (c *tcpConn) CloseWrite() error {
	c.turn.Lock()
	defer c.turn.Unlock()
	return c.finish()
}

// finish says that all was written. turn is held.
func (c *tcpConn) finish() error {
	if c.final {
		return nil
	}
	c.final = true
	var b [maxHeader]byte
	return c.send(typeFinalData, b[:])
}

// closeWait is how long Close tries to say that all was written, and then waits
// for the other end to have taken it.
const closeWait = time.Second

// Close says that all was written, if it was not said before, and ends the
// tunnel. A Write in progress is interrupted, and then the tunnel is aborted.
func (c *tcpConn) Close() error {
	if !c.turn.TryLock() {
		return c.Abort()
	}
	defer c.turn.Unlock()
	_ = c.Conn.SetWriteDeadline(time.Now().Add(closeWait)) // where there are deadlines
	if c.finish() != nil {
		return c.Abort()
	}
	c.linger()
	err := c.Conn.Close()
	c.closed()
	return err
}

// linger waits for the other end to close, if both have said all. Over TCP, what
// is under way to it would be lost if this end were closed before it has read
// the last of what came: a window, say, that nobody needs any more.
func (c *tcpConn) linger() {
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !last || !ok || half.CloseWrite() != nil {
		return
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-c.taken:
	case <-timer.C:
	}
}

// Abort implements [Conn].
func (c *tcpConn) Abort() error {
	err := c.end.Abort()
	c.closed()
	return err
}

// closed wakes whoever waits, and waits for take.
func (c *tcpConn) closed() {
	c.mu.Lock()
	c.read.close()
	c.write.close()
	c.changed.Broadcast()
	c.mu.Unlock()
	<-c.taken
}

// A deadline is until when to wait for the other end. It is guarded by the
// connection's mu.
type deadline struct {
	timer  *time.Timer
	passed bool
	closed bool // the connection is
}

func (d *deadline) close() {
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
	}
}

// set sets a deadline, none if t is zero.
func (c *tcpConn) set(d *deadline, t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	wait := time.Until(t)
	d.timer, d.passed = nil, !t.IsZero() && wait <= 0
	if !t.IsZero() && wait > 0 {
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if d.timer == timer { // no other was set since
				d.passed = true
				c.changed.Broadcast()
			}
		})
		d.timer = timer
	}
	c.changed.Broadcast()
}

// SetReadDeadline implements [net.Conn].
func (c *tcpConn) SetReadDeadline(t time.Time) error {
	c.set(&c.read, t)
	return nil
}

// SetWriteDeadline implements [net.Conn].
func (c *tcpConn) SetWriteDeadline(t time.Time) error {
	c.set(&c.write, t)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements [net.Conn].
func (c *tcpConn) SetDeadline(t time.Time) error {
	c.set(&c.read, t)
	return c.SetWriteDeadline(t)
}
