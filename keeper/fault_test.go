package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store/storetest"
	"github.com/kindred-iot/kindred/tree"
)

// A witness notes every head it is shown. Two of one sequence are the one thing that must never be.
type witness struct {
	t     *testing.T
	heads map[uint64][]byte
}

func (w *witness) see(k *Keeper) {
	w.t.Helper()
	head, _, sequence := k.Head()
	if old, ok := w.heads[sequence]; ok && !bytes.Equal(old, head) {
		w.t.Fatalf("two heads of sequence %d", sequence)
	}
	w.heads[sequence] = head
}

// A deed is something done to a home, and how to see that it was.
type deed struct {
	name string
	do   func() error
	done func() bool
}

// day is one deed of every kind, each to be done after those before it.
func day(h *home) []deed {
	ctx := context.Background()
	top := h.signed("sam/laptop", "sam", h.to("sam/anna", signed.Digest{}, 1))
	passed := h.signed("sam/anna/phone", "sam/anna", h.to("sam/anna/phone", top.statement, 0))
	other, otherRaw := h.sign(func(t *grant.Terms) { t.Subject.Member = h.member("sam/anna/phone") })
	h.Add(identity.Device, "home/camera")
	camera, lock := h.member("home/camera"), h.member("home/lock")
	address := h.address("home/lock", h.clock())
	entry := func(path identity.Path) tree.Entry { e, _ := h.entry(path); return e }
	granted := func(id tree.GrantID, raw []byte) deed {
		return deed{"grant " + id.String(), func() error { _, _, err := h.Grant(ctx, h.laptop(), raw); return err }, func() bool { return h.live(id) }}
	}
	return []deed{
		granted(top.id, top.raw),
		{"pass it on", func() error { _, _, err := h.Grant(ctx, h.At("sam/anna/phone").Chain, passed.raw); return err },
			func() bool { return h.live(passed.id) }},
		{"admit", func() error { return h.admit("home/camera") }, func() bool { return entry("home/camera").Since != 0 }},
		{"limit", func() error { return h.Limit(ctx, h.laptop(), camera, []tree.Limit{{Fresh: 5}}) },
			func() bool { return len(entry("home/camera").Limits) == 1 }},
		{"label", func() error { return h.Label(ctx, h.laptop(), lock, "front") }, func() bool { return entry("home/lock").Label == "front" }},
		{"address", func() error { return h.SetAddress(ctx, h.At("home/lock").Chain, address) },
			func() bool { _, ok := h.Address(lock); return ok }},
		granted(other, otherRaw),
		{"revoke what was passed on", func() error { _, err := h.Revoke(ctx, h.revokeGrant(top.id)); return err },
			func() bool { return !h.live(top.id) && !h.live(passed.id) }},
		{"remove a member", func() error { _, err := h.Revoke(ctx, h.revokeMember("sam/anna/phone")); return err },
			func() bool { return entry("sam/anna/phone").Since == 0 && !h.live(other) }},
	}
}

// Each write of every deed fails once, in each of two ways; the process goes on, or starts again.
func TestEveryWriteFails(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			storetest.Points(t, func(t *testing.T, db *storetest.DB) { failingDay(t, makeHome(t, db), restart) })
		})
	}
}

// Each submission fails once, in each of two ways.
func TestEverySubmissionFails(t *testing.T) {
	for n := 1; n <= 9; n++ {
		for _, fault := range []storetest.Fault{storetest.Failed, storetest.Happened} {
			t.Run(fmt.Sprintf("submission %d %s", n, fault), func(t *testing.T) {
				h := makeHome(t, storetest.Open(t))
				h.net.fail[n] = fault
				failingDay(t, h, n%2 == 0)
				if h.net.submits < n {
					t.Fatalf("there were %d submissions", h.net.submits)
				}
			})
		}
	}
}

// A ledger may also answer that it has a head already.
func TestRecordedAlready(t *testing.T) {
	h := newHome(t)
	h.stopRun()
	cfg := h.config()
	cfg.Ledger = forgetful{h.net}
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	var err error
	if h.Keeper, err = Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	h.run()
	h.share()
	if live := h.verify(h.proof(nil)); live.Sequence != 2 {
		t.Errorf("the proof is as of head %d", live.Sequence)
	}
	if h.stopRun(); log.Len() > 0 {
		t.Errorf("being told so is trouble: %s", &log)
	}
}

