package thing

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync"
)

const (
	maxOfOne      = 64  // answers to actions of one caller
	maxRemembered = 512 // of all callers
	maxKey        = 128 // bytes of an Idempotency-Key
)

// once remembers the answers to actions by caller, action and Idempotency-Key,
// so that an action asked for twice is done once. Whoever asks much has its own
// answers forgotten, and not another's, who would have its door opened twice.
type once struct {
	mu      sync.Mutex
	answers map[onceKey]*answer
	callers map[string]*share // who has any
}

// share is what is remembered of one caller.
type share struct {
	all  int       // answers, those that are still to come too
	done []onceKey // in the order they were done; the first is forgotten first
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

func newOnce() *once { return &once{answers: map[onceKey]*answer{}, callers: map[string]*share{}} }

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
	if !o.makeRoom(key.caller) {
		return nil, false, &Problem{Status: http.StatusServiceUnavailable, Detail: "too many actions at once"}
	}
	a = &answer{input: digest, ready: make(chan struct{})}
	o.answers[key] = a
	if o.callers[key.caller] == nil {
		o.callers[key.caller] = &share{}
	}
	o.callers[key.caller].all++
	return a, true, nil
}

// makeRoom forgets the oldest answer of a caller that has all it may; where all together have, of the one that has the
// most. It reports false where there is none yet to forget. The caller holds mu.
func (o *once) makeRoom(caller string) bool {
	from := o.callers[caller]
	if from == nil || from.all < maxOfOne {
		if len(o.answers) < maxRemembered {
			return true
		}
		from = &share{}
		for _, s := range o.callers {
			if len(s.done) > len(from.done) {
				from = s
			}
		}
	}
	if len(from.done) == 0 {
		return false
	}
	first := from.done[0]
	from.done = from.done[1:]
	o.forget(first)
	return true
}

// forget drops what is under a key. The caller holds mu.
func (o *once) forget(key onceKey) {
	delete(o.answers, key)
	s := o.callers[key.caller]
	if s.all--; s.all == 0 {
		delete(o.callers, key.caller)
	}
}

func (o *once) run(ctx context.Context, key onceKey, a *answer, run func() ([]byte, error)) ([]byte, error) {
	a.void = true // unless run returns
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if a.void {
			o.forget(key)
		} else {
			s := o.callers[key.caller]
			s.done = append(s.done, key)
		}
		close(a.ready)
	}()
	a.output, a.err = run()
	a.void = a.err != nil && ctx.Err() != nil
	return a.output, a.err
}
