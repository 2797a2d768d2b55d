package kindred_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// quantile returns the value below which the share q of sorted values lies.
func quantile(values []time.Duration, q float64) time.Duration {
	slices.Sort(values)
	return values[min(len(values)-1, int(q*float64(len(values))))]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// withLock makes a home with a lock, which its owner's laptop has called.
func withLock(b *testing.B) (h *gatewaytest.Home, laptop, device *kindred.Node, contact kindred.Contact) {
	h = gatewaytest.New(b)
	laptop = h.Open("laptop")
	device = h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())
	if _, err := h.State(laptop, "home/lock"); err != nil {
		b.Fatal(err)
	}
	contact, err := laptop.Resolve(b.Context(), "home/lock")
	if err != nil {
		b.Fatal(err)
	}
	return h, laptop, device, contact
}

// The first authorised answer on a cold connection over loopback, side by side with plain net/http under mutual TLS
// 1.3, both with Ed25519 keys: between two who have met since they were started, and (unmet) between two who have not,
// and verify each other's hellos from the start.
func BenchmarkFirstAnswer(b *testing.B) {
	h, laptop, device, contact := withLock(b)
	plain, url := mutualTLS(b)
	var ours, unmet, theirs []time.Duration
	settle := func() { time.Sleep(5 * time.Millisecond) } // closing the connection before is no part of the next call
	cold := func() time.Duration {
		if err := laptop.HangUp(contact); err != nil {
			b.Fatal(err)
		}
		settle()
		began := time.Now()
		if _, err := h.State(laptop, "home/lock"); err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	for b.Loop() {
		ours = append(ours, cold())
		laptop.ForgetPeers()
		device.ForgetPeers()
		unmet = append(unmet, cold())
		settle()
		began := time.Now()
		get(b, plain, url)
		theirs = append(theirs, time.Since(began))
		plain.CloseIdleConnections()
	}
	b.ReportMetric(milliseconds(quantile(ours, 0.05)), "ms/p5")
	b.ReportMetric(milliseconds(quantile(ours, 0.95)), "ms/p95")
	b.ReportMetric(milliseconds(quantile(ours, 0.5)), "ms/kindred")
	b.ReportMetric(milliseconds(quantile(theirs, 0.5)), "ms/mTLS")
	b.ReportMetric(float64(quantile(unmet, 0.5))/float64(quantile(theirs, 0.5)), "ratio-unmet")
	b.ReportMetric(float64(quantile(ours, 0.5))/float64(quantile(theirs, 0.5)), "ratio")
}

func get(b *testing.B, client *http.Client, url string) {
	resp, err := client.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		b.Fatal(err)
	}
	resp.Body.Close()
}

// mutualTLS starts a plain HTTP/1.1 server under mutual TLS 1.3.
func mutualTLS(b *testing.B) (*http.Client, string) {
	server, client := selfSigned(b), selfSigned(b)
	s := httptest.NewUnstartedServer(locked)
	s.TLS = serverTLS(server, client)
	s.StartTLS()
	b.Cleanup(s.Close)
	return tlsClient(client, server), s.URL
}

var locked = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `"locked"`) })

// selfSigned makes an Ed25519 key, and its certificate for example.com.
func selfSigned(b *testing.B) tls.Certificate {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, pub, key)
	if err != nil {
		b.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func poolOf(c tls.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.Leaf)
	return p
}

func serverTLS(own, client tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: poolOf(client), SessionTicketsDisabled: true,
	}
}

func tlsClient(own, server tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}, RootCAs: poolOf(server), ServerName: "example.com",
	}}}
}

// What the locks of the benchmarks of warm requests listen at.
var warmWays = map[string]string{"QUIC": "/ip4/127.0.0.1/udp/0/quic-v1", "TCP": "/ip4/127.0.0.1/tcp/0"}

// Small requests a second on kept streams, by 1 and by 16 at once, each authorised and told in the journal, beside plain
// net/http under mutual TLS 1.3, taking turns: the median, and that of their ratios. The gateway, which keeps a copy of
// the journal, is another machine in a home, and is stopped here lest its work count for the thing's.
//
// Both ends of both are in this process, between whose goroutines QUIC hands a request on ten times, and net/http twice.
func BenchmarkWarm(b *testing.B) {
	plain, url := mutualTLS(b)
	benchWarm(b, plain, url, func(h *gatewaytest.Home, laptop *kindred.Node, path identity.Path, listen string) {
		h.Serve(h.Invite(laptop, identity.Device, path, "", listen), lock.New().Thing())
	})
}

// The same with the locks, and net/http's server, in processes of their own, as they are in a home.
func BenchmarkWarmApart(b *testing.B) {
	plain, url := mutualTLSApart(b)
	benchWarm(b, plain, url, func(h *gatewaytest.Home, laptop *kindred.Node, path identity.Path, listen string) {
		if err := h.Invite(laptop, identity.Device, path, "").Close(); err != nil {
			b.Fatal(err)
		}
		apart(b, "lock", h.Path(path.Name()), listen, h.Gateway.Node().Addresses()[0])
	})
}

