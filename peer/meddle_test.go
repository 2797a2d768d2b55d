package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	libp2ppeer "github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
)

// A meddler is a relay that changes what it carries.
type meddler struct {
	bare
	meddle func(n int, piece []byte) [][]byte // what is handed on in place of the nth piece
}

// A meddled is a stream of a meddler. What the callee sends is changed after a circuit stands.
type meddled struct {
	network.Stream
	meddle func(n int, piece []byte) [][]byte

	mu    sync.Mutex
	n     int
	ready bytes.Buffer
}

func (m meddler) NewStream(ctx context.Context, to libp2ppeer.ID, ps ...protocol.ID) (network.Stream, error) {
	s, err := m.bare.NewStream(ctx, to, ps...)
	if err != nil {
		return nil, err
	}
	return &meddled{Stream: s, meddle: m.meddle}, nil
}

func (s *meddled) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.ready.Len() == 0 {
		n, err := s.Stream.Read(p)
		if len(p) < 1024 || err != nil { // the handshake of the circuit is read byte by byte
			return n, err
		}
		for _, piece := range s.meddle(s.n, p[:n]) {
			s.ready.Write(piece)
		}
		s.n++
	}
	return s.ready.Read(p)
}

// TestMeddlingRelays has relays drop, repeat, reorder, alter, invent, cut and delay what they carry. Nothing but a closed
// connection comes of it, and what does arrive is what was sent.
func TestMeddlingRelays(t *testing.T) {
	one := func(p []byte) [][]byte { return [][]byte{p} }
	var held []byte // by one circuit at a time
	for _, tt := range []struct {
		name    string
		meddle  func(n int, p []byte) [][]byte
		arrives bool
	}{
		{"alters the first", func(n int, p []byte) [][]byte {
			if n == 0 {
				p[len(p)/2] ^= 1
			}
			return one(p)
		}, false},
		{"alters a later one", func(n int, p []byte) [][]byte {
			if n == 4 {
				p[len(p)/2] ^= 1
			}
			return one(p)
		}, false},
		{"drops", func(n int, p []byte) [][]byte {
			if n == 4 {
				return nil
			}
			return one(p)
		}, false},
		{"repeats", func(n int, p []byte) [][]byte {
			if n == 4 {
				return [][]byte{p, p}
			}
			return one(p)
		}, false},
		{"reorders", func(n int, p []byte) [][]byte {
			switch n {
			case 4:
				held = slices.Clone(p)
				return nil
			case 5:
				return [][]byte{p, held}
			}
			return one(p)
		}, false},
		{"invents", func(n int, p []byte) [][]byte {
			if n == 4 {
				return [][]byte{bytes.Repeat([]byte("GET / HTTP/1.1\r\n\r\n"), 100), p}
			}
			return one(p)
		}, false},
		{"delays", func(n int, p []byte) [][]byte {
			if n < 10 {
				<-time.After(20 * time.Millisecond)
			}
			return one(p)
		}, true},
		{"is honest", func(_ int, p []byte) [][]byte { return one(p) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			between := p.join("relay", nil)
			rc := relay.DefaultResources()
			rc.Limit, rc.BufferSize = nil, 16<<10
			r, err := relay.New(meddler{bare{between.Host}, tt.meddle}, relay.WithResources(rc))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { r.Close() })
			const length = 96 << 10 // with all that is sent twice less than a stranger may send, which both are to this relay
			want := bytes.Repeat([]byte("0123456789abcdef"), length/16)
			meter := p.join("meter", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(want) }))
			phone := p.join("phone", nil)
			if err := meter.reserve(between); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "kindred://meter/", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := phone.client(through(between), meter).Do(req)
			var got []byte
			if err == nil {
				got, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if (err == nil) != tt.arrives || tt.arrives && len(got) != length {
				t.Errorf("%d bytes came, %v", len(got), err)
			}
			if !bytes.HasPrefix(want, got) {
				t.Error("what came is not what was sent")
			}
			if err != nil && !errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v, want ErrUnreachable", err)
			}
			// Both go on with others.
			if code, _ := get(t, phone.client(nil, meter), "kindred://meter/"); code != http.StatusOK {
				t.Errorf("status %d without the relay", code)
			}
		})
	}
}
