package main

import (
	"bytes"
	"syscall"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// A disk that is full is told of once, and so is that it is not any more; the camera goes on meanwhile.
func TestRecordingToAFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=128k"); err != nil {
		t.Skipf("a small disk takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	h := gatewaytest.New(t)
	camera := h.Invite(h.Open("laptop"), identity.Device, "home/camera", "", "127.0.0.1:0")
	s, _, stderr := talk()
	k := &storing{s: s, name: disk}
	var err error
	if k.store, err = openStore(disk); err != nil {
		t.Fatal(err)
	}
	k.recorder = camera.Recorder(k.store)
	for _, step := range []struct {
		size int
		room string
		want string
	}{
		{20_000, "", ""},
		{200_000, "", "There is no room in " + disk + ". What is recorded is lost until there is some.\n"},
		{200_000, "", ""},
		{200_000, "size=1m", "What is recorded is stored again.\n"},
		{20_000, "", ""},
	} {
		if step.room != "" {
			if err := syscall.Mount("", disk, "tmpfs", syscall.MS_REMOUNT, step.room); err != nil {
				t.Fatal(err)
			}
		}
		now := time.Now()
		k.record(t.Context(), thing.Recording{
			Affordance: "picture", Title: "now.mjpeg", Type: "video/x-motion-jpeg", From: now, Until: now, Content: bytes.Repeat([]byte{1}, step.size),
		})
		if said := stderr.String(); said != step.want {
			t.Errorf("%d bytes: said %q, want %q", step.size, said, step.want)
		}
		stderr.Reset()
	}
}
