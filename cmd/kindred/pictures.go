package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"time"

	"github.com/kindred-iot/kindred/thing"
)

// picture is a line of "watch" for a picture: with the file that it is in, or its bytes.
type picture struct {
	Name        string    `json:"name"`
	Time        time.Time `json:"time"` // when it arrived
	ContentType string    `json:"contentType"`
	Size        int       `json:"size"`
	File        string    `json:"file,omitempty"`
	Data        string    `json:"data,omitempty"` // base64
}

// pictures follows a film: into files of a folder, as lines of JSON, or one picture after the other into a pipe.
func (f following) pictures(ctx context.Context, t *thing.Client) error {
	if f.folder == "" && !f.s.json && f.s.outTerm {
		return hinted(usage("these are pictures, nothing for a terminal"), "-o FOLDER writes them to files, and a pipe takes them")
	}
	if f.folder != "" {
		if err := os.MkdirAll(f.folder, 0o700); err != nil {
			return err
		}
	}
	film, err := t.Frames(ctx, f.name)
	if err != nil {
		return err
	}
	defer film.Close()
	var before []byte
	for n := 0; f.count == 0 || n < f.count; {
		v, err := film.Next()
		if err != nil {
			return err
		}
		if f.folder != "" && bytes.Equal(v.Body, before) {
			continue
		}
		before = v.Body
		if err := f.put(v, time.Now().UTC()); err != nil {
			return err
		}
		n++
	}
	return nil
}

// put passes a picture on.
func (f following) put(v thing.Value, now time.Time) error {
	p := picture{Name: f.name, Time: now, ContentType: v.ContentType, Size: len(v.Body)}
	switch {
	case f.folder != "":
		p.File = filepath.Join(f.folder, f.name+now.Format("-20060102T150405.000000")+ending(v.ContentType))
		if err := writeFile(p.File, v.Body); err != nil {
			return full(err, f.folder)
		}
		return f.s.print(p, p.File)
	case f.s.json:
		p.Data = base64.StdEncoding.EncodeToString(v.Body)
		return f.s.object(p)
	}
	_, err := f.s.out.Write(v.Body)
	return err
}

// ending is how the names of files of a media type end.
func ending(contentType string) string {
	switch contentType {
	case "image/jpeg":
		return ".jpg"
	case "image/png":
		return ".png"
	}
	return ".bin"
}
