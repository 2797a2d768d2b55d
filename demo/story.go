package demo

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// A story is the demo while it goes on. Its fields are filled in as it is told.
type story struct {
	house *house
	world *world // nil: this machine's own network
	tell  *teller
	cfg   Config
	dir   string // everybody's directories are in it
	who   cast
	input input

	picture []byte // what the doorbell sees
	tree    string // the home's tree ID
	gateway *process
	listen  string // where the gateway is to be reached
	meter   device
	door    device
	lock    device
	eve     device // the stranger's gateway

	onLock, onDoor string // the guest's grants, by ID
	managed        string // the adviser's
	agreed         string // the speech service's
	intercom       device
	speech         *process
	died           time.Time
	before         snapshot
}

func newStory(cfg Config, dir string) (s *story, err error) {
	s = &story{
		house: newHouse(cfg.Binary), cfg: cfg, dir: dir, who: castIn(dir),
		tell: &teller{out: cfg.Out, json: cfg.JSON, terminal: cfg.Terminal, colour: cfg.Colour},
	}
	if cfg.NAT {
		if s.world, err = newWorld(); err != nil {
			return nil, err
		}
		s.world.settle(&s.who)
	}
	return s, nil
}

// cast are those who are in the story.
type cast struct {
	laptop, gateway, phone, guest   member // the home's people and its gateway
	neighbour, adviser              member // who help
	dora, across, doraPhone         member // who has a home of her own, its gateway, and her phone
	intercom, speech                member // a thing that hears, and a service that understands
	meter, doorbell, lock, shed     member // its things
	stranger, thief, other, newShed member // who should get nowhere; who comes later
	relay                           member // who passes on what it cannot read, if there is one
}

// The paths in the tree.
const (
	homeName     = "Birch Street"
	zone         = "Europe/Berlin"
	pathMeter    = "home/meter"
	pathDoorbell = "home/porch/doorbell"
	pathLock     = "home/lock"
	pathShed     = "home/shed"
	pathPhone    = "sam/phone"
	pathGuest    = "sam/anna"

	pathNeighbour = "sam/ben"
	pathAdviser   = "sam/carl"
	pathIntercom  = "home/intercom"
	pathSpeech    = "sam/speech"
)

func castIn(dir string) cast {
	in := func(name, folder string) member { return member{name: name, dir: filepath.Join(dir, folder)} }
	return cast{
		laptop: in("laptop", "laptop"), gateway: in("gateway", "laptop"), phone: in("phone", "phone"),
		guest: in("guest's phone", "anna"), neighbour: in("neighbour's phone", "ben"), adviser: in("adviser's phone", "carl"),
		dora: in("dora's laptop", "dora"), across: in("dora's gateway", "dora"), doraPhone: in("dora's phone", "dora-phone"),
		intercom: in("intercom", "intercom"), speech: in("speech service", "speech"),
		meter: in("meter", "meter"), doorbell: in("doorbell", "doorbell"), lock: in("lock", "lock"), shed: in("shed", "shed"),
		stranger: in("stranger", "stranger"), other: in("stranger's gateway", "stranger"), thief: in("thief", "thief"),
		newShed: in("new shed", "shed-new"), relay: in("relay", "relay"),
	}
}

// An outcome is what a step came to: what is told of it, and how long it took where that is not how long the step took.
type outcome struct {
	told string
	took time.Duration
	used string // the thing that was used; "": none, or it is not worth telling which way
}

// step plays one step: by observes that what is so.
func (s *story) step(ctx context.Context, by member, what string, f func(context.Context) (outcome, error)) error {
	s.tell.begin(what)
	began := time.Now()
	o, err := f(ctx)
	took := time.Since(began)
	if o.took > 0 {
		took = o.took
	}
	var path string
	if err == nil && o.used != "" && s.remote(by) {
		path, err = s.path(ctx, by, o.used)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // whatever failed, failed of that
	}
	t := told{Step: what, OK: err == nil, Ms: took.Milliseconds(), By: by.name, Told: o.told, Path: path}
	if err != nil {
		t.Told = err.Error()
	}
	if what == stepInput {
		t.Skipped = s.input.skipped
	}
	if terr := s.tell.end(t); terr != nil {
		return terr
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("demo: %w", err)
	}
	return ErrStory
}

// A scene is a part of the story.
type scene struct {
	title string
	play  func(context.Context) error
}

// play tells the whole story.
func (s *story) play(ctx context.Context) error {
	for _, c := range []scene{
		{"A home is made", s.moveIn},
		{"The owner looks around", s.lookAround},
		{"A stranger knocks", s.strangers},
		{"A guest is let in", s.guests},
		{"A neighbour and an adviser help", s.helpers},
		{"A neighbour has a home of her own", s.across},
		{"A service listens, and forgets", s.listens},
		{"A thing is lost", s.lost},
		{"The gateway dies", s.alone},
		{"The gateway comes back", s.comeBack},
		{"What others could see, and what the owner can", s.afterwards},
	} {
		if err := s.tell.chapter(c.title); err != nil {
			return err
		}
		if err := c.play(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close ends all processes, taps and networks, and waits for them.
func (s *story) close() error {
	s.house.close()
	for _, d := range []device{s.meter, s.door} {
		if d.tap != nil {
			_ = d.tap.close() // nothing is lost with its sockets
		}
	}
	return s.world.close()
}

// stay keeps the home up until somebody stops it or something in it ends.
func (s *story) stay(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.gateway.done:
	case <-s.meter.done:
	case <-s.door.done:
	case <-s.lock.done:
	}
	select { // a terminal interrupts them all, and the demo too
	case <-ctx.Done():
		return nil
	case <-time.After(graceful):
	}
	for _, p := range []*process{s.gateway, s.meter.process, s.door.process, s.lock.process} {
		select {
		case <-p.done:
			return fmt.Errorf("demo: %w", p.wrong(fmt.Errorf("ended with exit code %d", p.code)))
		default:
		}
	}
	return nil
}
