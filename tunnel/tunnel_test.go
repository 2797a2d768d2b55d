package tunnel

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tunnelTo starts a server that carries to what dial gives, and asks it for a tunnel. What became of it comes out of
// the channel.
func tunnelTo(t *testing.T, network string, dial func() (net.Conn, error)) (Conn, <-chan error, *httptest.Server) {
	t.Helper()
	ended := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !Asked(r, network) {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		to, err := dial()
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		ended <- Accept(w, r, network, to)
	}))
	t.Cleanup(s.Close)
	c, resp, err := Dial(t.Context(), s.Client(), s.URL, network, nil)
	if err != nil || resp != nil {
		t.Fatal(resp, err)
	}
	t.Cleanup(func() { c.Close() })
	return c, ended, s
}

// serveTCP starts a TCP server until the test ends.
func serveTCP(t *testing.T, serve func(*net.TCPConn)) func() (net.Conn, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	t.Cleanup(func() { l.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { defer c.Close(); serve(c.(*net.TCPConn)) })
		}
	})
	return func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
}

// Whoever has said all still hears the whole answer, as "nc -N" wants it.
func TestHalfClose(t *testing.T) {
	question, answer := make([]byte, 3<<20+7), make([]byte, 2<<20+1)
	rand.Read(question)
	rand.Read(answer)
	asked := make(chan [32]byte, 1)
	c, ended, _ := tunnelTo(t, TCP, serveTCP(t, func(conn *net.TCPConn) {
		all, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		asked <- sha256.Sum256(all)
		conn.Write(answer)
	}))
	if _, err := c.Write(question); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("more")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("writing after CloseWrite: %v", err)
	}
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, answer) {
		t.Errorf("%d bytes of the answer, %v", len(got), err)
	}
	if <-asked != sha256.Sum256(question) {
		t.Error("the question was altered")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What is broken at one end is broken at the other, and is not taken for the end.
func TestBroken(t *testing.T) {
	target := make(chan error, 1)
	read := func(conn *net.TCPConn) {
		_, err := io.Copy(io.Discard, onlyReader{conn})
		target <- err
	}
	t.Run("the caller aborts", func(t *testing.T) {
		c, ended, _ := tunnelTo(t, TCP, serveTCP(t, read))
		io.WriteString(c, "a part")
		c.Abort()
		if err := <-target; err == nil {
			t.Error("the service takes the part for the whole")
		}
		if err := <-ended; err == nil || errors.Is(err, ErrLocal) {
			t.Errorf("ended with %v", err)
		}
	})
	t.Run("the service breaks", func(t *testing.T) {
		c, ended, _ := tunnelTo(t, TCP, serveTCP(t, func(conn *net.TCPConn) {
			conn.Read(make([]byte, 1)) // it is connected by then
			conn.SetLinger(0)
		}))
		io.WriteString(c, "x")
		if _, err := io.ReadAll(c); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the caller reads to %v", err)
		}
		if err := <-ended; !errors.Is(err, ErrLocal) {
			t.Errorf("ended with %v, want ErrLocal", err)
		}
	})
	t.Run("the context ends", func(t *testing.T) {
		one, other := net.Pipe()
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("taken away")
		conn, err := serveTCP(t, read)()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- Carry(ctx, newConn(TCP, one, one, 0), conn) }()
		if _, err := io.WriteString(other, capsule(typeData, "a part")); err != nil {
			t.Fatal(err)
		}
		cancel(cause)
		if err := <-ended; !errors.Is(err, cause) {
			t.Errorf("ended with %v", err)
		}
		if err := <-target; err == nil {
			t.Error("the service takes the part for the whole")
		}
	})
}

type onlyReader struct{ io.Reader }

// A connection that cannot be half closed is closed when the other side has said all.
func TestNoHalfClose(t *testing.T) {
	far, service := net.Pipe()
	c, ended, _ := tunnelTo(t, TCP, func() (net.Conn, error) { return far, nil })
	go func() {
		got, _ := io.ReadAll(service)
		if string(got) != "all" {
			t.Errorf("the service read %q", got)
		}
	}()
	io.WriteString(c, "all")
	c.(interface{ CloseWrite() error }).CloseWrite()
	if _, err := io.ReadAll(c); err != nil {
		t.Error(err)
	}
	c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDatagrams(t *testing.T) {
	service, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := service.ReadFrom(buffer)
			if err != nil {
				return
			}
			service.WriteTo(buffer[:n], from)
		}
	}()
	c, ended, _ := tunnelTo(t, UDP, func() (net.Conn, error) { return net.Dial("udp", service.LocalAddr().String()) })
	buffer := make([]byte, 1<<16)
	for _, size := range []int{1, 0, 1200, MaxDatagram, 3} {
		sent := make([]byte, size)
		rand.Read(sent)
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(buffer)
		if err != nil || !bytes.Equal(buffer[:n], sent) {
			t.Errorf("a datagram of %d bytes came back with %d, %v", size, n, err)
		}
	}
	if _, err := c.Write(make([]byte, MaxDatagram+1)); !errors.Is(err, ErrTooLong) || !strings.Contains(err.Error(), "65508 bytes, at most 65507 are carried") {
		t.Errorf("a datagram too long: %v", err)
	}
	if _, err := c.Write([]byte("on it goes")); err != nil {
		t.Error(err)
	}
	if n, err := c.Read(buffer); string(buffer[:n]) != "on it goes" || err != nil {
		t.Errorf("read %q, %v", buffer[:n], err)
	}
	c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDatagramsToNobody(t *testing.T) {
	service, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := service.LocalAddr().String()
	service.Close()
	c, ended, _ := tunnelTo(t, UDP, func() (net.Conn, error) { return net.Dial("udp", at) })
	for {
		c.Write([]byte("x")) // in vain from some time on
		select {
		case err := <-ended:
			if !errors.Is(err, ErrLocal) {
				t.Errorf("ended with %v, want ErrLocal", err)
			}
			return
		case <-time.After(time.Millisecond): // the system tells of it with the next datagram
		}
	}
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, other := net.Pipe()
		local, service := net.Pipe()
		began := time.Now()
		ended := make(chan error, 1)
		go func() { ended <- Carry(t.Context(), newConn(UDP, one, one, 0), local) }()
		time.Sleep(UDPIdle - time.Second)
		if _, err := io.WriteString(other, capsule(typeDatagram, "\x00x")); err != nil {
			t.Fatal(err)
		}
		if _, err := service.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrIdle) {
			t.Errorf("ended with %v, want ErrIdle", err)
		}
		if took := time.Since(began); took != 2*UDPIdle-time.Second {
			t.Errorf("ended after %v, want %v after the last datagram", took, UDPIdle)
		}
	})
}

