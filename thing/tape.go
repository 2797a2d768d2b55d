package thing

import (
	"context"
	"sync"
	"time"
)

// A Recording is what a property of a thing showed for a while, to be kept somewhere.
type Recording struct {
	Affordance string    // the property
	Title      string    // the name of a file
	Type       string    // media type
	From       time.Time // of the first piece
	Until      time.Time // when it was cut off
	Content    []byte
}

// A Tape gathers what a property of a thing shows, piece by piece, into recordings of a length. Its fields are set
// before it is used. Its methods may be called from any goroutine; those of a nil Tape do nothing.
type Tape struct {
	Affordance string                                   // the property
	Type       string                                   // media type of a recording
	Ending     string                                   // of the name of its file, such as .json
	Every      time.Duration                            // how long a recording is
	Join       func(pieces [][]byte) []byte             // what a recording of pieces is
	Keep       func(ctx context.Context, rec Recording) // takes each recording
	Now        func() time.Time                         // nil: time.Now

	mu     sync.Mutex
	pieces [][]byte
	size   int
	from   time.Time     // of the first piece
	full   chan struct{} // closed when there is half of maxTape; nil before Run
}

const (
	maxTape  = 32 << 20        // bytes of pieces; more are let go
	lastKeep = 5 * time.Second // for what is left when a tape ends
)

func (t *Tape) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}

// Add adds a piece, which must not be changed later.
func (t *Tape) Add(piece []byte) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size+len(piece) > maxTape { // nobody keeps up with it
		return
	}
	if len(t.pieces) == 0 {
		t.from = t.now()
	}
	t.pieces, t.size = append(t.pieces, piece), t.size+len(piece)
	if t.size > maxTape/2 && t.full != nil {
		close(t.full)
		t.full = nil
	}
}

// Run hands over what was gathered every so often, or when it is much, until ctx ends, and then the rest.
func (t *Tape) Run(ctx context.Context) {
	if t == nil {
		return
	}
	tick := time.NewTicker(t.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-t.filling():
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastKeep)
			defer cancel()
			t.cut(ctx)
			return
		}
		t.cut(ctx)
	}
}

// filling returns a channel that is closed when there is much.
func (t *Tape) filling() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	full := make(chan struct{})
	if t.full = full; t.size > maxTape/2 {
		close(full)
		t.full = nil
	}
	return full
}

// cut hands over what there is.
func (t *Tape) cut(ctx context.Context) {
	t.mu.Lock()
	pieces, from := t.pieces, t.from
	t.pieces, t.size = nil, 0
	until := t.now()
	t.mu.Unlock()
	if len(pieces) == 0 {
		return
	}
	t.Keep(ctx, Recording{
		Affordance: t.Affordance, Type: t.Type, Title: from.UTC().Format("2006-01-02T15-04-05Z") + t.Ending,
		From: from, Until: until, Content: t.Join(pieces),
	})
}
