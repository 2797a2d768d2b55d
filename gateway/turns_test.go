package gateway

import (
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// However often a home asks, it is answered once a second, and waits for no other home.
func TestNewsTakeTurns(t *testing.T) {
	var ns news
	one, other, now := identity.TreeID{1}, identity.TreeID{2}, time.Now()
	for i, test := range []struct {
		of   identity.TreeID
		at   time.Duration
		want time.Duration
	}{
		{one, 0, 0}, {one, 0, time.Second}, {one, 0, 2 * time.Second}, {other, 0, 0},
		{one, 2500 * time.Millisecond, 500 * time.Millisecond}, {one, 10 * time.Second, 0},
	} {
		if got := ns.turn(test.of, now.Add(test.at)); got != test.want {
			t.Errorf("question %d waits %s, want %s", i, got, test.want)
		}
	}
}
