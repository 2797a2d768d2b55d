package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The doorbell's recordings: one of last week, and one that is made while the neighbour has the watch.
const (
	earlier   = "last-week.mjpeg"
	sinceThen = "holidays.mjpeg"
)

// recorded keeps something among the doorbell's recordings, as it looked at a moment.
func (s *story) recorded(name string, at time.Time) error {
	folder := filepath.Join(s.dir, "recordings")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	file := filepath.Join(folder, name)
	if err := os.WriteFile(file, s.picture, 0o600); err != nil {
		return err
	}
	return os.Chtimes(file, at, at)
}

// helpers has a neighbour look after the house, and an adviser after the meter's readers.
func (s *story) helpers(ctx context.Context) error {
	w := s.who
	for _, step := range []struct {
		by   member
		what string
		f    func(context.Context) (outcome, error)
	}{
		{w.laptop, "ben, the neighbour, joins with his phone", s.joinPerson(w.neighbour, "person", pathNeighbour, "--app", "phone")},
		{w.laptop, "sam shares the doorbell with him for the week of the holidays",
			s.shareWith(w.laptop, nil, pathDoorbell, pathNeighbour, "--until", "7d")},
		{w.neighbour, "ben sees who is at the door", s.success(w.neighbour, "get", pathDoorbell, "picture", "-o", filepath.Join(s.dir, "seen-by-ben.jpg"))},
		{w.neighbour, "and of what it recorded only what is from then on, though it has more", s.onlySince},
		{w.laptop, "carl, an energy adviser, joins with his phone", s.joinPerson(w.adviser, "person", pathAdviser, "--app", "phone")},
		{w.laptop, "sam has him manage who sees the meter", s.shareWith(w.laptop, &s.managed, pathMeter, pathAdviser, "--manage")},
		{w.adviser, "carl himself cannot read it", s.refusal(w.adviser, nil, "get", pathMeter, "power")},
		{w.adviser, "he shares what it counted each day with ben", s.shareWith(w.adviser, nil, pathMeter, pathNeighbour, "--detail", "1d")},
		{w.neighbour, "who sees the days, and not the power of the moment", s.onlyDays},
		{w.laptop, "sam takes carl's part back, and what carl shared goes with it", s.success(w.laptop, "unshare", pathMeter, "--with", pathAdviser)},
		{w.neighbour, "so that the meter refuses ben", s.refusal(w.neighbour, nil, "get", pathMeter, "history")},
	} {
		if err := s.step(ctx, step.by, step.what, step.f); err != nil {
			return err
		}
	}
	return nil
}

// onlySince has the neighbour and the owner list the recordings.
func (s *story) onlySince(ctx context.Context) (o outcome, err error) {
	if err := s.recorded(sinceThen, time.Now()); err != nil {
		return o, err
	}
	for who, want := range map[*member][]string{&s.who.neighbour: {sinceThen}, &s.who.laptop: {sinceThen, earlier}} {
		r, err := s.house.run(ctx, *who, "get", pathDoorbell, "recordings")
		if err != nil {
			return o, err
		}
		var listed []struct{ Name string }
		if err := r.read(&listed); err != nil {
			return o, err
		}
		var names []string
		for _, f := range listed {
			names = append(names, f.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, want) {
			return o, r.wrong("lists %q, not %q", names, want)
		}
		o.took = r.took
	}
	r, err := s.house.run(ctx, s.who.neighbour, "get", pathDoorbell, "recordings", earlier, "-o", filepath.Join(s.dir, "not-for-ben.mjpeg"))
	if err != nil {
		return o, err
	}
	if r.code == exitDone {
		return o, r.wrong("got what was recorded before")
	}
	o.told = fmt.Sprintf("of two recordings ben is shown %s, and refused the other by name: %s", sinceThen, r.problem().Message)
	return o, nil
}

// onlyDays has the neighbour read the meter's history, and its power.
func (s *story) onlyDays(ctx context.Context) (o outcome, err error) {
	r, err := s.house.run(ctx, s.who.neighbour, "get", pathMeter, "history")
	if err != nil {
		return o, err
	}
	var days json.RawMessage
	if err := r.read(&days); err != nil {
		return o, err
	}
	o.took = r.took
	fine, err := s.house.run(ctx, s.who.neighbour, "get", pathMeter, "history", "--step", "quarter-hour")
	if err != nil {
		return o, err
	}
	if fine.code == exitDone && strings.Contains(string(fine.out), `"step":"quarter-hour"`) {
		return o, fine.wrong("was shown quarter-hours")
	}
	power, err := s.house.run(ctx, s.who.neighbour, "get", pathMeter, "power")
	if err != nil {
		return o, err
	}
	if power.code == exitDone {
		return o, power.wrong("was shown the power of the moment")
	}
	o.told = "refused the power: " + power.problem().Message
	return o, nil
}

// account has the owner set what was agreed beside what happened.
func (s *story) account(ctx context.Context) (o outcome, err error) {
	r, err := s.house.run(ctx, s.who.laptop, "report")
	if err != nil {
		return o, err
	}
	var told struct {
		Grants []struct {
			Sentence string
			Used     int
			Advice   string
		}
		Outside []struct{ Sentence, Why string }
	}
	if err := r.read(&told); err != nil {
		return o, err
	}
	used, advised := 0, 0
	for _, g := range told.Grants {
		if g.Used > 0 {
			used++
		}
		if g.Advice != "" {
			advised++
		}
	}
	switch {
	case used < 3:
		err = errors.New("fewer than three rights were used")
	case len(told.Outside) > 0:
		err = fmt.Errorf("outside of what was agreed: %s: %s", told.Outside[0].Sentence, told.Outside[0].Why)
	}
	if err != nil {
		return o, r.wrong("%w", err)
	}
	return outcome{told: fmt.Sprintf("%d rights, of which %d were used and %d could go; nothing happened outside of them", len(told.Grants), used, advised), took: r.took}, nil
}
