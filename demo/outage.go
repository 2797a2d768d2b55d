package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// How a thing refuses those it knows to be members, without a right, and those it does not.
var (
	knownBut = []string{"no-grant"}
	nobody   = []string{"refused", "revoked"}
)

// lost has a device removed, and another one let in at its path.
func (s *story) lost(ctx context.Context) error {
	w := s.who
	var old device
	askMeter := []string{"get", s.meter.id, "power", "--at", s.meter.address}
	for _, step := range []struct {
		by   member
		what string
		f    func(context.Context) (outcome, error)
	}{
		{w.laptop, "a second lock joins, for the shed", s.joinDevice(w.shed, pathShed)},
		{w.phone, "sam's phone sees it", func(ctx context.Context) (outcome, error) { return s.call(ctx, &old, s.success) }},
		{w.shed, "the meter takes it for a member that was given nothing", s.refusal(w.shed, knownBut, askMeter...)},
		{w.phone, "it is stolen, and sam removes it", s.success(w.phone, "remove", pathShed)},
		{w.shed, "the gateway refuses it", s.refusal(w.shed, nobody, "tree")},
		{w.shed, "the meter takes it for nobody now", s.refusal(w.shed, nobody, askMeter...)},
		{w.shed, "so does the doorbell", s.refusal(w.shed, nobody, "get", s.door.id, "picture", "--at", s.door.address)},
		{w.shed, "so does the other lock", s.refusal(w.shed, nobody, "get", s.lock.id, "state", "--at", s.lock.address)},
		{w.phone, "so does sam's phone, when it calls the stolen lock", func(ctx context.Context) (outcome, error) {
			return s.call(ctx, &old, func(who member, args ...string) func(context.Context) (outcome, error) {
				return s.refusal(who, nil, args...)
			})
		}},
		{w.laptop, "a new lock joins under the same name", s.joinDevice(w.newShed, pathShed)},
		{w.newShed, "the gateway serves the new one", s.success(w.newShed, "tree")},
		{w.newShed, "the meter takes it for a member", s.refusal(w.newShed, knownBut, askMeter...)},
		{w.shed, "the old one is still refused by the gateway", s.refusal(w.shed, nobody, "tree")},
		{w.shed, "and by the meter", s.refusal(w.shed, nobody, askMeter...)},
	} {
		if err := s.step(ctx, step.by, step.what, step.f); err != nil {
			return err
		}
	}
	return nil
}

// call runs the shed's lock, and has the owner's phone call it, which is to end as told.
func (s *story) call(ctx context.Context, shed *device, end func(member, ...string) func(context.Context) (outcome, error)) (o outcome, err error) {
	if shed.process, err = s.serve(s.who.shed, s.who.shed.anyPort(), "lock"); err != nil {
		return o, err
	}
	defer shed.stop()
	if err := s.settle(ctx, shed, false); err != nil {
		return o, err
	}
	return end(s.who.phone, "get", shed.id, "state", "--at", shed.outside)(ctx)
}

// The lock's fresh limit during the outage.
const fresh = 5 * time.Second

