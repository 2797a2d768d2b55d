package camera

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/thing"
)

func TestRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte("\xff\xd8\xff" + text)} }
		var log strings.Builder
		c, err := New(Config{
			Pictures: fstest.MapFS{"1.jpg": file("a"), "2.jpg": file("b"), "3.jpg": {Data: []byte("GIF89a")}}, Every: 20 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		var kept []thing.Recording
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		keep := func(_ context.Context, r thing.Recording) { kept = append(kept, r) }
		c.Record(ctx, 50*time.Second, keep, slog.New(slog.NewTextHandler(&log, nil)))
		if len(kept) != 2 {
			t.Fatalf("%d recordings in a minute and a half, want 2", len(kept))
		}
		for i, r := range kept {
			if r.Affordance != "picture" || r.Type != RecordedAs || !strings.HasSuffix(r.Title, ".mjpeg") {
				t.Errorf("recording %d is %+v", i, r)
			}
			if n := bytes.Count(r.Content, []byte{0xff, 0xd8, 0xff}); n != 2 || bytes.Contains(r.Content, []byte("GIF")) {
				t.Errorf("recording %d has %d pictures: %q", i, n, r.Content)
			}
		}
		if n := strings.Count(log.String(), "not a JPEG"); n != 1 {
			t.Errorf("logged %d times: %s", n, log.String())
		}
	})
}
