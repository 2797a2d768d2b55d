package kindred_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
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
