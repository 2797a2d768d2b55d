package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// The home across the street, as the two homes know each other.
const (
	acrossName = "elm-road"
	birchName  = "birch-street"
	pathDora   = "dora/phone"
	whoDora    = acrossName + ":dora"
	lockAcross = birchName + ":" + pathLock
)

// across has a neighbour who has a home of her own, with a gateway of its own, water the plants.
func (s *story) across(ctx context.Context) error {
	w := s.who
	for _, step := range []struct {
		by   member
		what string
		f    func(context.Context) (outcome, error)
	}{
		{w.across, "dora has a home of her own across the street, and lets her phone in there", s.settleAcross},
		{w.laptop, "the two homes get to know each other, both ends showing the same digits", s.recognize},
		{w.doraPhone, "that gives dora nothing: as far as she can tell there is no lock", s.notThere},
		{w.laptop, "sam shares the lock with her, to water the plants until tomorrow", s.shareWith(w.laptop, nil, pathLock, whoDora,
			"--allow", "use", "--from", time.Now().AddDate(0, 0, -7).Format(time.DateOnly), "--until", "1d")},
		{w.doraPhone, "dora opens it, with the phone that is a member of her home alone", s.success(w.doraPhone, "do", lockAcross, "unlock")},
		{w.laptop, "sam sees that she can", s.canAcross},
		{w.doraPhone, "her own home tells dora that it soon ends, and how it goes on", s.endsAcross},
		{w.dora, "dora loses the phone, and removes it at home", s.success(w.dora, "remove", pathDora)},
		{w.doraPhone, "of which the lock across the street hears, and refuses it", s.refusedAcross},
	} {
		if err := s.step(ctx, step.by, step.what, step.f); err != nil {
			return err
		}
	}
	return nil
}

// settleAcross makes the other home.
func (s *story) settleAcross(ctx context.Context) (o outcome, err error) {
	if _, err := s.makeTree(ctx, s.who.dora, "Elm Road", "--owner", "dora", "--app", "laptop", "--place", "home", "--tz", zone); err != nil {
		return o, err
	}
	_, line, o, err := s.up(ctx, s.who.across, s.who.across.anyPort())
	if err == nil && line.Tree == s.tree {
		err = fmt.Errorf("the other home's tree is this one's: %s", line.Tree)
	}
	if err == nil {
		_, err = s.joinAt(ctx, s.who.dora, s.who.doraPhone, []string{"app", pathDora})
	}
	return o, err
}

// recognize introduces the homes to each other.
func (s *story) recognize(ctx context.Context) (o outcome, err error) {
	host, err := s.house.start(s.who.laptop, "recognize", "--invite", "--name", acrossName)
	if err != nil {
		return o, err
	}
	defer func() {
		if err != nil {
			host.stop()
		}
	}()
	var mine struct {
		Introduction string
		Confirm      struct{ Digits string }
	}
	if err := host.read(ctx, &mine); err != nil {
		return o, err
	}
	r, err := s.house.run(ctx, s.who.dora, "recognize", mine.Introduction, "--mutual", "--name", birchName)
	if err == nil {
		err = r.done()
	}
	if err != nil {
		return o, err
	}
	var theirs struct{ Digits string }
	for line := range strings.Lines(string(r.out)) { // the digits come first
		if err := json.Unmarshal([]byte(line), &theirs); err != nil {
			return o, r.wrong("printed %.200q: %w", line, err)
		}
	}
	if err := host.read(ctx, &mine); err != nil {
		return o, err
	}
	if mine.Confirm.Digits == "" || mine.Confirm.Digits != theirs.Digits {
		return o, fmt.Errorf("sam is shown %q and dora %q", mine.Confirm.Digits, theirs.Digits)
	}
	if err := host.write("yes"); err != nil {
		return o, err
	}
	ended, err := host.end(ctx)
	if err == nil {
		err = ended.done()
	}
	return outcome{told: "both show " + theirs.Digits}, err
}

// notThere has dora try the lock before it is shared with her.
func (s *story) notThere(ctx context.Context) (o outcome, err error) {
	r, err := s.house.run(ctx, s.who.doraPhone, "do", lockAcross, "unlock")
	if err != nil {
		return o, err
	}
	p := r.problem()
	if r.code == exitDone || p.Code != "not-found" {
		return o, r.wrong("ended with exit code %d and code %q, not with not-found", r.code, p.Code)
	}
	return outcome{told: p.Message, took: r.took}, nil
}

// canAcross has the owner list who can use the lock.
func (s *story) canAcross(ctx context.Context) (o outcome, err error) {
	r, err := s.house.run(ctx, s.who.laptop, "who-can", pathLock)
	if err != nil {
		return o, err
	}
	var all []struct{ Sentence string }
	if err := r.read(&all); err != nil {
		return o, err
	}
	for _, g := range all {
		if strings.HasPrefix(g.Sentence, whoDora+" may use "+pathLock) {
			return outcome{told: g.Sentence, took: r.took}, nil
		}
	}
	return o, r.wrong("does not list %s", whoDora)
}

// endsAcross waits for what says itself that it soon ends.
func (s *story) endsAcross(ctx context.Context) (o outcome, err error) {
	r, err := s.house.run(ctx, s.who.doraPhone, "news", "-n", "1")
	if err != nil {
		return o, err
	}
	var told struct{ Path, Sentence, Extend string }
	if err := r.read(&told); err != nil {
		return o, err
	}
	if told.Path != lockAcross || !strings.HasPrefix(told.Extend, "kindred extend "+birchName+":g-") {
		return o, r.wrong("tells of %q, which %q lets go on", told.Path, told.Extend)
	}
	return outcome{told: told.Extend, took: r.took}, nil
}

// refusedAcross waits until the lock refuses the phone. The homes' gateways tell each other that something was taken away,
// and the things of a home hear of it from its own.
func (s *story) refusedAcross(ctx context.Context) (o outcome, err error) {
	for deadline := time.Now().Add(patience); ; {
		r, err := s.house.run(ctx, s.who.doraPhone, "do", lockAcross, "unlock")
		if err != nil {
			return o, err
		}
		if r.code == exitRefused || time.Now().After(deadline) {
			why, err := r.refused()
			return outcome{told: why}, err
		}
	}
}
