package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// helloSize is about that of a device three levels down.
const helloSize = 4 << 10

// answer is what both sides of a comparison serve.
var answer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	io.WriteString(w, `{"power":230}`)
})

// The ways that are compared, by what to listen on.
var ways = []struct{ name, listen string }{{"QUIC", "/ip4/127.0.0.1/udp/0/quic-v1"}, {"TCP", "/ip4/127.0.0.1/tcp/0"}}

// benchPlace makes quiet members with hellos of helloSize.
func benchPlace(b *testing.B, h http.Handler, listen string) (meter, phone *member) {
	p := newPlace(b)
	meter = p.join("meter", h, func(c *Config) { c.Log, c.Listen = nil, []string{listen} })
	phone = p.join("phone", nil, func(c *Config) { c.Log, c.Listen = nil, []string{} })
	pad := make([]byte, helloSize)
	meter.renew("hello of meter" + string(pad))
	phone.renew("hello of phone" + string(pad))
	return meter, phone
}

// tlsPair returns a net/http server and a client that verify each other's
// Ed25519 certificates, issued by one authority, in TLS 1.3.
func tlsPair(b *testing.B, h http.Handler) (*httptest.Server, func() *http.Client) {
	authority, roots := issue(b, nil), x509.NewCertPool()
	roots.AddCert(authority.Leaf)
	server := httptest.NewUnstartedServer(h)
	server.TLS = &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*issue(b, authority)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots,
	}
	server.StartTLS()
	b.Cleanup(server.Close)
	client := issue(b, authority)
	return server, func() *http.Client {
		return &http.Client{Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{*client}},
			MaxIdleConnsPerHost: 64,
		}}
	}
}

// issue makes a certificate for 127.0.0.1 by the authority; an authority if nil.
func issue(b *testing.B, authority *tls.Certificate) *tls.Certificate {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, key
	if authority == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		parent, signer = authority.Leaf, authority.PrivateKey.(ed25519.PrivateKey)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	if err != nil {
		b.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		b.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func fetch(b *testing.B, c *http.Client, url string) {
	resp, err := c.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		b.Fatal(resp.StatusCode, err)
	}
	resp.Body.Close()
}

// BenchmarkCold compares the first answer on a cold connection with that of
// net/http over mutual TLS 1.3, taking turns; it reports medians and their ratio.
func BenchmarkCold(b *testing.B) {
	meter, phone := benchPlace(b, answer, "127.0.0.1:0")
	server, tlsClient := tlsPair(b, answer)
	client := phone.client(nil, meter)
	var ours, theirs []time.Duration
	for b.Loop() {
		if err := phone.Disconnect(meter.public()); err != nil {
			b.Fatal(err)
		}
		client.CloseIdleConnections()
		for gone := false; !gone; { // the meter sees it too, and is at rest
			_, connected := meter.Path(phone.public())
			gone = !connected
			runtime.Gosched()
		}
		start := time.Now()
		fetch(b, client, "kindred://meter/")
		ours = append(ours, time.Since(start))

		c := tlsClient()
		start = time.Now()
		fetch(b, c, server.URL)
		theirs = append(theirs, time.Since(start))
		c.CloseIdleConnections()
	}
	us, them := median(ours), median(theirs)
	b.ReportMetric(float64(us.Microseconds()), "peer-µs")
	b.ReportMetric(float64(them.Microseconds()), "tls-µs")
	b.ReportMetric(float64(us)/float64(them), "ratio")
	b.ReportMetric(0, "ns/op")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkWarm compares small requests on kept streams with net/http over
// mutual TLS 1.3, taking turns: the median of requests a second, and of their ratios. What QUIC leaves of that at best
// shows in streams of quic-go alone, on which as many bytes go there and back.
func BenchmarkWarm(b *testing.B) {
	server, tlsClient := tlsPair(b, answer)
	bare := newPingPong(b)
	for _, way := range ways {
		meter, phone := benchPlace(b, answer, way.listen)
		for _, workers := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/%d", way.name, workers), func(b *testing.B) {
				ours, theirs := phone.client(nil, meter), tlsClient()
				var us, them, it []float64
				for b.Loop() {
					for range rounds {
						if way.name == "QUIC" {
							it = append(it, bare.perSecond(workers))
						}
						us = append(us, perSecond(b, ours, "kindred://meter/", workers))
						them = append(them, perSecond(b, theirs, server.URL, workers))
					}
				}
				b.ReportMetric(middle(us), "peer/s")
				b.ReportMetric(middle(them), "tls/s")
				b.ReportMetric(ratio(us, them), "ratio")
				if it != nil {
					b.ReportMetric(ratio(it, them), "ratio-bare-quic-go")
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// A pingPong sends messages there and back on streams of quic-go and nothing else.
type pingPong struct {
	b    *testing.B
	conn *quic.Conn
}

// message is about as long as a small request, or its answer.
const message = 160

func newPingPong(b *testing.B) pingPong {
	return pingPong{b, bareQUIC(b, nil, func(s *quic.Stream) {
		defer s.Close()
		answer := make([]byte, message)
		for {
			if _, err := io.ReadFull(s, answer); err != nil {
				return
			}
			if _, err := s.Write(answer); err != nil {
				return
			}
		}
	})}
}

// perSecond sends as many messages as perSecond makes requests, on a stream for each worker.
func (p pingPong) perSecond(workers int) float64 {
	each := max(100, 1600/workers)
	start := time.Now()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			s, err := p.conn.OpenStreamSync(p.b.Context())
			if err != nil {
				p.b.Error(err)
				return
			}
			defer s.Close()
			text := make([]byte, message)
			for range each {
				if _, err = s.Write(text); err == nil {
					_, err = io.ReadFull(s, text)
				}
				if err != nil {
					p.b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(workers*each) / time.Since(start).Seconds()
}

// rounds are taken turns at in one iteration of a comparison.
const rounds = 9

func middle(values []float64) float64 { return slices.Sorted(slices.Values(values))[len(values)/2] }

// ratio compares what was measured side by side: the median over all turns, for a machine is never as busy as before.
func ratio(ours, theirs []float64) float64 {
	each := make([]float64, len(ours))
	for i := range ours {
		each[i] = ours[i] / theirs[i]
	}
	return middle(each)
}

// perSecond makes 100 requests by each of n workers.
func perSecond(b *testing.B, c *http.Client, url string, n int) float64 {
	each := max(100, 1600/n)
	start := time.Now()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for range each {
				resp, err := c.Get(url)
				if err != nil {
					b.Error(err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	return float64(n*each) / time.Since(start).Seconds()
}

// BenchmarkStart measures a process's way to its first answer: a new host that
// only calls, one request, and its end.
func BenchmarkStart(b *testing.B) {
	meter, phone := benchPlace(b, answer, "127.0.0.1:0")
	for b.Loop() {
		h, err := New(Config{Key: phone.key, Listen: []string{}})
		if err != nil {
			b.Fatal(err)
		}
		fetch(b, &http.Client{Transport: h.Transport(func(context.Context, string) (Target, error) {
			return phone.target(meter), nil
		})}, "kindred://meter/")
		if err := h.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
