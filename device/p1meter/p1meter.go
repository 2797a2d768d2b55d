// Package p1meter is a ready-made thing: an electricity meter that tells what
// its P1 telegrams say (see package [p1]).
//
// Properties, each of the last good telegram, power and reading observable:
//
//	reading   all of the following in one
//	id        the meter's identifier in plain text
//	time      the meter's clock
//	power     drawn from the grid, in W
//	export    fed back into it, in W
//	energy    drawn and fed back since the meter was made, in Wh by tariff
//	phases    voltage, current and power of each phase
//	history   what was drawn and fed back, by quarters of an hour, or summed up
//
// Those who are to see one value a step (see [thing.View]) are shown the history of the steps that are over, as power
// and export what flowed on average in the last of them, and the id; all else they are refused.
//
// The event telegram carries a reading for each good telegram. One that is
// refused is logged with the reason and changes nothing. Before the first good
// one the properties answer with status 503.
package p1meter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/meter/p1"
	"github.com/kindred-iot/kindred/thing"
)

// Source is where telegrams come from: a recording, or a serial line.
type Source struct {
	// Name for the log.
	Name string
	// Open gives the stream of telegrams. Closing it must end a read that waits.
	Open func() (io.ReadCloser, error)
}

// File is a source that reads a file, or standard input where its name is "-".
func File(name string) Source {
	if name != "-" {
		return Source{name, func() (io.ReadCloser, error) { return os.Open(name) }}
	}
	return Source{"standard input", func() (io.ReadCloser, error) {
		// Opened anew a pipe can be closed while it is read; the inherited one cannot.
		if f, err := os.Open("/dev/stdin"); err == nil {
			return f, nil
		}
		return os.Stdin, nil
	}}
}

// Config says what a meter replays, and how fast.
type Config struct {
	// Sources are read one after the other.
	Sources []Source
	// Interval is the time between two telegrams. Zero keeps the telegrams' own
	// times, with one second between two that are over a minute apart or do not
	// go forward, as where another recording begins. A live source is never
	// slowed down by that.
	Interval time.Duration
	// Repeat starts again with the first source after the last has ended.
	// Otherwise the meter goes on telling the last reading.
	Repeat bool
	// Tape takes every reading, as JSON; nil: nothing is recorded. See [NewTape].
	Tape *thing.Tape
	// Log takes the telegrams that are refused; nil discards them.
	Log *slog.Logger
	// Now is the clock by which the history is kept; nil means time.Now.
	Now func() time.Time
}

// Meter is a meter. Its methods may be called from any goroutine.
type Meter struct {
	thing    *thing.Thing
	cfg      Config
	telegram thing.Source[Reading]
	reading  thing.Prop[Reading]
	power    thing.Prop[p1.Power]
	past     past

	mu   sync.Mutex
	last *Reading // nil before the first
}

// New returns a meter that has read nothing yet; see [Meter.Run].
func New(cfg Config) *Meter {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := thing.New("Electricity meter")
	m := &Meter{thing: t, cfg: cfg}
	m.reading = thing.Property(t, "reading", "All that the last telegram says", of(m, func(r Reading) Reading { return r })).Observable()
	id := of(m, func(r Reading) string { return r.ID })
	thing.Property(t, "id", "Identifier of the meter", id).Coarse(func(ctx context.Context, _ thing.View) (any, error) { return id(ctx) })
	thing.Property(t, "time", "The meter's clock", of(m, func(r Reading) time.Time { return r.Time }))
	m.power = thing.Property(t, "power", "Power drawn from the grid", of(m, func(r Reading) p1.Power { return r.Power })).Unit("W").Observable().
		Coarse(m.past.mean(func(u Used) p1.Energy { return u.In }))
	thing.Property(t, "export", "Power fed back into the grid", of(m, func(r Reading) p1.Power { return r.Export })).Unit("W").
		Coarse(m.past.mean(func(u Used) p1.Energy { return u.Out }))
	thing.Property(t, "energy", "Energy since the meter was made, by tariff", of(m, func(r Reading) Energy { return r.Energy }))
	thing.Property(t, "phases", "Each phase", of(m, func(r Reading) []Phase { return r.Phases }))
	thing.History(t, "history", "What was drawn and fed back, by quarters of an hour", m.past.between, Used.add)
	m.telegram = thing.Event[Reading](t, "telegram", "A telegram came")
	return m
}

