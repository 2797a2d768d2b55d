// Package gatewaytest makes whole homes for tests: a gateway with its ledger, and members with directories of their
// own, all in one process and over real connections.
package gatewaytest

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/gateway"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/thing"
)

// A Home is a home on this machine, every member with a directory of its own.
type Home struct {
	t        testing.TB
	Dir      string           // members of this name have their directories in it
	Address  string           // where the gateway listens
	Interval time.Duration    // between the ledger's blocks, from the next start on
	HTTPS    string           // where the gateway, from its next start on, and things that listen serve HTTPS; "": nowhere
	Clock    func() time.Time // of the gateway, from its next start on; nil: the system's
	Relays   []string         // the gateway's, from its next start on
	Gateway  *gateway.Gateway
	log      *slog.Logger
}

// New makes a home with an owner, sam, whose app is "laptop", and starts its gateway.
func New(t testing.TB) *Home {
	t.Helper()
	level := slog.LevelInfo
	if _, ok := t.(*testing.B); ok { // whose output is shown although nothing failed
		level = slog.LevelWarn
	}
	h := &Home{t: t, Dir: t.TempDir(), log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: level}))}
	h.Address, h.Interval = "127.0.0.1:0", 2*time.Second
	err := gateway.Found(t.Context(), h.Path("laptop"), gateway.Founding{
		Label: "Birch Street", Owner: "sam", App: "laptop", Place: "home", Addresses: []string{"127.0.0.1:1"}, Now: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Up()
	t.Cleanup(h.Down)
	return h
}

// Path returns the directory of a member.
func (h *Home) Path(name string) string { return filepath.Join(h.Dir, name) }

// Up starts the gateway.
func (h *Home) Up() {
	h.t.Helper()
	g, err := gateway.Open(h.t.Context(), gateway.Config{
		Dir: gateway.Dir(h.Path("laptop")), Listen: []string{h.Address}, Interval: h.Interval, Log: h.log.With("at", "gateway"),
		HTTPS: h.HTTPS, Clock: h.Clock, Relays: h.Relays,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.Gateway = g
}

// Down stops the gateway.
func (h *Home) Down() {
	if h.Gateway == nil {
		return
	}
	if err := h.Gateway.Close(); err != nil {
		h.t.Error(err)
	}
	h.Gateway = nil
}

// Restart stops the gateway and starts it again, where it was.
func (h *Home) Restart() {
	h.t.Helper()
	at := h.Gateway.Node().Addresses()[0]
	h.Down()
	h.Address, _, _ = strings.Cut(at, "/p2p/")
	h.Up()
}

// Open opens the node of a directory; as a client if it does not listen.
func (h *Home) Open(name string, listen ...string) *kindred.Node {
	h.t.Helper()
	n, err := kindred.Open(h.t.Context(), h.Config(name, listen...))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { n.Close() })
	return n
}

// Config returns the configuration of a member.
func (h *Home) Config(name string, listen ...string) kindred.Config {
	cfg := kindred.Config{
		Dir: h.Path(name), Listen: listen, Log: h.log.With("at", name), GatewayAddresses: h.Gateway.Node().Addresses(),
	}
	if len(listen) > 0 {
		cfg.HTTPS = h.HTTPS
	}
	return cfg
}

// Invite makes the owner's app let somebody in, and returns them.
func (h *Home) Invite(owner *kindred.Node, kind identity.Kind, path identity.Path, app string, listen ...string) *kindred.Node {
	h.t.Helper()
	ctx := h.t.Context()
	inv, text, err := owner.Invite(ctx, kindred.Invitee{Kind: kind, Path: path})
	if err != nil {
		h.t.Fatal(err)
	}
	digits := make(chan string, 1)
	joined := make(chan error, 1)
	var n *kindred.Node
	go func() {
		var err error
		n, err = kindred.Join(ctx, h.Config(path.Name()+app, listen...), text, app, func(d string) { digits <- d })
		joined <- err
	}()
	if kind != identity.Device {
		r, err := owner.AwaitClaim(ctx, inv, pairing.StageOpen)
		if err != nil {
			h.t.Fatal(err)
		}
		mine, err := owner.Digits(inv, r)
		if err != nil {
			h.t.Fatal(err)
		}
		if theirs := <-digits; mine != theirs {
			h.t.Fatalf("digits %s and %s", mine, theirs)
		}
		if err := owner.Confirm(ctx, inv, r); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := <-joined; err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { n.Close() })
	if len(listen) > 0 {
		if err := n.InTouch(ctx); err != nil {
			h.t.Fatal(err)
		}
	}
	return n
}

// Serve runs a thing on a node until the test ends.
func (h *Home) Serve(n *kindred.Node, t *thing.Thing) {
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Serve(ctx, t) }()
	h.t.Cleanup(func() { cancel(); <-done })
}

// State reads the property "state" of a thing.
func (h *Home) State(n *kindred.Node, path identity.Path) (string, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer cancel()
	var body string
	err := n.Use(ctx, path, func(c *thing.Client) error {
		value, err := c.Read(ctx, "state")
		body = string(value.Body)
		return err
	})
	return body, err
}

// Share lets the member at who use the thing at path.
func (h *Home) Share(owner *kindred.Node, who, path identity.Path, t grant.Terms) (grant.Terms, kindred.Target) {
	h.t.Helper()
	ctx := h.t.Context()
	roster, err := owner.Roster(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	subject, ok := roster.At(who)
	device, ok2 := roster.At(path)
	if !ok || !ok2 {
		h.t.Fatalf("no %s or no %s in %+v", who, path, roster)
	}
	t.Subject = grant.Subject{Tree: subject.Who.ID.Tree, Member: subject.Who.Member()}
	t.Thing.Member = device.Who.Member()
	if t, err = owner.Share(ctx, t); err != nil {
		h.t.Fatal(err)
	}
	if roster, err = owner.Roster(ctx); err != nil {
		h.t.Fatal(err)
	}
	return t, roster.Grant(roster.GrantsNamed(t.ID.String())[0])
}

// Reopen closes a node and opens it again, which then looks for the gateway where that is now.
func (h *Home) Reopen(name string, n *kindred.Node) *kindred.Node {
	h.t.Helper()
	if err := n.Close(); err != nil {
		h.t.Fatal(err)
	}
	return h.Open(name)
}

// Recognize has the owner's home recognize another, whose owner tells about it, under a name.
func Recognize(t testing.TB, owner, other *kindred.Node, name string) {
	t.Helper()
	r, err := other.Face(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Name = name
	if err := owner.Recognize(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// ShareAbroad lets a member of another tree use the thing at path.
func (h *Home) ShareAbroad(owner *kindred.Node, who identity.ID, path identity.Path, t grant.Terms) (grant.Terms, kindred.Target) {
	h.t.Helper()
	ctx := h.t.Context()
	var err error
	if t.Subject, err = owner.WhoIs(ctx, who); err != nil {
		h.t.Fatal(err)
	}
	roster, err := owner.Roster(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	device, ok := roster.At(path)
	if !ok {
		h.t.Fatalf("no %s in %+v", path, roster)
	}
	t.Thing.Member = device.Who.Member()
	if t, err = owner.Share(ctx, t); err != nil {
		h.t.Fatal(err)
	}
	if roster, err = owner.Roster(ctx); err != nil {
		h.t.Fatal(err)
	}
	return t, roster.Grant(roster.GrantsNamed(t.ID.String())[0])
}

// StateOf reads the property "state" of a thing of any tree.
func (h *Home) StateOf(n *kindred.Node, id identity.ID) (string, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 10*time.Second)
	defer cancel()
	var body string
	err := n.UseID(ctx, id, func(c *thing.Client) error {
		value, err := c.Read(ctx, "state")
		body = string(value.Body)
		return err
	})
	return body, err
}