// alone kills the gateway, and shows what goes on without it.
func (s *story) alone(ctx context.Context) error {
	w := s.who
	for _, step := range []struct {
		by   member
		what string
		f    func(context.Context) (outcome, error)
	}{
		{w.laptop, "sam wants the lock to have checked everybody within 5 s", s.success(w.laptop, "limit", pathLock, "--fresh", fresh.String())},
		{w.phone, "sam's phone shares the doorbell's picture with anna", s.share(w.phone, &s.onDoor, pathDoorbell, "picture")},
		{w.guest, "anna sees the picture", s.guestSees},
		{w.guest, "anna locks the lock", s.success(w.guest, "do", pathLock, "lock")},
		{w.phone, "sam's phone knows the home as it is", s.remember},
		{w.gateway, "the gateway is killed, as by kill -9", s.killGateway},
		{w.guest, "anna still sees the picture", s.guestSees},
		{w.phone, "sam's phone takes that back straight at the doorbell", s.takeBack},
		{w.guest, "the doorbell refuses her", s.refusal(w.guest, nil, "get", pathDoorbell, "picture")},
		{w.guest, "the lock, not checked for 5 s, refuses her as stale", s.stale},
		{w.phone, "the lock serves sam, by the offline term", s.success(w.phone, "do", pathLock, "unlock")},
	} {
		if err := s.step(ctx, step.by, step.what, step.f); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) guestSees(ctx context.Context) (o outcome, err error) {
	file := filepath.Join(s.dir, "seen-by-anna.jpg")
	if err := os.RemoveAll(file); err != nil {
		return o, err
	}
	r, err := s.house.run(ctx, s.who.guest, "get", pathDoorbell, "picture", "-o", file)
	if err == nil {
		err = r.done()
	}
	if err != nil {
		return o, err
	}
	text, err := samePicture(file, s.picture)
	return outcome{told: text, took: r.took, used: pathDoorbell}, err
}

// A snapshot is what the gateway told of the home.
type snapshot struct {
	members []string // ID and since when
	grants  []string // IDs
}

// look asks for the home as an owner's app sees it.
func (s *story) look(ctx context.Context, who member) (snap snapshot, err error) {
	var members []struct{ ID, Kind, Label, Since string }
	var grants []struct{ ID string }
	for command, list := range map[string]any{"tree": &members, "grants": &grants} {
		r, err := s.house.run(ctx, who, command)
		if err == nil {
			err = r.read(list)
		}
		if err != nil {
			return snap, err
		}
	}
	for _, m := range members {
		snap.members = append(snap.members, strings.Join([]string{m.ID, m.Kind, m.Label, m.Since}, " "))
	}
	for _, g := range grants {
		snap.grants = append(snap.grants, g.ID)
	}
	slices.Sort(snap.members)
	slices.Sort(snap.grants)
	return snap, nil
}

func (s *story) remember(ctx context.Context) (o outcome, err error) {
	s.before, err = s.look(ctx, s.who.phone)
	if err == nil && (!slices.Contains(s.before.grants, s.onDoor) || !slices.Contains(s.before.grants, s.onLock)) {
		err = fmt.Errorf("the grants %s and %s are not among %q", s.onDoor, s.onLock, s.before.grants)
	}
	return outcome{told: fmt.Sprintf("%d members, %d grants", len(s.before.members), len(s.before.grants))}, err
}

// takeBack has the owner's phone take the picture back from the guest, with no gateway to tell.
func (s *story) takeBack(ctx context.Context) (outcome, error) {
	r, err := s.house.run(ctx, s.who.phone, "unshare", s.onDoor)
	if err != nil {
		return outcome{}, err
	}
	var report struct {
		Things []struct {
			Path   string
			Closed bool
		}
		Sentence string
	}
	if err := r.read(&report); err != nil {
		return outcome{}, err
	}
	if len(report.Things) != 1 || report.Things[0].Path != pathDoorbell || !report.Things[0].Closed {
		return outcome{}, r.wrong("reports %s", r.out)
	}
	return outcome{told: report.Sentence, took: r.took, used: pathDoorbell}, nil
}

func (s *story) killGateway(context.Context) (o outcome, err error) {
	s.died = time.Now()
	s.gateway.kill()
	if s.gateway.code == exitDone {
		return o, s.gateway.wrong(fmt.Errorf("ended by itself"))
	}
	return o, nil
}

// stale waits until the lock's last check is too old, and has the guest try.
func (s *story) stale(ctx context.Context) (outcome, error) {
	select {
	case <-time.After(time.Until(s.died.Add(fresh + time.Second))):
	case <-ctx.Done():
		return outcome{}, context.Cause(ctx)
	}
	return s.attempt(ctx, s.who.guest, []string{"stale"}, "do", pathLock, "unlock")
}

// comeBack starts the gateway again on the same directory.
func (s *story) comeBack(ctx context.Context) error {
	w := s.who
	for _, step := range []struct {
		by   member
		what string
		f    func(context.Context) (outcome, error)
	}{
		{w.gateway, "the gateway comes back on the same directory", s.raiseAgain},
		{w.laptop, "nothing is lost; what was taken back meanwhile stays so", s.compare},
		{w.guest, "the doorbell still refuses anna", s.refusal(w.guest, nil, "get", pathDoorbell, "picture")},
		{w.guest, "the lock lets her in again", s.success(w.guest, "do", pathLock, "lock")},
	} {
		if err := s.step(ctx, step.by, step.what, step.f); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) raiseAgain(ctx context.Context) (outcome, error) {
	up, line, o, err := s.up(ctx, s.who.gateway, s.listen)
	if err != nil {
		return o, err
	}
	s.gateway = up
	if line.Tree != s.tree {
		return o, up.wrong(fmt.Errorf("it is of tree %s now, not %s", line.Tree, s.tree))
	}
	return o, nil
}

// compare waits until the gateway has heard of what was taken back, and compares all else with how it was.
func (s *story) compare(ctx context.Context) (o outcome, err error) {
	want := slices.DeleteFunc(slices.Clone(s.before.grants), func(id string) bool { return id == s.onDoor })
	deadline := time.Now().Add(patience)
	for {
		now, err := s.look(ctx, s.who.laptop)
		if err != nil {
			return o, err
		}
		if !slices.Equal(now.members, s.before.members) {
			return o, fmt.Errorf("the members were %q and are %q", s.before.members, now.members)
		}
		if slices.Equal(now.grants, want) {
			return outcome{told: fmt.Sprintf("%d members as before; %d grants, all but the one taken back", len(now.members), len(now.grants))}, nil
		}
		if !slices.Equal(now.grants, s.before.grants) || time.Now().After(deadline) {
			return o, fmt.Errorf("the grants were %q, should be %q, and are %q", s.before.grants, want, now.grants)
		}
	}
}

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
