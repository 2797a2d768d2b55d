package demo

import (
	"context"
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
