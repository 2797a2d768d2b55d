package peer

import (
	"bufio"
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A crowd is a process of its own that has many hosts, each with its own key and one connection to a gateway. It is told
// what to do on its standard input, line by line, and answers each line with one.
type crowd struct {
	t       testing.TB
	in      io.WriteCloser
	answers *bufio.Scanner
}

// crowdEnv tells the process that it is a crowd, and of whom.
const crowdEnv = "KINDRED_TEST_CROWD"

// A crowdOrder is what crowdEnv has, in JSON.
type crowdOrder struct {
	Key     string // the gateway's, in hexadecimal
	Address string
	Members int
	Slow    int // of them, who never read their watch
	Watch   bool
}

// The process is a crowd instead of running tests, if it is told so.
func init() {
	order := os.Getenv(crowdEnv)
	if order == "" {
		return
	}
	if err := beCrowd(order); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// newCrowd starts one, and returns when all its members are connected, and watch if they are to.
func newCrowd(t testing.TB, gateway *member, address string, members, slow int, watch bool) *crowd {
	t.Helper()
	order, err := json.Marshal(crowdOrder{hex.EncodeToString(gateway.public()), address, members, slow, watch})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crowdEnv+"="+string(order))
	cmd.Stderr = os.Stderr
	c := &crowd{t: t}
	out, err := cmd.StdoutPipe()
	if err == nil {
		c.in, err = cmd.StdinPipe()
	}
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	c.answers = bufio.NewScanner(out)
	c.expect("ready")
	return c
}

func (c *crowd) expect(want string) {
	c.t.Helper()
	if !c.answers.Scan() || c.answers.Text() != want {
		c.t.Fatalf("the crowd answered %q, want %q", c.answers.Text(), want)
	}
}

// beCrowd is the crowd's process.
func beCrowd(raw string) error {
	var order crowdOrder
	if err := json.Unmarshal([]byte(raw), &order); err != nil {
		return err
	}
	key, err := hex.DecodeString(order.Key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	heard := make(chan error, order.Members)
	free := make(chan struct{}, 8) // dial at a time
	failed := make(chan error, order.Members)
	for i := range order.Members {
		free <- struct{}{}
		wg.Go(func() {
			h, resp, err := joinCrowd(ctx, order, ed25519.PublicKey(key), i)
			<-free
			failed <- err
			if err != nil {
				return
			}
			defer h.Close()
			if order.Watch && i >= order.Slow {
				lines := bufio.NewScanner(resp.Body)
				for lines.Scan() {
					heard <- nil
				}
				if ctx.Err() == nil {
					heard <- fmt.Errorf("watcher %d is lost: %w", i, cmp.Or(lines.Err(), io.EOF))
				}
			}
			<-ctx.Done()
		})
	}
	for range order.Members {
		if err := <-failed; err != nil {
			return err
		}
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() { // "heard": answer when all who read have heard once more, or one never will
		for range order.Members - order.Slow {
			if err := <-heard; err != nil {
				return err
			}
		}
		fmt.Println(lines.Text())
	}
	return nil
}

// crowded is defaultTiming for a crowd and its gateway, which never give each other up: all of them share one machine,
// and where that has other things to do, one process waits for its turn longer than a member at home would be silent.
// Who is taken for gone, other tests ask.
func crowded() timing {
	t := defaultTiming
	t.dial, t.hello, t.strange, t.silence, t.stalled = time.Hour, time.Hour, time.Hour, time.Hour, time.Hour
	return t
}

// joinCrowd connects one member.
func joinCrowd(ctx context.Context, order crowdOrder, gateway crypto.PublicKey, i int) (*Host, *http.Response, error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	h, err := newHost(Config{Key: key, Listen: []string{}}, crowded())
	if err != nil {
		return nil, nil, err
	}
	client := &http.Client{Transport: h.Transport(func(context.Context, string) (Target, error) {
		return Target{Key: gateway, Addresses: []string{order.Address}, Hello: func() []byte {
			return append([]byte("member "), make([]byte, helloSize)...)
		}}, nil
	})}
	path := "call"
	if order.Watch {
		path = "watch"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "kindred://gateway/"+path, nil)
	if err != nil {
		return nil, nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		h.Close()
		return nil, nil, err
	}
	if !order.Watch {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		client.CloseIdleConnections()
	}
	return h, resp, nil
}

// A square is what a gateway serves to a crowd: /watch, a stream of news that is cut where it is not read, and /call.
type square struct {
	mu       sync.Mutex
	watchers map[chan string]bool
	cut      atomic.Int64
	left     atomic.Int64
}

func (s *square) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/watch" {
		io.WriteString(w, "served")
		return
	}
	news := make(chan string, 4)
	s.mu.Lock()
	s.watchers[news] = true
	s.mu.Unlock()
	defer s.left.Add(1)
	w.(http.Flusher).Flush()
	for {
		select {
		case line, ok := <-news:
			if !ok {
				return
			}
			io.WriteString(w, line+"\n")
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// push tells all watchers, and waits for none of them.
func (s *square) push(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for news := range s.watchers {
		select {
		case news <- line:
		default:
			close(news)
			delete(s.watchers, news)
			s.cut.Add(1)
		}
	}
}

// gatewayOf starts a gateway that admits every crowd.
func gatewayOf(t testing.TB) (*place, *member, *square) {
	p := newPlace(t)
	p.timing = crowded()
	s := &square{watchers: make(map[chan string]bool)}
	own := append([]byte("hello of gateway"), make([]byte, helloSize)...)
	return p, p.join("gateway", s, quiet, func(c *Config) {
		c.Admit = func(_ context.Context, _ crypto.PublicKey, hello []byte) (Admission, error) {
			if !strings.HasPrefix(string(hello), "member ") && !strings.HasPrefix(string(hello), "hello of ") {
				return Admission{}, fmt.Errorf("not a member: %.20q", hello)
			}
			return Admission{Hello: func() []byte { return own }}, nil
		}
	}), s
}

// TestCrowd: many members are connected with a gateway, each watching. One more is served as ever, news reach all, and
// those who read nothing are left behind alone.
func TestCrowd(t *testing.T) {
	members := 200
	if n, err := strconv.Atoi(os.Getenv("KINDRED_TEST_MEMBERS")); err == nil {
		members = n
	}
	for _, tt := range []struct{ name, mark string }{{"QUIC", "/quic-v1"}, {"TCP", "/tcp/"}} {
		t.Run(tt.name, func(t *testing.T) {
			p, gateway, square := gatewayOf(t)
			const slow = 3
			c := newCrowd(t, gateway, at(gateway, tt.mark), members, slow, true)
			phone := p.join("phone", nil, quiet)
			client := phone.client(func(g *Target) { g.Check = nil; g.Addresses = []string{at(gateway, tt.mark)} }, gateway)
			for range 20 {
				if code, got := get(t, client, "kindred://gateway/call"); code != 200 || got != "served" {
					t.Fatalf("got %d, %q", code, got)
				}
				phone.Disconnect(gateway.public())
				client.CloseIdleConnections()
			}
			if got := len(gateway.all()); got < members {
				t.Errorf("%d connections, want %d at least", got, members)
			}
			round := func(line string) {
				square.push(line)
				io.WriteString(c.in, "heard\n")
				c.expect("heard")
			}
			round("revoked")
			for square.cut.Load() < slow { // news until nothing more goes into the windows of those who do not read
				round(strings.Repeat("news ", 12<<10))
				if got, _ := get(t, client, "kindred://gateway/call"); got != 200 {
					t.Fatalf("got %d", got)
				}
			}
			if got := square.cut.Load(); got != slow {
				t.Errorf("%d watchers were cut off, want the %d who do not read", got, slow)
			}
		})
	}
}

// resident is how much memory the process has, in bytes.
func resident(b *testing.B) float64 {
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("no /proc on this system to read the memory from")
	}
	pages, err := strconv.Atoi(strings.Fields(string(status))[1])
	if err != nil {
		b.Fatal(err)
	}
	return float64(pages * os.Getpagesize())
}

// BenchmarkConnections measures what a gateway spends on each of a thousand connections of as many members, in memory
// and goroutines: at rest after a call, and with a watch open. The callers are in a process of their own.
func BenchmarkConnections(b *testing.B) {
	const members = 1000
	for _, tt := range []struct {
		name, mark string
		watch      bool
	}{{"idle/QUIC", "/quic-v1", false}, {"idle/TCP", "/tcp/", false}, {"watch/QUIC", "/quic-v1", true}, {"watch/TCP", "/tcp/", true}} {
		b.Run(tt.name, func(b *testing.B) {
			for b.Loop() { // once is enough, and resets the metrics
			}
			_, gateway, _ := gatewayOf(b)
			before, goroutines := resident(b), runtime.NumGoroutine()
			newCrowd(b, gateway, at(gateway, tt.mark), members, 0, tt.watch)
			time.Sleep(time.Second) // what the handshakes left behind ends
			if got := len(gateway.all()); got != members {
				b.Fatalf("%d connections", got)
			}
			b.ReportMetric((resident(b)-before)/members/1000, "kB/connection")
			b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/members, "goroutines/connection")
			b.ReportMetric(0, "ns/op")
		})
	}
}
