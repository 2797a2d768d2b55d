// Package demo shows a whole home on one machine, and checks it from outside.
//
// It starts the kindred binary once for everybody in the story: the owner's laptop and phone, the gateway with its
// ledger, a meter, a doorbell with a camera, a lock, a second lock that gets lost, an intercom and a service that hears
// it, the phones of a guest, a neighbour and an adviser, another neighbour's whole home, and a stranger with a tree of
// their own. Each has a directory of its own and joins by a real invitation; digits are compared as two people would.
// What the demo knows, it knows from exit codes, from what the processes print, and from a userspace UDP tap between the
// owner's phone and the things. It links nothing of Kindred but the encoder and the simulator of telegrams in meter/p1;
// what the meter tells is compared with what regular expressions of the demo's own find in the telegrams.
//
// With Config.NAT the same story is played between networks that the demo makes for itself (package netlab): the home is
// behind one router, the phones behind another, both with a NAT, and a relay is in between. Instead of the tap, what
// passes the phones' router is recorded. Each time that a phone uses a thing, the way there is told: through the relay at
// first, and directly as soon as a hole is punched through the NATs.
//
// # Steps
//
// A story is a list of steps, told as they happen: as a sentence each, or with Config.JSON as an object a line:
//
//	{"step":"the owner's phone reads power and time","ok":true,"ms":94,"by":"phone","told":"1234 W at …"}
//
// where by names the process that observed the outcome, ms is what the step took (of the thing in question, not of the
// demo's own bookkeeping), and told is what was seen or why somebody was refused; with Config.NAT there may be a path,
// which is the way to the thing. The first step that does not come out as told ends the story; its told says what was
// expected, and quotes the last lines that the process wrote to standard error.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Config says what to play, and for whom.
type Config struct {
	Binary string   // the kindred binary that everybody runs
	Files  []string // recorded P1 telegrams for the meter; none: a day of a made-up household
	Keep   bool     // leave the home's directory behind
	NAT    bool     // home and phones in networks of their own, each behind a router, with a relay between
	Once   bool     // end after the story
	JSON   bool     // one object a step
	Out    io.Writer
	// Terminal says that Out is one, where a line can be written again; Colour, that it may be painted.
	Terminal, Colour bool
}

// ErrStory says that a step did not come out as told. Which and why is on Config.Out already.
var ErrStory = errors.New("demo: the story did not come out as told")

// Run plays the story and, unless it is to be played once, keeps the home up until ctx ends. It returns ErrStory if a
// step did not come out as told, and ctx's cause if it was stopped in the middle of the story. Every process that it
// started has ended when it returns.
func Run(ctx context.Context, cfg Config) (err error) {
	if cfg.Binary, err = filepath.Abs(cfg.Binary); err != nil {
		return fmt.Errorf("demo: finding the binary: %w", err)
	}
	dir, err := os.MkdirTemp("", "kindred-demo-")
	if err != nil {
		return fmt.Errorf("demo: making a directory: %w", err)
	}
	s, err := newStory(cfg, dir)
	if err != nil {
		return errors.Join(fmt.Errorf("demo: %w", err), os.RemoveAll(dir))
	}
	defer func() {
		err = errors.Join(err, s.close())
		if cfg.Keep {
			err = errors.Join(err, s.tell.kept(dir))
		} else {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := s.tell.open(dir, cfg.NAT); err != nil {
		return err
	}
	if err := s.play(ctx); err != nil {
		return err
	}
	if err := s.tell.sum(); err != nil || cfg.Once {
		return err
	}
	if err := s.yourTurn(); err != nil {
		return err
	}
	return s.stay(ctx)
}

// seed makes the household and the picture the same in every run.
const seed = 2026

// interval is how often the demo's ledgers make a block.
const interval = 2 * time.Second

// patience bounds how long the demo waits for anything.
const patience = 30 * time.Second
