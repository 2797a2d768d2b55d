// Package car is a ready-made thing: a car, as far as its owner, a neighbour who borrows it or a parcel service has to
// do with it.
//
// The property "position" is where it stands; whoever may see no more than the area is told that. "charge" is how full
// the battery is, in per cent, "state" whether it is locked, as with package device/lock, and the actions "lock" and
// "unlock" change that. Where a car is, and whether it is open, tells where its people are: position, state and what
// the actions answer are never shown in clear on one owner's word.
//
// It has no wheels. It stands at the stops of a route, one after the other, and the battery loses a little at each and
// is full again at the first.
package car

import (
	"context"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/thing"
)

// State is whether the car is locked.
type State string

// The states of a car.
const (
	Locked   State = "locked"
	Unlocked State = "unlocked"
)

// Values lists all states, for the Thing Description.
func (State) Values() []string { return []string{string(Locked), string(Unlocked)} }

// Config says where a car goes.
type Config struct {
	// Stops are where it stands, one after the other and then again; none: always at the zero position.
	Stops []thing.Position
	// Every is how long it stands at each; zero means a minute.
	Every time.Duration
	// Areas have names, for those who may see no more.
	Areas []thing.Area
	// Now is the car's clock; nil means time.Now.
	Now func() time.Time
}

// perStop is what a battery loses from one stop to the next, in per cent.
const perStop = 5

// Car is a car. Its methods may be called from any goroutine.
type Car struct {
	thing *thing.Thing
	cfg   Config
	begun time.Time
	state thing.Prop[State]

	mu  sync.Mutex // held while a change is told, so that all hear them in order
	now State
}

// New returns a car that is locked, at its first stop.
func New(cfg Config) *Car {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Every <= 0 {
		cfg.Every = time.Minute
	}
	if len(cfg.Stops) == 0 {
		cfg.Stops = []thing.Position{{}}
	}
	c := &Car{thing: thing.New("Car"), cfg: cfg, begun: cfg.Now(), now: Locked}
	thing.Place(c.thing, "position", "Where it stands", cfg.Areas, func(context.Context) (thing.Position, error) {
		return cfg.Stops[c.stop()], nil
	})
	thing.Property(c.thing, "charge", "How full the battery is", func(context.Context) (int, error) { return c.charge(), nil }).Unit("%")
	c.state = thing.Property(c.thing, "state", "Whether it is locked", func(context.Context) (State, error) { return c.State(), nil }).Observable()
	thing.Action(c.thing, "lock", "Lock the car", c.turn(Locked))
	thing.Action(c.thing, "unlock", "Unlock the car", c.turn(Unlocked))
	c.thing.Never("position", "state", "lock", "unlock")
	return c
}

// Thing gives the car as it is served.
func (c *Car) Thing() *thing.Thing { return c.thing }

// State says whether it is locked.
func (c *Car) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// stop is the number of the stop that the car stands at.
func (c *Car) stop() int {
	passed := max(0, c.cfg.Now().Sub(c.begun)/c.cfg.Every)
	return int(passed % time.Duration(len(c.cfg.Stops)))
}

func (c *Car) charge() int { return max(0, 100-perStop*c.stop()) }

// turn gives the action that brings the car into a state.
func (c *Car) turn(to State) func(context.Context, thing.None) (State, error) {
	return func(context.Context, thing.None) (State, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.now == to {
			return to, nil
		}
		c.now = to
		return to, c.state.Changed(to)
	}
}
