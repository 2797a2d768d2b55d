// Package lock is a ready-made thing: a door lock.
//
// Its state is the property "state", "locked" or "unlocked", observable; the
// actions "lock" and "unlock" change it and answer with the state they left;
// the event "state" tells each change. A lock that is asked for the state it is
// in stays so and tells nothing. It starts locked, and keeps its state in memory
// only: as with a real bolt, where it stands after a restart is the hardware's
// matter.
package lock

import (
	"context"
	"sync"

	"github.com/kindred-iot/kindred/thing"
)

// State is where the bolt stands.
type State string

// The states of a lock.
const (
	Locked   State = "locked"
	Unlocked State = "unlocked"
)

// Values lists all states, for the Thing Description.
func (State) Values() []string { return []string{string(Locked), string(Unlocked)} }

// Lock is a lock. Its methods may be called from any goroutine.
type Lock struct {
	thing   *thing.Thing
	changed thing.Source[State]
	state   thing.Prop[State]

	mu  sync.Mutex // held while a change is told, so that all hear them in order
	now State
}

// New returns a lock that is locked.
func New() *Lock {
	l := &Lock{thing: thing.New("Lock"), now: Locked}
	l.state = thing.Property(l.thing, "state", "Where the bolt stands", func(context.Context) (State, error) {
		return l.State(), nil
	}).Observable()
	thing.Action(l.thing, "lock", "Lock the door", l.move(Locked))
	thing.Action(l.thing, "unlock", "Unlock the door", l.move(Unlocked))
	l.changed = thing.Event[State](l.thing, "state", "The bolt has moved")
	l.thing.Never("state", "lock", "unlock")
	return l
}

// Thing gives the lock as it is served.
func (l *Lock) Thing() *thing.Thing { return l.thing }

// State says where the bolt stands.
func (l *Lock) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// move gives the action that moves the bolt to a state.
func (l *Lock) move(to State) func(context.Context, thing.None) (State, error) {
	return func(context.Context, thing.None) (State, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.now == to {
			return to, nil
		}
		l.now = to
		if err := l.state.Changed(to); err != nil {
			return to, err
		}
		return to, l.changed.Emit(to)
	}
}
