package gateway_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/tree"
)

// listensAt is where a node can be reached, to listen there again.
func listensAt(n *kindred.Node) string {
	at, _, _ := strings.Cut(n.Addresses()[0], "/p2p/")
	return at
}

// replace puts a copy of a directory in another's place.
func replace(t *testing.T, dir, with string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	copyDir(t, dir, with)
}

// copyDir copies a directory, with files that are the user's alone as they are there.
func copyDir(t *testing.T, to, from string) {
	t.Helper()
	err := os.CopyFS(to, os.DirFS(from)) // which has others read them
	if err == nil {
		err = filepath.WalkDir(to, func(name string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				err = os.Chmod(name, 0o600)
			}
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A thing that an old copy was put in place of: without the gateway it serves what was taken away since no longer than
// a proof is fresh; with the gateway it learns how the tree stands, and that uses were lost, which it does not give
// a second time.
func TestThingRolledBack(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	eva := h.Invite(laptop, identity.Person, "sam/eva", "phone")
	if err := laptop.SetLimits(ctx, device.Self().Member(), []tree.Limit{{Fresh: 3}}); err != nil {
		t.Fatal(err)
	}
	_, sight := h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use})
	h.Share(laptop, "sam/eva", "home/lock", grant.Terms{Actions: grant.Actions(grant.Invoke), Uses: 1})
	if _, err := h.State(anna, "home/lock"); err != nil {
		t.Fatal(err)
	}
	at := listensAt(device)
	old, annas := t.TempDir(), h.Config("annaphone")
	if err := errors.Join(device.Close(), anna.Close()); err != nil {
		t.Fatal(err)
	}
	copyDir(t, old, h.Dir)
	anna = h.Open("annaphone")
	cfg := h.Config("lock", at)
	open := func() *kindred.Node {
		n, err := kindred.Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		h.Serve(n, lock.New().Thing())
		return n
	}
	device = open()
	if err := device.InTouch(ctx); err != nil {
		t.Fatal(err)
	}
	if err := do(ctx, eva, "home/lock", "unlock", ""); err != nil {
		t.Fatal(err)
	}
	if err := do(ctx, eva, "home/lock", "unlock", ""); code(err) != "used-up" {
		t.Errorf("the second of one use: %v", err)
	}
	waitFor(t, func() bool { // the gateway has the journal of it
		log, err := laptop.Gateway().History(ctx, control.HistoryQuery{Limit: 100})
		return err == nil && slices.ContainsFunc(log.Entries, func(e journal.Entry) bool {
			return e.Caller.ID.Path == "sam/eva/phone" && e.Outcome == journal.Served
		})
	})
	if _, err := laptop.Revoke(ctx, sight); err != nil {
		t.Fatal(err)
	}
	if _, err := h.State(anna, "home/lock"); err == nil {
		t.Error("anna reads what was taken from her")
	}
	if err := errors.Join(device.Close(), anna.Close()); err != nil {
		t.Fatal(err)
	}
	replace(t, h.Path("lock"), filepath.Join(old, "lock"))
	replace(t, h.Path("annaphone"), filepath.Join(old, "annaphone"))

	h.Address = listensAt(h.Gateway.Node())
	h.Down()
	device = open()
	anna, err := kindred.Open(ctx, annas)
	if err != nil {
		t.Fatal(err)
	}
	defer anna.Close()
	if got, err := h.State(anna, "home/lock"); err != nil && code(err) != "stale" {
		t.Errorf("two old copies: anna reads %s, %v", got, err)
	}
	waitFor(t, func() bool { _, err := h.State(anna, "home/lock"); return code(err) == "stale" })
	waitFor(t, func() bool { return code(do(ctx, eva, "home/lock", "unlock", "")) == "stale" })

	h.Up()
	if err := device.InTouch(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := h.State(anna, "home/lock"); err == nil {
		t.Error("anna reads what was taken from her, from the old copy")
	}
	waitFor(t, func() bool { err := do(ctx, eva, "home/lock", "unlock", ""); return code(err) == "used-up" })
	h.Share(laptop, "sam/eva", "home/lock", grant.Terms{Actions: grant.Actions(grant.Invoke), Uses: 1})
	waitFor(t, func() bool { err := do(ctx, eva, "home/lock", "unlock", ""); return err == nil })
}

// A thing whose clock is set back serves nothing that had ended when the tree was last proved to stand.
func TestThingsClockSetBack(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	at := listensAt(device)
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	var set atomic.Int64
	cfg := h.Config("lock", at)
	cfg.Clock = func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
	device, err := kindred.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	h.Serve(device, lock.New().Thing())
	if err := device.InTouch(ctx); err != nil {
		t.Fatal(err)
	}
	anna := h.Invite(laptop, identity.Person, "sam/anna", "phone")
	for ahead := 2 * time.Second; ; ahead *= 2 { // on a busy machine it may have ended by the time she comes
		h.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.See, Until: time.Now().Add(ahead).Unix() + 1})
		_, err := h.State(anna, "home/lock")
		if err == nil {
			break
		}
		if code(err) != "ended" || ahead > 10*time.Second {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { _, err := h.State(anna, "home/lock"); return code(err) == "ended" })
	ended := time.Now()
	waitFor(t, func() bool { // the ledger has made a block since
		return device.Refresh(ctx) == nil && device.AsOf().After(ended)
	})
	set.Store(-int64(time.Hour))
	if got, err := h.State(anna, "home/lock"); code(err) != "ended" && code(err) != "no-clock" {
		t.Errorf("with the clock set back anna reads %s, %v", got, err)
	}
	set.Store(0)
	if _, err := h.State(laptop, "home/lock"); err != nil {
		t.Errorf("with the clock right again: %v", err)
	}
	if _, err := h.State(anna, "home/lock"); code(err) != "ended" {
		t.Errorf("with the clock right again anna is answered %v", err)
	}
}
