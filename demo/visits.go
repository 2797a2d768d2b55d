package demo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// lookAround has the owner's phone use the meter and the doorbell, through the taps.
func (s *story) lookAround(ctx context.Context) error {
	err := s.step(ctx, s.who.phone, "sam's phone reads power and time from the meter", s.readMeter)
	if err != nil {
		return err
	}
	return s.step(ctx, s.who.phone, "sam's phone fetches the doorbell's picture", s.fetchPicture)
}

func (s *story) readMeter(ctx context.Context) (o outcome, err error) {
	r, err := s.house.run(ctx, s.who.phone, s.meter.call("get", "reading")...)
	if err != nil {
		return o, err
	}
	var told struct {
		Time  time.Time
		Power int64
	}
	if err := r.read(&told); err != nil {
		return o, err
	}
	if _, err := s.input.match(told.Time, told.Power); err != nil {
		return o, r.wrong("%w", err)
	}
	return outcome{
		told: fmt.Sprintf("%d W at %s, and so says the telegram", told.Power, told.Time.Format(time.RFC3339)), took: r.took, used: pathMeter,
	}, nil
}

func (s *story) fetchPicture(ctx context.Context) (o outcome, err error) {
	file := filepath.Join(s.dir, "seen-by-phone.jpg")
	if err := s.world.mark(); err != nil {
		return o, err
	}
	r, err := s.house.run(ctx, s.who.phone, s.door.call("get", "picture", "-o", file)...)
	if err == nil {
		err = r.done()
	}
	if err != nil {
		return o, err
	}
	text, err := samePicture(file, s.picture)
	return outcome{told: text, took: r.took, used: pathDoorbell}, err
}

// attempt runs a command that is to be refused, for one of the reasons if any are named.
func (s *story) attempt(ctx context.Context, who member, codes []string, args ...string) (outcome, error) {
	r, err := s.house.run(ctx, who, args...)
	if err != nil {
		return outcome{}, err
	}
	why, err := r.refused(codes...)
	if why != "refused" { // to strangers no more is said
		why = "refused: " + why
	}
	return outcome{told: why, took: r.took, used: used(args)}, err
}

// succeed runs a command that is to succeed, and tells what it printed.
func (s *story) succeed(ctx context.Context, who member, args ...string) (outcome, error) {
	r, err := s.house.run(ctx, who, args...)
	if err == nil {
		err = r.done()
	}
	return outcome{told: gist(r.out), took: r.took, used: used(args)}, err
}

// used is the thing that a command uses, if it finds it by its path.
func used(args []string) string {
	if (args[0] == "get" || args[0] == "do") && !slices.Contains(args, "--at") {
		return args[1]
	}
	return ""
}

// gist is the part of what a command printed that is worth telling: the sentence, or a short value.
func gist(out []byte) string {
	var text string
	var report struct{ Sentence string }
	switch {
	case json.Unmarshal(out, &text) == nil:
		return text
	case json.Unmarshal(out, &report) == nil:
		return report.Sentence
	}
	return ""
}

// refusal and success make steps of attempt and succeed.
func (s *story) refusal(who member, codes []string, args ...string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) { return s.attempt(ctx, who, codes, args...) }
}

func (s *story) success(who member, args ...string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (outcome, error) { return s.succeed(ctx, who, args...) }
}

// strangers has those try who have nothing to show, or only what is not theirs.
func (s *story) strangers(ctx context.Context) error {
	for _, d := range []struct {
		what, property string
		device
	}{
		{"a stranger, from another tree, is refused by the meter", "power", s.meter},
		{"the stranger is refused by the doorbell", "picture", s.door},
		{"the stranger is refused by the lock", "state", s.lock},
	} {
		try := s.refusal(s.who.stranger, nil, "get", d.id, d.property, "--at", d.outside)
		if err := s.step(ctx, s.who.stranger, d.what, try); err != nil {
			return err
		}
	}
	if err := s.step(ctx, s.who.thief, "a copy of the phone's directory, with another key, gets nowhere", s.steal); err != nil {
		return err
	}
	return s.step(ctx, member{name: "tap"}, "the phone's packets, recorded and sent again, get no picture", s.replay)
}

// steal copies what the phone shows of itself, all but its key, which on hardware that keeps keys cannot be copied.
func (s *story) steal(ctx context.Context) (o outcome, err error) {
	if err := os.CopyFS(s.who.thief.dir, os.DirFS(s.who.phone.dir)); err != nil {
		return o, err
	}
	key, err := freshKey()
	if err != nil {
		return o, err
	}
	keys := filepath.Join(s.who.thief.dir, "keys")
	others, err := os.ReadDir(keys)
	if err != nil {
		return o, err
	}
	for _, k := range others { // as the thief's alone, or they are not used
		if err := os.Chmod(filepath.Join(keys, k.Name()), 0o600); err != nil {
			return o, err
		}
	}
	leaf := filepath.Join(keys, "leaf.pem")
	if err := os.Remove(leaf); err != nil {
		return o, err
	}
	if err := os.WriteFile(leaf, key, 0o600); err != nil {
		return o, err
	}
	r, err := s.house.run(ctx, s.who.thief, "get", s.meter.id, "power", "--at", s.meter.outside)
	if err != nil {
		return o, err
	}
	if why := r.problem().Message; r.code == exitDone || !strings.Contains(why, "another key") {
		return o, r.wrong("ended with exit code %d, and should have failed for the key", r.code)
	}
	return outcome{told: "refused: " + r.problem().Message, took: r.took}, nil
}

