package doorbell

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/fstest"

	"github.com/kindred-iot/kindred/thing"
)

func ramp(rate, n int) Sound {
	s := Sound{Rate: rate, Samples: make([]int16, n)}
	for i := range s.Samples {
		s.Samples[i] = int16(i)
	}
	return s
}

func TestDoorbell(t *testing.T) {
	d, err := New(Config{Sounds: fstest.MapFS{
		"1.wav": {Data: ramp(8000, 9000).WAV()}, "2.WAV": {Data: ramp(48000, 100).WAV()}, "notes.txt": {Data: []byte("x")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(d.Thing().Handler(func(*http.Request, thing.Op, string) error { return nil }))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := &thing.Client{Base: base}
	audio, err := c.Subscribe(t.Context(), "audio", "")
	if err != nil {
		t.Fatal(err)
	}
	defer audio.Close()
	for ring, want := range map[int]struct{ parts, rate, bytes int }{1: {3, 8000, 18000}} {
		if _, err := c.Invoke(t.Context(), "press", nil); err != nil {
			t.Fatal(err)
		}
		size := 0
		for part := range want.parts {
			e, err := audio.Next()
			if err != nil {
				t.Fatal(err)
			}
			var chunk Chunk
			if err := (thing.Value{ContentType: "application/json", Body: e.Data}).Decode(&chunk); err != nil {
				t.Fatal(err)
			}
			raw, err := base64.StdEncoding.DecodeString(chunk.Samples)
			if err != nil || chunk.Ring != ring || chunk.Part != part || chunk.Rate != want.rate || chunk.Last != (part == want.parts-1) {
				t.Errorf("part %d is %+v, %v", part, chunk, err)
			}
			size += len(raw)
		}
		if size != want.bytes {
			t.Errorf("%d bytes of sound, want %d", size, want.bytes)
		}
	}
	if _, err := c.Invoke(t.Context(), "understand", []byte(`{"text":"42"}`)); err != nil {
		t.Fatal(err)
	}
	v, err := c.Read(t.Context(), "understood")
	if err != nil || string(v.Body) != `"42"` {
		t.Errorf("understood is %s, %v", v.Body, err)
	}
	if len(ramp(48000, 48000).chunks()) != 2 || ramp(48000, 48000).chunks()[0].Rate != 24000 {
		t.Error("a second of 48,000 samples is not halved")
	}
	if _, err := New(Config{Sounds: fstest.MapFS{}}); err == nil {
		t.Error("a doorbell without a sound")
	}
}

func TestWAV(t *testing.T) {
	good := ramp(8000, 10).WAV()
	s, err := ParseWAV(good)
	if err != nil || s.Rate != 8000 || len(s.Samples) != 10 || s.Samples[9] != 9 {
		t.Fatalf("%+v, %v", s, err)
	}
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, data := range map[string][]byte{
		"nothing": nil, "no RIFF": change(0, 'X'), "no PCM": change(20, 3), "no channel": change(22, 0), "8 bits": change(34, 8),
		"cut off": good[:len(good)-1], "no samples": good[:36], "too slow": change(25, 0),
	} {
		if _, err := ParseWAV(data); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzParseWAV(f *testing.F) {
	f.Add(ramp(8000, 10).WAV())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseWAV(data)
		if err == nil && (s.Rate < 4000 || s.Rate > 48000 || 2*len(s.Samples) > len(data)) {
			t.Errorf("%d samples at %d a second of %d bytes", len(s.Samples), s.Rate, len(data))
		}
	})
}
