package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// spoken is what somebody says at the intercom: the tones of a telephone, which is all that the service understands.
const spoken = "4711"

// inClear are the fields of the intercom's sound that the service is shown.
const inClear = "ring,part,last,rate,samples"

// listens has a service hear the intercom in clear, by agreement, and delete what it heard.
func (s *story) listens(ctx context.Context) error {
	w := s.who
	for _, step := range []struct {
		by   member
		what string
		f    func(context.Context) (outcome, error)
	}{
		{w.laptop, "an intercom joins, and comes up", s.hangIntercom},
		{w.laptop, "a speech service joins, as any member, and comes up", s.hireSpeech},
		{w.laptop, "sam sees what would leave in clear, field by field, and agrees", s.agree},
		{w.phone, "somebody rings and speaks; the service hears it and tells what was said", s.speaks},
		{w.laptop, "sam withdraws; the service deletes what it heard and signs for it", s.withdraw},
	} {
		if err := s.step(ctx, step.by, step.what, step.f); err != nil {
			return err
		}
	}
	s.speech.stop()
	s.intercom.stop()
	return nil
}

func (s *story) hangIntercom(ctx context.Context) (o outcome, err error) {
	sounds := filepath.Join(s.dir, "sounds")
	if err := os.Mkdir(sounds, 0o700); err != nil {
		return o, err
	}
	if err := playTones(filepath.Join(sounds, "visitor.wav"), spoken); err != nil {
		return o, err
	}
	if _, err := s.join(ctx, s.who.intercom, []string{"device", pathIntercom}); err != nil {
		return o, err
	}
	if s.intercom.process, err = s.serve(s.who.intercom, s.who.intercom.anyPort(), "doorbell", "--sounds", sounds); err != nil {
		return o, err
	}
	return outcome{told: "as " + pathIntercom}, s.settle(ctx, &s.intercom, false)
}

func (s *story) hireSpeech(ctx context.Context) (o outcome, err error) {
	if _, err := s.join(ctx, s.who.speech, []string{"service", pathSpeech}); err != nil {
		return o, err
	}
	s.speech, err = s.house.start(s.who.speech, "service", "speech", pathIntercom, "--listen", s.who.speech.anyPort())
	if err == nil {
		var line ready
		err = s.speech.read(ctx, &line)
	}
	return outcome{told: "as " + pathSpeech + ", which may do nothing yet"}, err
}

// agree gives the service the right to say what it understood, and the sound, in clear.
func (s *story) agree(ctx context.Context) (o outcome, err error) {
	if _, err := s.shareWith(s.who.laptop, nil, pathIntercom, pathSpeech, "understand", "--allow", "invoke")(ctx); err != nil {
		return o, err
	}
	return s.shareWith(s.who.laptop, &s.agreed, pathIntercom, pathSpeech, "audio", "--allow", "observe", "--clear", inClear,
		"--purpose", "speech", "--keep", "1h", "--recipient", "Speech Ltd", "--in", "DE", "--yes")(ctx)
}

// agreement is how an agreement stands.
func (s *story) agreement(ctx context.Context) (text string, err error) {
	r, err := s.house.run(ctx, s.who.laptop, "agreement")
	if err == nil {
		err = r.done()
	}
	return string(r.out), err
}

// speaks has somebody ring once the service has accepted what was agreed, and waits for what it makes of it.
func (s *story) speaks(ctx context.Context) (o outcome, err error) {
	if err := s.await(ctx, "the service does not listen", func() (bool, error) {
		r, err := s.house.run(ctx, s.who.laptop, "log", "--thing", pathIntercom)
		for line := range strings.Lines(string(r.out)) {
			if strings.Contains(line, `"op":"observe"`) && strings.Contains(line, s.agreed) {
				return true, err
			}
		}
		return false, err
	}); err != nil {
		return o, err
	}
	began := time.Now()
	if _, err := s.succeed(ctx, s.who.phone, "do", pathIntercom, "press"); err != nil {
		return o, err
	}
	if err := s.await(ctx, "nobody says what was said", func() (bool, error) {
		r, err := s.house.run(ctx, s.who.phone, "get", pathIntercom, "understood")
		var text string
		return json.Unmarshal(r.out, &text) == nil && text == spoken, err
	}); err != nil {
		return o, err
	}
	kept, err := s.heard()
	if err != nil || kept == 0 {
		return o, fmt.Errorf("the service keeps %d pieces of what it heard: %w", kept, err)
	}
	return outcome{told: fmt.Sprintf("%q; the service keeps %d pieces of sound, for an hour at most", spoken, kept), took: time.Since(began)}, nil
}

// await tries until something is so.
func (s *story) await(ctx context.Context, otherwise string, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New(otherwise))
	defer cancel()
	for {
		ok, err := so()
		if ok || err != nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// heard counts what the service keeps.
func (s *story) heard() (int, error) {
	files, err := filepath.Glob(filepath.Join(s.who.speech.dir, "heard", "*", "*.pcm"))
	return len(files), err
}

func (s *story) withdraw(ctx context.Context) (o outcome, err error) {
	r, err := s.house.run(ctx, s.who.laptop, "withdraw", s.agreed, "--wait", "10s")
	if err == nil {
		err = r.done()
	}
	if err != nil {
		return o, err
	}
	if err := s.await(ctx, "the service does not say that it deleted anything", func() (bool, error) {
		text, err := s.agreement(ctx)
		return strings.Contains(text, "deletion confirmed"), err
	}); err != nil {
		return o, err
	}
	kept, err := s.heard()
	if err != nil || kept > 0 {
		return o, fmt.Errorf("the service still keeps %d pieces: %w", kept, err)
	}
	file := filepath.Join(s.dir, "receipt.json")
	if r, err := s.house.run(ctx, s.who.laptop, "agreement", s.agreed, "--receipt", "-o", file); err != nil || r.code != exitDone {
		return o, errors.Join(err, r.done())
	}
	checked, err := s.house.run(ctx, s.who.stranger, "agreement", "verify", file)
	if err == nil {
		err = checked.done()
	}
	return outcome{told: "and a stranger finds the receipt for that in order, offline", took: r.took}, err
}
