package kindred_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/tunnel"
)

const cam identity.Path = "home/cam"

// services are a home with home/cam, which offers what the test starts: TCP on 8554, which sends back what comes and
// ends when that does; UDP on 5353, which does the same; and TCP on 1, where nobody is.
type services struct {
	*gatewaytest.Home
	t              *testing.T
	laptop, device *kindred.Node
	thing          *thing.Thing
	tcp            net.Listener
	udp            net.PacketConn
}

func newServices(t *testing.T) *services {
	t.Helper()
	s := &services{Home: gatewaytest.New(t), t: t, thing: thing.New("Camera")}
	s.laptop = s.Open("laptop")
	s.device = s.Invite(s.laptop, identity.Device, cam, "", "127.0.0.1:0")
	var err, err2 error
	s.tcp, err = net.Listen("tcp", "127.0.0.1:0")
	s.udp, err2 = net.ListenPacket("udp", "127.0.0.1:0")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	t.Cleanup(func() { s.tcp.Close(); s.udp.Close(); wait.Wait() })
	wait.Go(func() {
		for {
			c, err := s.tcp.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { defer c.Close(); io.Copy(c, c) })
		}
	})
	wait.Go(func() {
		buffer := make([]byte, 1<<16)
		for {
			n, from, err := s.udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			s.udp.WriteTo(buffer[:n], from)
		}
	})
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	thing.Service(s.thing, "tcp", 8554, "Live video", thing.DialTo("tcp", s.tcp.Addr().String()))
	thing.Service(s.thing, "udp", 5353, "Names", thing.DialTo("udp", s.udp.LocalAddr().String()))
	thing.Service(s.thing, "tcp", 1, "Nobody", thing.DialTo("tcp", nobody.Addr().String()))
	s.Serve(s.device, s.thing)
	return s
}

