package control

import (
	"context"
	"sync"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
)

const (
	maxCalls   = 16 // of one member that are answered at a time
	maxWaiting = 64 // of one member that wait for one of these
	maxWatches = 4  // of one member: it needs one, and those it lost may not have ended yet

	maxVisits = 32 // of all members of one other home that are answered at a time
)

// aMember is who has a share: one member.
func aMember(who credential.Principal) identity.TreeMember { return who.TreeMember() }

// aHome is who has a share of another home's: all its members together, for it makes as many as it likes.
func aHome(who credential.Principal) identity.TreeMember {
	return identity.TreeMember{Tree: who.ID.Tree}
}

// shares sees to it that no member takes what is there for all: of each only so many calls are answered at a time, the
// next wait for them in order of coming, and what is more is turned away.
type shares struct {
	calls, watches int // of one member at a time
	waiting        int

	mu sync.Mutex
	by map[identity.TreeMember]*share
}

// A share is what one member has under way; there is none for those who have nothing.
type share struct {
	calls, watches int
	waiting        []chan struct{}
}

// call waits until a call of the member may be answered, and counts it in until done is called.
func (s *shares) call(ctx context.Context, who identity.TreeMember) (done func(), err error) {
	s.mu.Lock()
	m := s.of(who)
	if m.calls < s.calls {
		m.calls++
		s.mu.Unlock()
		return func() { s.done(who) }, nil
	}
	if len(m.waiting) >= s.waiting {
		s.mu.Unlock()
		return nil, errTooMany
	}
	mine := make(chan struct{})
	m.waiting = append(m.waiting, mine)
	s.mu.Unlock()
	select {
	case <-mine:
		return func() { s.done(who) }, nil
	case <-ctx.Done():
	}
	if !s.forget(who, mine) { // it was given in this moment
		s.done(who)
	}
	return nil, ctx.Err()
}

// done gives the place of a call to the first of the same member that waits.
func (s *shares) done(who identity.TreeMember) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.of(who)
	if len(m.waiting) > 0 {
		close(m.waiting[0])
		m.waiting = m.waiting[1:]
		return
	}
	m.calls--
	s.drop(who)
}

// forget takes out a call that does not wait any longer; false if it is not there.
func (s *shares) forget(who identity.TreeMember, mine chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.of(who)
	for i, c := range m.waiting {
		if c == mine {
			m.waiting = append(m.waiting[:i], m.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// watch counts a watch in until done is called.
func (s *shares) watch(who identity.TreeMember) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.of(who)
	if m.watches >= s.watches {
		return nil, errTooMany
	}
	m.watches++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		m.watches--
		s.drop(who)
	}, nil
}

// of returns the share of a member, made if need be. mu is held.
func (s *shares) of(who identity.TreeMember) *share {
	m := s.by[who]
	if m == nil {
		m = &share{}
		if s.by == nil {
			s.by = make(map[identity.TreeMember]*share)
		}
		s.by[who] = m
	}
	return m
}

// drop forgets a member that has nothing under way. mu is held.
func (s *shares) drop(who identity.TreeMember) {
	if m := s.by[who]; m.calls == 0 && m.watches == 0 {
		delete(s.by, who)
	}
}

var errTooMany error = &Error{Code: Unavailable, Message: "too much of yours is under way here already", Hint: "wait until some of it is done"}
