package p1meter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/meter/p1"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/thing/thingtest"
)

// recording is a source that gives the same telegrams each time it is opened.
func recording(name string, telegrams ...[]byte) Source {
	all := bytes.Join(telegrams, nil)
	return Source{name, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(all)), nil }}
}

// at makes a telegram of a time, some seconds after another.
func at(seconds int, watts p1.Power) []byte {
	return p1.Encode(p1.Reading{
		Identifier: `/KDR5\2TEST`,
		Time:       time.Unix(1_760_000_000+int64(seconds), 0),
		PowerIn:    watts,
	})
}

// serve gives a client for a meter.
func serve(t *testing.T, m *Meter) *thing.Client {
	t.Helper()
	server := httptest.NewServer(m.Thing().Handler(func(*http.Request, thing.Op, string) error { return nil }))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &thing.Client{Base: base}
}

// run runs a meter until the test ends, and fails it if the meter fails.
func run(t *testing.T, m *Meter) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestMeterServesItsTelegrams(t *testing.T) {
	var r p1.Reading
	for r = range p1.Simulate(time.Unix(1_760_000_000, 0), 3, time.Second) {
		break
	}
	var logged bytes.Buffer
	damaged := bytes.Replace(at(1, 100), []byte("00.100*kW"), []byte("00.900*kW"), 1)
	m := New(Config{
		Sources:  []Source{recording("first", at(0, 100), damaged), recording("second", p1.Encode(r))},
		Interval: time.Nanosecond,
		Log:      slog.New(slog.NewTextHandler(&logged, nil)),
	})
	c, ctx := serve(t, m), t.Context()

	_, err := c.Read(ctx, "power")
	var p *thing.Problem
	if !errors.As(err, &p) || p.Status != http.StatusServiceUnavailable {
		t.Errorf("before the first telegram: %v", err)
	}
	events, err := c.Subscribe(ctx, "telegram", "")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	run(t, m)

	for _, want := range []Reading{{ID: `KDR5\2TEST`, Power: 100}, {ID: r.MeterID(), Power: r.PowerIn}} {
		e, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		var got Reading
		if err := json.Unmarshal(e.Data, &got); err != nil || got.ID != want.ID || got.Power != want.Power {
			t.Errorf("event %s, want %q with %d W (%v)", e.Data, want.ID, want.Power, err)
		}
	}
	if !strings.Contains(logged.String(), `source=first number=2 reason="p1: parsing telegram: checksum is `) {
		t.Errorf("log does not tell of the damaged telegram:\n%s", &logged)
	}
	phase := r.Phases[2]
	for name, want := range map[string]string{
		"id":     fmt.Sprintf("%q", r.MeterID()),
		"time":   fmt.Sprintf("%q", r.Time.Format(time.RFC3339)),
		"power":  fmt.Sprint(int64(r.PowerIn)),
		"export": fmt.Sprint(int64(r.PowerOut)),
		"energy": fmt.Sprintf(`{"in":[%d,%d],"out":[%d,%d]}`, r.EnergyIn[0], r.EnergyIn[1], r.EnergyOut[0], r.EnergyOut[1]),
	} {
		if v, err := c.Read(ctx, name); err != nil || string(v.Body) != want {
			t.Errorf("%s is %s, %v; want %s", name, v.Body, err, want)
		}
	}
	v, err := c.Read(ctx, "phases")
	l3 := fmt.Sprintf(`{"voltage":%s,"current":%d,"power":%d,"export":%d}]`,
		strconv.FormatFloat(float64(*phase.Voltage)/1000, 'f', -1, 64), *phase.Current/1000, int64(*phase.PowerIn), int64(*phase.PowerOut))
	if err != nil || !strings.HasSuffix(string(v.Body), l3) {
		t.Errorf("phases are %s, %v; want them to end in %s", v.Body, err, l3)
	}
}

func TestPace(t *testing.T) {
	for name, c := range map[string]struct {
		interval time.Duration
		times    []int // of the telegrams, in seconds
		want     []time.Duration
	}{
		"their own":            {0, []int{0, 1, 11, 12}, []time.Duration{0, time.Second, 11 * time.Second, 12 * time.Second}},
		"another recording":    {0, []int{0, 3600, 3610}, []time.Duration{0, time.Second, 11 * time.Second}},
		"backwards":            {0, []int{10, 0, 10}, []time.Duration{0, time.Second, 11 * time.Second}},
		"the same second":      {0, []int{5, 5}, []time.Duration{0, time.Second}},
		"an interval of ours":  {time.Minute, []int{0, 1, 3600}, []time.Duration{0, time.Minute, 2 * time.Minute}},
		"all day in a twinkle": {time.Millisecond, []int{0, 60, 120}, []time.Duration{0, time.Millisecond, 2 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, start := pace{interval: c.interval}, time.Now()
				for i, seconds := range c.times {
					if err := p.wait(t.Context(), time.Unix(int64(seconds), 0)); err != nil {
						t.Fatal(err)
					}
					if got := time.Since(start); got != c.want[i] {
						t.Errorf("telegram %d comes after %s, want %s", i, got, c.want[i])
					}
				}
			})
		})
	}
}

