package peer

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
)

// acceptOne is a callee over TCP that does with one connection what serve says. It returns where it listens.
func acceptOne(t *testing.T, serve func(net.Conn) error) (addr string, served <-chan error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		done <- serve(c)
	}()
	return "/ip4/127.0.0.1/tcp/" + strings.Split(l.Addr().String(), ":")[1], done
}

// TestEager: TLS is begun together with the question for it, and goes on when the answer is there, however it comes.
func TestEager(t *testing.T) {
	p := newPlace(t)
	meter, phone := p.join("meter", greet), p.join("phone", nil)
	_, other := identity(t)
	addr, served := acceptOne(t, func(c net.Conn) error {
		in := bufio.NewReader(c)
		question := make([]byte, len(agreed)+1)
		if _, err := io.ReadFull(in, question); err != nil {
			return err
		}
		if string(question) != string(agreed)+"\x16" {
			t.Errorf("before any answer came %q, want the question and TLS behind it", question)
		}
		for i := range agreed {
			if _, err := c.Write(agreed[i : i+1]); err != nil {
				return err
			}
		}
		tls, err := libp2ptls.New(libp2ptls.ID, other, nil)
		if err != nil {
			return err
		}
		if err := in.UnreadByte(); err != nil {
			return err
		}
		_, err = tls.SecureInbound(t.Context(), readFrom{c, in}, "")
		return err
	})
	_, err := phone.client(func(g *Target) { g.Addresses = []string{addr} }, meter).Get("kindred://meter/")
	if !errors.Is(err, ErrWrongKey) {
		t.Errorf("the call ended with %v, want %v, which TLS found out", err, ErrWrongKey)
	}
	<-served
}

// readFrom is a connection of which some was read.
type readFrom struct {
	net.Conn
	in io.Reader
}

func (c readFrom) Read(p []byte) (int, error) { return c.in.Read(p) }

// TestNoTLS: the callee answers something else, or nothing.
func TestNoTLS(t *testing.T) {
	for _, tt := range []struct{ name, answer, want string }{
		{"refuses", string(appendToken(appendToken(nil, multistream), noSuch)), "does not speak /tls/1.0.0"},
		{"is a web server", "HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak /tls/1.0.0"},
		{"goes", string(agreed[:5]), "EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			meter, phone := p.join("meter", greet), p.join("phone", nil)
			addr, served := acceptOne(t, func(c net.Conn) error {
				if _, err := io.WriteString(c, tt.answer); err != nil {
					return err
				}
				if err := c.(*net.TCPConn).CloseWrite(); err != nil {
					return err
				}
				_, err := io.Copy(io.Discard, c)
				return err
			})
			_, err := phone.client(func(g *Target) { g.Addresses = []string{addr} }, meter).Get("kindred://meter/")
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			<-served
		})
	}
}
