package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kindred-iot/kindred/tunnel"
)

const (
	// maxSessions bounds the sessions of a port, within what a thing serves of one caller at once.
	maxSessions = 48
	// maxQueued bounds what of a session waits to be carried, in datagrams and in bytes; what is more is lost.
	maxQueued      = 256
	maxQueuedBytes = 256 << 10
)

// A udpPort is a port of UDP with a session for each address that sends there.
type udpPort struct {
	f    *forwarding
	conn net.PacketConn

	mu       sync.Mutex
	sessions map[string]*udpSession // by address
}

// serve hands each datagram to its session, until the port is closed.
func (p *udpPort) serve(ctx context.Context) error {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := p.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if n <= tunnel.MaxDatagram {
			p.session(ctx, from).queue(bytes.Clone(buffer[:n]))
		}
	}
}

// session returns the session of an address, begun if need be.
func (p *udpPort) session(ctx context.Context, from net.Addr) *udpSession {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := from.String()
	s := p.sessions[key]
	if s != nil {
		s.used = time.Now()
		return s
	}
	if len(p.sessions) >= maxSessions {
		var oldest string
		for key, s := range p.sessions {
			if oldest == "" || s.used.Before(p.sessions[oldest].used) {
				oldest = key
			}
		}
		p.sessions[oldest].end()
		delete(p.sessions, oldest)
	}
	s = &udpSession{port: p.conn, peer: from, used: time.Now(), in: make(chan []byte, maxQueued), ended: make(chan struct{})}
	p.sessions[key] = s
	p.f.running.Go(func() {
		p.f.carry(ctx, s)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.sessions[key] == s {
			delete(p.sessions, key)
		}
	})
	return s
}

// A udpSession is what one address sends and is sent: a net.Conn that reads and writes a datagram at a time.
type udpSession struct {
	port net.PacketConn
	peer net.Addr
	used time.Time // guarded by the port's mu

	in      chan []byte
	waiting atomic.Int64 // bytes in it

	close sync.Once
	ended chan struct{}
}

// queue keeps a datagram until it is read, where there is room.
func (s *udpSession) queue(d []byte) {
	size := int64(len(d))
	if s.waiting.Add(size) <= maxQueuedBytes {
		select {
		case s.in <- d:
			return
		default:
		}
	}
	s.waiting.Add(-size)
}

func (s *udpSession) end() { s.close.Do(func() { close(s.ended) }) }

func (s *udpSession) Read(b []byte) (int, error) {
	select {
	case d := <-s.in:
		s.waiting.Add(-int64(len(d)))
		return copy(b, d), nil
	case <-s.ended:
		return 0, io.EOF
	}
}

func (s *udpSession) Write(b []byte) (int, error) { return s.port.WriteTo(b, s.peer) }

func (s *udpSession) Close() error {
	s.end()
	return nil
}

func (s *udpSession) LocalAddr() net.Addr              { return s.port.LocalAddr() }
func (s *udpSession) RemoteAddr() net.Addr             { return s.peer }
func (s *udpSession) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (s *udpSession) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (s *udpSession) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
