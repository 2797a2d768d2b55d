package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/netlab"
	"github.com/kindred-iot/kindred/netlab/netlabtest"
)

// A rider is something long that the phone, in the hotel, has of the camera at home.
type rider interface {
	// goesOn waits until more came.
	goesOn()
	// unbroken checks that no connection under it was ever lost.
	unbroken()
	// arrives waits for its end, and checks what came.
	arrives()
}

// riding is what riders have in common: a command in a pipe, as a person has it.
type riding struct {
	j    *journey
	out  io.Reader
	kill func()

	mu   sync.Mutex
	said bytes.Buffer
}

// ride starts a command of the phone's.
func (j *journey) ride(args ...string) *riding {
	j.t.Helper()
	r := &riding{j: j}
	cmd := j.room.Command(j.t.Context(), j.program, append([]string{"--dir", filepath.Join(j.dir, "phone")}, args...)...)
	cmd.Stderr = r
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		j.t.Fatal(err)
	}
	r.out, r.kill = out, func() { _ = cmd.Process.Kill() } // it may have ended
	j.t.Cleanup(func() {
		r.kill()
		_ = cmd.Wait() // it was killed
		if j.t.Failed() {
			j.t.Logf("%q wrote:\n%s", args, r.wrote())
		}
	})
	return r
}

// Write takes what the command writes to standard error.
func (r *riding) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.Write(b)
}

func (r *riding) wrote() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.said.String()
}

func (r *riding) unbroken() {
	r.j.t.Helper()
	if said := r.wrote(); strings.Contains(said, "lost") {
		r.j.t.Errorf("a way that was there all the time was lost: %s", said)
	}
}

// Footage is pictures, one after the other, each read as soon as it is there.
type footage struct {
	*riding
	pictures chan error // of each, whether it is whole; closed behind the last
	whole    int
}

// freshPictures are more than can be under way, as they are read at once.
const freshPictures = 20

func (j *journey) footage(path string) *footage {
	j.t.Helper()
	f := &footage{riding: j.ride("watch", path, "picture"), pictures: make(chan error, 1<<16)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(f.pictures)
		for in := bufio.NewReader(f.out); ; {
			picture, err := readPicture(in)
			if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
				return
			}
			if err == nil {
				_, err = jpeg.Decode(bytes.NewReader(picture))
			}
			f.pictures <- err
		}
	}()
	j.t.Cleanup(func() { f.kill(); <-done }) // before the pipe is closed
	return f
}

// readPicture reads up to a JPEG's end, which is nowhere within those that the tests' cameras show.
func readPicture(in *bufio.Reader) (picture []byte, err error) {
	for !bytes.HasSuffix(picture, []byte{0xff, 0xd9}) {
		more, err := in.ReadBytes(0xd9)
		if picture = append(picture, more...); err != nil {
			return picture, err
		}
	}
	return picture, nil
}

func (f *footage) goesOn() {
	f.j.t.Helper()
	late := time.After(netlabtest.Patience)
	for n := len(f.pictures) + freshPictures; n > 0; n-- {
		select {
		case err, ok := <-f.pictures:
			if !ok || err != nil {
				f.j.t.Fatalf("after %d whole pictures comes one that is not, or none: %v", f.whole, err)
			}
			f.whole++
		case <-late:
			f.j.t.Fatalf("no more pictures come after %d", f.whole)
		}
	}
}

func (f *footage) arrives() {
	f.j.t.Helper()
	f.goesOn()
	f.j.t.Logf("%d whole pictures", f.whole)
}

// A cargo is a file on its way, which is read piece by piece, so that it does not arrive before its time.
type cargo struct {
	*riding
	sum  hash.Hash
	want [sha256.Size]byte
	read int64
}

// cargoSize is the length of the file, and piece how much of it is read at a time: so much that less is under way than is
// left after all that happens to it, at the pace of the relay.
const (
	cargoSize = 64 << 20
	piece     = 2 << 20
)

func (j *journey) cargo() *cargo {
	j.t.Helper()
	file := make([]byte, cargoSize)
	rand.NewChaCha8([32]byte{1}).Read(file)
	if err := os.WriteFile(filepath.Join(j.recordings(), "monday.mp4"), file, 0o600); err != nil {
		j.t.Fatal(err)
	}
	return &cargo{riding: j.ride("get", "home/camera", "recordings", "monday.mp4"), sum: sha256.New(), want: sha256.Sum256(file)}
}

