package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
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
		o.limits.Reservations, o.limits.PerAddress, o.limits.PerHousehold, o.limits.Circuits = 1, 1, 1, 1
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
