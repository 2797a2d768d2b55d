package thing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// HealFor is how long a lost connection is tried again where nothing else is said.
const HealFor = time.Minute

const (
	retryFirst = 250 * time.Millisecond // between two tries, doubled each time,
	retryMost  = 4 * time.Second        // up to this
	steady     = 10 * time.Second       // what was open for so long, its next loss is a new one
	moveEvery  = 10 * time.Second       // between two tries of a better way, at least
)

// ErrLost says that the connection under a stream or a download was lost and did not come back within the time for
// that. What was tried last is wrapped beside it.
var ErrLost = errors.New("the connection was lost and did not come back")

// Healing says what becomes of a stream or a download whose connection is lost. The zero value tries for [HealFor].
type Healing struct {
	// For is how long it is tried again; zero means HealFor, and below zero it is not tried at all.
	For time.Duration
	// Passing says whether a request that failed so may succeed later; nil says that of what the network does.
	// Answers of the thing are not put to it: of these 503 alone passes.
	Passing func(error) bool
	// Lost is told, once a loss, why a connection was lost, and Back that it is there again. Nil is nobody.
	Lost func(error)
	Back func()
	// Better reports whether there is a better way to the thing by now than the one an answer comes on. The rest is then
	// asked for anew, between two events (or at a sign of life where none come), pictures or reads, and nobody is told.
	// Nil says that there never is.
	Better func(*http.Response) bool
}

// passing reports whether what failed so is worth another try.
func (h Healing) passing(err error) bool {
	var p *Problem
	var network net.Error
	switch {
	case errors.As(err, &p):
		return p.Status == http.StatusServiceUnavailable
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return true
	case errors.Is(err, context.Canceled): // of another request, on a connection that was to be used again
		return true
	case h.Passing != nil:
		return h.Passing(err)
	}
	return errors.As(err, &network)
}

// A line is an answer that is asked for again when its connection is lost while it is read.
//
//	        asked                     lost
//	begun ─────────▶ open ───────────────────────▶ lost ──┐
//	  │               │ ▲                           │  ▲  │ not yet again
//	  │ refused       │ └────────── asked ──────────┘  └──┘
//	  ▼               ▼ the answer ended            ▼ refused, or for too long
//	over ◀────────────┴─────────────────────────────┘
//
// While it is open it may move to a better way: there it is asked for, and once that answers, what there was is closed.
// One goroutine reads it; close may be called by any.
type line struct {
	heal Healing
	ask  func(context.Context) (*http.Response, error) // for what is to come from here on
	ctx  context.Context                               // ends with close
	end  context.CancelFunc

	resp *http.Response
	at   time.Time // when resp was there
	lost time.Time // the loss that nothing has come since; zero: none
	told bool      // of that loss

	moved time.Time // when a better way was tried last
}

// begin asks for the first time. What fails then fails.
func begin(ctx context.Context, h Healing, ask func(context.Context) (*http.Response, error)) (*line, error) {
	l := &line{heal: h, ask: ask}
	l.ctx, l.end = context.WithCancel(ctx)
	var err error
	if l.resp, err = ask(l.ctx); err != nil {
		l.end()
		return nil, err
	}
	l.at = time.Now()
	return l, nil
}

// came notes that something was received: what is lost next is lost anew.
func (l *line) came() { l.lost, l.told = time.Time{}, false }

// again asks for the rest after err, as long as that may help. It returns nil once there is an answer, and otherwise
// what to fail with: err itself where it does not pass.
func (l *line) again(err error) error {
	l.resp.Body.Close()
	switch {
	case l.ctx.Err() != nil:
		return context.Cause(l.ctx)
	case l.heal.For < 0 || !l.heal.passing(err):
		return err
	}
	limit := l.heal.For
	if limit == 0 {
		limit = HealFor
	}
	if l.lost.IsZero() || time.Since(l.at) > steady {
		l.lost, l.told = time.Now(), false
	}
	if !l.told && l.heal.Lost != nil {
		l.heal.Lost(err)
	}
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		if time.Since(l.lost) > limit {
			return fmt.Errorf("%w within %v: %w", ErrLost, limit, err)
		}
		if !l.pause(wait) {
			return context.Cause(l.ctx)
		}
		resp, rerr := l.ask(l.ctx)
		if rerr == nil {
			l.resp, l.at = resp, time.Now()
			if !l.told && l.heal.Back != nil {
				l.heal.Back()
			}
			l.told = true
			return nil
		}
		if l.ctx.Err() != nil {
			return context.Cause(l.ctx)
		}
		if err = rerr; !l.heal.passing(err) {
			return err
		}
	}
}

// move asks for the rest on a better way, if there is one by now. It is called where the rest can be asked for. That it
// fails is no loss: what there is goes on.
func (l *line) move() {
	if l.heal.Better == nil || time.Since(l.moved) < moveEvery || !l.heal.Better(l.resp) {
		return
	}
	l.moved = time.Now()
	resp, err := l.ask(l.ctx)
	if err != nil {
		return
	}
	l.resp.Body.Close()
	l.resp, l.at = resp, time.Now()
}

// pause waits, and reports false if the line was closed meanwhile.
func (l *line) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.ctx.Done():
		return false
	}
}

// close ends the line, and whatever waits on it.
func (l *line) close() error {
	l.end()
	return nil
}
