package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tunnel"
)

func TestForwardArguments(t *testing.T) {
	type service struct {
		path, network string
		port, local   uint16
	}
	for _, tt := range []struct {
		args string
		udp  bool
		want service
		err  string
	}{
		{"home/cam:8554", false, service{path: "home/cam", network: "tcp", port: 8554}, ""},
		{"home/cam:8554 80", false, service{path: "home/cam", network: "tcp", port: 8554, local: 80}, ""},
		{"home/cam:53/udp 0", false, service{path: "home/cam", network: "udp", port: 53}, ""},
		{"home/cam:53", true, service{path: "home/cam", network: "udp", port: 53}, ""},
		{"home/cam", false, service{path: "home/cam", network: "tcp"}, ""},
		{"spiffe://tree/home/cam", false, service{path: "spiffe://tree/home/cam", network: "tcp"}, ""},
		{"spiffe://tree/home/cam:1/tcp", false, service{path: "spiffe://tree/home/cam", network: "tcp", port: 1}, ""},
		{"home/cam:", false, service{}, `"" is no port such as 8554 or 53/udp`},
		{"home/cam:65536", false, service{}, `"65536" is no port`},
		{"home/cam:-1", false, service{}, `"-1" is no port`},
		{"home/cam:1/ip", false, service{}, `"1/ip" is no port`},
		{"home/cam:1 x", false, service{}, `"x" is no port of this machine`},
		{"home/cam 80", false, service{}, "which port of home/cam?"},
		{"home/cam", true, service{}, "which port of home/cam?"},
	} {
		f, err := (&session{}).forwarding(strings.Fields(tt.args), tt.udp)
		if err != nil {
			if tt.err == "" || !strings.Contains(err.Error(), tt.err) || explain(err).exit != exitUsage {
				t.Errorf("%q: %v, want %q", tt.args, err, tt.err)
			}
			continue
		}
		if got := (service{f.path, f.network, f.port, f.local}); got != tt.want || tt.err != "" {
			t.Errorf("%q: %+v, want %+v %q", tt.args, got, tt.want, tt.err)
		}
	}
}

// forwardTo returns a port of this machine that leads to home/cam's service at an address.
func forwardTo(t testing.TB, network, address string) string {
	t.Helper()
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/cam", "", "127.0.0.1:0")
	cam := thing.New("Camera")
	thing.Service(cam, network, 1000, "", thing.DialTo(network, address))
	h.Serve(device, cam)
	return startForwarding(t, laptop, network)
}

func startForwarding(t testing.TB, n *kindred.Node, network string) string {
	t.Helper()
	f := &forwarding{s: &session{err: io.Discard}, node: n, path: "home/cam", network: network, port: 1000}
	ctx, cancel := context.WithCancel(context.Background())
	at, closers, err := f.listen(ctx, make(chan error, 2))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, c := range closers {
			c.Close()
		}
		cancel()
		f.running.Wait()
	})
	return at
}

// serveTCP serves each connection to an address until the test ends.
func serveTCP(t testing.TB, serve func(net.Conn)) (address string) {
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
			wait.Go(func() { defer c.Close(); serve(c) })
		}
	})
	return l.Addr().String()
}

// Each program that sends has a session of its own; what is too long to be carried is lost, and more sessions than
// are kept begin anew.
func TestForwardUDP(t *testing.T) {
	service, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	t.Cleanup(func() { service.Close(); wait.Wait() })
	wait.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := service.ReadFrom(buffer)
			if err != nil {
				return
			}
			service.WriteTo(buffer[:n], from)
		}
	})
	at := forwardTo(t, "udp", service.LocalAddr().String())
	// ask sends a datagram until it comes back, for any may be lost.
	ask := func(c net.Conn, text string) {
		t.Helper()
		buffer := make([]byte, 1<<16)
		for end := time.Now().Add(enough); time.Now().Before(end); {
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Now().Add(2 * time.Second))
			n, err := c.Read(buffer)
			switch {
			case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
			case err != nil:
				t.Fatal(err)
			case string(buffer[:n]) == text:
				return
			}
		}
		t.Fatalf("%.20q does not come back", text)
	}
	var conns []net.Conn
	for i := range maxSessions + 2 {
		c, err := net.Dial("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ask(c, fmt.Sprint("program ", i))
		conns = append(conns, c)
	}
	ask(conns[0], "once more, with a new session")
	ask(conns[maxSessions], strings.Repeat("x", tunnel.MaxDatagram))
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Who does not read has nobody wait but itself.
func TestForwardStalled(t *testing.T) {
	zeros := serveTCP(t, func(c net.Conn) { // for as long as somebody takes them
		for zeros := make([]byte, 64<<10); ; {
			if _, err := c.Write(zeros); err != nil {
				return
			}
		}
	})
	at := forwardTo(t, "tcp", zeros)
	for range 8 {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil { // and no more
			t.Fatal(err)
		}
	}
	c, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(enough))
	if n, err := io.CopyN(io.Discard, c, 32<<20); err != nil {
		t.Errorf("one that reads has got %d bytes, %v", n, err)
	}
}

// BenchmarkForward compares bulk through expose and forward with TCP over loopback.
func BenchmarkForward(b *testing.B) {
	const size = 64 << 20
	payload := bytes.Repeat([]byte("kindred "), 32<<10)
	plainly := serveTCP(b, func(c net.Conn) {
		for sent := 0; sent < size; {
			n, err := c.Write(payload)
			if err != nil {
				return
			}
			sent += n
		}
	})
	at := forwardTo(b, "tcp", plainly)
	fetch := func(address string) float64 {
		began := time.Now()
		c, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		if n, err := io.Copy(io.Discard, struct{ io.Reader }{c}); n != size || err != nil {
			b.Fatal(n, err)
		}
		return size / 1e6 / time.Since(began).Seconds()
	}
	var ours, plain []float64
	for b.Loop() {
		ours, plain = append(ours, fetch(at)), append(plain, fetch(plainly))
	}
	slices.Sort(ours)
	slices.Sort(plain)
	mine, theirs := ours[len(ours)/2], plain[len(plain)/2]
	b.ReportMetric(mine, "MB/s-forward")
	b.ReportMetric(theirs, "MB/s-TCP")
	b.ReportMetric(mine/theirs, "ratio")
}

// What switches protocols goes through the proxy as well.
func TestUpgradeThroughProxy(t *testing.T) {
	echo := serveTCP(t, func(c net.Conn) { io.Copy(c, c) })
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/cam", "", "127.0.0.1:0")
	cam := thing.New("Camera")
	thing.Service(cam, "tcp", 1000, "", thing.DialTo("tcp", echo))
	h.Serve(device, cam)
	at := proxyFor(t, laptop, "home/cam") + "/home/cam/services/tcp/"
	c, resp, err := tunnel.Dial(t.Context(), http.DefaultClient, at+"1000", "tcp", nil)
	if err != nil || resp != nil {
		t.Fatal(resp, err)
	}
	defer c.Close()
	sent := bytes.Repeat([]byte("kindred "), 1<<18)
	go func() {
		if _, err := c.Write(sent); err != nil {
			t.Error(err)
		}
		c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d came back, %v", len(got), len(sent), err)
	}
	if _, resp, err = tunnel.Dial(t.Context(), http.DefaultClient, at+"22", "tcp", nil); err != nil || resp.StatusCode != http.StatusNotFound {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
}
