// Package camera is a ready-made thing: a camera, whose property "picture" is
// what it sees now, a JPEG. To observe it is to see a film: a JPEG after the
// other, as the parts of an MJPEG stream. A camera that keeps recordings lists
// them in "recordings", from where each can be fetched, whole or in part.
//
// It has no lens. It shows the pictures of a folder, each for some seconds, or
// draws one with the time, so that it can be told whether a picture is fresh.
package camera

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/kindred-iot/kindred/thing"
)

// Config says what a camera sees.
type Config struct {
	// Pictures holds JPEG files, ending in .jpg or .jpeg, to show in the order of
	// their names; nil draws the time.
	Pictures fs.FS
	// Every is how long each file is shown; zero means ten seconds.
	Every time.Duration
	// PerSecond is how many pictures a second observers are sent at most; zero
	// means five.
	PerSecond float64
	// Recordings is the folder of what was recorded, see [thing.Files]; nil: there
	// is none.
	Recordings fs.FS
	// Longest is how long the recording of a file lasted at most, see
	// [thing.FilesProp.Longest]; zero means DefaultLongest.
	Longest time.Duration
	// Now is the camera's clock; nil means time.Now.
	Now func() time.Time
}

// DefaultLongest is how long a recording may be where nothing is said.
const DefaultLongest = time.Hour

// The pictures a second that a camera may send, and those where nothing is said.
const (
	MaxPerSecond     = 30
	DefaultPerSecond = 5
)

// Camera is a camera. Its methods may be called from any goroutine.
type Camera struct {
	thing *thing.Thing
	cfg   Config
	names []string // of the pictures; none: draw

	mu   sync.Mutex
	seen []byte // the last picture drawn or read, not changed later
	turn int64  // that it is the picture of; see picture
}

// New returns a camera. It fails where there are to be pictures and are none.
// Pictures are read when they are shown.
func New(cfg Config) (*Camera, error) {
	if cfg.Every <= 0 {
		cfg.Every = 10 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Longest == 0 {
		cfg.Longest = DefaultLongest
	}
	if cfg.Longest < 0 {
		return nil, fmt.Errorf("camera: recordings of at most %v", cfg.Longest)
	}
	if cfg.PerSecond == 0 {
		cfg.PerSecond = DefaultPerSecond
	}
	if !(cfg.PerSecond > 0 && cfg.PerSecond <= MaxPerSecond) {
		return nil, fmt.Errorf("camera: %v pictures a second, want more than 0 and at most %d", cfg.PerSecond, MaxPerSecond)
	}
	c := &Camera{thing: thing.New("Camera"), cfg: cfg}
	if cfg.Pictures != nil {
		if err := c.list(); err != nil {
			return nil, fmt.Errorf("camera: listing pictures: %w", err)
		}
	}
	thing.Media(c.thing, "picture", "What the camera sees now", "image/jpeg", c.picture).Live(cfg.PerSecond)
	if cfg.Recordings != nil {
		thing.Files(c.thing, "recordings", "What the camera recorded", cfg.Recordings).Longest(cfg.Longest)
	}
	return c, nil
}

// Thing gives the camera as it is served.
func (c *Camera) Thing() *thing.Thing { return c.thing }

func (c *Camera) list() error {
	entries, err := fs.ReadDir(c.cfg.Pictures, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch strings.ToLower(path.Ext(e.Name())) {
		case ".jpg", ".jpeg":
			c.names = append(c.names, e.Name())
		}
	}
	if len(c.names) == 0 {
		return fmt.Errorf("no file ends in .jpg or .jpeg")
	}
	return nil
}

// picture gives what is seen now. Each picture is drawn, or read, once for all who look.
func (c *Camera) picture(context.Context) ([]byte, error) {
	now := c.cfg.Now()
	every := c.cfg.Every
	if len(c.names) == 0 {
		every = time.Second
	}
	turn := now.UnixNano() / int64(every)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen != nil && c.turn == turn {
		return c.seen, nil
	}
	picture, err := c.take(now, turn)
	if err != nil {
		return nil, err
	}
	c.seen, c.turn = picture, turn
	return picture, nil
}

// take draws a picture, or reads the one whose turn it is.
func (c *Camera) take(now time.Time, turn int64) ([]byte, error) {
	if len(c.names) == 0 {
		drawn, err := drawTime(now.Truncate(time.Second))
		if err != nil {
			return nil, fmt.Errorf("camera: drawing: %w", err)
		}
		return drawn, nil
	}
	name := c.names[turn%int64(len(c.names))]
	picture, err := c.load(name)
	if err != nil {
		return nil, fmt.Errorf("camera: reading picture %q: %w", name, err)
	}
	return picture, nil
}

// load reads a picture, and refuses what is none: a file's name is no promise.
func (c *Camera) load(name string) ([]byte, error) {
	f, err := c.cfg.Pictures.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	picture, err := io.ReadAll(io.LimitReader(f, thing.MaxValue+1))
	if err != nil {
		return nil, err
	}
	if len(picture) > thing.MaxValue {
		return nil, fmt.Errorf("more than %d bytes", thing.MaxValue)
	}
	if !bytes.HasPrefix(picture, []byte{0xff, 0xd8, 0xff}) {
		return nil, fmt.Errorf("not a JPEG")
	}
	return picture, nil
}
