package kindred_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// A phone whose clock is hours wrong does not lock its owner out, neither while it is nor once it is right again: what the
// owner did is signed for all the same.
func TestClocksApart(t *testing.T) {
	for _, wrong := range []time.Duration{20 * time.Minute, 14 * time.Hour, -14 * time.Hour} {
		t.Run(wrong.String(), func(t *testing.T) {
			h := gatewaytest.New(t)
			var apart atomic.Int64
			c := h.Config("laptop")
			c.Clock = func() time.Time { return time.Now().Add(time.Duration(apart.Load())) }
			phone, err := kindred.Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { phone.Close() })
			h.Serve(h.Invite(phone, identity.Device, "home/lock", "", "127.0.0.1:0"), lock.New().Thing())
			for _, by := range []time.Duration{0, wrong, wrong, 0, 0} {
				apart.Store(int64(by))
				err := phone.Use(t.Context(), "home/lock", func(c *thing.Client) error {
					_, err := c.Invoke(t.Context(), "unlock", nil)
					return err
				})
				if err != nil {
					t.Errorf("with a clock that is %s wrong: %v", by, err)
				}
			}
		})
	}
}

// A connection ends with the right to it by the clock on the wall, also if that is set forward while it lasts.
func TestClockSetForward(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	if err := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0").Close(); err != nil {
		t.Fatal(err)
	}
	var set atomic.Int64
	cfg := h.Config("lock", "127.0.0.1:0")
	cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
	device, err := kindred.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() })
	there, far := net.Pipe()
	defer far.Close()
	shell := thing.New("Lock")
	thing.Service(shell, "tcp", 22, "Shell", func(context.Context) (net.Conn, error) { return there, nil })
	h.Serve(device, shell)
	if err := device.InTouch(t.Context()); err != nil {
		t.Fatal(err)
	}
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Actions(grant.Invoke), Until: time.Now().Add(30 * time.Minute).Unix()})
	conn, err := anna.Dial(t.Context(), "home/lock", "tcp", 22)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	device.EveryMinute()
	go io.WriteString(far, "$ ")
	if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
		t.Fatalf("while the right lasts: %v", err)
	}
	set.Store(int64(45 * time.Minute))
	device.EveryMinute()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("after the right has ended by the clock on the wall: %v", err)
	}
}