func (s *services) dial(n *kindred.Node, network string, port uint16) (net.Conn, error) {
	s.t.Helper()
	conn, err := n.Dial(s.t.Context(), cam, network, port)
	if err == nil {
		s.t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

func (s *services) mustDial(n *kindred.Node, network string, port uint16) net.Conn {
	s.t.Helper()
	conn, err := s.dial(n, network, port)
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// echo sends something and waits until it is back.
func echo(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, len(text))
	if _, err := io.ReadFull(conn, back); err != nil || string(back) != text {
		t.Fatalf("sent %q, and %q, %v came back", text, back, err)
	}
}

func TestServices(t *testing.T) {
	s := newServices(t)
	conn := s.mustDial(s.laptop, "tcp", 8554)
	echo(t, conn, "hello")
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after both have said all: %v", err)
	}
	names := s.mustDial(s.laptop, "udp", 5353)
	buffer := make([]byte, 1<<16)
	for _, size := range []int{1, 0, 1472, tunnel.MaxDatagram, 7} { // each comes back whole and by itself
		sent := bytes.Repeat([]byte{'x'}, size)
		if _, err := names.Write(sent); err != nil {
			t.Fatal(err)
		}
		if n, err := names.Read(buffer); err != nil || n != size {
			t.Errorf("of a datagram of %d bytes %d came back, %v", size, n, err)
		}
	}
	if _, err := names.Write(make([]byte, tunnel.MaxDatagram+1)); !errors.Is(err, tunnel.ErrTooLong) {
		t.Errorf("a datagram too long: %v", err)
	}

	var problem *thing.Problem
	for _, tt := range []struct {
		network string
		port    uint16
		status  int
		detail  string
	}{
		{"tcp", 1, 502, "what is offered as tcp-1 does not answer"},
		{"tcp", 22, 404, `there is no service "tcp-22"`},
		{"udp", 8554, 404, `there is no service "udp-8554"`},
	} {
		if _, err := s.dial(s.laptop, tt.network, tt.port); !errors.As(err, &problem) || problem.Status != tt.status || problem.Detail != tt.detail {
			t.Errorf("%s %d: %v, want %d %s", tt.network, tt.port, err, tt.status, tt.detail)
		}
	}
	if _, err := s.dial(s.laptop, "sctp", 1); err == nil {
		t.Error("connected by sctp")
	}
	s.told("", "tcp-1", journal.Failed, "the service does not answer")
}

// told waits until the device's journal has an entry about a service.
func (s *services) told(who identity.Path, service string, outcome journal.Outcome, reason string) {
	s.t.Helper()
	var all []string
	found := func() bool {
		items, err := s.device.Journal().Query(s.t.Context(), journal.Filter{Limit: 1000})
		if err != nil {
			s.t.Fatal(err)
		}
		all = nil
		for _, item := range items {
			e := item.Entry
			all = append(all, fmt.Sprintf("%s %s %s %s %q %d", e.Caller.ID.Path, e.Op, e.Affordance, e.Outcome, e.Reason, e.Stream))
			if e.Affordance == service && e.Op == journal.Invoke && e.Outcome == outcome && strings.Contains(e.Reason, reason) &&
				(who == "" || e.Caller.ID.Path == who) && (e.Stream != 0) == (outcome != journal.Refused) {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(10 * time.Second); !found(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("the journal does not tell of %s %s %q:\n%s", service, outcome, reason, strings.Join(all, "\n"))
		}
	}
}

// Up and down at the same time.
func TestServiceInBulk(t *testing.T) {
	size := int64(100 << 20)
	if testing.Short() {
		size = 10 << 20
	}
	s := newServices(t)
	conn := s.mustDial(s.laptop, "tcp", 8554)
	sum := make(chan [sha256.Size]byte, 1)
	go func() {
		h := sha256.New()
		if _, err := io.CopyN(io.MultiWriter(conn, h), rand.Reader, size); err != nil {
			t.Error(err)
		}
		conn.(interface{ CloseWrite() error }).CloseWrite()
		sum <- [sha256.Size]byte(h.Sum(nil))
	}()
	h := sha256.New()
	if n, err := io.Copy(h, conn); n != size || err != nil {
		t.Errorf("%d bytes came back, %v", n, err)
	}
	if [sha256.Size]byte(h.Sum(nil)) != <-sum {
		t.Error("what came back was altered")
	}
}

// Who was given one service has that and no other, for as long as the right to it lasts.
func TestServiceIsShared(t *testing.T) {
	for _, tt := range []struct {
		network string
		port    uint16
		name    string
	}{{"tcp", 8554, "tcp-8554"}, {"udp", 5353, "udp-5353"}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newServices(t)
			anna := s.Invite(s.laptop, identity.Person, "sam/anna", "phone")
			const phone = "sam/anna/phone"
			var problem *thing.Problem
			if _, err := s.dial(anna, tt.network, tt.port); err == nil {
				t.Error("connected before anything was given")
			}
			s.Share(s.laptop, "sam/anna", cam, grant.Terms{Actions: grant.See})
			if _, err := s.dial(anna, tt.network, tt.port); !errors.As(err, &problem) || problem.Code != "action" {
				t.Errorf("with the right to see: %v", err)
			}
			s.told(phone, tt.name, journal.Refused, "not to invoke")
			_, target := s.Share(s.laptop, "sam/anna", cam, grant.Terms{Actions: grant.Use, Thing: grant.Thing{Affordance: tt.name}})
			conn := s.mustDial(anna, tt.network, tt.port)
			echo(t, conn, "hello")
			s.told(phone, tt.name, journal.Served, "")
			if _, err := s.dial(anna, "tcp", 1); !errors.As(err, &problem) || problem.Status != 403 {
				t.Errorf("another service: %v", err)
			}
			client, err := anna.Thing(t.Context(), cam)
			if err != nil {
				t.Fatal(err)
			}
			if err := client.MayConnect(t.Context(), tt.network, tt.port); err != nil {
				t.Error(err)
			}

			hers := s.mustDial(s.laptop, tt.network, tt.port) // the owner's goes on
			if _, err := s.laptop.Revoke(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF || isTimeout(err) {
				t.Errorf("after it was taken back: %v", err)
			}
			s.told(phone, tt.name, journal.Ended, "access was taken away")
			if err := client.MayConnect(t.Context(), tt.network, tt.port); !errors.As(err, &problem) || problem.Status != 403 {
				t.Errorf("asking after it was taken back: %v", err)
			}
			echo(t, hers, "hello")
			hers.Close()
			s.told("sam/laptop", tt.name, journal.Ended, "")
		})
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestServiceEndsWithItsThing(t *testing.T) {
	s := newServices(t)
	conns := []net.Conn{s.mustDial(s.laptop, "tcp", 8554), s.mustDial(s.laptop, "udp", 5353)}
	for _, c := range conns {
		echo(t, c, "hello")
	}
	if err := s.device.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("when the thing is gone: %v", err)
		}
	}
}

// One caller has so many connections at once, and another its own.
func TestServiceLimit(t *testing.T) {
	s := newServices(t)
	anna := s.Invite(s.laptop, identity.Person, "sam/anna", "phone")
	s.Share(s.laptop, "sam/anna", cam, grant.Terms{Actions: grant.Use})
	var conns []net.Conn
	var problem *thing.Problem
	for {
		c, err := s.dial(anna, "tcp", 8554)
		if err != nil {
			if !errors.As(err, &problem) || problem.Status != 503 {
				t.Fatal(err)
			}
			break
		}
		if conns = append(conns, c); len(conns) > 64 {
			t.Fatal("more than 64 connections")
		}
	}
	if len(conns) != 64 {
		t.Errorf("%d connections, want 64", len(conns))
	}
	var wait sync.WaitGroup
	for i, c := range conns {
		wait.Go(func() { echo(t, c, fmt.Sprint("connection ", i)) })
	}
	wait.Wait()
	echo(t, s.mustDial(s.laptop, "tcp", 8554), "hello")
	conns[0].Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for { // the thing learns of it in its own time
		c, err := anna.Dial(ctx, cam, "tcp", 8554)
		if err == nil {
			c.Close()
			break
		}
		if !errors.As(err, &problem) || problem.Status != 503 {
			t.Fatal(err)
		}
	}
}
