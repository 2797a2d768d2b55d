package peer_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/peer"
)

// This file goes on with the second implementation: what it says to relays, and through them.

// speak opens a stream for a protocol of relays, which both ends name first [8].
func speak(t *testing.T, over streams, protocol string) (io.ReadWriteCloser, *bufio.Reader) {
	t.Helper()
	s, err := over.open()
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Concat(token("/multistream/1.0.0"), token(protocol))
	if _, err := s.Write(names); err != nil {
		t.Fatal(err)
	}
	r, got := bufio.NewReader(s), make([]byte, len(names))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, names) {
		t.Fatalf("it answered %q (%v), want %q", got, err, names)
	}
	return s, r
}

// listenAs listens on a TCP port and proves a key to whoever calls [4].
func listenAs(t *testing.T, key ed25519.PrivateKey) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepting := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-accepting })
	cert, choice := certificate(t, key), slices.Concat(token("/multistream/1.0.0"), token("/tls/1.0.0"))
	go func() {
		defer close(accepting)
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := io.ReadFull(raw, make([]byte, len(choice))); err == nil {
				if _, err := raw.Write(choice); err == nil {
					_ = tls.Server(raw, &tls.Config{
						MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
						NextProtos: []string{"/yamux/1.0.0", "libp2p"}, ClientAuth: tls.RequireAnyClientCert,
					}).HandshakeContext(t.Context()) // the relay hangs up
				}
			}
			raw.Close()
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// connected asks a relay for a circuit to the holder of a key: libp2p's circuit relay v2, a HopMessage of the type CONNECT,
// which is answered by one of the type STATUS with the status OK.
func connected(t *testing.T, relay streams, to ed25519.PublicKey) net.Conn {
	t.Helper()
	s, r := speak(t, relay, "/libp2p/circuit/relay/0.2.0/hop")
	id := slices.Concat([]byte{0x00, 0x24}, publicKey(to))
	callee := slices.Concat([]byte{0x0a, byte(len(id))}, id)
	message := slices.Concat([]byte{0x08, 0x01, 0x12, byte(len(callee))}, callee)
	if _, err := s.Write(append([]byte{byte(len(message))}, message...)); err != nil {
		t.Fatal(err)
	}
	n, err := r.ReadByte()
	if err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(r, answer); err != nil || !bytes.HasPrefix(answer, []byte{0x08, 0x02}) || !bytes.Contains(answer, []byte{0x28, 100}) {
		t.Fatalf("the relay answers % x, %v", answer, err)
	}
	if r.Buffered() > 0 {
		t.Fatal("somebody spoke before being spoken to")
	}
	return s.(net.Conn)
}

// TestSecondImplementationAtRelay asks a relay, and calls somebody through it, without package peer.
func TestSecondImplementationAtRelay(t *testing.T) {
	host := func(cfg peer.Config) (*peer.Host, ed25519.PublicKey) {
		public, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Key, cfg.Listen = key, []string{"127.0.0.1:0"}
		h, err := peer.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.Close() })
		return h, public
	}
	relay, relayKey := host(peer.Config{Relay: &peer.RelayLimits{}})
	phone, phoneKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	named, err := peer.WithKey(relay.Addresses()[0], relayKey)
	if err != nil {
		t.Fatal(err)
	}
	changed := make(chan struct{}, 1)
	theirs := []byte("hello of the lock")
	lock, lockKey := host(peer.Config{
		Relays: []string{named},
		Changed: func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		},
		Admit: func(_ context.Context, from crypto.PublicKey, hello []byte) (peer.Admission, error) {
			if !phone.Equal(from) || string(hello) != phoneHello {
				return peer.Admission{}, errors.New("a stranger")
			}
			return peer.Admission{Hello: func() []byte { return theirs }}, nil
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "locked") }),
	})
	for !lock.Reach().Relays[0].Held {
		<-changed
	}

	for name, connect := range map[string]func(*testing.T, string, ed25519.PrivateKey, ed25519.PublicKey) streams{"udp": overQUIC, "tcp": overTCP} {
		over := connect(t, socket(t, relay.Addresses(), name), phoneKey, relayKey)
		_, r := speak(t, over, "/kindred/seen/1")
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "/ip4/127.0.0.1/"+name+"/") {
			t.Errorf("over %s the relay sees the phone at %q, %v", name, line, err)
		}
		nobody, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, shut, err := net.SplitHostPort(nobody.Addr().String())
		if err != nil || nobody.Close() != nil {
			t.Fatal(err)
		}
		for port, want := range map[string]string{listenAs(t, phoneKey): "open\n", shut: "shut\n"} {
			s, r := speak(t, over, "/kindred/door/1")
			if _, err := io.WriteString(s, "tcp "+port+"\n"); err != nil {
				t.Fatal(err)
			}
			if line, err := r.ReadString('\n'); err != nil || line != want {
				t.Errorf("over %s the relay finds the port %q, %v, want %q", name, line, err, want)
			}
		}
	}

	over := overTCP(t, socket(t, relay.Addresses(), "tcp"), phoneKey, relayKey)
	inside, err := secureOver(t, connected(t, over, lockKey), config(certificate(t, phoneKey), lockKey, "/yamux/1.0.0", "libp2p"), "/yamux/1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if frame, status, body := ask(t, shared(t, inside), full([]byte(phoneHello)), []byte{0}); !bytes.Equal(frame, full(theirs)) || status != 200 || body != "locked" {
		t.Errorf("through the relay: got %q, %d %q", frame, status, body)
	}
}
