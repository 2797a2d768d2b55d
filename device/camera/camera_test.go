package camera

import (
	"bytes"
	"image/jpeg"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/thing/thingtest"
)

// shot serves a camera and takes a picture through its thing.
func shot(t *testing.T, c *Camera) ([]byte, error) {
	t.Helper()
	server := httptest.NewServer(c.Thing().Handler(func(*http.Request, thing.Op, string) error { return nil }))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	v, err := (&thing.Client{Base: base}).Read(t.Context(), "picture")
	if err == nil && v.ContentType != "image/jpeg" {
		t.Errorf("content type %q", v.ContentType)
	}
	return v.Body, err
}

func TestDrawnPictureShowsTheTime(t *testing.T) {
	now := time.Date(2026, 11, 22, 14, 5, 9, 0, time.UTC)
	c, err := New(Config{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := shot(t, c)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := jpeg.Decode(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	// Read the dots of the clock back out of the picture.
	var read strings.Builder
	for i := range len("15:04:05") {
		x0 := (width-(4*8-1)*dot)/2 + 4*dot*i
		var rows [5]uint8
		for row := range rows {
			for column := range 3 {
				if r, _, _, _ := picture.At(x0+column*dot+dot/2, 410+row*dot+dot/2).RGBA(); r > 0x8000 {
					rows[row] |= 4 >> column
				}
			}
		}
		for r, glyph := range glyphs {
			if glyph == rows {
				read.WriteRune(r)
			}
		}
	}
	if read.String() != "14:05:09" {
		t.Errorf("the picture shows %q, want 14:05:09", read.String())
	}

	same, _ := shot(t, c)
	now = now.Add(time.Second)
	other, _ := shot(t, c)
	if !bytes.Equal(same, raw) || bytes.Equal(other, raw) {
		t.Error("the picture does not change with the second alone")
	}
}

func TestPicturesTakeTurns(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte("\xff\xd8\xff" + text)} }
	now := time.Unix(0, 0)
	c, err := New(Config{
		Pictures: fstest.MapFS{"a.jpg": file("a"), "b.JPEG": file("b"), "notes.txt": file("no"), "c.jpg": {Data: []byte("GIF89a")}},
		Every:    time.Minute,
		Now:      func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\xff\xd8\xffa", "\xff\xd8\xffb"} {
		if got, err := shot(t, c); err != nil || string(got) != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
		now = now.Add(time.Minute)
	}
	_, err = shot(t, c)
	if want := `thing: readproperty "picture": camera: reading picture "c.jpg": not a JPEG`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Config{Pictures: fstest.MapFS{}}); err == nil {
		t.Error("a folder without pictures was taken")
	}
	if _, err := New(Config{Pictures: os.DirFS(t.TempDir() + "/missing")}); err == nil {
		t.Error("a missing folder was taken")
	}
}

func TestDescriptionIsValid(t *testing.T) {
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	thingtest.Valid(t, c.Thing().Describe())
}

// However many look, and however often, a picture is drawn or read once, and whoever is shown it gets the same bytes.
func TestPicturesAreMadeOnce(t *testing.T) {
	now := time.Date(2026, 11, 22, 14, 5, 9, 0, time.UTC)
	opened := 0
	folder := counting{fstest.MapFS{"a.jpg": {Data: []byte("\xff\xd8\xffa")}}, &opened}
	for name, cfg := range map[string]Config{"drawn": {}, "read": {Pictures: folder, Every: time.Second}} {
		cfg.Now = func() time.Time { return now }
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		opened = 0
		first, err := c.picture(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if again, err := c.picture(t.Context()); err != nil || &again[0] != &first[0] {
				t.Fatalf("%s: made anew within a second, %v", name, err)
			}
		}
		now = now.Add(time.Second)
		if other, err := c.picture(t.Context()); err != nil || &other[0] == &first[0] {
			t.Errorf("%s: not made anew a second later, %v", name, err)
		}
		if want := map[string]int{"drawn": 0, "read": 2}[name]; opened != want {
			t.Errorf("%s: a file was opened %d times for two turns, want %d", name, opened, want)
		}
	}
}

// counting counts how often files are opened.
type counting struct {
	fstest.MapFS
	opened *int
}

func (c counting) Open(name string) (fs.File, error) {
	*c.opened++
	return c.MapFS.Open(name)
}

func TestRates(t *testing.T) {
	for rate, good := range map[float64]bool{0: true, 0.1: true, MaxPerSecond: true, MaxPerSecond + 1: false, -1: false, math.NaN(): false} {
		if _, err := New(Config{PerSecond: rate}); (err == nil) != good {
			t.Errorf("%v pictures a second: %v", rate, err)
		}
	}
}
