package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/thing/thingtest"
)

// A library serves one file, clip.mp4.
type library struct {
	*thing.Client
	file    *fstest.MapFile
	ranges  []string                                      // that were asked for
	meddled func(http.ResponseWriter) http.ResponseWriter // with an answer; nil: with none
}

func newLibrary(t *testing.T, size int) *library {
	t.Helper()
	l := &library{file: &fstest.MapFile{Data: make([]byte, size), ModTime: time.Unix(1e9, 0)}}
	rand.Read(l.file.Data)
	th := thing.New("Library")
	thing.Files(th, "clips", "What there is", fstest.MapFS{"clip.mp4": l.file})
	h := th.Handler(func(*http.Request, thing.Op, string) error { return nil })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.ranges = append(l.ranges, r.Header.Get("Range"))
		if l.meddled != nil {
			w = l.meddled(w)
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	apart := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // as two commands are
	l.Client = &thing.Client{HTTP: apart, Base: base, Healing: thing.Healing{For: -1}}
	return l
}

// parts lists what lies in a folder.
func parts(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (l *library) check(t *testing.T, to string) {
	t.Helper()
	if got, err := os.ReadFile(to); err != nil || !bytes.Equal(got, l.file.Data) {
		t.Errorf("%d bytes are there, %v", len(got), err)
	}
	if names := parts(t, filepath.Dir(to)); !slices.Equal(names, []string{filepath.Base(to)}) {
		t.Errorf("left behind: %q", names)
	}
}

func TestDownloadGoesOn(t *testing.T) {
	l := newLibrary(t, 100_000)
	to := filepath.Join(t.TempDir(), "c.mp4")
	if err := os.WriteFile(to, []byte("what was there"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.meddled = func(w http.ResponseWriter) http.ResponseWriter { return thingtest.Cut(w, 60_000) }
	s, _, stderr := talk()
	if err := s.download(t.Context(), l.Client, "home/bell", "clips", "clip.mp4", to); err == nil {
		t.Fatal("a download that was cut is said to be done")
	}
	if got, err := os.ReadFile(to); err != nil || string(got) != "what was there" {
		t.Errorf("what was there before is %q, %v", got, err)
	}
	if names := parts(t, filepath.Dir(to)); len(names) != 2 {
		t.Errorf("there is %q", names)
	}

	l.meddled, l.ranges = nil, nil
	if err := s.download(t.Context(), l.Client, "home/bell", "clips", "clip.mp4", to); err != nil {
		t.Fatal(err)
	}
	l.check(t, to)
	if want := []string{"bytes=0-0", "bytes=60000-"}; !slices.Equal(l.ranges, want) {
		t.Errorf("asked for %q, want %q", l.ranges, want)
	}
	if !strings.Contains(stderr.String(), "Going on after 60 kB of 100 kB.\n") || !strings.HasSuffix(stderr.String(), "c.mp4: video/mp4, 100 kB\n") {
		t.Errorf("said %q", stderr)
	}
}

// Between two commands, and in the middle of one, a file that was changed is fetched anew, and nothing is mixed.
func TestDownloadOfAChangedFile(t *testing.T) {
	for name, healing := range map[string]time.Duration{"between": -1, "in the middle": 0} {
		t.Run(name, func(t *testing.T) {
			l := newLibrary(t, 100_000)
			to := filepath.Join(t.TempDir(), "c.mp4")
			change := func() { l.file.Data[0]++; l.file.ModTime = l.file.ModTime.Add(time.Second) }
			cut := true
			l.meddled = func(w http.ResponseWriter) http.ResponseWriter {
				if len(l.ranges) != 2 || !cut {
					if len(l.ranges) == 3 && healing == 0 {
						change()
					}
					return w
				}
				return thingtest.Cut(w, 60_000)
			}
			l.Healing.For = healing
			s, _, stderr := talk()
			err := s.download(t.Context(), l.Client, "home/bell", "clips", "clip.mp4", to)
			if healing < 0 {
				if err == nil {
					t.Fatal("a download that was cut is said to be done")
				}
				change()
				cut = false
				err = s.download(t.Context(), l.Client, "home/bell", "clips", "clip.mp4", to)
			} else if !strings.Contains(stderr.String(), "clip.mp4 was changed meanwhile; beginning anew.\n") {
				t.Errorf("said %q", stderr)
			}
			if err != nil {
				t.Fatal(err)
			}
			l.check(t, to)
		})
	}
}

func TestDownloadInterrupted(t *testing.T) {
	l := newLibrary(t, 1<<20)
	to := filepath.Join(t.TempDir(), "c.mp4")
	ctx, cancel := context.WithCancel(t.Context())
	plain := l.HTTP.Transport
	l.HTTP.Transport = &readUpTo{RoundTripper: plain, left: 1 << 19, then: cancel}
	s, _, _ := talk()
	err := s.download(ctx, l.Client, "home/bell", "clips", "clip.mp4", to)
	f := explain(err)
	if f.Code != "interrupted" || !strings.HasPrefix(f.Hint, "repeat the command: it goes on after ") {
		t.Errorf("%+v", f)
	}
	l.HTTP.Transport = plain
	if err := s.download(t.Context(), l.Client, "home/bell", "clips", "clip.mp4", to); err != nil {
		t.Fatal(err)
	}
	l.check(t, to)
}

// readUpTo calls then once so many bytes of answers were read.
type readUpTo struct {
	http.RoundTripper
	left int
	then func()
}

func (u *readUpTo) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := u.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = &counted{resp.Body, u}
	}
	return resp, err
}

type counted struct {
	io.ReadCloser
	upTo *readUpTo
}

func (c *counted) Read(p []byte) (int, error) {
	if c.upTo.left < 0 { // whatever is on its way still
		return 0, context.Canceled
	}
	n, err := c.ReadCloser.Read(p)
	if c.upTo.left -= n; c.upTo.left < 0 {
		c.upTo.then()
	}
	return n, err
}

func TestDownloadToAFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("a small disk takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	l := newLibrary(t, 100_000)
	to := filepath.Join(disk, "c.mp4")
	if err := os.WriteFile(to, []byte("what was there"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, _ := talk()
	err := s.download(t.Context(), l.Client, "home/bell", "clips", "clip.mp4", to)
	f := explain(err)
	if f.Code != "disk-full" || f.exit != exitFailed || !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(f.Message, "the disk is full: 61 kB of 100 kB are in "+to) {
		t.Errorf("%+v", f)
	}
	if got, err := os.ReadFile(to); err != nil || string(got) != "what was there" {
		t.Errorf("what was there before is %q, %v", got, err)
	}
	if err := syscall.Mount("", disk, "tmpfs", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	if err := s.download(t.Context(), l.Client, "home/bell", "clips", "clip.mp4", to); err != nil {
		t.Fatal(err)
	}
	l.check(t, to)
}

func TestDownloadOnATerminal(t *testing.T) {
	l := newLibrary(t, 100_000)
	s, _, stderr := talk()
	s.errTerm, s.outTerm = true, true
	if err := s.download(t.Context(), l.Client, "home/bell", "clips", "clip.mp4", filepath.Join(t.TempDir(), "c")); err != nil {
		t.Fatal(err)
	}
	if got := stderr.String(); !strings.HasPrefix(got, "\r\x1b[Kclip.mp4: ") || !strings.Contains(got, " of 100 kB") || !strings.Contains(got, "\r\x1b[K") || !strings.HasSuffix(got, "/c: video/mp4, 100 kB\n") {
		t.Errorf("showed %q", got)
	}
	if f := explain(s.download(t.Context(), l.Client, "home/bell", "clips", "clip.mp4", "")); f.exit != exitUsage {
		t.Errorf("a file went to a terminal: %+v", f)
	}
}

func TestListing(t *testing.T) {
	for raw, want := range map[string]string{
		`[{"name":"a.mp4","size":1500,"modified":"2026-11-28T11:00:00Z"}]`:      "a.mp4  1.5 kB  12:00\n",
		`[{"name":"a\n\u001b[2Jb","size":1,"modified":"2026-11-28T11:00:00Z"}]`: "a\uFFFD\uFFFD[2Jb  1 byte  12:00\n",
		`[]`: "", `[{"name":"a.mp4","size":1500}, 5]`: "", `{"name":"a.mp4"}`: "",
		`[{"name":"../a","size":1,"modified":"2026-11-28T11:00:00Z"}]`:                   "",
		`[{"name":"a","size":1,"modified":"2026-11-28T11:00:00Z","colour":"something"}]`: "",
	} {
		if got, ok := listing([]byte(raw), noon); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v, want %q", raw, got, ok, want)
		}
	}
}
