package kindred

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// queue is a listener whose connections come from addresses that the test names.
type queue struct {
	net.Listener
	waiting []net.Conn
}

func (q *queue) Accept() (net.Conn, error) {
	if len(q.waiting) == 0 {
		return nil, net.ErrClosed
	}
	c := q.waiting[0]
	q.waiting = q.waiting[1:]
	return c, nil
}

type from struct {
	net.Conn
	addr   string
	closed *int
}

func (c from) RemoteAddr() net.Addr { return tcp(c.addr) }
func (c from) Close() error         { *c.closed++; return nil }

type tcp string

func (a tcp) Network() string { return "tcp" }
func (a tcp) String() string  { return string(a) }

func TestLimited(t *testing.T) {
	var q queue
	var closed int
	l := newLimited(&q)
	come := func(addr string) (in []net.Conn) {
		q.waiting = append(q.waiting, from{addr: addr, closed: &closed})
		for {
			c, err := l.Accept()
			if err != nil {
				return in
			}
			in = append(in, c)
		}
	}
	var mine []net.Conn
	for range maxTLSConnsOf {
		mine = append(mine, come("192.0.2.1:1000")...)
		come("[2001:db8::1]:1000")
	}
	if len(mine) != maxTLSConnsOf || closed != 0 {
		t.Fatalf("%d are let in of %d, %d closed", len(mine), maxTLSConnsOf, closed)
	}
	for addr, want := range map[string]int{
		"192.0.2.1:1001":          0,
		"[::ffff:192.0.2.1]:1001": 0, // the same
		"[2001:db8::2]:1000":      0, // a neighbour
		"192.0.2.2:1000":          1,
		"[2001:db8:0:1::1]:1000":  1,
	} {
		if in := come(addr); len(in) != want {
			t.Errorf("from %s %d are let in, want %d", addr, len(in), want)
		}
	}
	if closed != 3 {
		t.Errorf("%d were closed, want 3", closed)
	}
	for range 2 { // closing twice makes room once
		if err := mine[0].Close(); err != nil {
			t.Fatal(err)
		}
	}
	if in := append(come("192.0.2.1:1002"), come("192.0.2.1:1003")...); len(in) != 1 {
		t.Errorf("after one has left %d are let in", len(in))
	}
	for i := range maxTLSConns {
		come(net.IPv4(10, 0, byte(i>>8), byte(i)).String() + ":1")
	}
	if in := come("192.0.2.77:1"); len(in) != 0 || l.all != maxTLSConns {
		t.Errorf("%d are open and one more is let in", l.all)
	}
}

// one is a listener with one connection.
type one struct {
	conn   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *one) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *one) Addr() net.Addr { return tcp("192.0.2.1:8443") }

// Whoever begins a handshake, or does not even do that, and says no more is hung up on.
func TestStalledHandshake(t *testing.T) {
	hello := []byte{22, 3, 1, 2, 0, 1} // the beginning of a record that is a ClientHello of 508 bytes
	for _, said := range [][]byte{nil, hello} {
		synctest.Test(t, func(t *testing.T) {
			l := &one{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
			s := newHTTPS(&Node{log: slog.New(slog.DiscardHandler), cfg: Config{Clock: time.Now}}, l, http.NotFoundHandler())
			var wait sync.WaitGroup
			wait.Go(func() { s.serve(t.Context()) })
			near, far := net.Pipe()
			l.conn <- far
			begun := time.Now()
			if _, err := near.Write(said); err != nil {
				t.Fatal(err)
			}
			if n, err := near.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("read %d bytes, %v", n, err)
			}
			if took := time.Since(begun); took != tlsPatience {
				t.Errorf("it was put up with for %s, want %s", took, tlsPatience)
			}
			if err := s.close(); err != nil {
				t.Error(err)
			}
			wait.Wait()
		})
	}
}

// Whoever does not read what it is sent loses its connection; a deadline of the server's own comes sooner.
func TestSlowReader(t *testing.T) {
	for name, test := range map[string]struct{ own, want time.Duration }{
		"without a deadline": {0, tlsWritePause},
		"with a later one":   {time.Hour, tlsWritePause},
		"with a sooner one":  {time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				c := &counted{Conn: near, leave: func() {}}
				defer c.Close()
				begun := time.Now()
				if test.own > 0 {
					if err := c.SetDeadline(begun.Add(test.own)); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := c.Write([]byte("nobody reads this")); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("writing ended with %v", err)
				}
				if took := time.Since(begun); took != test.want {
					t.Errorf("writing took %s, want %s", took, test.want)
				}
			})
		})
	}
}