// benchWarm compares reading locks, which install serves, with reading url.
func benchWarm(b *testing.B, plain *http.Client, url string, install func(*gatewaytest.Home, *kindred.Node, identity.Path, string)) {
	h := gatewaytest.New(b)
	laptop := h.Open("laptop")
	clients := map[string]*thing.Client{}
	for name, listen := range warmWays {
		path := identity.Path("home/" + strings.ToLower(name))
		install(h, laptop, path, listen)
		var err error
		if clients[name], err = laptop.Thing(b.Context(), path); err != nil {
			b.Fatal(err)
		}
		if _, err := h.State(laptop, path); err != nil {
			b.Fatal(err)
		}
	}
	h.Down()
	for name, client := range clients {
		for _, workers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", name, workers), func(b *testing.B) {
				var ours, theirs, ratios, spent, ratiosSpent []float64
				for b.Loop() {
					for range 9 {
						us, usCPU := perSecond(b, client.HTTP, client.Base.JoinPath("properties", "state").String(), workers)
						them, themCPU := perSecond(b, plain, url, workers)
						ours, theirs, ratios = append(ours, us), append(theirs, them), append(ratios, us/them)
						spent, ratiosSpent = append(spent, usCPU), append(ratiosSpent, usCPU/themCPU)
					}
				}
				middle := func(values []float64) float64 { slices.Sort(values); return values[len(values)/2] }
				b.ReportMetric(middle(ours), "kindred/s")
				b.ReportMetric(middle(theirs), "mTLS/s")
				b.ReportMetric(middle(ratios), "ratio")
				b.ReportMetric(middle(spent), "µs-processor")
				b.ReportMetric(middle(ratiosSpent), "ratio-processor")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// perSecond makes 1,600 requests by so many workers. It returns how many were made a second, and how many microseconds of
// processor time this process took for each.
func perSecond(b *testing.B, client *http.Client, url string, workers int) (rate, processor float64) {
	began, before := time.Now(), processorTime(b)
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for range 1600 / workers {
				resp, err := client.Get(url)
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					b.Error(resp.Status, err)
				}
				resp.Body.Close()
			}
		})
	}
	wait.Wait()
	return 1600 / time.Since(began).Seconds(), float64((processorTime(b) - before).Nanoseconds()) / 1600 / 1000
}

// From unshare asked to the open stream's end, over loopback.
func BenchmarkUnshare(b *testing.B) {
	h := gatewaytest.New(b)
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	var took []time.Duration
	for b.Loop() {
		_, target := h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See})
		began, ended := make(chan struct{}), make(chan time.Time, 1)
		go stream(b, anna, began, ended)
		<-began
		asked := time.Now()
		if _, err := laptop.Revoke(b.Context(), target); err != nil {
			b.Fatal(err)
		}
		took = append(took, (<-ended).Sub(asked))
	}
	b.ReportMetric(milliseconds(quantile(took, 0.5)), "ms/p50")
	b.ReportMetric(milliseconds(quantile(took, 0.99)), "ms/p99")
}

// stream watches the lock until that is ended.
func stream(b *testing.B, n *kindred.Node, began chan<- struct{}, ended chan<- time.Time) {
	defer func() { ended <- time.Now() }()
	opened := false
	err := n.Use(b.Context(), "home/lock", func(c *thing.Client) error {
		s, err := c.Observe(b.Context(), "state", "")
		if err != nil {
			return err
		}
		if _, err := s.Next(); err != nil {
			return err
		}
		opened = true
		close(began)
		_, err = s.Next()
		return err
	})
	if !opened {
		b.Error(err)
		close(began)
	}
}

// What a gateway with its ledger costs when nothing happens: memory in MB, and processor time as a share of one core.
// The whole process is measured, test kit included.
func BenchmarkIdleGateway(b *testing.B) {
	gatewaytest.New(b)
	const watched = 20 * time.Second
	for b.Loop() {
		runtime.GC()
		before := processorTime(b)
		time.Sleep(watched)
		spent := processorTime(b) - before
		b.ReportMetric(100*float64(spent)/float64(watched), "%core")
		b.ReportMetric(residentMB(b), "MB-resident")
	}
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func residentMB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc on this system to read the memory from")
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				b.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	b.Fatal("no VmRSS in /proc/self/status")
	return 0
}

// Actions a second, each on disk at both ends before it is done, with a receipt that both have signed.
func BenchmarkActions(b *testing.B) {
	h, laptop, _, _ := withLock(b)
	client, err := laptop.Thing(b.Context(), "home/lock")
	if err != nil {
		b.Fatal(err)
	}
	h.Down() // the gateway is another machine in a home
	for _, workers := range []int{1, 16} {
		b.Run(strconv.Itoa(workers), func(b *testing.B) {
			const actions = 320
			var took time.Duration
			for b.Loop() {
				began := time.Now()
				var wait sync.WaitGroup
				for range workers {
					wait.Go(func() {
						for range actions / workers {
							if _, err := client.Invoke(b.Context(), "unlock", nil); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wait.Wait()
				took += time.Since(began)
			}
			b.ReportMetric(actions*float64(b.N)/took.Seconds(), "countersigned/s")
		})
	}
}
