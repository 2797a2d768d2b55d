package peer

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// An admission is the verdict on one hello, being made until done is closed.
type admission struct {
	done   chan struct{}
	result Admission
	err    error
}

// admit returns the verdict on what the other end showed. A hello is verified
// once, even if several streams show it at the same time; refusals are not
// remembered.
func (l *link) admit(shown frame) (Admission, error) {
	if l.refusedEnough() {
		return Admission{}, errRefusedEnough
	}
	l.mu.Lock()
	if shown.kind == frameNone {
		l.mu.Unlock()
		return l.examined(nil)
	}
	a := l.admitted[shown.digest]
	if a == nil && shown.kind == frameDigest {
		l.mu.Unlock()
		return Admission{}, errForgotten
	}
	first := a == nil
	if first {
		a = &admission{done: make(chan struct{})}
		l.remember(shown.digest, a)
	}
	l.mu.Unlock()
	if first {
		a.result, a.err = l.examined(shown.hello)
		if a.err != nil {
			l.forget(shown.digest)
		}
		close(a.done)
	}
	<-a.done
	return a.result, a.err
}

var errRefusedEnough = fmt.Errorf("refused %d times on this connection", maxRefused)

// refusedEnough reports whether nothing more is verified for the other end.
func (l *link) refusedEnough() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stranger && l.refused >= maxRefused
}

// remember keeps a under d, and the oldest no longer. l.mu is held.
func (l *link) remember(d digest, a *admission) {
	if len(l.recent) == maxAdmitted {
		delete(l.admitted, l.recent[0])
		l.recent = l.recent[1:]
	}
	l.admitted[d] = a
	l.recent = append(l.recent, d)
}

func (l *link) forget(d digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.admitted, d)
	l.recent = slices.DeleteFunc(l.recent, func(r digest) bool { return r == d })
}

// examined verifies a hello when its turn has come, and none at once. A stranger's are verified one after the other,
// each when the verdict on the one before has been counted.
func (l *link) examined(hello []byte) (Admission, error) {
	ctx, cancel := context.WithTimeout(l.ctx, l.host.timing.admit)
	defer cancel()
	if hello == nil {
		return l.verify(ctx, nil)
	}
	who := string(l.conn.RemotePeer())
	if l.strange() {
		who = l.from.String()
		select {
		case l.verdict <- struct{}{}:
			defer func() { <-l.verdict }()
		case <-ctx.Done():
			return Admission{}, context.Cause(ctx)
		}
		if l.refusedEnough() { // while it waited
			return Admission{}, errRefusedEnough
		}
	}
	if err := l.host.turns.take(ctx, who); err != nil {
		return Admission{}, fmt.Errorf("too many others are being verified: %w", err)
	}
	defer l.host.turns.give()
	return l.verify(ctx, hello)
}

// verify asks Config.Admit, and notes what it said. A panic there refuses this caller and nobody else.
func (l *link) verify(ctx context.Context, hello []byte) (result Admission, err error) {
	defer func() { l.recognize(hello != nil, err) }()
	if l.host.cfg.Admit == nil {
		return Admission{}, errors.New("this host admits nobody")
	}
	defer func() {
		if p := recover(); p != nil {
			l.host.log.Error("verifying a caller panicked", "peer", l.conn.RemotePeer(), "panic", p, "stack", string(debug.Stack()))
			result, err = Admission{}, fmt.Errorf("verifying panicked: %v", p)
		}
	}()
	return l.host.cfg.Admit(ctx, l.key, hello)
}

// recognize notes whether the other end was accepted. Whoever shows a relay nothing is served and stays a stranger, or
// one question would end what bounds strangers there: somebody is who holds a reservation, or calls who does.
func (l *link) recognize(showed bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.refused++
	case showed || l.host.carrier == nil:
		l.meet()
	}
}

// keep notes that the other end is somebody, and that the link need not be used until then.
func (l *link) keep(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.know()
	if until.After(l.kept) {
		l.kept = until
	}
}

// meet makes the other end known. l.mu is held.
func (l *link) meet() {
	l.know()
	l.met = true
	l.settle.Do(func() { close(l.settled) })
}

// frames returns the two frames with which a stream to the other end begins:
// what is shown of hello, and the hello that is held.
func (l *link) frames(hello frame) (shown, held frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if hello.kind == frameFull && hello.digest == l.shown {
		hello = hello.short()
	}
	return hello, l.held
}

// accepted notes that the other end accepted the hello shown and that we
// accepted the one it showed.
func (l *link) accepted(shown digest, theirs frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meet()
	l.shown, l.held = shown, theirs
}

// serves notes that the other end answered; served reports whether it ever did.
func (l *link) serves() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.serving {
		l.serving = true
		close(l.answered)
	}
}

// opens waits until a further stream may be opened: before the other end has answered, it may take us for strangers.
func (l *link) opens(ctx context.Context) error {
	l.mu.Lock()
	if l.serving || l.opened < strangeStreams {
		l.opened++
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	select {
	case <-l.answered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ctx.Done():
		return context.Cause(l.ctx)
	}
}

func (l *link) served() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.serving
}

// startOver makes the next stream show its hello in full.
func (l *link) startOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown, l.held = digest{}, frame{}
}
