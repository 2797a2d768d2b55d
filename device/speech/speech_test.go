package speech

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// dial returns the tones of some keys, each for a while with a pause after it, over noise.
func dial(rate int, number string, amplitude, noise float64) (samples []int16) {
	random := rand.New(rand.NewPCG(1, 2))
	add := func(seconds float64, key int) {
		for i := range int(seconds * float64(rate)) {
			v := noise * (2*random.Float64() - 1)
			if key >= 0 {
				t := 2 * math.Pi * float64(i) / float64(rate)
				v += amplitude/2*math.Sin(t*rows[key/4]) + amplitude/2*math.Sin(t*columns[key%4])
			}
			samples = append(samples, int16(v))
		}
	}
	add(0.1, -1)
	for _, key := range number {
		add(0.12, strings.IndexRune(keys, key))
		add(0.08, -1)
	}
	return samples
}

func TestRecognise(t *testing.T) {
	for _, rate := range []int{8000, 11025, 16000, 24000} {
		if got := Recognise(rate, dial(rate, keys, 12000, 300)); got != keys {
			t.Errorf("at %d samples a second: %q", rate, got)
		}
	}
	for name, c := range map[string]struct {
		samples []int16
		want    string
	}{
		"the same key twice": {dial(8000, "1155", 8000, 100), "1155"},
		"faint":              {dial(8000, "42", 800, 20), "42"},
		"too faint":          {dial(8000, "42", 100, 20), ""},
		"noise":              {dial(8000, "", 0, 0), ""},
		"loud noise":         {dial(8000, "", 0, 20000), ""},
		"drowned":            {dial(8000, "7", 2000, 20000), ""},
		"nothing":            {nil, ""},
	} {
		if got := Recognise(8000, c.samples); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	tone := make([]int16, 8000)
	for i := range tone {
		tone[i] = int16(12000 * math.Sin(2*math.Pi*770*float64(i)/8000))
	}
	if got := Recognise(8000, tone); got != "" {
		t.Errorf("one tone alone: %q", got)
	}
}

func chunks(ring, rate int, samples []int16) (all []Chunk) {
	for len(samples) > 0 {
		n := min(len(samples), rate/2)
		var raw []byte
		for _, v := range samples[:n] {
			raw = binary.LittleEndian.AppendUint16(raw, uint16(v))
		}
		samples = samples[n:]
		all = append(all, Chunk{Ring: ring, Part: len(all), Rate: rate, Last: len(samples) == 0, Samples: base64.StdEncoding.EncodeToString(raw)})
	}
	return all
}

func TestService(t *testing.T) {
	now := time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC)
	s := New(t.TempDir(), func() time.Time { return now })
	hear := func(ring int, number string) (text string) {
		for _, c := range chunks(ring, 8000, dial(8000, number, 12000, 100)) {
			var done bool
			var err error
			if text, done, err = s.Hear("bell-audio", c); err != nil || done != c.Last {
				t.Fatalf("done %t, %v", done, err)
			}
		}
		return text
	}
	if got := hear(1, "2468"); got != "2468" {
		t.Errorf("heard %q", got)
	}
	early, size, err := s.Kept("bell-audio")
	if err != nil || early < 2 || size < 8000 {
		t.Fatalf("kept are %d chunks of %d bytes, %v", early, size, err)
	}
	now = now.Add(24 * time.Hour)
	hear(2, "13579")
	before, _, _ := s.Kept("bell-audio")
	if err := s.Forget(); err != nil { // nothing was agreed
		t.Fatal(err)
	}
	if err := s.Agree("bell-audio", time.Hour); err != nil {
		t.Fatal(err)
	}
	if n, _, _ := s.Kept("bell-audio"); n != before {
		t.Errorf("%d chunks of %d are left", n, before)
	}
	if err := s.Forget(); err != nil {
		t.Fatal(err)
	}
	left, bytes, _ := s.Kept("bell-audio")
	if left != before-early {
		t.Errorf("%d chunks are left of %d, %d of which are old", left, before, early)
	}
	if n, b, err := s.Delete("bell-audio"); n != left || b != bytes || n == 0 || err != nil {
		t.Errorf("deleted %d chunks of %d bytes, and %d of %d were kept: %v", n, b, left, bytes, err)
	}
	if n, _, _ := s.Kept("bell-audio"); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
	if n, _, err := s.Delete("nobody"); n != 0 || err != nil {
		t.Errorf("of nobody: %d, %v", n, err)
	}
}

func TestServiceRefuses(t *testing.T) {
	s := New(t.TempDir(), nil)
	good := chunks(1, 8000, make([]int16, 100))[0]
	for name, c := range map[string]struct {
		source string
		change func(*Chunk)
	}{
		"a way out":    {"../bell", func(*Chunk) {}},
		"no name":      {"", func(*Chunk) {}},
		"no base64":    {"bell", func(c *Chunk) { c.Samples = "?" }},
		"half samples": {"bell", func(c *Chunk) { c.Samples = "AA==" }},
		"no rate":      {"bell", func(c *Chunk) { c.Rate = 0 }},
		"too much":     {"bell", func(c *Chunk) { c.Samples = strings.Repeat("A", 4*maxSamples) }},
	} {
		chunk := good
		c.change(&chunk)
		if _, _, err := s.Hear(c.source, chunk); err == nil {
			t.Errorf("%s: heard", name)
		}
	}
}

// What is deleted on demand while what is old is, is deleted once, and nobody fails over what the other was faster with.
func TestDeleteWhileForgetting(t *testing.T) {
	s := New(t.TempDir(), nil)
	if err := s.Agree("door", time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	const chunks = 200
	for part := range chunks {
		if _, _, err := s.Hear("door", Chunk{Ring: 1, Part: part, Rate: 8000, Samples: "AAA="}); err != nil {
			t.Fatal(err)
		}
	}
	forgot := make(chan error)
	go func() { forgot <- s.Forget() }()
	if count, _, err := s.Delete("door"); err != nil || count > chunks {
		t.Errorf("deleted %d: %v", count, err)
	}
	if err := <-forgot; err != nil {
		t.Error(err)
	}
	if count, _, err := s.Kept("door"); count != 0 || err != nil {
		t.Errorf("kept %d: %v", count, err)
	}
}