// failingDay makes a home and does everything to it, until it is done.
func failingDay(t *testing.T, h *home, restart bool) {
	w := &witness{t, map[uint64][]byte{}}
	if err := h.create(); err != nil {
		if err = h.create(); err != nil && !errors.Is(err, ErrExists) {
			t.Fatalf("making the roster a second time: %v", err)
		}
	}
	h.open()
	h.run()
	deeds := day(h)
	for i, d := range deeds {
		err := d.do()
		if restart && (err != nil || i%3 == 2) {
			h.restart()
		}
		w.see(h.Keeper)
		if err == nil && !d.done() {
			t.Fatalf("%s was acknowledged, and is not done", d.name)
		}
		if err != nil {
			if err := d.do(); err != nil {
				t.Fatalf("%s, a second time: %v", d.name, err)
			}
		}
		w.see(h.Keeper)
		if !d.done() {
			t.Fatalf("%s was acknowledged, and is not done", d.name)
		}
	}
	h.restart()
	w.see(h.Keeper)
	if h.sequence() != 9 {
		t.Errorf("there are %d heads, want 9", h.sequence())
	}
	live := h.verify(h.proof([]identity.MemberID{h.member("home/camera"), h.member("home/lock")}))
	if live.Sequence != 9 {
		t.Errorf("the ledger proves head %d", live.Sequence)
	}
	for i, d := range deeds {
		if i > 1 && i != 6 && !d.done() { // these were taken back
			t.Errorf("%s was acknowledged, and is not done after a restart", d.name)
		}
	}
}

// A blind store cannot be read for a while.
type blindStore struct {
	*storetest.DB
	blind bool
}

var errBlind = errors.New("this read was made to fail")

func (s *blindStore) Load(ctx context.Context, key string) ([]byte, error) {
	if s.blind {
		return nil, errBlind
	}
	return s.DB.Load(ctx, key)
}

// While it is not known whether a change is on disk, no other is begun. Afterwards it counts, or never was.
func TestDoubt(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.Failed, storetest.Happened} {
		t.Run(fault.String(), func(t *testing.T) {
			s := &blindStore{DB: storetest.Wrap(storetest.Open(t))}
			h := newHomeOn(t, s)
			before := h.sequence()
			id, raw := h.sign()
			_, otherRaw := h.sign()
			s.FailAt(s.Writes()+1, fault)
			s.blind = true
			_, _, err := h.Grant(t.Context(), h.laptop(), raw)
			wants(t, "the failing grant", err, storetest.ErrInjected, "not known whether the change is on disk")
			writes := s.Writes()
			_, _, err = h.Grant(t.Context(), h.laptop(), otherRaw)
			wants(t, "another grant", err, errBlind, "not known whether the change is on disk")
			wants(t, "an address", h.SetAddress(t.Context(), h.laptop(), nil), errBlind, "not known whether the change is on disk")
			if s.Writes() != writes || h.live(id) || h.sequence() != before {
				t.Error("something was begun")
			}
			s.blind = false
			if _, _, err := h.Grant(t.Context(), h.laptop(), otherRaw); err != nil {
				t.Fatal(err)
			}
			want := fault == storetest.Happened
			if h.live(id) != want {
				t.Errorf("the grant in doubt is live: %v, want %v", h.live(id), want)
			}
			h.restart()
			if h.live(id) != want {
				t.Errorf("after a restart the grant in doubt is live: %v, want %v", h.live(id), want)
			}
			h.verify(h.proof([]identity.MemberID{h.member("home/lock")}))
		})
	}
}

// A change that is on disk, but cannot be written a second time to be sure, stays in doubt.
func TestDoubtOfTheSecondWrite(t *testing.T) {
	db := storetest.Wrap(storetest.Open(t))
	h := newHomeOn(t, db)
	id, raw := h.sign()
	db.FailAt(db.Writes()+1, storetest.Happened)
	db.FailAt(db.Writes()+2, storetest.Failed)
	_, _, err := h.Grant(t.Context(), h.laptop(), raw)
	wants(t, "the grant", err, errDoubt, "not known")
	if h.live(id) {
		t.Error("a grant in doubt is live")
	}
	if again, _, err := h.Grant(t.Context(), h.laptop(), raw); err != nil || again != id || !h.live(id) {
		t.Errorf("the same again: %s, %v, live: %v", again, err, h.live(id))
	}
	h.restart()
	h.verify(h.proof(nil, id))
}