// Remember has the meter keep its history in a book, and begin with what is in there. It is called before Run.
func (m *Meter) Remember(ctx context.Context, book Book) error { return m.past.load(ctx, book) }

// Thing gives the meter as it is served.
func (m *Meter) Thing() *thing.Thing { return m.thing }

// of makes a property's function of a part of the last reading.
func of[T any](m *Meter, part func(Reading) T) func(context.Context) (T, error) {
	return func(context.Context) (T, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.last == nil {
			var none T
			return none, &thing.Problem{Status: http.StatusServiceUnavailable, Detail: "no telegram has come yet"}
		}
		return part(*m.last), nil
	}
}

// tell makes a reading the last one.
func (m *Meter) tell(r Reading) error {
	m.mu.Lock()
	m.last = &r
	m.mu.Unlock()
	if err := m.record(r); err != nil {
		return err
	}
	if err := m.reading.Changed(r); err != nil {
		return err
	}
	if err := m.power.Changed(r.Power); err != nil {
		return err
	}
	return m.telegram.Emit(r)
}

// Run reads the sources until ctx ends, and returns nil then. Where they end
// before, it stays, so that the last reading is served. It fails where a source
// cannot be opened or read, and where none had a good telegram.
func (m *Meter) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, m.past.save(context.WithoutCancel(ctx))) }()
	clock := pace{interval: m.cfg.Interval}
	for {
		good := 0
		for _, s := range m.cfg.Sources {
			n, err := m.replay(ctx, s, &clock)
			good += n
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("p1meter: reading %s: %w", s.Name, err)
			}
		}
		if good == 0 {
			return fmt.Errorf("p1meter: no good telegram in %d sources", len(m.cfg.Sources))
		}
		if !m.cfg.Repeat {
			<-ctx.Done()
			return nil
		}
	}
}

// replay tells the telegrams of a source, and gives the number of good ones.
func (m *Meter) replay(ctx context.Context, s Source, clock *pace) (good int, err error) {
	stream, err := s.Open()
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, func() { stream.Close() })()
	telegrams := p1.NewScanner(stream)
	for n := 1; telegrams.Scan(); n++ {
		r, err := p1.Parse(telegrams.Telegram())
		if err != nil {
			m.cfg.Log.Warn("telegram skipped", "source", s.Name, "number", n, "reason", err)
			continue
		}
		if err := clock.wait(ctx, r.Time); err != nil {
			return good, err
		}
		reading := readingOf(r)
		if err := m.past.note(ctx, m.cfg.Now(), reading.Energy); err != nil {
			m.cfg.Log.Error("the history is not on disk", "reason", err)
		}
		if err := m.tell(reading); err != nil {
			return good, err
		}
		good++
	}
	return good, telegrams.Err()
}

// pace spaces telegrams in time, against a schedule, so that what is late
// already does not wait.
type pace struct {
	interval time.Duration
	last     time.Time // the meter's time of the last telegram
	due      time.Time // when that was to be told
}

// wait returns when the telegram of the given time is due, or ctx ends.
func (p *pace) wait(ctx context.Context, at time.Time) error {
	now := time.Now()
	if p.last.IsZero() {
		p.due = now
	} else {
		p.due = p.due.Add(p.gap(at))
	}
	p.last = at
	if late := now.Sub(p.due); late >= 0 {
		if late > time.Minute { // after a pause of the source do not rush
			p.due = now
		}
		return ctx.Err()
	}
	timer := time.NewTimer(p.due.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *pace) gap(at time.Time) time.Duration {
	if p.interval > 0 {
		return p.interval
	}
	if gap := at.Sub(p.last); gap > 0 && gap <= time.Minute {
		return gap
	}
	return time.Second
}
