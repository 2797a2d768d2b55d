package kindred_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/peer/peertest"
	"github.com/kindred-iot/kindred/thing"
)

// A studio is a thing with everything that lasts: events, a film, a file.
type studio struct {
	thing *thing.Thing
	takes thing.Source[int]
	clip  []byte
}

func newStudio(t *testing.T, size int) *studio {
	t.Helper()
	s := &studio{thing: thing.New("Studio"), clip: make([]byte, size)}
	rand.Read(s.clip)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "clip.mp4"), s.clip, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	s.takes = thing.Event[int](s.thing, "take", "A take was made")
	frames := 0
	var mu sync.Mutex
	thing.Media(s.thing, "picture", "The set", "image/jpeg", func(context.Context) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		frames++
		return fmt.Append(nil, frames), nil
	}).Live(50)
	thing.Files(s.thing, "clips", "What was made", root.FS())
	return s
}

func (s *studio) emit(t *testing.T, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := s.takes.Emit(i); err != nil {
			t.Fatal(err)
		}
	}
}

// A told notes what a client says of its connection.
type told struct {
	mu   sync.Mutex
	said []string
	lost chan struct{} // told of the first loss
}

func (l *told) on(c *thing.Client) *thing.Client {
	l.lost = make(chan struct{})
	say := func(what string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.said = append(l.said, what); len(l.said) == 1 {
			close(l.lost)
		}
	}
	c.Healing.Lost = func(error) { say("lost") }
	c.Healing.Back = func() { say("back") }
	return c
}

func (l *told) check(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if want := []string{"lost", "back"}; !slices.Equal(l.said, want) {
		t.Errorf("was told %q, want %q", l.said, want)
	}
}

// A path that is cut in the middle of an event stream, a film and a download, and comes back: each goes on where it was.
func TestPathIsCut(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/studio", "", "127.0.0.1:0")
	s := newStudio(t, 24<<20)
	h.Serve(device, s.thing)
	tap := peertest.NewTap(t, device.Addresses())
	client := func(l *told) *thing.Client { return l.on(through(t, laptop, device, tap.Address())) }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()

	var toldEvents, toldFrames, toldFile told
	events, err := client(&toldEvents).Subscribe(ctx, "take", "")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	s.emit(t, 1, 3)
	takes := func(from, to int) {
		t.Helper()
		for i := from; i <= to; i++ {
			if e, err := events.Next(); err != nil || string(e.Data) != fmt.Sprint(i) {
				t.Fatalf("event %s, %v, want %d", e.Data, err, i)
			}
		}
	}
	takes(1, 3)
	film, err := client(&toldFrames).Frames(ctx, "picture")
	if err != nil {
		t.Fatal(err)
	}
	defer film.Close()
	frame := func() (n int) {
		t.Helper()
		v, err := film.Next()
		if err == nil {
			_, err = fmt.Sscan(string(v.Body), &n)
		}
		if err != nil {
			t.Errorf("the film: %v", err)
			cancel() // and nothing goes on
		}
		return n
	}
	seen := frame()
	file, err := client(&toldFile).Fetch(ctx, "clips", "clip.mp4", thing.FileState{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	got := make([]byte, len(s.clip))
	if _, err := io.ReadFull(file, got[:1<<20]); err != nil {
		t.Fatal(err)
	}

	tap.Cut.Store(true)
	s.emit(t, 4, 6) // while nobody hears
	var reading sync.WaitGroup
	reading.Go(func() {
		if _, err := io.ReadFull(file, got[1<<20:]); err != nil {
			t.Errorf("the download after %d bytes: %v", file.Offset, err)
		}
	})
	reading.Go(func() {
		for range 20 {
			n := frame()
			if n <= seen {
				t.Errorf("frame %d after %d", n, seen)
			}
			seen = n
		}
		for toldFrames.isWhole() && ctx.Err() == nil {
			frame()
		}
	})
	// One who listens alone would notice when QUIC asks for a sign of life; a request makes it at once.
	soon, stop := context.WithTimeout(ctx, 10*time.Second)
	if _, err := client(&told{}).Read(soon, "clips"); err == nil {
		t.Error("something came through a path that is cut")
	}
	stop()
	<-toldFile.lost
	<-toldFrames.lost
	tap.Cut.Store(false)

	takes(4, 6)
	s.emit(t, 7, 7)
	takes(7, 7)
	reading.Wait()
	if !bytes.Equal(got, s.clip) {
		t.Error("the file that was fetched is another one")
	}
	for _, l := range []*told{&toldEvents, &toldFrames, &toldFile} {
		l.check(t)
	}
}

// isWhole reports whether nothing was lost yet.
func (l *told) isWhole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.said) < 2
}