func (j *journey) recordings() string { return filepath.Join(j.dir, "recordings") }

func (c *cargo) take(n int64) {
	c.j.t.Helper()
	patience := time.AfterFunc(netlabtest.Patience, c.kill)
	defer patience.Stop()
	got, err := io.CopyN(c.sum, c.out, n)
	if c.read += got; err != nil {
		c.j.t.Fatalf("no more comes after %d bytes of %d: %v", c.read, cargoSize, err)
	}
}

func (c *cargo) goesOn() { c.j.t.Helper(); c.take(piece) }

func (c *cargo) arrives() {
	c.j.t.Helper()
	for c.read < cargoSize {
		c.take(min(cargoSize-c.read, piece))
	}
	if n, err := io.Copy(io.Discard, c.out); n > 0 || err != nil {
		c.j.t.Errorf("%d bytes more than there are, %v", n, err)
	}
	if got := c.sum.Sum(nil); !bytes.Equal(got, c.want[:]) {
		c.j.t.Errorf("the file's SHA-256 is %x, not %x", got, c.want)
	}
}

// Whatever becomes of the way between camera and phone, a film goes on, picture by whole picture, and a download is the
// file, byte by byte. As long as there is any way, neither is broken off: it leaves a relay for a direct way by itself.
func TestOnTheMove(t *testing.T) {
	for name, start := range map[string]func(*journey) rider{
		"film":     func(j *journey) rider { return j.footage("home/camera") },
		"download": func(j *journey) rider { return j.cargo() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := travel(t, netlab.Cone, netlab.Cone)
			if err := os.Mkdir(j.recordings(), 0o700); err != nil {
				t.Fatal(err)
			}
			j.device(j.two, "camera", "home/camera", "camera", "--fps", "20", "--recordings", j.recordings())
			watched := j.hotel.Watch()
			r := start(j)
			r.goesOn()
			j.direct(watched, r)
			r.unbroken()
			began := time.Now()
			for _, tt := range []struct {
				name   string
				happen func()
				broken bool // the way that there was is no more
			}{
				{"the relay dies beside it", j.relay.Kill, false},
				{"UDP is dropped, and there is a relay", func() { j.startRelay(j.listening()); j.found(); j.hotel.DropUDP() }, true},
				{"the home's address changes, behind a relay", j.birch.ChangePublicAddress, true},
				{"the relay dies, and another takes its place", func() { j.relay.Kill(); j.startRelay(j.listening()) }, true},
				{"the phone gets elsewhere, where nothing is dropped", func() {
					watched = j.hotel.Watch()
					j.hotel.Unrestrict()
					j.hotel.ChangePublicAddress()
				}, true},
			} {
				tt.happen()
				r.goesOn()
				if !tt.broken {
					r.unbroken()
				}
				t.Logf("%v: %s", time.Since(began).Round(time.Millisecond), tt.name)
			}
			j.direct(watched, r)
			t.Logf("%v: it is direct again", time.Since(began).Round(time.Millisecond))
			r.arrives()
		})
	}
}

// muchMore is what nothing but a rider brings along.
const muchMore = 256 << 10

// direct waits until what a rider brings comes straight from home to hotel, as watched since before it could.
func (j *journey) direct(watched *netlabtest.Capture, r rider) {
	j.t.Helper()
	defer watched.Stop() // all that a rider brings would be too much to keep up with
	seen, brought := 0, 0
	watched.Until(fmt.Sprintf("of a connection from %s to %s", j.birch.PublicAddr(), j.hotel.PublicAddr()), j.straight)
	for deadline := time.Now().Add(netlabtest.Patience); brought < muchMore; {
		if time.Now().After(deadline) {
			j.t.Fatalf("there is a direct way, and %d bytes came on it", brought)
		}
		r.goesOn()
		packets := watched.Packets()
		for _, frame := range packets[seen:] {
			if p, ok := netlab.ParsePacket(frame); ok && j.straight(p) {
				brought += len(p.Data)
			}
		}
		seen = len(packets)
	}
}
