package kindred_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
)

// away is how long what is sent takes each way, to a callee that is far.
const away = 75 * time.Millisecond

// A line hands on what is put in, in order, each as long after as it is to take.
type line struct {
	in   chan parcel
	done chan struct{}
}

type parcel struct {
	due  time.Time
	data []byte
}

func newLine(out func([]byte) error) *line {
	l := &line{in: make(chan parcel, 4096), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for p := range l.in {
			time.Sleep(time.Until(p.due))
			if out(p.data) != nil {
				break
			}
		}
		for range l.in {
		}
	}()
	return l
}

func (l *line) put(b []byte, after time.Duration) {
	l.in <- parcel{time.Now().Add(after), append([]byte(nil), b...)}
}

func (l *line) end() {
	close(l.in)
	<-l.done
}

// farUDP forwards packets to an address, and back, and returns where it listens.
func farUDP(b *testing.B, to string) string {
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	b.Cleanup(func() {
		front.Close()
		wg.Wait()
	})
	wg.Go(func() {
		type way struct {
			back *net.UDPConn
			line *line
		}
		ways := map[netip.AddrPort]way{}
		defer func() {
			for _, w := range ways {
				w.back.Close()
				w.line.end()
			}
		}()
		buf := make([]byte, 2048)
		for {
			n, from, err := front.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			w, known := ways[from]
			if !known {
				c, err := net.Dial("udp4", to)
				if err != nil {
					return
				}
				w = way{c.(*net.UDPConn), newLine(func(p []byte) error { c.Write(p); return nil })}
				ways[from] = w
				wg.Go(func() {
					back := newLine(func(p []byte) error { front.WriteToUDPAddrPort(p, from); return nil })
					defer back.end()
					buf := make([]byte, 2048)
					for {
						n, err := c.Read(buf)
						if errors.Is(err, net.ErrClosed) {
							return
						}
						back.put(buf[:n], away)
					}
				})
			}
			w.line.put(buf[:n], away)
		}
	})
	return front.LocalAddr().String()
}

// farTCP forwards connections to an address. What a caller says first takes a whole round trip more: that of TCP's own
// handshake, which is over at once where it listens.
func farTCP(b *testing.B, to string) string {
	front, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	b.Cleanup(func() {
		front.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			near, err := front.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp4", to)
			if err != nil {
				near.Close()
				continue
			}
			mu.Lock()
			open = append(open, near, far)
			mu.Unlock()
			shaken := time.Now().Add(2 * away)
			wg.Go(func() { farCopy(far, near, shaken) })
			wg.Go(func() { farCopy(near, far, shaken) })
		}
	})
	return front.Addr().String()
}

// farCopy copies from src to dst. Nothing leaves before hands are shaken.
func farCopy(dst, src net.Conn, shaken time.Time) {
	l := newLine(func(p []byte) error { _, err := dst.Write(p); return err })
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			l.put(buf[:n], max(0, time.Until(shaken))+away)
		}
		if err != nil {
			break
		}
	}
	l.end()
	dst.Close()
	src.Close()
}

// The first authorised answer of a callee that is 75 ms away, on a cold connection, in round trips: with hellos both ways
// that are verified, a decision and a journal; and that of net/http under mutual TLS 1.3, which has none of these.
func BenchmarkFarAnswer(b *testing.B) {
	h, laptop, _, contact := withLock(b)
	var quic, tcp string
	for _, a := range contact.Addresses { // /ip4/IP/udp/PORT/quic-v1/p2p/KEY, /ip4/IP/tcp/PORT/p2p/KEY
		parts := strings.Split(a, "/")
		at := net.JoinHostPort(parts[2], parts[4])
		if parts[3] == "udp" {
			_, port, _ := net.SplitHostPort(farUDP(b, at))
			quic = "/ip4/127.0.0.1/udp/" + port + "/quic-v1"
		} else {
			_, port, _ := net.SplitHostPort(farTCP(b, at))
			tcp = "/ip4/127.0.0.1/tcp/" + port
		}
	}
	plain, url := mutualTLS(b)
	url = "https://" + farTCP(b, strings.TrimPrefix(url, "https://"))
	var took [3][]time.Duration
	for b.Loop() {
		took[0] = append(took[0], far(b, h, laptop, contact, quic))
		took[1] = append(took[1], far(b, h, laptop, contact, tcp))
		began := time.Now()
		resp, err := plain.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
		took[2] = append(took[2], time.Since(began))
		plain.CloseIdleConnections()
	}
	for i, unit := range []string{"RTT/QUIC", "RTT/TCP", "RTT/mTLS"} {
		b.ReportMetric(float64(quantile(took[i], 0.5))/float64(2*away), unit)
	}
	b.ReportMetric(0, "ns/op")
}

// far makes a call to where the callee is found from now on.
func far(b *testing.B, h *gatewaytest.Home, laptop *kindred.Node, c kindred.Contact, addr string) time.Duration {
	if err := laptop.HangUp(c); err != nil {
		b.Fatal(err)
	}
	laptop.Find(c, addr)
	began := time.Now()
	if _, err := h.State(laptop, "home/lock"); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}
