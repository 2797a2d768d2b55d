package gateway_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
)

// A device that writes more journal than the gateway takes keeps it until it may hand it in. The owner is told once, nothing
// is missing then or before, and nobody is said to have left something out.
func TestJournalIsHeldBack(t *testing.T) {
	h := gatewaytest.New(t)
	ctx := t.Context()
	laptop := h.Open("laptop")
	device := h.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(device, lock.New().Thing())
	if err := device.InTouch(ctx); err != nil {
		t.Fatal(err)
	}
	reopen := func() {
		t.Helper()
		if err := device.Close(); err != nil {
			t.Fatal(err)
		}
		device = h.Open("lock", "127.0.0.1:0")
		h.Serve(device, lock.New().Thing())
		if err := device.InTouch(ctx); err != nil {
			t.Fatal(err)
		}
	}
	at := func() int64 {
		t.Helper()
		js, err := device.Gateway().Journals(ctx, control.JournalsQuery{Member: device.Self().Member().String()})
		if err != nil {
			t.Fatal(err)
		}
		return js.Logs[0].Size
	}
	held := func() []control.Journal {
		t.Helper()
		js, err := laptop.Gateway().Journals(ctx, control.JournalsQuery{Held: true})
		if err != nil || len(js.Proofs) > 0 {
			t.Fatal(err, js.Proofs)
		}
		return js.Logs
	}
	told := func() (n int) {
		t.Helper()
		for _, e := range history(t, laptop) {
			if e.Op == journal.Hold && e.Thing.Member == device.Self().Member() {
				n++
			}
		}
		return n
	}
	h.Gateway.BoundJournals(20_000)
	write(t, device, 300)
	reopen()
	waitFor(t, func() bool { return len(held()) == 1 })
	if got, journals := at(), held(); got != 0 || journals[0].Member != device.Self().Member().String() || journals[0].Held.IsZero() {
		t.Errorf("%d entries are here, held back are %+v", got, journals)
	}
	if err := do(ctx, laptop, "home/lock", "unlock", ""); err != nil {
		t.Errorf("the lock is held back, and does not open: %v", err)
	}
	wantNoFindings(t, laptop)
	for range 3 {
		var later *control.Error
		if err := handIn(t, device); !errors.As(err, &later) || later.Code != control.Later {
			t.Errorf("handed in again: %v", err)
		}
	}
	if n := told(); n != 1 {
		t.Errorf("the owner was told %d times", n)
	}
	if _, err := device.Gateway().Journals(ctx, control.JournalsQuery{Held: true}); !isRefused(err) {
		t.Errorf("a device asks who is held back: %v", err)
	}

	h.Gateway.BoundJournals(1e9)
	reopen()
	size, _, err := device.Journal().Have(ctx)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return at() >= size })
	if checks := wantNoFindings(t, laptop); !slices.ContainsFunc(checks, func(c kindred.JournalCheck) bool {
		return c.Path == "home/lock" && c.Entries >= size && c.Receipts > 0 && c.Waiting == 0
	}) {
		t.Errorf("of %d entries there came %+v", size, checks)
	}
}

// write has a device write entries in its journal, of calls that nobody made.
func write(t *testing.T, n *kindred.Node, entries int) {
	t.Helper()
	self := journal.Party{Member: n.Self().Member(), ID: n.Self().ID}
	for range entries {
		err := n.Journal().Note(journal.Entry{Time: time.Now(), Thing: self, Op: journal.Read, Affordance: "state", Outcome: journal.Served})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// handIn has a device hand in its journal from the beginning.
func handIn(t *testing.T, n *kindred.Node) error {
	t.Helper()
	b, err := n.Journal().Since(t.Context(), time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	_, err = n.Gateway().Record(t.Context(), control.Batch{Batch: raw})
	return err
}

func history(t *testing.T, owner *kindred.Node) []journal.Entry {
	t.Helper()
	h, err := owner.Gateway().History(t.Context(), control.HistoryQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return h.Entries
}

func wantNoFindings(t *testing.T, owner *kindred.Node) []kindred.JournalCheck {
	t.Helper()
	checks, err := owner.VerifyJournals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if len(c.Findings) > 0 {
			t.Errorf("of %s is said: %+v", c.Path, c.Findings)
		}
	}
	return checks
}

func isRefused(err error) bool {
	var said *control.Error
	return errors.As(err, &said) && said.Code == control.Refused
}
