package relay

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/peer"
)

func TestMembersFindEachOther(t *testing.T) {
	c := &clock{at: noon}
	r, at := start(t, func(cfg *Config) { cfg.Clock = c.now })
	gateway, lock := member(1), member(2)
	if _, err := birch.find(t, at, gateway, c.now()); !errors.Is(err, ErrNoNote) {
		t.Errorf("got %v where nothing was left", err)
	}
	publish := func(h home, says string) {
		t.Helper()
		if err := at.Publish(t.Context(), h.note(t, gateway, c.now(), says)); err != nil {
			t.Fatal(err)
		}
	}
	finds := func(h home, want string) {
		t.Helper()
		if got, err := h.find(t, at, gateway, c.now()); got != want || (want == "") != errors.Is(err, ErrNoNote) {
			t.Errorf("it is found at %q, %v, want %q", got, err, want)
		}
	}
	publish(birch, "192.0.2.1")
	finds(birch, "192.0.2.1")
	if _, err := birch.find(t, at, lock, c.now()); !errors.Is(err, ErrNoNote) {
		t.Errorf("another member is found: %v", err)
	}
	c.turn(time.Minute)
	publish(birch, "192.0.2.7")
	finds(birch, "192.0.2.7")

	// The epoch ends, and what was left in it is found until there is something newer.
	c.turn(Until(c.now()).Sub(c.now()) + time.Second)
	finds(birch, "192.0.2.7")
	publish(birch, "198.51.100.1")
	finds(birch, "198.51.100.1")

	// It moves again, and is one of those who are late.
	c.turn(time.Minute)
	late, err := birch.at(t, gateway, c.now().Add(-Epoch)).Seal([]byte("198.51.100.2"), c.now())
	if err != nil {
		t.Fatal(err)
	}
	if err := at.Publish(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	finds(birch, "198.51.100.2")

	// A member is removed, and the others get another secret.
	next := home{NewSecret()}
	c.turn(time.Minute)
	publish(next, "203.0.113.1")
	finds(next, "203.0.113.1")
	finds(birch, "198.51.100.2") // what it could find before
	c.turn(2 * Epoch)
	finds(birch, "") // and nothing any more
	if got := metrics(r); !strings.Contains(got, `kindred_relay_requests_total{outcome="kept"} 5`) {
		t.Errorf("the metrics say\n%s", got)
	}
}

func TestRelayAnswers(t *testing.T) {
	c := &clock{at: noon}
	_, at := start(t, func(cfg *Config) { cfg.Clock = c.now })
	p := birch.at(t, member(1), noon)
	good := birch.note(t, member(1), noon, "here")
	path, other := notePath+p.ID.String(), notePath+birch.at(t, member(2), noon).ID.String()
	altered := bytes.Clone(good)
	altered[200] ^= 1
	later := birch.note(t, member(1), noon.Add(time.Minute), "there")
	for _, tt := range []struct {
		name, method, path string
		body               []byte
		want               int
	}{
		{"nothing there", http.MethodGet, path, nil, http.StatusNotFound},
		{"no identifier", http.MethodGet, notePath + "x", nil, http.StatusNotFound},
		{"no identifier", http.MethodPut, notePath + "x", good, http.StatusBadRequest},
		{"garbage", http.MethodPut, path, []byte("garbage"), http.StatusBadRequest},
		{"oversized", http.MethodPut, path, make([]byte, maxNote+1), http.StatusRequestEntityTooLarge},
		{"altered", http.MethodPut, path, altered, http.StatusForbidden},
		{"another's", http.MethodPut, other, good, http.StatusForbidden},
		{"from the future", http.MethodPut, path, birch.note(t, member(1), noon.Add(time.Hour), "here"), http.StatusBadRequest},
		{"expired", http.MethodPut, notePath + birch.at(t, member(1), noon.Add(-2*Epoch)).ID.String(),
			birch.note(t, member(1), noon.Add(-2*Epoch), "here"), http.StatusGone},
		{"good", http.MethodPut, path, later, http.StatusNoContent},
		{"replayed", http.MethodPut, path, good, http.StatusConflict},
		{"there", http.MethodGet, path, nil, http.StatusOK},
		// Nothing lists what there is, and nothing is taken away.
		{"list", http.MethodGet, notePath, nil, http.StatusNotFound},
		{"list", http.MethodGet, strings.TrimSuffix(notePath, "/"), nil, http.StatusNotFound},
		{"root", http.MethodGet, "/", nil, http.StatusNotFound},
		{"delete", http.MethodDelete, path, nil, http.StatusMethodNotAllowed},
		{"metrics", http.MethodGet, "/metrics", nil, http.StatusNotFound},
		{"no tag", http.MethodPut, householdPath, []byte("short"), http.StatusBadRequest},
		{"tag", http.MethodPut, householdPath, make([]byte, 32), http.StatusNoContent},
		{"long tag", http.MethodPut, householdPath, make([]byte, 33), http.StatusBadRequest},
	} {
		if got := raw(t, at, tt.method, tt.path, tt.body); got.status != tt.want {
			t.Errorf("%s %s: status %d, want %d", tt.method, tt.name, got.status, tt.want)
		}
	}
	for range atOnce {
		raw(t, at, http.MethodGet, path, nil)
	}
	if got := raw(t, at, http.MethodGet, path, nil); got.status != http.StatusTooManyRequests {
		t.Errorf("status %d for one request too many", got.status)
	}
}

func TestTagsDoNotCompare(t *testing.T) {
	first, second := newKey(t).Public().(ed25519.PublicKey), newKey(t).Public().(ed25519.PublicKey)
	tags := map[peer.Tag]bool{}
	for _, relay := range []ed25519.PublicKey{first, second} {
		for _, when := range []time.Time{noon, noon.Add(Epoch)} {
			tag, err := birch.Household(relay, when)
			if err != nil {
				t.Fatal(err)
			}
			tags[tag] = true
		}
	}
	if len(tags) != 4 {
		t.Errorf("%d tags at two relays in two epochs, want 4", len(tags))
	}
}

// TestRelayIsDiscreet looks for anything that tells of whom in what a relay logs and counts.
func TestRelayIsDiscreet(t *testing.T) {
	out := &log{}
	r, at := start(t, func(cfg *Config) {
		cfg.Clock = func() time.Time { return noon }
		cfg.Log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	if err := at.Publish(t.Context(), birch.note(t, member(1), noon, "here")); err != nil {
		t.Fatal(err)
	}
	host := newHost(t)
	if err := at.Join(t.Context(), host, peer.Tag{1}); err != nil {
		t.Fatal(err)
	}
	raw(t, at, http.MethodPut, notePath+"x", []byte("garbage"))
	if got := out.String(); got != "" {
		t.Errorf("it logs %s", got)
	}
	line := regexp.MustCompile(`^(# (HELP|TYPE) kindred_relay_[a-z_]+ .+|kindred_relay_[a-z_]+(\{(reason|outcome)="[a-z_]+"\})? [0-9]+)$`)
	for _, l := range strings.Split(strings.TrimSpace(metrics(r)), "\n") {
		if !line.MatchString(l) {
			t.Errorf("the metrics say %q", l)
		}
	}
	logged := discreet(slog.New(slog.NewTextHandler(out, nil)))
	logged.With("peer", "12D3").WithGroup("g").Warn("closing a connection", "address", "192.0.2.1")
	logged.Info("refusing", "peer", "12D3")
	if got := out.String(); !strings.Contains(got, "closing a connection") || strings.Contains(got, "12D3") || strings.Contains(got, "192.0.2.1") {
		t.Errorf("it logs %s", got)
	}
}

// TestRelayLies has a relay hand out what is not what was left.
func TestRelayLies(t *testing.T) {
	good := birch.note(t, member(1), noon, "here")
	altered := bytes.Clone(good)
	altered[300] ^= 1
	for name, says := range map[string][]byte{
		"altered": altered, "another's": birch.note(t, member(2), noon, "here"), "cut": good[:100], "nothing": {},
		"without end": make([]byte, 1<<20), "old": birch.note(t, member(1), noon.Add(-3*Epoch), "here"),
	} {
		key := newKey(t)
		h, err := peer.New(peer.Config{Key: key, Listen: []string{"127.0.0.1:0"}, Admit: admit,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(says) })})
		if err != nil {
			t.Fatal(err)
		}
		at, err := peer.WithKey(h.Addresses()[0], key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := birch.find(t, only(t, at), member(1), noon); err == nil || errors.Is(err, ErrNoNote) {
			t.Errorf("%s: it says %q, %v", name, got, err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRelayStartsAnew: what was left is gone, and can be left again.
func TestRelayStartsAnew(t *testing.T) {
	key := newKey(t)
	run := func(listen ...string) *Relay {
		r, err := Start(Config{Key: key, Listen: listen, Clock: func() time.Time { return noon }})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := run("127.0.0.1:0")
	at := only(t, r.Addresses()...)
	note := birch.note(t, member(1), noon, "here")
	if err := at.Publish(t.Context(), note); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := at.Publish(t.Context(), note); !errors.Is(err, peer.ErrUnreachable) {
		t.Errorf("a relay that is gone: %v", err)
	}
	var bare []string
	for _, a := range at.Addresses {
		bare = append(bare, a[:strings.LastIndex(a, "/p2p/")])
	}
	r = run(bare...)
	defer r.Close()
	if _, err := birch.find(t, at, member(1), noon); !errors.Is(err, ErrNoNote) {
		t.Errorf("got %v", err)
	}
	if err := at.Publish(t.Context(), note); err != nil {
		t.Error(err)
	}
	if got, err := birch.find(t, at, member(1), noon); got != "here" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestRelays(t *testing.T) {
	r, _ := start(t)
	other, _ := start(t)
	all, err := Relays(append(r.Addresses(), other.Addresses()...))
	if err != nil || len(all) != 2 || len(all[0].Addresses) != 2 {
		t.Errorf("got %v, %v, want two relays with two addresses each", all, err)
	}
	for _, bad := range []string{"", "192.0.2.1:4711", "/ip4/192.0.2.1/udp/4711/quic-v1", "/ip4/192.0.2.1/udp/4711/quic-v1/p2p/x"} {
		if _, err := Relays([]string{bad}); err == nil {
			t.Errorf("%q names a relay", bad)
		}
	}
	if err := all[0].Publish(t.Context(), []byte("no note")); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v", err)
	}
}
