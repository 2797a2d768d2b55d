package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A halfConn is what both ends of a stream that switched protocols have.
type halfConn interface {
	net.Conn
	CloseWrite() error
	Reset() error
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

// echo switches to a protocol that sends back what comes, and ends with it.
func echo(t *testing.T, ended chan<- error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, err = io.WriteString(conn, switching) // only now, or net/http may have read what comes next
		}
		if err != nil {
			t.Error(err)
			return
		}
		stop := context.AfterFunc(r.Context(), func() { conn.(halfConn).Reset() })
		defer stop()
		_, err = io.Copy(conn, onlyReader{conn})
		if err == nil {
			err = conn.(halfConn).CloseWrite()
		}
		ended <- err
	})
}

// An onlyReader hides what else a connection can do from io.Copy.
type onlyReader struct{ io.Reader }

func upgrade(t *testing.T, c *http.Client, url string) halfConn {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	conn, ok := resp.Body.(halfConn)
	if !ok || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%s, and the body is a %T", resp.Status, resp.Body)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Each side says all it has to say, whichever has said it first.
func TestSwitchedStream(t *testing.T) {
	p := newPlace(t)
	ended := make(chan error, 2)
	meter, phone := p.join("meter", echo(t, ended)), p.join("phone", nil)
	client := phone.client(nil, meter)
	conn := upgrade(t, client, "kindred://meter/")
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		if _, err := conn.Write(sent); err != nil {
			t.Error(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Error(err)
		}
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(sent), err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if conn.SetDeadline(time.Now()) != nil || conn.RemoteAddr().Network() != "quic" {
		t.Error("the stream has no deadline or no address")
	}
	// A stream that was handed over is not used for what comes next.
	upgrade(t, client, "kindred://meter/").Close()
}

// No callee takes a stream for good by switching where nobody asked it to: nothing would end the reading of its answer.
func TestSwitchedUnasked(t *testing.T) {
	p := newPlace(t)
	ended := make(chan error, 1)
	meter, phone := p.join("meter", echo(t, ended)), p.join("phone", nil)
	resp, err := phone.client(nil, meter).Get("kindred://meter/")
	if err == nil {
		resp.Body.Close()
		t.Errorf("answered %s", resp.Status)
	}
	<-ended
}

func TestSwitchedStreamEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(meter, phone *member, conn halfConn)
		want error // of the caller's Read; nil: any
	}{
		{"callee disconnects", func(meter, phone *member, _ halfConn) { meter.Disconnect(phone.public()) }, ErrUnreachable},
		{"callee closes", func(meter, _ *member, _ halfConn) { meter.Close() }, nil},
		{"caller closes the host", func(_, phone *member, _ halfConn) { phone.Close() }, ErrClosed},
		{"caller closes the stream", func(_, _ *member, conn halfConn) { conn.Close() }, nil},
		{"caller resets the stream", func(_, _ *member, conn halfConn) { conn.Reset() }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			ended := make(chan error, 1)
			meter, phone := p.join("meter", echo(t, ended)), p.join("phone", nil)
			conn := upgrade(t, phone.client(nil, meter), "kindred://meter/")
			if _, err := io.WriteString(conn, "x"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			tt.end(meter, phone, conn)
			<-ended
			if _, err := conn.Read(make([]byte, 1)); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("reading ended with %v, want %v", err, tt.want)
			}
			if _, err := conn.Write([]byte("x")); err == nil {
				t.Error("what is written to nobody passes for written")
			}
		})
	}
}

// A handler that leaves its stream open loses it when it returns: Close waits for nobody else.
func TestSwitchedStreamEndsWithItsHandler(t *testing.T) {
	for _, panics := range []bool{false, true} {
		p := newPlace(t)
		meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, err = io.WriteString(conn, switching)
			}
			if err != nil {
				t.Error(err)
			}
			if panics {
				panic(http.ErrAbortHandler)
			}
		}))
		phone := p.join("phone", nil)
		conn := upgrade(t, phone.client(nil, meter), "kindred://meter/")
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("read %d bytes of a stream whose handler is done", n)
		}
		conn.Close()
		for _, m := range []*member{phone, meter} {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
		for deadline := time.Now().Add(10 * time.Second); len(running()) > 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("still running:\n%s", bytes.Join(running(), []byte("\n\n")))
			}
		}
	}
}

// WebSocket (RFC 6455) by a library that knows nothing of this transport, on both ends.
func TestWebSocket(t *testing.T) {
	p := newPlace(t)
	ended := make(chan error, 1)
	meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"chat"}})
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(1 << 20)
		who, _ := Caller(r.Context())
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				ended <- err
				return
			}
			if err := conn.Write(r.Context(), kind, fmt.Appendf(nil, "%s: %s", who.Value, message)); err != nil {
				t.Error(err)
			}
		}
	}))
	phone := p.join("phone", nil)
	options := &websocket.DialOptions{HTTPClient: webSocketClient(phone.client(nil, meter)), Subprotocols: []string{"chat"}}
	conn, _, err := websocket.Dial(t.Context(), "http://meter/", options)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if conn.Subprotocol() != "chat" {
		t.Errorf("subprotocol %q", conn.Subprotocol())
	}
	conn.SetReadLimit(1 << 20)
	for _, message := range []string{"hello", strings.Repeat("long ", 20_000)} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.Read(t.Context()); err != nil || string(got) != "phone: "+message {
			t.Fatalf("got %.50q, %v", got, err)
		}
	}
	if err := conn.Close(websocket.StatusNormalClosure, "that is all"); err != nil {
		t.Error(err)
	}
	if err := <-ended; websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the callee saw %v", err)
	}
}

// webSocketClient lets the library, which knows http and https alone, call members.
func webSocketClient(c *http.Client) *http.Client {
	return &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		req = req.Clone(req.Context())
		req.URL.Scheme = Scheme
		return c.Transport.RoundTrip(req)
	})}
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
