package peer

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// waits returns a connection with patience, its other end, and how often it was told of a deadline.
func waits(t *testing.T) (p *patience, here, there net.Conn, told *int) {
	here, there = net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	told = new(int)
	return &patience{set: func(d time.Time) error { *told++; return here.SetReadDeadline(d) }}, here, there, told
}

func TestPatience(t *testing.T) {
	for _, tt := range []struct {
		name string
		move func(*patience) // while a Read is in progress, after a second
		from time.Duration   // the deadline before; 0: none
		want time.Duration   // when the Read ends; 0: with what comes after an hour
	}{
		{"none", nil, 0, 0},
		{"in time", nil, time.Minute, time.Minute},
		{"sooner", func(p *patience) { p.SetReadDeadline(time.Now().Add(time.Second)) }, time.Minute, 2 * time.Second},
		{"later", func(p *patience) { p.SetReadDeadline(time.Now().Add(time.Minute)) }, 2 * time.Second, 61 * time.Second},
		{"set", func(p *patience) { p.SetReadDeadline(time.Now().Add(time.Minute)) }, 0, 61 * time.Second},
		{"called off", func(p *patience) { p.SetReadDeadline(time.Time{}) }, 2 * time.Second, 0},
		{"at once", func(p *patience) { p.SetReadDeadline(time.Unix(1, 0)) }, time.Minute, time.Second},
		{"at once, and not after all", func(p *patience) {
			p.SetReadDeadline(time.Unix(1, 0))
			p.SetReadDeadline(time.Time{})
		}, time.Minute, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, here, there, _ := waits(t)
				began := time.Now()
				if tt.from > 0 {
					p.SetReadDeadline(began.Add(tt.from))
				}
				if tt.move != nil {
					time.AfterFunc(time.Second, func() { tt.move(p) })
				}
				time.AfterFunc(time.Hour, func() { there.Write([]byte("x")) })
				n, err := p.read(make([]byte, 1), here)
				took := time.Since(began)
				if tt.want == 0 && (n != 1 || err != nil || took != time.Hour) {
					t.Errorf("read %d, %v, after %v", n, err, took)
				}
				if tt.want > 0 && (!errors.Is(err, os.ErrDeadlineExceeded) || took != tt.want) {
					t.Errorf("ended with %v after %v, want %v", err, took, tt.want)
				}
				there.Close()
			})
		})
	}
}

// Deadlines that come and go while nobody reads are no matter of the stream's.
func TestPatienceTellsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, here, there, told := waits(t)
		for range 100 {
			p.SetReadDeadline(time.Now().Add(time.Minute)) // idle
			go there.Write([]byte("x"))
			if _, err := p.read(make([]byte, 1), here); err != nil {
				t.Fatal(err)
			}
			p.SetReadDeadline(time.Now().Add(5 * time.Second)) // for the header
			p.SetReadDeadline(time.Time{})
			p.SetReadDeadline(time.Unix(1, 0)) // to have a Read end that has not begun
			if _, err := p.read(make([]byte, 1), here); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("a Read in the past ended with %v", err)
			}
			p.SetReadDeadline(time.Time{})
			time.Sleep(time.Millisecond)
		}
		if *told != 0 {
			t.Errorf("the stream was told %d times", *told)
		}
	})
}
