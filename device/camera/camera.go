// Package camera is a ready-made thing: a camera, whose property "picture" is
// what it sees now, a JPEG.
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
	// Now is the camera's clock; nil means time.Now.
	Now func() time.Time
}

// Camera is a camera. Its methods may be called from any goroutine.
type Camera struct {
	thing *thing.Thing
	cfg   Config
	names []string // of the pictures; none: draw

	mu    sync.Mutex
	drawn []byte    // the last picture drawn, not changed later
	at    time.Time // the second that it shows
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
	c := &Camera{thing: thing.New("Camera"), cfg: cfg}
	if cfg.Pictures != nil {
		if err := c.list(); err != nil {
			return nil, fmt.Errorf("camera: listing pictures: %w", err)
		}
	}
	thing.Media(c.thing, "picture", "What the camera sees now", "image/jpeg", c.picture)
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

// picture gives what is seen now.
func (c *Camera) picture(context.Context) ([]byte, error) {
	now := c.cfg.Now()
	if len(c.names) == 0 {
		return c.draw(now)
	}
	turn := now.UnixNano() / int64(c.cfg.Every) % int64(len(c.names))
	picture, err := c.load(c.names[turn])
	if err != nil {
		return nil, fmt.Errorf("camera: reading picture %q: %w", c.names[turn], err)
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

// draw gives a picture of the time, drawn at most once a second.
func (c *Camera) draw(now time.Time) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if second := now.Truncate(time.Second); c.drawn == nil || !second.Equal(c.at) {
		drawn, err := drawTime(second)
		if err != nil {
			return nil, fmt.Errorf("camera: drawing: %w", err)
		}
		c.drawn, c.at = drawn, second
	}
	return c.drawn, nil
}
