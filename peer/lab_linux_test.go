package peer_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab/netlabtest"
	"github.com/kindred-iot/kindred/peer"
)

// TestMain makes the test's own binary a host of a lab, where that is asked of it: what runs in a network namespace is
// a process.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "lab-host" {
		if err := labHost(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// keyOf is the key of whoever has a name.
func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicOf(name string) ed25519.PublicKey { return keyOf(name).Public().(ed25519.PublicKey) }

// news is a line that a host of a lab prints.
type news struct {
	Addresses []string    `json:",omitempty"` // where it is reached, whenever that changed
	Reach     *peer.Reach `json:",omitempty"`
	Body      string      `json:",omitempty"` // of an answer
	Path      *peer.Path  `json:",omitempty"` // over which it came
	Took      time.Duration
	Error     string `json:",omitempty"`
	Lost      bool   `json:",omitempty"` // a stream ended
	At        time.Time
}

// labHost is a host that obeys its standard input, a command a line:
//
//	relays ADDRESS…       keep reservations there
//	get NAME ADDRESS…     call somebody
//	watch NAME ADDRESS…   call somebody, and say when the stream is lost
//	path NAME             tell the path to somebody
func labHost(name string, args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var printing sync.Mutex
	out := json.NewEncoder(os.Stdout)
	tell := func(n news) {
		n.At = time.Now()
		printing.Lock()
		defer printing.Unlock()
		_ = out.Encode(n)
	}
	changed := make(chan struct{}, 1)
	changed <- struct{}{}
	cfg := peer.Config{
		Key: keyOf(name), Listen: []string{}, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Changed: func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		},
		Admit: func(_ context.Context, from crypto.PublicKey, hello []byte) (peer.Admission, error) {
			who, ok := strings.CutPrefix(string(hello), "hello of ")
			if !ok || !publicOf(who).Equal(from) {
				return peer.Admission{}, errors.New("not the hello of its key")
			}
			return peer.Admission{Value: who, Hello: func() []byte { return []byte("hello of " + name) }}, nil
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, _ := peer.Caller(r.Context())
			fmt.Fprintf(w, "good day, %s\n", who.Value)
			if r.URL.Path == "/stream" {
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}
		}),
	}
	if slices.Contains(args, "listen") {
		cfg.Listen = []string{":4711"}
	}
	cfg.MapPorts = slices.Contains(args, "map")
	if slices.Contains(args, "relay") {
		cfg.Listen, cfg.Relay = []string{":4711", "/ip4/0.0.0.0/udp/4713/quic-v1"}, &peer.RelayLimits{}
	}
	h, err := peer.New(cfg)
	if err != nil {
		return err
	}
	defer h.Close()
	go func() { // ends with the process, as what follows does
		for range changed {
			r := h.Reach()
			tell(news{Addresses: h.Addresses(), Reach: &r})
		}
	}()
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			words := strings.Fields(in.Text())
			switch words[0] {
			case "relays":
				if err := h.SetRelays(words[1:]); err != nil {
					tell(news{Error: err.Error()})
				}
			case "path":
				n := news{}
				if p, ok := h.Path(publicOf(words[1])); ok {
					n.Path = &p
				}
				tell(n)
			case "get":
				tell(call(ctx, h, name, words[1], "/", words[2:], nil))
			case "watch":
				go tell(call(ctx, h, name, words[1], "/stream", words[2:], tell))
			}
		}
	}()
	<-ctx.Done()
	return nil
}

// call makes one request; with begun, it reads to the end, which is a loss.
func call(ctx context.Context, h *peer.Host, name, callee, path string, addrs []string, begun func(news)) news {
	c := &http.Client{Transport: transportOf(h, name, callee, addrs)}
	began := time.Now()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "kindred://"+callee+path, nil)
	if err != nil {
		return news{Error: err.Error()}
	}
	resp, err := c.Do(req)
	if err != nil {
		return news{Error: err.Error(), Took: time.Since(began)}
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	line, err := in.ReadString('\n')
	who, _ := peer.Callee(resp)
	n := news{Body: strings.TrimSpace(line), Path: &who.Path, Took: time.Since(began)}
	if err != nil {
		n.Error = err.Error()
	}
	if begun != nil {
		begun(n)
		_, err = io.Copy(io.Discard, in)
		n = news{Lost: true}
		if err != nil {
			n.Error = err.Error()
		}
	}
	return n
}

