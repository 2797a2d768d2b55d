package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/device/camera"
	"github.com/kindred-iot/kindred/device/car"
	"github.com/kindred-iot/kindred/device/doorbell"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/device/p1meter"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

func newDevice(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "device",
		Short: "Run this directory's member as a ready-made thing",
		Long: `Run this directory's member, a device that has joined, as a ready-made thing until
stopped. A line on standard output says when it is ready.`,
	}
	var o deviceOptions
	o.flags(c, "all interfaces")
	c.PersistentFlags().StringSliceVar(&o.expose, "expose", nil, "offer a service of this machine beside it, as \"kindred expose\" does: `PORT[/udp][=HOST:PORT]`")
	c.AddCommand(newMeter(s, &o), newCamera(s, &o), newLock(s, &o), newCar(s, &o), newDoorbell(s, &o))
	return c
}

// deviceOptions are the flags of all devices.
type deviceOptions struct {
	listening
	expose []string
	record func(context.Context, *kindred.Node) error // beside serving; nil: nothing is recorded
}

func newMeter(s *session, o *deviceOptions) *cobra.Command {
	var cfg p1meter.Config
	kept := &storing{s: s}
	c := &cobra.Command{
		Use:   "p1meter FILE…",
		Short: "An electricity meter that tells what its P1 telegrams say",
		Long: `An electricity meter that replays telegrams of the P1 port (DSMR) from files, or from
standard input where FILE is "-". With --store its readings are kept there too, sealed to
those who may see "reading" at the time; "kindred recordings" opens them.`,
		Example: "  kindred device p1meter telegrams.txt --repeat\n  cat /dev/ttyUSB0 | kindred device p1meter - --store /mnt/nas/sealed",
		Args:    cobra.MinimumNArgs(1),
	}
	durationVar(c, &cfg.Interval, "interval", 0, "the time between two telegrams (default as they were recorded)")
	c.Flags().BoolVar(&cfg.Repeat, "repeat", false, "begin again after the last telegram")
	kept.flags(c, 15*time.Minute)
	return s.does(c, func(ctx context.Context, args []string) error {
		for _, name := range args {
			cfg.Sources = append(cfg.Sources, p1meter.File(name))
		}
		cfg.Log = s.log(slog.LevelWarn)
		if err := kept.open(c); err != nil {
			return err
		}
		if kept.store != nil {
			cfg.Tape = p1meter.NewTape(kept.every, kept.record)
			o.record = func(ctx context.Context, n *kindred.Node) error { return kept.run(ctx, n, cfg.Tape.Run) }
		}
		m := p1meter.New(cfg)
		return s.serve(ctx, *o, m.Thing(), func(ctx context.Context, n *kindred.Node) error {
			if err := m.Remember(ctx, n.Store()); err != nil {
				return err
			}
			return m.Run(ctx)
		})
	})
}

func newCamera(s *session, o *deviceOptions) *cobra.Command {
	var pictures, recordings string
	var cfg camera.Config
	kept := &storing{s: s}
	c := &cobra.Command{
		Use:   "camera",
		Short: "A camera that shows pictures of a folder, or the time",
		Long: `A camera that shows pictures of a folder, or the time. Whoever may see its picture may also
follow it as a film, each at a pace of their own. With --store it also records what it sees,
sealed to those who may see the picture at the time; "kindred recordings" opens it.`,
		Example: "  kindred device camera --pictures holiday --every 1s\n  kindred device camera --recordings /srv/recordings\n" +
			"  kindred device camera --store /mnt/nas/sealed --record-keep 30d",
		Args: cobra.NoArgs,
	}
	c.Flags().StringVar(&pictures, "pictures", "", "a `folder` of JPEG files to show one after the other (default: draw the time)")
	durationVar(c, &cfg.Every, "every", 10*time.Second, "how long each picture is shown")
	c.Flags().Float64Var(&cfg.PerSecond, "fps", camera.DefaultPerSecond, fmt.Sprintf("pictures a second of the film, at most %d", camera.MaxPerSecond))
	c.Flags().StringVar(&recordings, "recordings", "", "a `folder` whose files can be fetched (default: there are none)")
	durationVar(c, &cfg.Longest, "longest", camera.DefaultLongest, "how long a recording lasts at most; whoever may see some days is shown what cannot be of others")
	kept.flags(c, time.Minute)
	return s.does(c, func(ctx context.Context, _ []string) (err error) {
		if !(cfg.PerSecond > 0 && cfg.PerSecond <= camera.MaxPerSecond) {
			return usage("--fps: %v is not more than 0 and at most %d", cfg.PerSecond, camera.MaxPerSecond)
		}
		if cfg.Longest <= 0 {
			return usage("--longest: %v is no time that a recording can last", cfg.Longest)
		}
		if recordings != "" {
			root, oerr := os.OpenRoot(recordings) // no link leads out of it
			if oerr != nil {
				return usage("there are no recordings in %q: %s", recordings, cause(oerr))
			}
			defer func() { err = errors.Join(err, root.Close()) }()
			cfg.Recordings = root.FS()
		}
		if pictures != "" {
			cfg.Pictures = os.DirFS(pictures)
			if _, err := fs.Stat(cfg.Pictures, "."); err != nil {
				return usage("there are no pictures in %q: %s", pictures, cause(err))
			}
		}
		cam, err := camera.New(cfg)
		if err == nil {
			err = kept.open(c)
		}
		if err != nil {
			return err
		}
		if kept.store != nil {
			o.record = func(ctx context.Context, n *kindred.Node) error {
				return kept.run(ctx, n, func(ctx context.Context) { cam.Record(ctx, kept.every, kept.record, s.log(slog.LevelWarn)) })
			}
		}
		return s.serve(ctx, *o, cam.Thing(), nil)
	})
}

