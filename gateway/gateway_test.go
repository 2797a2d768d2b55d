package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/thing"
)

// A village is a home on this machine, every member with a directory of its own.
type village struct {
	t       *testing.T
	dir     string
	address string
	gateway *gateway.Gateway
	log     *slog.Logger
}

func newVillage(t *testing.T) *village {
	t.Helper()
	v := &village{t: t, dir: t.TempDir(), log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))}
	v.address = "127.0.0.1:0"
	err := gateway.Found(t.Context(), v.path("laptop"), gateway.Founding{
		Label: "Birch Street", Owner: "sam", App: "laptop", Place: "home", Addresses: []string{"127.0.0.1:1"}, Now: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	v.up()
	t.Cleanup(v.down)
	return v
}

func (v *village) path(name string) string { return filepath.Join(v.dir, name) }

func (v *village) up() {
	v.t.Helper()
	g, err := gateway.Open(v.t.Context(), gateway.Config{
		Dir: gateway.Dir(v.path("laptop")), Listen: []string{v.address}, Interval: 2 * time.Second, Log: v.log.With("at", "gateway"),
	})
	if err != nil {
		v.t.Fatal(err)
	}
	v.gateway = g
}

func (v *village) down() {
	if v.gateway == nil {
		return
	}
	if err := v.gateway.Close(); err != nil {
		v.t.Error(err)
	}
	v.gateway = nil
}

// open opens the node of a directory; as a client if it does not listen.
func (v *village) open(name string, listen ...string) *kindred.Node {
	v.t.Helper()
	n, err := kindred.Open(v.t.Context(), v.config(name, listen...))
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { n.Close() })
	return n
}

func (v *village) config(name string, listen ...string) kindred.Config {
	return kindred.Config{
		Dir: v.path(name), Listen: listen, Log: v.log.With("at", name), GatewayAddresses: v.gateway.Node().Addresses(),
	}
}

// invite makes the owner's app let somebody in, and returns them.
func (v *village) invite(owner *kindred.Node, kind identity.Kind, path identity.Path, app string, listen ...string) *kindred.Node {
	v.t.Helper()
	ctx := v.t.Context()
	inv, text, err := owner.Invite(ctx, kindred.Invitee{Kind: kind, Path: path})
	if err != nil {
		v.t.Fatal(err)
	}
	digits := make(chan string, 1)
	joined := make(chan error, 1)
	var n *kindred.Node
	go func() {
		var err error
		n, err = kindred.Join(ctx, v.config(path.Name()+app, listen...), text, app, func(d string) { digits <- d })
		joined <- err
	}()
	if kind != identity.Device {
		r, err := owner.AwaitClaim(ctx, inv, pairing.StageOpen)
		if err != nil {
			v.t.Fatal(err)
		}
		mine, err := owner.Digits(inv, r)
		if err != nil {
			v.t.Fatal(err)
		}
		if theirs := <-digits; mine != theirs {
			v.t.Fatalf("digits %s and %s", mine, theirs)
		}
		if err := owner.Confirm(ctx, inv, r); err != nil {
			v.t.Fatal(err)
		}
	}
	if err := <-joined; err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { n.Close() })
	if len(listen) > 0 {
		if err := n.InTouch(ctx); err != nil {
			v.t.Fatal(err)
		}
	}
	return n
}

// serve runs a lock on a node.
func (v *village) serve(n *kindred.Node, t *thing.Thing) {
	ctx, cancel := context.WithCancel(v.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Serve(ctx, t) }()
	v.t.Cleanup(func() { cancel(); <-done })
}

func (v *village) state(n *kindred.Node, path identity.Path) (string, error) {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 10*time.Second)
	defer cancel()
	var body string
	err := n.Use(ctx, path, func(c *thing.Client) error {
		value, err := c.Read(ctx, "state")
		body = string(value.Body)
		return err
	})
	return body, err
}

// share lets the member at who use the thing at path.
func (v *village) share(owner *kindred.Node, who, path identity.Path, t grant.Terms) (grant.Terms, kindred.Target) {
	v.t.Helper()
	ctx := v.t.Context()
	roster, err := owner.Roster(ctx)
	if err != nil {
		v.t.Fatal(err)
	}
	subject, ok := roster.At(who)
	device, ok2 := roster.At(path)
	if !ok || !ok2 {
		v.t.Fatalf("no %s or no %s in %+v", who, path, roster)
	}
	t.Subject = grant.Subject{Tree: subject.Who.ID.Tree, Member: subject.Who.Member()}
	t.Thing.Member = device.Who.Member()
	if t, err = owner.Share(ctx, t); err != nil {
		v.t.Fatal(err)
	}
	if roster, err = owner.Roster(ctx); err != nil {
		v.t.Fatal(err)
	}
	return t, roster.Grant(roster.GrantsNamed(t.ID.String())[0])
}

// code returns the code of a refusal, "" if err is none.
func code(err error) string {
	var p *thing.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func TestLock(t *testing.T) {
	v := newVillage(t)
	ctx := t.Context()
	laptop := v.open("laptop")
	device := v.invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	v.serve(device, lock.New().Thing())
	anna := v.invite(laptop, identity.Person, "sam/anna", "phone")

	if got, err := v.state(laptop, "home/lock"); err != nil || got != `"locked"` {
		t.Fatalf("the owner reads %s, %v", got, err)
	}
	if got, err := v.state(anna, "home/lock"); err == nil {
		t.Fatalf("a person without a grant reads %s", got)
	}
	_, target := v.share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use})
	if got, err := v.state(anna, "home/lock"); err != nil || got != `"locked"` {
		t.Fatalf("a person with a grant reads %s, %v", got, err)
	}
	client, err := anna.Thing(ctx, "home/lock")
	if err != nil {
		t.Fatal(err)
	}
	events, err := client.Subscribe(ctx, "state", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Invoke(ctx, "unlock", nil); err != nil {
		t.Fatal(err)
	}
	if e, err := events.Next(); err != nil || string(e.Data) != `"unlocked"` {
		t.Fatalf("the event is %s, %v", e.Data, err)
	}
	report, err := laptop.Revoke(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Things) != 1 || !report.Things[0].Closed {
		t.Errorf("the report says %+v", report)
	}
	_, err = events.Next()
	var p *thing.Problem
	if err == nil || !errors.As(err, &p) && !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	if got, err := v.state(anna, "home/lock"); err == nil {
		t.Fatalf("a person whose grant was taken back reads %s", got)
	}
	want := []string{
		"sam/laptop admit   served", // home/lock
		"sam/laptop admit   served", // sam/anna
		"sam/laptop read home/lock state served",
		"sam/laptop share home/lock  served",
		"sam/anna/phone read home/lock state served",
		"sam/anna/phone observe home/lock state served",
		"sam/anna/phone invoke home/lock unlock served",
		"sam/laptop unshare home/lock  served",
		"sam/anna/phone observe home/lock state ended",
		"sam/anna/phone read home/lock state refused",
	}
	slices.Sort(want) // two journals, whose entries may be of one millisecond
	var told []string
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log tells\n%s", strings.Join(told, "\n"))
		}
	})
	waitFor(t, func() bool {
		h, err := laptop.Gateway().History(ctx, control.HistoryQuery{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		told = nil
		for _, e := range h.Entries {
			told = append(told, fmt.Sprintf("%s %s %s %s %s", e.Caller.ID.Path, e.Op, e.Thing.ID.Path, e.Affordance, e.Outcome))
		}
		slices.Sort(told)
		return slices.Equal(told, want)
	})
}
