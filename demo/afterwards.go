package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// afterwards looks at what went over the network, and at what was written down.
func (s *story) afterwards(ctx context.Context) error {
	err := s.step(ctx, member{name: "tap"}, "the packets on the way hold nothing of picture and meter", s.overheard)
	if err != nil {
		return err
	}
	err = s.step(ctx, s.who.gateway, "the things are switched off and on again", s.switchAgain)
	if err != nil {
		return err
	}
	if err := s.step(ctx, s.who.laptop, "the log tells all of it", s.history); err != nil {
		return err
	}
	return s.step(ctx, s.who.laptop, "and the report sets what was agreed beside what happened", s.account)
}

// switchAgain restarts the things. One that ends writes down what it has only counted so far: who was refused without
// being known.
func (s *story) switchAgain(ctx context.Context) (outcome, error) {
	for _, d := range []*device{&s.meter, &s.door, &s.lock} {
		d.stop()
		if d.code != exitDone {
			return outcome{}, d.wrong(fmt.Errorf("ended with exit code %d when it was asked to end", d.code))
		}
	}
	return s.switchOn(ctx)
}

// overheard searches the recordings.
func (s *story) overheard(context.Context) (o outcome, err error) {
	var secrets [][]byte
	for _, r := range s.input.readings {
		for _, name := range r.names {
			secrets = append(secrets, []byte(name))
		}
	}
	if len(secrets) == 0 {
		return o, fmt.Errorf("no telegram names its meter")
	}
	secrets = append(dedup(secrets), s.picture)
	size := 0
	seen, err := s.recordings()
	if err != nil {
		return o, err
	}
	for _, r := range seen {
		toThing, toPhone := flows(r.seen)
		if len(toThing) == 0 || len(toPhone) == 0 {
			return o, fmt.Errorf("nothing was seen %s", r.where)
		}
		if r.picture && len(toPhone) < len(s.picture) {
			return o, fmt.Errorf("%d bytes to the phone were seen %s, fewer than the %d of the picture: it went elsewhere", len(toPhone), r.where, len(s.picture))
		}
		size += len(toThing) + len(toPhone)
		for _, secret := range secrets {
			if contains(toThing, secret) || contains(toPhone, secret) {
				return o, fmt.Errorf("a part of %.40q was seen %s", secret, r.where)
			}
		}
	}
	return outcome{told: fmt.Sprintf("%d bytes searched for %d names, and for the picture's %d bytes in any %d of them in a row",
		size, len(secrets)-1, len(s.picture), window)}, nil
}

// A recording is what was seen somewhere between the phone and things.
type recording struct {
	where   string
	seen    []datagram
	picture bool // it went by there
}

// recordings are all that was seen: by the taps, or by the capture.
func (s *story) recordings() (all []recording, err error) {
	if s.world != nil {
		return s.world.recordings()
	}
	for _, d := range []device{s.meter, s.door} {
		seen, err := d.tap.recording()
		if err != nil {
			return nil, err
		}
		all = append(all, recording{"by the tap before " + d.id, seen, d.tap == s.door.tap})
	}
	return all, nil
}

func dedup(secrets [][]byte) [][]byte {
	slices.SortFunc(secrets, bytes.Compare)
	return slices.CompactFunc(secrets, bytes.Equal)
}

// A fact is something that the log has to tell: an entry whose fields are as these, where they are not empty.
type fact struct {
	Who, Op, Path, Affordance, Outcome string
	Offline                            bool
	says                               string // what the entry's sentence has in it
}

// An entry is a line of the log.
type entry struct {
	Who, Op, Path, Affordance, Outcome, Sentence string
	Offline                                      bool
}

func (f fact) in(e entry) bool {
	same := func(want, got string) bool { return want == "" || want == got }
	return strings.HasSuffix(e.Who, f.Who) && same(f.Op, e.Op) && same(f.Path, e.Path) && same(f.Affordance, e.Affordance) &&
		same(f.Outcome, e.Outcome) && (!f.Offline || e.Offline) && strings.Contains(e.Sentence, f.says)
}

// facts are what happened, as far as the log is to tell it.
var facts = []fact{
	{Who: "/sam/phone", Path: pathMeter, Affordance: "reading", Outcome: "served"},
	{Who: "/sam/phone", Path: pathDoorbell, Affordance: "picture", Outcome: "served"},
	{Path: pathMeter, Op: "connect", says: "another tree"},
	{Path: pathDoorbell, Op: "connect", says: "another tree"},
	{Path: pathLock, Op: "connect", says: "another tree"},
	{Path: pathMeter, Op: "connect", says: "taken away"},
	{Who: "/sam/anna/phone", Path: pathLock, Affordance: "unlock", Outcome: "refused", says: "hours"},
	{Who: "/sam/anna/phone", Path: pathLock, Affordance: "unlock", Outcome: "served"},
	{Who: "/sam/anna/phone", Path: pathMeter, Affordance: "telegram", Outcome: "ended"},
	{Op: "remove", says: pathShed},
	{Who: "/sam/anna/phone", Path: pathDoorbell, Outcome: "served"},
	{Who: "/sam/anna/phone", Path: pathLock, Outcome: "refused", says: "checked"},
	{Who: "/sam/phone", Path: pathLock, Outcome: "served", Offline: true},
	{Op: "unshare", Path: pathDoorbell},
	{Who: "/dora/phone", Path: pathLock, Affordance: "unlock", Outcome: "served"},
}

// history waits until the log tells all that it has to.
func (s *story) history(ctx context.Context) (o outcome, err error) {
	deadline := time.Now().Add(patience)
	for {
		r, err := s.house.run(ctx, s.who.laptop, "log", "-n", "500")
		if err == nil {
			err = r.done()
		}
		if err != nil {
			return o, err
		}
		sentences, missing, err := missingOf(facts, r.out)
		if err != nil {
			return o, r.wrong("%w", err)
		}
		if missing == nil {
			return outcome{told: strings.Join(sentences, "\n"), took: r.took}, nil
		}
		if time.Now().After(deadline) {
			return o, fmt.Errorf("the log does not tell %+v; it says:\n%s", *missing, r.out)
		}
	}
}

// missingOf returns the sentence that tells each fact, or the first fact that the log does not tell.
func missingOf(facts []fact, log []byte) (sentences []string, missing *fact, err error) {
	var entries []entry
	for line := range strings.Lines(string(log)) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, nil, fmt.Errorf("printed %.200q: %w", line, err)
		}
		entries = append(entries, e)
	}
	for _, f := range facts {
		i := slices.IndexFunc(entries, f.in)
		if i < 0 {
			return nil, &f, nil
		}
		sentences = append(sentences, entries[i].Sentence)
	}
	return sentences, nil, nil
}