func newLock(s *session, o *deviceOptions) *cobra.Command {
	c := &cobra.Command{Use: "lock", Short: "A door lock", Args: cobra.NoArgs}
	return s.does(c, func(ctx context.Context, _ []string) error {
		return s.serve(ctx, *o, lock.New().Thing(), nil)
	})
}

func newCar(s *session, o *deviceOptions) *cobra.Command {
	var stops, areas []string
	var cfg car.Config
	c := &cobra.Command{
		Use:   "car",
		Short: "A car: where it stands, whether it is locked, and how full its battery is",
		Long: `A car that stands at the stops of a route, one after the other. Who may see of its position
the area alone is told the name of the one that it is in.`,
		Example: "  kindred device car --stop 52.5200,13.4050 --stop 52.3906,13.0645 --area berlin=52.52,13.405,20000",
		Args:    cobra.NoArgs,
	}
	c.Flags().StringArrayVar(&stops, "stop", nil, "where it stands, one after the other: `LATITUDE,LONGITUDE`")
	c.Flags().StringArrayVar(&areas, "area", nil, "an area that has a name: `NAME=LATITUDE,LONGITUDE,METRES`")
	durationVar(c, &cfg.Every, "every", time.Minute, "how long it stands at each")
	return s.does(c, func(ctx context.Context, _ []string) error {
		for _, text := range stops {
			at, err := numbers(text, 2)
			if err != nil {
				return usage("--stop: %s", err)
			}
			cfg.Stops = append(cfg.Stops, thing.Position{Latitude: at[0], Longitude: at[1]})
		}
		for _, text := range areas {
			name, where, _ := strings.Cut(text, "=")
			at, err := numbers(where, 3)
			if err != nil || name == "" {
				return usage("--area: %q is no NAME=LATITUDE,LONGITUDE,METRES", text)
			}
			cfg.Areas = append(cfg.Areas, thing.Area{Name: name, Center: thing.Position{Latitude: at[0], Longitude: at[1]}, Radius: at[2]})
		}
		return s.serve(ctx, *o, car.New(cfg).Thing(), nil)
	})
}

// numbers reads so many numbers with commas between them.
func numbers(text string, count int) ([]float64, error) {
	parts := strings.Split(text, ",")
	if len(parts) != count {
		return nil, fmt.Errorf("%q has %d numbers, want %d", text, len(parts), count)
	}
	out := make([]float64, count)
	for i, part := range parts {
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%q is no number", part)
		}
		out[i] = v
	}
	return out, nil
}

func newDoorbell(s *session, o *deviceOptions) *cobra.Command {
	var sounds string
	c := &cobra.Command{
		Use:   "doorbell",
		Short: "A doorbell that lets hear what is said at the door",
		Long: `A doorbell whose microphone hears the WAV files of a folder, one for each ring (default:
silence). The action "press" stands for whoever is at the door.`,
		Args: cobra.NoArgs,
	}
	c.Flags().StringVar(&sounds, "sounds", "", "a `folder` of WAV files, of 16 bits a sample")
	return s.does(c, func(ctx context.Context, _ []string) error {
		var cfg doorbell.Config
		if sounds != "" {
			cfg.Sounds = os.DirFS(sounds)
		}
		bell, err := doorbell.New(cfg)
		if err != nil {
			return usage("--sounds: %s", err)
		}
		return s.serve(ctx, *o, bell.Thing(), nil)
	})
}

// touchFor is how long a device waits for the gateway before it says that it is ready without it.
const touchFor = 5 * time.Second

// serve offers a thing as the directory's member until ctx ends, while work, if there is any, goes on.
func (s *session) serve(ctx context.Context, o deviceOptions, t *thing.Thing, work func(context.Context, *kindred.Node) error) (err error) {
	if err := offerServices(t, o.expose); err != nil {
		return err
	}
	n, err := s.runAs(ctx, identity.Device, o.listening, kindred.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	begin := func(f func(context.Context) error) {
		running.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("device: %w", err))
			}
		})
	}
	if work != nil {
		begin(func(ctx context.Context) error { return work(ctx, n) })
	}
	if o.record != nil {
		begin(func(ctx context.Context) error { return o.record(ctx, n) })
	}
	begin(func(ctx context.Context) error { return s.announce(ctx, n) })
	if err := n.Serve(ctx, t); err != nil {
		return err
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// runAs opens the directory's member, which has to be of a kind, to be reached by others.
func (s *session) runAs(ctx context.Context, kind identity.Kind, at listening, cfg kindred.Config) (*kindred.Node, error) {
	settings, err := readSettings(s.dir)
	if err != nil {
		return nil, err
	}
	base, err := s.config()
	if err != nil {
		return nil, err
	}
	cfg.Dir, cfg.GatewayAddresses, cfg.Listen, cfg.Log = base.Dir, base.GatewayAddresses, where(at.listen, settings), s.log(slog.LevelWarn)
	if kind == identity.Device {
		if cfg.HTTPS, err = secure(at.https, settings); err != nil {
			return nil, err
		}
	}
	n, err := kindred.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if self := n.Self(); self.Kind() != kind {
		return nil, errors.Join(usage("this directory is %s, which is of kind %s: want a directory of kind %s", self.ID.Path, self.Kind(), kind), n.Close())
	}
	return n, nil
}

// announce says that a device is ready: when the gateway knows where it is, or does not answer.
func (s *session) announce(ctx context.Context, n *kindred.Node) error {
	soon, cancel := context.WithTimeout(ctx, touchFor)
	defer cancel()
	if err := n.InTouch(soon); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		s.say("The gateway is out of reach; serving on what is known.")
	}
	return s.ready(n, "Ready")
}
