package peer

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// bulk is how much a comparison carries at a time.
const bulk = 64 << 20

// carry serves bulk, and takes any amount.
var carry = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		w.Header().Set("Content-Length", strconv.Itoa(bulk)) // as of a file
		io.CopyN(w, &endless{}, bulk)
		return
	}
	io.Copy(io.Discard, r.Body)
})

// A mover moves bulk in one direction.
type mover struct {
	name string
	move func(up bool) error
}

// overHTTP moves bulk by a client.
func overHTTP(name string, c *http.Client, url string) mover {
	return mover{name, func(up bool) error {
		method, body := http.MethodGet, io.Reader(nil)
		if up {
			method, body = http.MethodPut, io.LimitReader(&endless{}, bulk)
		}
		req, err := http.NewRequest(method, url, body)
		if err != nil {
			return err
		}
		if up {
			req.ContentLength = bulk
		}
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || !up && n != bulk {
			return fmt.Errorf("%d bytes, %w", n, err)
		}
		return nil
	}}
}

// bareQUIC connects two ends by quic-go and nothing else. The one that is not returned serves every stream.
func bareQUIC(b *testing.B, config *quic.Config, serve func(*quic.Stream)) *quic.Conn {
	cert, protocols := issue(b, nil), []string{"bare"}
	l, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: protocols}, config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept(context.Background())
		for err == nil {
			var s *quic.Stream
			if s, err = conn.AcceptStream(context.Background()); err == nil {
				go serve(s)
			}
		}
	}()
	conn, err := quic.DialAddr(b.Context(), l.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}, config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.CloseWithError(0, "") })
	return conn
}

// rawQUIC moves bulk over a stream of quic-go, with the windows that libp2p gives it.
func rawQUIC(b *testing.B) mover {
	config := &quic.Config{MaxStreamReceiveWindow: 10 << 20, MaxConnectionReceiveWindow: 15 << 20}
	conn := bareQUIC(b, config, func(s *quic.Stream) {
		defer s.Close()
		what := make([]byte, 1)
		if _, err := io.ReadFull(s, what); err != nil {
			return
		}
		if what[0] == 'u' {
			io.Copy(io.Discard, s)
		} else {
			io.CopyN(s, &endless{}, bulk)
		}
	})
	return mover{"quic-go", func(up bool) error {
		s, err := conn.OpenStreamSync(context.Background())
		if err != nil {
			return err
		}
		if !up {
			if _, err := s.Write([]byte("d")); err != nil {
				return err
			}
			s.Close()
			_, err = io.Copy(io.Discard, s)
			return err
		}
		if _, err := s.Write([]byte("u")); err != nil {
			return err
		}
		if _, err := io.CopyN(s, &endless{}, bulk); err != nil {
			return err
		}
		s.Close()
		_, err = io.Copy(io.Discard, s) // until the other end has all
		return err
	}}
}

// BenchmarkBulk compares 64 MiB down and up on kept streams, over QUIC and over
// TCP, with a stream of quic-go alone and with net/http over mutual TLS 1.3,
// taking turns. It reports medians in MB/s, and the ratios that were promised.
func BenchmarkBulk(b *testing.B) {
	server, tlsClient := tlsPair(b, carry)
	movers := []mover{rawQUIC(b), overHTTP("tls", tlsClient(), server.URL)}
	for _, way := range ways {
		meter, phone := benchPlace(b, carry, way.listen)
		movers = append(movers, overHTTP(way.name, phone.client(nil, meter), "kindred://meter/"))
	}
	for _, direction := range []string{"down", "up"} {
		b.Run(direction, func(b *testing.B) {
			rates := map[string][]float64{}
			for b.Loop() {
				for range rounds {
					for _, c := range movers {
						start := time.Now()
						if err := c.move(direction == "up"); err != nil {
							b.Fatal(c.name, err)
						}
						rates[c.name] = append(rates[c.name], bulk/1e6/time.Since(start).Seconds())
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			for _, c := range movers {
				b.ReportMetric(middle(rates[c.name]), c.name+"-MB/s")
			}
			b.ReportMetric(ratio(rates["QUIC"], rates["quic-go"]), "ratio-quic-go")
			b.ReportMetric(ratio(rates["TCP"], rates["tls"]), "ratio-tls")
		})
	}
}

// BenchmarkHuge carries two gigabytes up and down, within bounds of memory that
// it checks.
func BenchmarkHuge(b *testing.B) {
	for _, way := range ways {
		b.Run(way.name, func(b *testing.B) {
			for b.Loop() {
				p := newPlace(b)
				join := func(name string, h http.Handler) *member {
					return p.join(name, h, func(c *Config) { c.Log, c.Listen = nil, []string{way.listen} })
				}
				start := time.Now()
				huge(b, join, 2<<30, func(direction string) {
					b.ReportMetric(2*1024*1.048576/time.Since(start).Seconds(), direction+"-MB/s")
					start = time.Now()
				})
				runtime.GC()
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
