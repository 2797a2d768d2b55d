package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

const path identity.Path = "home/thermometer"

// invite lets a device in and returns the line of text for it.
func invite(t *testing.T, owner *kindred.Node, path identity.Path) string {
	t.Helper()
	_, text, err := owner.Invite(t.Context(), kindred.Invitee{Kind: identity.Device, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// run starts the example in a directory and returns once it says that it serves. It is interrupted with the test, or
// by calling what is returned.
func run(t *testing.T, program, dir string, args ...string) (interrupt func()) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	over := false
	interrupt = func() {
		if over {
			return
		}
		over = true
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("interrupted, it ended with %v", err)
		}
	}
	t.Cleanup(interrupt)
	said := []string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		if strings.Contains(lines.Text(), "serving spiffe://") {
			return interrupt
		}
	}
	t.Fatalf("it ended with\n%s", strings.Join(said, "\n"))
	return nil
}

func build(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "thermometer")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// temperature reads the thermometer as a member does.
func temperature(t *testing.T, ctx context.Context, n *kindred.Node) float64 {
	t.Helper()
	thermometer, err := n.Thing(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	value, err := thermometer.Read(ctx, "temperature")
	if err != nil {
		t.Fatal(err)
	}
	var celsius float64
	if err := json.Unmarshal(value.Body, &celsius); err != nil {
		t.Fatalf("%s: %v", value.Body, err)
	}
	return celsius
}

func TestThermometer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	program, h := build(t), gatewaytest.New(t)
	laptop := h.Open("laptop")
	interrupt := run(t, program, h.Dir, invite(t, laptop, path))

	if got := temperature(t, ctx, laptop); got < 17 || got > 23 {
		t.Errorf("it is %v °C in the hall", got)
	}

	// Another device of the home has no right to it, and is not even told that it exists.
	other := h.Invite(laptop, identity.Device, "home/other", "")
	if _, err := other.Thing(ctx, path); err == nil {
		t.Error("a device without a grant found it")
	}

	// Started again it knows who it is without an invitation, and hands in its journal.
	interrupt()
	run(t, program, h.Dir)
	temperature(t, ctx, laptop)
	history, err := laptop.Gateway().History(ctx, control.HistoryQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	reads := 0
	for _, e := range history.Entries {
		if e.Op == journal.Read && e.Outcome == journal.Served && e.Thing.ID.Path == path && e.Caller.ID.Path == "sam/laptop" && e.Affordance == "temperature" {
			reads++
		}
	}
	if reads == 0 {
		t.Errorf("the journal does not tell of the reading: %v", history.Entries)
	}
}
