package chain

import (
	"sync"
	"testing"
	"time"
)

// However long the interval is, whoever asks for a block gets one that is younger than the question.
func TestRefresh(t *testing.T) {
	cfg := testConfig(t)
	cfg.Interval = time.Hour
	c, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	before := c.Block()
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			asked := time.Now()
			if err := c.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
			if at := c.Block().Time; at.Before(asked) {
				t.Errorf("the newest block is of %s, asked was at %s", at, asked)
			}
		})
	}
	wait.Wait()
	if after := c.Block(); after.Height <= before.Height {
		t.Errorf("still at block %d", after.Height)
	}
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(t.Context()); err == nil {
		t.Error("a stopped chain was refreshed")
	}
}
