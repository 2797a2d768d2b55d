package relay

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
)

var noon = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// A home is a secret and members.
type home struct{ Secret }

var birch = home{Secret{1, 2, 3}}

func member(n byte) (id identity.MemberID) {
	id[0] = n
	return id
}

func (h home) at(t testing.TB, m identity.MemberID, when time.Time) Point {
	t.Helper()
	p, err := h.Point(m, when)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (h home) note(t testing.TB, m identity.MemberID, when time.Time, says string) []byte {
	t.Helper()
	raw, err := h.at(t, m, when).Seal([]byte(says), when)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (h home) find(t testing.TB, at At, m identity.MemberID, now time.Time) (string, error) {
	t.Helper()
	points, err := h.Points(m, now)
	if err != nil {
		t.Fatal(err)
	}
	payload, _, err := at.Find(t.Context(), points, now)
	return string(payload), err
}

// A clock is one that tests turn.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// A log collects what a relay logs.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// start starts a relay on loopback.
func start(t testing.TB, more ...func(*Config)) (*Relay, At) {
	t.Helper()
	cfg := Config{Key: newKey(t), Listen: []string{"127.0.0.1:0"}}
	for _, f := range more {
		f(&cfg)
	}
	r, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, only(t, r.Addresses()...)
}

// only returns the one relay that addresses are of.
func only(t testing.TB, addresses ...string) At {
	t.Helper()
	all, err := Relays(addresses)
	if err != nil || len(all) != 1 {
		t.Fatalf("the addresses %v are of %d relays, %v", addresses, len(all), err)
	}
	return all[0]
}

func newKey(t testing.TB) ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newHost(t testing.TB) *peer.Host {
	h, err := peer.New(peer.Config{Key: newKey(t), Listen: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// metrics returns what a relay's metrics say.
func metrics(r *Relay) string {
	var w strings.Builder
	r.writeMetrics(&w)
	return w.String()
}

// raw makes a call with a body of one's own making.
func raw(t *testing.T, at At, method, path string, body []byte) answer {
	t.Helper()
	got, err := at.call(context.Background(), newHost(t), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return got
}
