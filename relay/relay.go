package relay

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/kindred-iot/kindred/peer"
)

type peerKey = crypto.PublicKey

// Config says how a relay runs. Key is required.
type Config struct {
	Key    ed25519.PrivateKey
	Listen []string         // as in peer.Config
	Limits peer.RelayLimits // the zero value is useful
	Log    *slog.Logger     // nil: silence. Nothing in it tells of whom
	Clock  func() time.Time // nil: the system's
}

// A Relay is one at work. It is safe for concurrent use.
type Relay struct {
	key   ed25519.PrivateKey
	host  *peer.Host
	board *board
	count *counts
	now   func() time.Time
}

// Start starts a relay. The caller closes it.
func Start(cfg Config) (*Relay, error) {
	r := &Relay{key: cfg.Key, board: newBoard(), count: newCounts(), now: cfg.Clock}
	if r.now == nil {
		r.now = time.Now
	}
	d := &desk{board: r.board, now: r.now, count: r.count, tag: func(caller peer.Remote, tag peer.Tag) error {
		return r.host.Tag(caller.Key, tag)
	}}
	ready := make(chan struct{}) // calls may come before host is set
	serve := d.handler()
	host, err := peer.New(peer.Config{
		Key: cfg.Key, Listen: cfg.Listen, Log: discreet(cfg.Log), Relay: &cfg.Limits, Admit: admit,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-ready:
				serve.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("relay: starting: %w", err)
	}
	r.host = host
	close(ready)
	return r, nil
}

// Addresses returns where the relay can be reached, as multiaddrs that end in its name, those on networks first.
func (r *Relay) Addresses() (named []string) {
	for _, a := range r.host.Addresses() {
		if a, err := peer.WithKey(a, r.key.Public()); err == nil {
			named = append(named, a)
		}
	}
	return named
}

// Close ends all that goes through the relay, and waits until it has ended. Notes are forgotten.
func (r *Relay) Close() error {
	if err := r.host.Close(); err != nil {
		return fmt.Errorf("relay: closing: %w", err)
	}
	return nil
}

// discreet returns a logger without what would tell of whom: warnings and worse, and nothing but their words.
func discreet(log *slog.Logger) *slog.Logger {
	if log == nil {
		return nil
	}
	return slog.New(wordsOnly{log.Handler()})
}

type wordsOnly struct{ slog.Handler }

func (h wordsOnly) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && h.Handler.Enabled(ctx, level)
}

func (h wordsOnly) Handle(ctx context.Context, r slog.Record) error {
	return h.Handler.Handle(ctx, slog.NewRecord(r.Time, r.Level, r.Message, 0))
}

func (h wordsOnly) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h wordsOnly) WithGroup(string) slog.Handler      { return h }

// ErrNoNote says that there is no note at a point.
var ErrNoNote = errors.New("nothing was left there")
