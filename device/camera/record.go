package camera

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/kindred-iot/kindred/thing"
)

// RecordedAs is the media type of a recording: JPEG pictures, one after the
// other, each as often as it was new.
const RecordedAs = "video/x-motion-jpeg"

// Record hands what is seen, in recordings of a length, which is above zero, to
// keep, until ctx ends. A picture that stays is recorded once. A camera that sees
// nothing for a while says so in the log, and goes on.
func (c *Camera) Record(ctx context.Context, length time.Duration, keep func(context.Context, thing.Recording), log *slog.Logger) {
	tape := &thing.Tape{
		Affordance: "picture", Type: RecordedAs, Ending: ".mjpeg", Every: length, Keep: keep, Now: c.cfg.Now,
		Join: func(pictures [][]byte) []byte { return bytes.Join(pictures, nil) },
	}
	done := make(chan struct{})
	go func() { defer close(done); tape.Run(ctx) }()
	defer func() { <-done }()
	tick := time.NewTicker(time.Duration(float64(time.Second) / c.cfg.PerSecond))
	defer tick.Stop()
	var last []byte
	blind := false
	for {
		picture, err := c.picture(ctx)
		if err != nil && !blind {
			log.Warn("nothing is recorded", "error", err)
		}
		blind = err != nil
		if err == nil && (last == nil || &picture[0] != &last[0]) {
			tape.Add(picture)
			last = picture
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
