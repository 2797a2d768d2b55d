// Package doorbell is a ready-made thing: a doorbell with a microphone.
//
// Whoever stands outside presses it, which the action "press" stands for. It then tells the event "ring", and what the
// microphone hears in the events "audio", half a second each: the samples, how many there are a second, which ring it
// is of, and whether it is the last. Whoever understands what was said tells it by the action "understand"; the
// property "understood" is what was said last. When somebody comes to the door is never shown in clear on one owner's word:
// whoever follows the event "ring" learns how people come and go.
//
// It has no microphone. It plays WAV files of a folder in the order of their names, one for each ring; without a folder
// it hears a second of silence.
package doorbell

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/thing"
)

// Config says what a doorbell hears.
type Config struct {
	// Sounds holds WAV files, see ParseWAV; nil is silence.
	Sounds fs.FS
	// Now is its clock; nil means time.Now.
	Now func() time.Time
}

// A Chunk is half a second of sound, as the event "audio" tells it.
type Chunk struct {
	Ring    int    `json:"ring"`    // counts the rings
	Part    int    `json:"part"`    // counts the chunks of one, from 0
	Last    bool   `json:"last"`    // of this ring
	Rate    int    `json:"rate"`    // samples a second
	Samples string `json:"samples"` // 16 bits each, little endian, base64
	At      string `json:"at"`      // RFC 3339
}

// A Ring is what the event "ring" tells.
type Ring struct {
	Ring int    `json:"ring"`
	At   string `json:"at"`
}

// An Understood is what somebody made of a ring's sound.
type Understood struct {
	Text string `json:"text"`
}

// maxText is how long a text that was understood may be, in bytes.
const maxText = 1000

// Doorbell is a doorbell. Its methods may be called from any goroutine.
type Doorbell struct {
	thing      *thing.Thing
	cfg        Config
	names      []string
	ring       thing.Source[Ring]
	audio      thing.Source[Chunk]
	understood thing.Prop[string]

	mu    sync.Mutex // held while a ring is told, so that its chunks come one after the other
	rings int
	text  string
}

// New returns a doorbell.
func New(cfg Config) (*Doorbell, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Doorbell{thing: thing.New("Doorbell"), cfg: cfg}
	if cfg.Sounds != nil {
		entries, err := fs.ReadDir(cfg.Sounds, ".")
		if err != nil {
			return nil, fmt.Errorf("doorbell: looking for sounds: %w", err)
		}
		for _, e := range entries {
			if strings.EqualFold(path.Ext(e.Name()), ".wav") {
				d.names = append(d.names, e.Name())
			}
		}
		if len(d.names) == 0 {
			return nil, fmt.Errorf("doorbell: looking for sounds: there are no .wav files")
		}
	}
	d.ring = thing.Event[Ring](d.thing, "ring", "Somebody pressed it")
	d.audio = thing.Event[Chunk](d.thing, "audio", "What the microphone hears after that")
	d.understood = thing.Property(d.thing, "understood", "What was said, as somebody understood it", func(context.Context) (string, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.text, nil
	}).Observable()
	thing.Action(d.thing, "press", "Press it, as whoever stands outside does", d.press)
	thing.Action(d.thing, "understand", "Tell what was said", d.understand)
	d.thing.Never("ring")
	return d, nil
}

// Thing gives the doorbell as it is served.
func (d *Doorbell) Thing() *thing.Thing { return d.thing }

func (d *Doorbell) press(context.Context, thing.None) (thing.None, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sound, err := d.sound(d.rings)
	if err != nil {
		return thing.None{}, err
	}
	d.rings++
	at := d.cfg.Now().UTC().Format(time.RFC3339)
	if err := d.ring.Emit(Ring{d.rings, at}); err != nil {
		return thing.None{}, err
	}
	for i, c := range sound.chunks() {
		c.Ring, c.Part, c.At = d.rings, i, at
		if err := d.audio.Emit(c); err != nil {
			return thing.None{}, err
		}
	}
	return thing.None{}, nil
}

// sound returns what is heard at a ring, counted from 0.
func (d *Doorbell) sound(ring int) (Sound, error) {
	if len(d.names) == 0 {
		const rate = 8000
		return Sound{Rate: rate, Samples: make([]int16, rate)}, nil
	}
	f, err := d.cfg.Sounds.Open(d.names[ring%len(d.names)])
	if err != nil {
		return Sound{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxWAV+1))
	if err != nil {
		return Sound{}, err
	}
	s, err := ParseWAV(data)
	if most := maxSeconds * s.Rate; len(s.Samples) > most {
		s.Samples = s.Samples[:most]
	}
	return s, err
}

// maxSeconds is how long it listens after a ring. Its chunks are fewer than a thing keeps for those who fall behind.
const maxSeconds = 60

// chunks cuts a sound into halves of a second, one at least. An event has room for half a second of 48,000 samples in a
// second only when they are halved, which is done to what has more than 24,000.
func (s Sound) chunks() []Chunk {
	for s.Rate > 24000 {
		half := make([]int16, len(s.Samples)/2)
		for i := range half {
			half[i] = int16((int(s.Samples[2*i]) + int(s.Samples[2*i+1])) / 2)
		}
		s = Sound{s.Rate / 2, half}
	}
	var chunks []Chunk
	for rest := s.Samples; len(rest) > 0 || len(chunks) == 0; {
		n := min(len(rest), s.Rate/2)
		raw := make([]byte, 0, 2*n)
		for _, v := range rest[:n] {
			raw = binary.LittleEndian.AppendUint16(raw, uint16(v))
		}
		chunks = append(chunks, Chunk{Rate: s.Rate, Samples: base64.StdEncoding.EncodeToString(raw)})
		rest = rest[n:]
	}
	chunks[len(chunks)-1].Last = true
	return chunks
}

func (d *Doorbell) understand(_ context.Context, u Understood) (thing.None, error) {
	if len(u.Text) > maxText {
		return thing.None{}, &thing.Problem{Status: 400, Detail: fmt.Sprintf("a text of %d bytes, of at most %d", len(u.Text), maxText)}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text = u.Text
	return thing.None{}, d.understood.Changed(u.Text)
}
