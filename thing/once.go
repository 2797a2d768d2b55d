package thing

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync"
)

const (
	maxRemembered = 256 // answers to actions
	maxKey        = 128 // bytes of an Idempotency-Key
)

// once remembers the answers to actions by caller, action and Idempotency-Key,
// so that an action asked for twice is done once.
type once struct {
	mu      sync.Mutex
	answers map[onceKey]*answer
	done    []onceKey // in the order they were done; the first is forgotten first
}

type onceKey struct{ caller, action, key string }

// answer is what an action came to. Its result may be read once ready is closed.
type answer struct {
	input [sha256.Size]byte
	ready chan struct{}

	output []byte
	err    error
	void   bool // the caller left before there was an answer: ask again
}

func newOnce() *once { return &once{answers: map[onceKey]*answer{}} }

// do gives the answer to an action, by running it or from memory. A caller that
// asks again while it runs waits. What was broken off because its caller left is
// not remembered.
func (o *once) do(ctx context.Context, key onceKey, input []byte, run func() ([]byte, error)) ([]byte, error) {
	digest := sha256.Sum256(input)
	for {
		a, mine, err := o.claim(key, digest)
		if err != nil {
			return nil, err
		}
		if mine {
			return o.run(ctx, key, a, run)
		}
		select {
		case <-a.ready:
			if !a.void {
				return a.output, a.err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// claim finds the answer under a key, or makes the caller the one to give it.
func (o *once) claim(key onceKey, digest [sha256.Size]byte) (a *answer, mine bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.answers[key]; a != nil {
		if a.input != digest {
			return nil, false, &Problem{Status: http.StatusUnprocessableEntity, Detail: "this Idempotency-Key was used with another input"}
		}
		return a, false, nil
	}
	for len(o.answers) >= maxRemembered {
		if len(o.done) == 0 {
			return nil, false, &Problem{Status: http.StatusServiceUnavailable, Detail: "too many actions at once"}
		}
		delete(o.answers, o.done[0])
		o.done = o.done[1:]
	}
	a = &answer{input: digest, ready: make(chan struct{})}
	o.answers[key] = a
	return a, true, nil
}

func (o *once) run(ctx context.Context, key onceKey, a *answer, run func() ([]byte, error)) ([]byte, error) {
	a.void = true // unless run returns
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if a.void {
			delete(o.answers, key)
		} else {
			o.done = append(o.done, key)
		}
		close(a.ready)
	}()
	a.output, a.err = run()
	a.void = a.err != nil && ctx.Err() != nil
	return a.output, a.err
}