// through returns a client for a member by a given address.
func through(t *testing.T, n, to *kindred.Node, address string) *thing.Client {
	t.Helper()
	_, key, _ := bytes.Cut([]byte(to.Addresses()[0]), []byte("/p2p/"))
	host, port, _ := bytes.Cut([]byte(address), []byte(":"))
	at, err := n.At(to.Self().ID, fmt.Sprintf("/ip4/%s/udp/%s/quic-v1/p2p/%s", host, port, key))
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return n.Client(base)
}

// A thing that is started anew at another port is found there, and an observer is told how it is now.
func TestThingMoves(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/studio", "", "127.0.0.1:0")
	light := "off"
	lit := func() *thing.Thing {
		th := thing.New("Studio")
		thing.Property(th, "light", "The red light", func(context.Context) (string, error) { return light, nil }).Observable()
		return th
	}
	h.Serve(device, lit())
	client, err := laptop.Thing(t.Context(), "home/studio")
	if err != nil {
		t.Fatal(err)
	}
	var heard told
	values, err := heard.on(client).Observe(t.Context(), "light", "")
	if err != nil {
		t.Fatal(err)
	}
	defer values.Close()
	want := func(want string) {
		t.Helper()
		if e, err := values.Next(); err != nil || string(e.Data) != want {
			t.Fatalf("the light is %s, %v; want %s", e.Data, err, want)
		}
	}
	want(`"off"`)
	before := device.Addresses()
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	light = "on"
	device = h.Open("studio", "127.0.0.1:0")
	if slices.Equal(before, device.Addresses()) {
		t.Fatal("it is where it was")
	}
	h.Serve(device, lit())
	want(`"on"`)
	heard.check(t)
}

// A download and a film end at once when the right to them does, in the middle.
func TestLastingUsesEndWithTheirRight(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/studio", "", "127.0.0.1:0")
	s := newStudio(t, 64<<20)
	h.Serve(device, s.thing)
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	_, target := h.Share(laptop, "sam/anna", "home/studio", grant.Terms{Actions: grant.See, Moments: grant.Moments{From: 1}})
	client, err := anna.Thing(t.Context(), "home/studio")
	if err != nil {
		t.Fatal(err)
	}
	film, err := client.Frames(t.Context(), "picture")
	if err != nil {
		t.Fatal(err)
	}
	defer film.Close()
	file, err := client.Fetch(t.Context(), "clips", "clip.mp4", thing.FileState{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := io.CopyN(io.Discard, file, 1<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := laptop.Revoke(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(io.Discard, file)
	for what, err := range map[string]error{"download": err, "film": lastOf(film)} {
		var p *thing.Problem
		if !errors.As(err, &p) || p.Status != 403 {
			t.Errorf("the %s ended with %v", what, err)
		}
	}
	if file.Offset == file.Size {
		t.Error("the download went on to its end")
	}
	// Of both the thing's journal tells that they began and that they were ended; the download began with a read.
	if err := device.Journal().Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	items, err := device.Journal().Query(t.Context(), journal.Filter{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	wrote := map[string]bool{}
	for _, i := range items {
		wrote[fmt.Sprintf("%s %s %s, %s", i.Entry.Op, i.Entry.Affordance, i.Entry.Outcome, i.Entry.Reason)] = true
	}
	for _, want := range []string{
		"observe picture served, ", "observe picture ended, access was taken away", "read clips served, ", "read clips ended, access was taken away",
	} {
		if !wrote[want] {
			t.Errorf("not in the journal: %s\n%v", want, wrote)
		}
	}
}

// lastOf reads a film to its end.
func lastOf(film *thing.Frames) error {
	for {
		if _, err := film.Next(); err != nil {
			return err
		}
	}
}