// What a live source sends is told when it comes.
func TestPaceDoesNotSlowDownALiveSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		for i := range 100 {
			before := time.Now()
			if err := p.wait(t.Context(), time.Unix(int64(i), 0)); err != nil || time.Since(before) != 0 {
				t.Fatalf("telegram %d waited %s, %v", i, time.Since(before), err)
			}
			time.Sleep(time.Second) // until the source sends the next
		}
	})
}

func TestRunStaysAfterTheLastTelegram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(Config{Sources: []Source{recording("one", at(0, 7), at(1, 8))}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := m.Run(ctx); err != nil || ctx.Err() == nil {
			t.Errorf("Run ended with %v before its context", err)
		}
		if m.last.Power != 8 {
			t.Errorf("last reading is %+v", m.last)
		}
	})
}

func TestRunRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		s := recording("one", at(0, 7))
		open := s.Open
		s.Open = func() (io.ReadCloser, error) { opened++; return open() }
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
		defer cancel()
		if err := New(Config{Sources: []Source{s}, Interval: time.Second, Repeat: true}).Run(ctx); err != nil {
			t.Error(err)
		}
		if opened != 12 { // at 0 s, at 10 s, and the one that the end broke off
			t.Errorf("read %d times in ten seconds, want 12", opened)
		}
	})
}

func TestRunFails(t *testing.T) {
	broken := Source{"wire", func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(at(0, 1)), iotest.ErrReader(errors.New("unplugged")))), nil
	}}
	for name, c := range map[string]struct {
		sources []Source
		want    string
	}{
		"no source":     {nil, "p1meter: no good telegram in 0 sources"},
		"nothing good":  {[]Source{recording("noise", []byte("/x\r\n!\r\n"))}, "p1meter: no good telegram in 1 sources"},
		"a broken wire": {[]Source{broken}, "p1meter: reading wire: unplugged"},
		"no such file":  {[]Source{File("missing.txt")}, "p1meter: reading missing.txt: open missing.txt: no such file or directory"},
	} {
		if err := New(Config{Sources: c.sources, Repeat: true}).Run(t.Context()); err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// A source that is silent does not hold up the end.
func TestRunEndsWhileItReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _ := io.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		silent := Source{"silent", func() (io.ReadCloser, error) { return r, nil }}
		if err := New(Config{Sources: []Source{silent}}).Run(ctx); err != nil {
			t.Error(err)
		}
	})
}

// Real telegrams: power and time as served equal what stands in the file, and
// the Thing Description is valid.
func TestRealTelegrams(t *testing.T) {
	dir := os.Getenv("KINDRED_DATA")
	if dir == "" {
		t.Skip("KINDRED_DATA is not set: real telegrams are not served")
	}
	for _, name := range []string{"TELEGRAM_V4_2.txt", "TELEGRAM_V5.txt", "TELEGRAM_V5_TWO_MBUS.txt", "TELEGRAM_FLUVIUS_V171_ALT.txt"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, "meters", "p1", name)
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m := New(Config{Sources: []Source{File(file)}})
			c := serve(t, m)
			events, err := c.Subscribe(t.Context(), "telegram", "")
			if err != nil {
				t.Fatal(err)
			}
			defer events.Close()
			run(t, m)
			if _, err := events.Next(); err != nil {
				t.Fatal(err)
			}
			kW := regexp.MustCompile(`\b1-0:1\.7\.0\((\d+)\.(\d{3})\*kW\)`).FindSubmatch(raw)
			clock := regexp.MustCompile(`\b0-0:1\.0\.0\((\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)([SW])\)`).FindSubmatch(raw)
			offset := map[string]string{"S": "+02:00", "W": "+01:00"}[string(clock[7])]
			want := map[string]string{
				"power": strings.TrimLeft(string(kW[1])+string(kW[2]), "0"),
				"time":  fmt.Sprintf(`"20%s-%s-%sT%s:%s:%s%s"`, clock[1], clock[2], clock[3], clock[4], clock[5], clock[6], offset),
			}
			for property, text := range want {
				if v, err := c.Read(t.Context(), property); err != nil || string(v.Body) != text {
					t.Errorf("%s is %s, %v; the telegram says %s", property, v.Body, err, text)
				}
			}
		})
	}
	thingtest.Valid(t, New(Config{}).Thing().Describe())
}
