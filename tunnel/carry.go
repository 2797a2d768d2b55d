package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

var (
	// ErrIdle says that a tunnel for UDP was ended because it had nothing to
	// carry for [UDPIdle].
	ErrIdle = errors.New("tunnel: nothing was sent for a while")

	// ErrLocal marks what went wrong at the connection that a tunnel was carried
	// to, and not with the tunnel.
	ErrLocal = errors.New("tunnel: the local connection broke")
)

// Carry carries between a tunnel and a local connection, and closes both:
//
//	both directions          TCP: both sides have said all. UDP: one side has ended.
//	    open ───────────────────────────────────────────────────────▶ nil
//	     │ the tunnel or the connection broke, ctx ended, UDP was idle
//	     └──────────────────────────────────────────────────────────▶ error
//
// For TCP an end in one direction is passed on with CloseWrite; a connection
// that has none is closed. What breaks one end breaks the other, so that neither
// takes a part for the whole. The error is that of the first end to break:
// ErrLocal, ErrIdle, the context's cause, or the tunnel's own.
func Carry(ctx context.Context, t Conn, local net.Conn) error {
	c := &carrying{tunnel: t, local: local}
	defer func() {
		_ = t.Close() // said all, or aborted
		_ = local.Close()
	}()
	stop := context.AfterFunc(ctx, func() { c.broke(context.Cause(ctx)) })
	defer stop()
	both := []func(){c.tcpOut, c.tcpIn}
	if _, udp := t.(*udpConn); udp {
		c.idle = time.AfterFunc(UDPIdle, func() { c.broke(ErrIdle) })
		defer c.idle.Stop()
		both = []func(){c.udpOut, c.udpIn}
	}
	var wait sync.WaitGroup
	for _, direction := range both {
		wait.Go(direction)
	}
	wait.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(c.err, errEnded) {
		return nil
	}
	return c.err
}

// carrying is a tunnel at work.
type carrying struct {
	tunnel Conn
	local  net.Conn
	idle   *time.Timer // of UDP

	mu     sync.Mutex
	err    error // why it broke, first
	closed bool  // the local connection, for want of a CloseWrite
}

// errEnded is the good end of a tunnel for UDP, which ends both directions.
var errEnded = errors.New("ended")

// broke ends both directions.
func (c *carrying) broke(err error) {
	c.mu.Lock()
	first := c.err == nil
	if first {
		c.err = err
	}
	c.mu.Unlock()
	if !first {
		return
	}
	if tcp, ok := c.local.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0) // RST
	}
	_ = c.local.Close() // with whatever error, it is closed
	if errors.Is(err, errEnded) {
		_ = c.tunnel.Close()
		return
	}
	_ = c.tunnel.Abort()
}

// tcpOut carries from the local connection into the tunnel.
func (c *carrying) tcpOut() {
	_, err := c.tunnel.(io.ReaderFrom).ReadFrom(c.local)
	var local localError
	if err == nil || errors.As(err, &local) && c.closedLocal() {
		err = c.tunnel.(*tcpConn).CloseWrite()
	}
	if errors.As(err, &local) {
		err = fmt.Errorf("%w: %w", ErrLocal, local.error)
	}
	if err != nil {
		c.broke(err)
	}
}

// tcpIn carries from the tunnel to the local connection.
func (c *carrying) tcpIn() {
	buffer := make([]byte, bufferSize)
	for {
		n, err := c.tunnel.Read(buffer)
		if n > 0 {
			if _, err := c.local.Write(buffer[:n]); err != nil {
				c.broke(fmt.Errorf("%w: %w", ErrLocal, err))
				return
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			c.broke(err)
			return
		}
	}
	half, ok := c.local.(interface{ CloseWrite() error })
	if !ok {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		_ = c.local.Close() // which ends tcpOut
	} else if err := half.CloseWrite(); err != nil {
		c.broke(fmt.Errorf("%w: %w", ErrLocal, err))
	}
}

// closedLocal reports whether the local connection was closed because it cannot
// be half closed.
func (c *carrying) closedLocal() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// udpOut carries datagrams from the local connection into the tunnel. Those too
// long are lost, as they are on any network.
func (c *carrying) udpOut() {
	buffer := make([]byte, MaxDatagram+1)
	for {
		n, err := c.local.Read(buffer)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: %w", ErrLocal, err)
			} else {
				err = errEnded
			}
			c.broke(err)
			return
		}
		c.idle.Reset(UDPIdle)
		if _, err := c.tunnel.Write(buffer[:n]); err != nil && !errors.Is(err, ErrTooLong) {
			c.broke(err)
			return
		}
	}
}

// udpIn carries datagrams from the tunnel to the local connection.
func (c *carrying) udpIn() {
	buffer := make([]byte, maxReceived)
	for {
		n, err := c.tunnel.Read(buffer)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errEnded
			}
			c.broke(err)
			return
		}
		c.idle.Reset(UDPIdle)
		if _, err := c.local.Write(buffer[:n]); err != nil && !errors.Is(err, syscall.EMSGSIZE) {
			c.broke(fmt.Errorf("%w: %w", ErrLocal, err))
			return
		}
	}
}
