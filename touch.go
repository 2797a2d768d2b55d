package kindred

import (
	"context"
	"sync"
	"time"
)

// touch is closed once the gateway has told a node that serves how the tree stands.
type touch struct {
	once sync.Once
	made sync.Once
	done chan struct{}
}

func (t *touch) wait() <-chan struct{} {
	t.made.Do(func() { t.done = make(chan struct{}) })
	return t.done
}

func (t *touch) reached() {
	t.wait()
	t.once.Do(func() { close(t.done) })
}

// InTouch waits until the node and its gateway know of each other what they need: the gateway where the node can be
// reached, the node how the tree stands. It fails when ctx ends before; a node that serves goes on trying.
func (n *Node) InTouch(ctx context.Context) error {
	if len(n.cfg.Listen) == 0 {
		return n.Refresh(ctx)
	}
	select {
	case <-n.link.touch.wait():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// AsOf returns the newest moment of which the node knows how its tree stood; zero if it never heard.
func (n *Node) AsOf() time.Time { return n.trust.snapshot().AsOf() }
