package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRelayTells runs a relay and looks at what it tells systemd and Prometheus, and whether it keeps its name.
func TestRelayTells(t *testing.T) {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "n"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", socket.LocalAddr().String())
	told := func() string {
		buf := make([]byte, 100)
		n, err := socket.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	dir, names := t.TempDir(), map[string]bool{}
	for range 2 {
		s, out, _ := talk()
		s.dir, s.json = dir, true
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		o := relayOptions{listen: []string{"127.0.0.1:0"}, metrics: "127.0.0.1:0", each: 1}
		o.limits.Reservations, o.limits.PerAddress, o.limits.PerHousehold, o.limits.Circuits, o.limits.CallsPerAddress = 1, 1, 1, 1, 1
		go func() { ended <- s.relay(ctx, o) }()
		if got := told(); got != "READY=1" {
			t.Errorf("it tells %q", got)
		}
		var line relayReady
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(line.Addresses[0], "/p2p/")
		names[name] = true
		resp, err := http.Get(line.Metrics)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
		if err != nil || !strings.Contains(string(text), "\nkindred_relay_reservations 0\n") {
			t.Errorf("the metrics say %q, %v", text, err)
		}
		if resp := fetch(t, http.MethodGet, line.Metrics, "", "Host: evil.example"); resp.StatusCode != http.StatusForbidden {
			t.Errorf("status %d for another name", resp.StatusCode)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if got := told(); got != "STOPPING=1" {
			t.Errorf("it tells %q", got)
		}
	}
	if len(names) != 1 {
		t.Errorf("it was called %v", names)
	}
}

// TestRelayPage compares the page for those who run a relay with the command's flags.
func TestRelayPage(t *testing.T) {
	page, err := os.ReadFile("../../doc/relay.md")
	if err != nil {
		t.Fatal(err)
	}
	flags := newRelay(&session{}).Flags()
	rows := regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| ([^ |]+)").FindAllStringSubmatch(string(page), -1)
	if len(rows) != 7 {
		t.Errorf("the page has %d flags in its table", len(rows))
	}
	for _, row := range rows {
		f := flags.Lookup(row[1])
		switch {
		case f == nil:
			t.Errorf("the page has --%s, and the command has not", row[1])
		case f.DefValue != row[2] && !(f.DefValue == "0" && row[2] == "no"):
			t.Errorf("--%s is %s by default, and %s on the page", row[1], f.DefValue, row[2])
		}
	}
	for _, used := range regexp.MustCompile(`kindred relay --([a-z-]+)`).FindAllStringSubmatch(string(page), -1) {
		if flags.Lookup(used[1]) == nil {
			t.Errorf("the page uses --%s, and the command has it not", used[1])
		}
	}
}