// freshKey makes a leaf key as it is kept in a directory.
func freshKey() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// quiet is how long nothing must come for an answer to be over.
const quiet = 400 * time.Millisecond

// replay sends the packets that brought the phone its picture again, from a socket of the demo's own.
func (s *story) replay(context.Context) (o outcome, err error) {
	seen, err := s.fetched()
	if err != nil {
		return o, err
	}
	c, err := s.strangersSocket()
	if err != nil {
		return o, err
	}
	defer c.Close()
	sent := 0
	for _, d := range seen {
		if d.fromCaller {
			if _, err := c.WriteToUDPAddrPort(d.data, d.to); err != nil {
				return o, err
			}
			sent++
		}
	}
	if sent == 0 {
		return o, errors.New("nothing was recorded that could be sent again")
	}
	came, b := 0, make([]byte, maxDatagram)
	for {
		if err := c.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return o, err
		}
		n, err := c.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return o, err
		}
		came += n
	}
	if came >= len(s.picture) {
		return o, fmt.Errorf("%d packets sent again brought %d bytes, as many as the picture has", sent, came)
	}
	return outcome{told: fmt.Sprintf("%d packets sent, %d bytes came back: a handshake that only the phone's key could go on with", sent, came)}, nil
}

// guests has the owner let a guest in, within hours, and take something back while it is used.
func (s *story) guests(ctx context.Context) error {
	now := time.Now()
	w := s.who
	shut, err := hours(now, 4*time.Hour, 6*time.Hour)
	if err != nil {
		return err
	}
	open, err := hours(now, -2*time.Hour, 2*time.Hour)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		by   member
		what string
		f    func(context.Context) (outcome, error)
	}{
		{w.guest, "anna was given nothing yet: the lock refuses her", s.refusal(w.guest, nil, "do", s.lock.id, "unlock", "--at", s.lock.outside)},
		{w.laptop, "sam shares the lock with her, for hours to come", s.share(w.laptop, nil, pathLock, append(shut, "--allow", "use")...)},
		{w.guest, "outside those hours the lock refuses her", s.refusal(w.guest, []string{"out-of-hours"}, "do", pathLock, "unlock")},
		{w.laptop, "sam shares it for these hours too", s.share(w.laptop, &s.onLock, pathLock, append(open, "--allow", "use")...)},
		{w.guest, "within them the lock lets her in", s.success(w.guest, "do", pathLock, "unlock")},
		{w.phone, "and sam's phone sees that it is unlocked", s.unlocked},
		{w.guest, "anna watches the meter, sam takes that back, and the stream ends", s.cutOff},
	} {
		if err := s.step(ctx, step.by, step.what, step.f); err != nil {
			return err
		}
	}
	return nil
}

// hours returns the flags of a window from and to a time from now, by the home's clock.
func hours(now time.Time, from, to time.Duration) ([]string, error) {
	place, err := time.LoadLocation(zone)
	if err != nil {
		return nil, err
	}
	begin, end := now.Add(from).In(place), now.Add(to).In(place)
	day := strings.ToLower(begin.Format("Mon"))
	return []string{"--days", day, "--between", begin.Format("15:04") + "-" + end.Format("15:04")}, nil
}

// share has somebody share a thing with the guest, and notes the grant's ID.
func (s *story) share(who member, id *string, path string, options ...string) func(context.Context) (outcome, error) {
	return s.shareWith(who, id, path, pathGuest, options...)
}

// shareWith is share with somebody else.
func (s *story) shareWith(who member, id *string, path, with string, options ...string) func(context.Context) (outcome, error) {
	return func(ctx context.Context) (o outcome, err error) {
		r, err := s.house.run(ctx, who, append([]string{"share", path, "--with", with}, options...)...)
		if err != nil {
			return o, err
		}
		var given struct{ ID, Sentence string }
		if err := r.read(&given); err != nil {
			return o, err
		}
		if given.ID == "" || given.Sentence == "" {
			return o, r.wrong("printed %q", r.out)
		}
		if id != nil {
			*id = given.ID
		}
		return outcome{told: given.Sentence, took: r.took}, nil
	}
}

func (s *story) unlocked(ctx context.Context) (outcome, error) {
	o, err := s.succeed(ctx, s.who.phone, "get", pathLock, "state")
	if err == nil && o.told != "unlocked" {
		err = fmt.Errorf("the lock's state is %q", o.told)
	}
	return o, err
}

// cutOff lets the guest watch the meter, and takes it back. What is timed is from the owner's command to the end of
// the guest's stream.
func (s *story) cutOff(ctx context.Context) (o outcome, err error) {
	var id string
	if _, err := s.share(s.who.laptop, &id, pathMeter)(ctx); err != nil {
		return o, err
	}
	watching, err := s.house.start(s.who.guest, "watch", pathMeter, "telegram")
	if err != nil {
		return o, err
	}
	defer watching.stop()
	var event struct {
		Data struct {
			Time  time.Time
			Power int64
		}
	}
	if err := watching.read(ctx, &event); err != nil {
		return o, err
	}
	if _, err := s.input.match(event.Data.Time, event.Data.Power); err != nil {
		return o, watching.wrong(err)
	}
	began := time.Now()
	report, err := s.succeed(ctx, s.who.laptop, "unshare", id)
	if err != nil {
		return o, err
	}
	r, err := watching.end(ctx)
	if err != nil {
		return o, err
	}
	why, err := r.refused()
	took := watching.ended.Sub(began)
	return outcome{told: fmt.Sprintf("the stream ended %d ms after sam's command began, which took %d ms: %s",
		took.Milliseconds(), report.took.Milliseconds(), why), took: took, used: pathMeter}, err
}
