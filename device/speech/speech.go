// Package speech is a ready-made service: it is sent what a microphone hears and answers with text.
//
// It is a small and honest one. It understands no words: what it hears are the sixteen tones of a telephone's keypad
// (DTMF, ITU-T Q.23), found with Goertzel's algorithm, whoever or whatever makes them. "Speech" it is by what it does to
// a home: sound leaves it in clear, a text comes back, and the sound is kept for as long as was agreed, or until it is
// demanded that it be deleted.
package speech

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Chunk is a piece of sound as a thing tells it, see package doorbell.
type Chunk struct {
	Ring    int    `json:"ring"`
	Part    int    `json:"part"`
	Last    bool   `json:"last"`
	Rate    int    `json:"rate"`
	Samples string `json:"samples"`
}

// The bounds on what is heard.
const (
	maxSamples = 64 << 10 // bytes of a chunk
	maxSounds  = 2 << 20  // bytes of samples that belong together
	maxRate    = 48000
)

// A Service keeps what it hears below a folder, one below that for each source: names of letters, digits, - and _. Its
// methods may be called from several goroutines.
type Service struct {
	dir string
	now func() time.Time

	mu      sync.Mutex // held while something is kept, counted or deleted
	hearing map[string]*hearing
}

// hearing is a ring being listened to.
type hearing struct {
	ring, rate int
	samples    []int16
}

// New returns a service that keeps what it hears below a folder.
func New(dir string, now func() time.Time) *Service {
	if now == nil {
		now = time.Now
	}
	return &Service{dir: dir, now: now, hearing: map[string]*hearing{}}
}

func (s *Service) folder(source string) (string, error) {
	if source == "" || strings.Trim(source, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return "", fmt.Errorf("speech: %.80q is no name of a source", source)
	}
	return filepath.Join(s.dir, source), nil
}

// Hear keeps a chunk of a source's, and after the last returns what was heard; done is false before.
func (s *Service) Hear(source string, c Chunk) (text string, done bool, err error) {
	dir, err := s.folder(source)
	if err != nil {
		return "", false, err
	}
	samples, raw, err := c.decode()
	if err != nil {
		return "", false, fmt.Errorf("speech: hearing: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hearing[source]
	if h == nil || h.ring != c.Ring || h.rate != c.Rate {
		h = &hearing{ring: c.Ring, rate: c.Rate}
		s.hearing[source] = h
	}
	if 2*(len(h.samples)+len(samples)) > maxSounds {
		return "", false, fmt.Errorf("speech: hearing: more than %d bytes of one ring", maxSounds)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", false, fmt.Errorf("speech: keeping: %w", err)
	}
	name := fmt.Sprintf("%d-%d-%d.pcm", s.now().UnixMilli(), c.Ring, c.Part)
	if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
		return "", false, fmt.Errorf("speech: keeping: %w", err)
	}
	h.samples = append(h.samples, samples...)
	if !c.Last {
		return "", false, nil
	}
	delete(s.hearing, source)
	return Recognise(h.rate, h.samples), true, nil
}

func (c Chunk) decode() ([]int16, []byte, error) {
	if len(c.Samples) > base64.StdEncoding.EncodedLen(maxSamples) || c.Rate <= 0 || c.Rate > maxRate {
		return nil, nil, fmt.Errorf("%d bytes of text at %d samples a second", len(c.Samples), c.Rate)
	}
	raw, err := base64.StdEncoding.DecodeString(c.Samples)
	if err != nil || len(raw)%2 != 0 {
		return nil, nil, errors.New("the samples are no base64 of 16 bits each")
	}
	samples := make([]int16, len(raw)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	return samples, raw, nil
}

// Kept says how many chunks of a source are kept, and how many bytes they have.
func (s *Service) Kept(source string) (count, bytes uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drop(source, func(time.Time) bool { return false }, true)
}

// keepFile is where in a source's folder it stands for how long its sound may be kept.
const keepFile = "keep"

// Agree notes for how long what is heard of a source may be kept; 0 is without an end.
func (s *Service) Agree(source string, keep time.Duration) error {
	dir, err := s.folder(source)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, keepFile), []byte(keep.String()), 0o600)
	}
	if err != nil {
		return fmt.Errorf("speech: noting what was agreed: %w", err)
	}
	return nil
}

// Forget deletes what is kept for longer than was agreed, of all sources.
func (s *Service) Forget() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sources, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range sources {
		text, rerr := os.ReadFile(filepath.Join(s.dir, e.Name(), keepFile))
		keep, perr := time.ParseDuration(string(text))
		if rerr != nil || perr != nil || keep == 0 {
			continue // nothing is agreed
		}
		before := s.now().Add(-keep)
		_, _, err := s.drop(e.Name(), func(at time.Time) bool { return at.Before(before) }, false)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, err)...)
}

// Delete deletes all that is kept of a source, also what is being heard, and says how much that was.
func (s *Service) Delete(source string) (count, bytes uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.hearing, source)
	return s.drop(source, func(time.Time) bool { return true }, false)
}

// drop counts what of a source was heard when old says, and deletes it; or it counts all and deletes nothing. The caller
// holds mu: what two delete at once, one of them does not find.
func (s *Service) drop(source string, old func(time.Time) bool, all bool) (count, bytes uint64, err error) {
	dir, err := s.folder(source)
	if err != nil {
		return 0, 0, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("speech: looking for what is kept: %w", err)
	}
	for _, e := range entries {
		stamp, _, _ := strings.Cut(e.Name(), "-")
		ms, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil || !all && !old(time.UnixMilli(ms)) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return count, bytes, fmt.Errorf("speech: looking for what is kept: %w", err)
		}
		if !all {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return count, bytes, fmt.Errorf("speech: deleting: %w", err)
			}
		}
		count, bytes = count+1, bytes+uint64(info.Size())
	}
	return count, bytes, nil
}