func TestDialAnsweredOtherwise(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if Asked(r, TCP) || !Asked(r, UDP) {
			t.Errorf("asked %q", r.Header)
		}
		w.Header().Set("Upgrade", "chat")
		w.Header().Set("Connection", "Upgrade")
		if r.URL.Path == "/chat" {
			w.WriteHeader(http.StatusSwitchingProtocols)
			return
		}
		http.Error(w, "nobody answers", http.StatusBadGateway)
	}))
	defer s.Close()
	c, resp, err := Dial(t.Context(), s.Client(), s.URL, UDP, nil)
	if c != nil || err != nil || resp.StatusCode != http.StatusBadGateway {
		t.Fatal(c, resp, err)
	}
	resp.Body.Close()
	if _, _, err := Dial(t.Context(), s.Client(), s.URL+"/chat", UDP, nil); err == nil {
		t.Error("another protocol passes for a tunnel")
	}
	if _, _, err := Dial(t.Context(), s.Client(), s.URL, "sctp", nil); err == nil || !strings.Contains(err.Error(), "unknown network sctp") {
		t.Errorf("sctp: %v", err)
	}
}

func TestDeadlines(t *testing.T) {
	c := newConn(TCP, readOnly(nil), strings.NewReader(""), 0)
	if err := c.SetWriteDeadline(time.Now()); !errors.Is(err, os.ErrNoDeadline) {
		t.Errorf("a stream without deadlines: %v", err)
	}
	one, other := net.Pipe()
	defer other.Close()
	c = newConn(TCP, one, one, 0)
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("writing: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) { // half a capsule may have gone out
		t.Errorf("writing after that: %v", err)
	}
}

// Whoever does not read has the other end wait, and does not keep what comes on the stream; reading goes on.
func TestWindow(t *testing.T) {
	one, other := net.Pipe()
	reader, writer := newTCP(one, one, Window), newTCP(other, other, Window)
	defer reader.Close()
	defer writer.Close()
	done := make(chan error, 1)
	go func() {
		_, err := writer.Write(make([]byte, 4*Window))
		done <- errors.Join(err, writer.CloseWrite())
	}()
	reader.mu.Lock()
	for reader.buffer.Len() < Window {
		reader.changed.Wait() // what is more would break it
	}
	reader.mu.Unlock()
	if n, err := io.Copy(io.Discard, onlyReader{reader}); n != 4*Window || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Who sends more than it was told is cut off, and who waits for more hears when there is nobody to give it.
func TestWindowBroken(t *testing.T) {
	var flood bytes.Buffer
	for range Window/bufferSize + 1 {
		flood.WriteString(capsule(typeData, strings.Repeat("x", bufferSize)))
	}
	c := newTCP(readOnly(nil), &flood, Window)
	<-c.taken
	if n, err := io.Copy(io.Discard, onlyReader{c}); n != Window || err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	for name, wire := range map[string]string{"no number": capsule(typeWindow, ""), "half a number": capsule(typeWindow, "\x40")} {
		c := newTCP(readOnly(nil), strings.NewReader(wire), Window)
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a window with %s: %v", name, err)
		}
	}
	one, other := net.Pipe()
	go io.Copy(io.Discard, other)
	c = newTCP(one, one, minWindow)
	waits := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, minWindow+1))
		waits <- err
	}()
	other.Close()
	if err := <-waits; err == nil {
		t.Error("a writer does not learn that nobody is there")
	}
	c.Close()
}

// An end that knows of no windows is not asked to keep to them.
func TestWindowUnknown(t *testing.T) {
	for header, want := range map[string]uint64{"": 0, "x": 0, "-1": 0, "100": 0, "32768": minWindow, "1048576": Window, "99999999999": 0} {
		if got := windowIn(http.Header{windowHeader: {header}}); got != want {
			t.Errorf("%q is a window of %d, want %d", header, got, want)
		}
	}
	one, other := net.Pipe()
	c := newTCP(one, one, 0)
	defer c.Close()
	go func() {
		io.WriteString(other, capsule(typeData, strings.Repeat("x", 3*bufferSize))+capsule(typeFinalData, ""))
		other.Close()
	}()
	if all, err := io.ReadAll(c); len(all) != 3*bufferSize || err != nil {
		t.Errorf("read %d bytes, %v", len(all), err)
	}
}
