package peer

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A member is a host with a name: its hello is "hello of NAME", and it admits
// whoever shows the hello that belongs to the key it proved.
type member struct {
	*Host
	t    testing.TB
	name string
	key  ed25519.PrivateKey
	wide bool // calls go over lanes as soon as they can

	mu       sync.Mutex
	hello    []byte
	admitted []string // hellos that Admit saw, in order
	offences map[Offence]int
}

// A book says who holds which key.
type book struct {
	mu    sync.Mutex
	names map[string]string // by public key
}

func (b *book) of(key crypto.PublicKey) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.names[string(key.(ed25519.PublicKey))]
}

// A place is where members meet.
type place struct {
	t      testing.TB
	book   *book
	timing timing
}

func newPlace(t testing.TB) *place {
	return &place{t, &book{names: make(map[string]string)}, defaultTiming}
}

// join starts a member that serves handler; more configures it further.
func (p *place) join(name string, handler http.Handler, more ...func(*Config)) *member {
	p.t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.book.mu.Lock()
	p.book.names[string(pub)] = name
	p.book.mu.Unlock()
	m := &member{t: p.t, name: name, key: key, hello: []byte("hello of " + name), offences: make(map[Offence]int)}
	m.Host = p.start(m, handler, more...)
	return m
}

// start starts a host for m.
func (p *place) start(m *member, handler http.Handler, more ...func(*Config)) *Host {
	p.t.Helper()
	cfg := Config{
		Key:     m.key,
		Listen:  []string{"127.0.0.1:0"},
		Log:     slog.New(slog.NewTextHandler(testLog{p.t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Handler: handler,
		Admit: func(_ context.Context, from crypto.PublicKey, hello []byte) (Admission, error) {
			m.mu.Lock()
			m.admitted = append(m.admitted, string(hello))
			m.mu.Unlock()
			name := p.book.of(from)
			if !strings.HasPrefix(string(hello), "hello of "+name) {
				return Admission{}, fmt.Errorf("%q is not the hello of %s", hello, name)
			}
			return Admission{Hello: m.show, Value: name}, nil
		},
	}
	cfg.Offended = func(o Offence, n int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.offences[o] += n
	}
	for _, f := range more {
		f(&cfg)
	}
	h, err := newHost(cfg, p.timing)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := h.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return h
}

func (m *member) show() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hello
}

func (m *member) renew(hello string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hello = []byte(hello)
}

func (m *member) seen() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.admitted...)
}

// told is how often the owner was told of an offence.
func (m *member) told(o Offence) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.offences[o]
}

func (m *member) public() ed25519.PublicKey { return m.key.Public().(ed25519.PublicKey) }

// target is how m calls other.
func (m *member) target(other *member) Target {
	return Target{
		Key: other.public(), Addresses: other.Addresses(), Hello: m.show,
		Check: func(_ crypto.PublicKey, hello []byte) error {
			if hello == nil {
				return errors.New("it shows nothing")
			}
			if !strings.HasPrefix(string(hello), "hello of "+other.name) {
				return fmt.Errorf("%q is not the hello of %s", hello, other.name)
			}
			return nil
		},
	}
}

// client returns a client with which m calls the members whose names are the
// hosts of its URLs; change adapts each target.
func (m *member) client(change func(*Target), others ...*member) *http.Client {
	return &http.Client{Transport: m.Transport(func(_ context.Context, host string) (Target, error) {
		for _, o := range others {
			if o.name == host {
				t := m.target(o)
				if change != nil {
					change(&t)
				}
				if m.wide {
					m.widen(t)
				}
				return t, nil
			}
		}
		return Target{}, fmt.Errorf("nobody is called %q", host)
	})}
}

// widen has the next calls to a target be made on lanes.
func (m *member) widen(t Target) {
	id, err := peerID(t.Key)
	if err != nil {
		m.t.Error(err)
		return
	}
	if l := m.best(id); l != nil && l.served() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lanes.on = true
		return
	}
	t.Hold = true
	c, err := m.open(m.t.Context(), t, nil)
	if err != nil {
		m.t.Error(err)
		return
	}
	c.Close()
	m.widen(t)
}

// get returns status and body.
func get(t testing.TB, c *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body(t, resp)
}

func body(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// greet answers with the name of the caller.
var greet = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	who, ok := Caller(r.Context())
	if !ok {
		http.Error(w, "no caller", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "good day, %s", who.Value)
})

// testLog writes log lines to a test, until it ends.
type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Helper()
	l.t.Logf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}

// calls counts.
type calls struct{ atomic.Int64 }

// all returns the links of m.
func (m *member) all() []*link {
	m.Host.mu.Lock()
	defer m.Host.mu.Unlock()
	var all []*link
	for _, l := range m.links {
		all = append(all, l)
	}
	return all
}
