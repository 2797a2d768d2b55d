package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/kindred-iot/kindred/thing"
)

// A download fetches a file of a thing. What has arrived lies beside where it is to be, in a file of its own that has
// the state of the thing's file in its name: another command goes on with it as long as that is the same.
//
//	         asked                       all there
//	part? ─────────▶ fetching ──────────────────────────▶ renamed
//	  ▲                 │ lost: goes on by itself
//	  └─────────────────┤ changed: begins anew, with another part
//	                    ▼ refused, lost for good, interrupted, disk full
//	                  part stays
type download struct {
	s              *session
	t              *thing.Client
	path           string // of the thing
	property, file string
	to             string
	shown          time.Time // when progress was shown last
}

// anew is how often a download begins anew because the file was changed meanwhile.
const anew = 3

// download fetches a file that a property of a thing lists, to a file or, where to is empty, to standard output.
func (s *session) download(ctx context.Context, t *thing.Client, path, property, file, to string) error {
	d := &download{s: s, t: t, path: path, property: property, file: file, to: to}
	t.Healing.Lost = func(error) { d.say("The connection was lost; trying again.") }
	t.Healing.Back = func() { d.say("The connection is back.") }
	if to == "" {
		return d.pipe(ctx)
	}
	if info, err := os.Stat(to); err == nil && !info.Mode().IsRegular() {
		return usage("-o: %s is there, and no file", to)
	}
	state, err := t.Stat(ctx, property, file)
	for range anew {
		if err != nil {
			return err
		}
		if err = d.fetch(ctx, state); err == nil {
			return nil
		}
		if !errors.Is(err, thing.ErrChanged) {
			return err
		}
		d.say("%s was changed meanwhile; beginning anew.", file)
		state, err = t.Stat(ctx, property, file)
	}
	return conflict("%s changes faster than it can be fetched", file)
}

// pipe writes the file to standard output.
func (d *download) pipe(ctx context.Context) error {
	if d.s.outTerm || d.s.json {
		return hinted(usage("this is a file, nothing for a terminal or a line of JSON"), "-o FILE writes it to a file, and a pipe takes it")
	}
	from, err := d.t.Fetch(ctx, d.property, d.file, thing.FileState{}, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	_, err = io.Copy(d.s.out, from)
	return err
}

// fetch fetches what is missing of the file in one state, and gives it its name.
func (d *download) fetch(ctx context.Context, state thing.FileState) (err error) {
	part := d.part(state)
	f, err := openPart(part)
	if err != nil {
		return full(err, d.to)
	}
	keep := true
	defer func() {
		err = errors.Join(err, f.Close())
		if !keep {
			err = errors.Join(err, os.Remove(part))
		}
	}()
	there, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if there > state.Size || state.ETag == "" {
		if err := f.Truncate(0); err != nil {
			return err
		}
		there, err = f.Seek(0, io.SeekStart)
	}
	if err == nil && there < state.Size {
		there, err = d.rest(ctx, f, state, there)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(part, d.to)
	}
	if err == nil {
		err = d.tidy()
	}
	keep = !errors.Is(err, thing.ErrChanged)
	if err != nil {
		return d.failed(err, part, there, state.Size)
	}
	d.say("%s: %s, %s", d.to, state.ContentType, size(state.Size))
	if d.s.json {
		return d.s.object(map[string]any{"file": d.to, "contentType": state.ContentType, "size": state.Size})
	}
	return nil
}

// rest fetches what comes after what is there, and returns how much is there then.
func (d *download) rest(ctx context.Context, f *os.File, state thing.FileState, there int64) (int64, error) {
	from, err := d.t.Fetch(ctx, d.property, d.file, state, there)
	if err != nil {
		return there, err
	}
	defer from.Close()
	if from.ETag != state.ETag || from.Offset != there || from.Size != state.Size {
		return there, thing.ErrChanged
	}
	if there > 0 {
		d.say("Going on after %s of %s.", size(there), size(state.Size))
	}
	n, err := io.Copy(f, progress{d, from})
	d.clear()
	return there + n, err
}

// failed says what a download that failed leaves behind.
func (d *download) failed(err error, part string, there, whole int64) error {
	switch {
	case errors.Is(err, thing.ErrChanged):
		return err
	case errors.Is(err, syscall.ENOSPC):
		return &failure{
			Code: "disk-full", exit: exitFailed, cause: err,
			Message: fmt.Sprintf("the disk is full: %s of %s are in %s", size(there), size(whole), part),
			Hint:    "make room and repeat the command: it goes on from there",
		}
	case there > 0 && (errors.Is(err, thing.ErrLost) || errors.Is(err, context.Canceled)):
		return hinted(d.s.unreached(err, d.path), fmt.Sprintf("repeat the command: it goes on after %s", size(there)))
	}
	return err
}

// partSum is how many bytes name the state that a part is of.
const partSum = 6

// part names the file for what has arrived of one state of the file.
func (d *download) part(state thing.FileState) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s\n%d", d.t.Base, d.property, d.file, state.ETag, state.Size))
	return fmt.Sprintf("%s.%x.part", d.to, sum[:partSum])
}

// tidy removes what had arrived of earlier states of the file.
func (d *download) tidy() error {
	folder, name := filepath.Split(d.to)
	entries, err := os.ReadDir(filepath.Clean(folder + "."))
	for _, e := range entries {
		middle, ok := strings.CutPrefix(e.Name(), name+".")
		middle, ok2 := strings.CutSuffix(middle, ".part")
		if sum, herr := hex.DecodeString(middle); ok && ok2 && herr == nil && len(sum) == partSum {
			err = errors.Join(err, os.Remove(filepath.Join(folder, e.Name())))
		}
	}
	return err
}

// openPart opens the file for what has arrived, for this command alone.
func openPart(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(conflict("another command fetches %s", name), f.Close())
	}
	return f, nil
}

// full says that a disk is full, where it is.
func full(err error, where string) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return &failure{Code: "disk-full", Message: "the disk is full at " + where, Hint: "make room and repeat the command", exit: exitFailed, cause: err}
}

// progress shows how far a download came, where somebody is looking.
type progress struct {
	d    *download
	from *thing.Download
}

const showEvery = 200 * time.Millisecond

// Read reads on, and shows it.
func (p progress) Read(b []byte) (int, error) {
	n, err := p.from.Read(b)
	if now := time.Now(); p.d.s.errTerm && !p.d.s.json && now.Sub(p.d.shown) > showEvery {
		p.d.shown = now
		fmt.Fprintf(p.d.s.raw(), "\r\x1b[K%s: %s of %s", oneLine(p.d.file), size(p.from.Offset), size(p.from.Size))
	}
	return n, err
}

// clear takes the progress off the terminal.
func (d *download) clear() {
	if !d.shown.IsZero() {
		fmt.Fprint(d.s.raw(), "\r\x1b[K")
	}
	d.shown = time.Time{}
}

// say tells the user something, on a line of its own.
func (d *download) say(format string, args ...any) {
	d.clear()
	d.s.say(format, args...)
}

// listing writes a list of files for people; false if the value is none.
func listing(raw []byte, now time.Time) (string, bool) {
	var files []thing.File
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&files); err != nil || len(files) == 0 {
		return "", false
	}
	var rows [][]string
	for _, f := range files {
		if !fs.ValidPath(f.Name) {
			return "", false
		}
		rows = append(rows, []string{f.Name, size(f.Size), stamp(f.Modified, now)})
	}
	return table(rows), true
}