var transports sync.Map // of a lab's host, by callee: streams are kept as in life

// transportOf returns what calls a callee at the addresses given last.
func transportOf(h *peer.Host, name, callee string, addrs []string) http.RoundTripper {
	if t, ok := transports.Load(callee); ok {
		t.(*calleeAt).set(addrs)
		return t.(*calleeAt).http
	}
	at := &calleeAt{addrs: addrs}
	at.http = h.Transport(func(context.Context, string) (peer.Target, error) {
		at.mu.Lock()
		defer at.mu.Unlock()
		return peer.Target{
			Key: publicOf(callee), Addresses: at.addrs, Hello: func() []byte { return []byte("hello of " + name) },
		}, nil
	})
	transports.Store(callee, at)
	return at.http
}

// A calleeAt is a callee, and where it is.
type calleeAt struct {
	http  http.RoundTripper
	mu    sync.Mutex
	addrs []string
}

func (c *calleeAt) set(addrs []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(addrs) > 0 {
		c.addrs = addrs
	}
}

// A labPeer is a host in a lab's namespace, seen from the test.
type labPeer struct {
	t    testing.TB
	name string
	*netlabtest.Process
	addresses []string
	reach     peer.Reach
	ended     *news // of a stream that it watched
}

// start starts one: a relay, one that listens, or one that only calls.
func start(t testing.TB, at *netlabtest.Host, args ...string) *labPeer {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &labPeer{t: t, name: at.Name, Process: at.Start(self, append([]string{"lab-host", at.Name}, args...)...)}
}

// next returns the next line that ok accepts, and learns from all of them.
func (p *labPeer) next(what string, ok func(news) bool) news {
	p.t.Helper()
	for {
		line := p.Line()
		var n news
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			p.t.Fatalf("%s printed %q, where %s was due", p.name, line, what)
		}
		if n.Lost {
			p.ended = &n
		}
		if n.Reach != nil {
			p.addresses, p.reach = n.Addresses, *n.Reach
		}
		if ok(n) {
			return n
		}
	}
}

// until waits until ok holds of what the host knows of itself.
func (p *labPeer) until(what string, ok func() bool) {
	p.t.Helper()
	if !ok() {
		p.next(what, func(n news) bool { return n.Reach != nil && ok() })
	}
}

// moored waits for a reservation at n relays, and what they say.
func (p *labPeer) moored(n int) {
	p.t.Helper()
	p.until("reservations", func() bool {
		held := 0
		for _, r := range p.reach.Relays {
			if r.Held {
				held++
			}
		}
		return held == n && len(p.reach.Seen) > 0
	})
}

// relayAt waits until a relay knows where it is, and returns its addresses, with its name.
func (p *labPeer) relayAt() []string { return p.relayIn("/ip4/25.") }

// relayIn is relayAt for addresses that have something in them.
func (p *labPeer) relayIn(network string) (named []string) {
	p.t.Helper()
	p.until("its addresses", func() bool { return len(p.addresses) > 0 })
	for _, a := range p.addresses {
		if strings.Contains(a, network) {
			at, err := peer.WithKey(a, publicOf(p.name))
			if err != nil {
				p.t.Fatal(err)
			}
			named = append(named, at)
		}
	}
	return named
}

// get makes p call callee where that says that it is.
func (p *labPeer) get(callee *labPeer) news {
	p.t.Helper()
	p.Say("get " + callee.name + " " + strings.Join(callee.addresses, " "))
	return p.next("an answer", func(n news) bool { return !n.Lost && (n.Body != "" || n.Error != "") })
}

// path returns p's way to callee; nil if there is no connection.
func (p *labPeer) path(callee *labPeer) *peer.Path {
	p.t.Helper()
	p.Say("path " + callee.name)
	return p.next("a path", func(n news) bool { return n.Reach == nil }).Path
}
