package kindred

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/store"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// trusting returns what a node with an empty memory knows of a home, on a real database.
func trusting(t *testing.T, h *credentialtest.Home) *trust {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), StoreFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	m := h.At("home/lock")
	charter := h.Trusted().Charter()
	if err := Settle(t.Context(), db, Self{Tree: h.Tree.ID, Chain: m.Raw}, charter.Raw); err != nil {
		t.Fatal(err)
	}
	var tr trust
	if err := tr.load(t.Context(), db, h.Tree.ID); err != nil {
		t.Fatal(err)
	}
	return &tr
}

func (tr *trust) learn(t *testing.T, p credential.Proof, clock func() time.Time) error {
	t.Helper()
	return tr.update(t.Context(), clock, func(known credential.Trusted, now time.Time) (credential.Trusted, error) {
		_, next, err := credential.VerifyProof(p, known, now)
		return next, err
	})
}

func newHome(t *testing.T) *credentialtest.Home {
	h := credentialtest.New(t, noon)
	h.Add(identity.Device, "home/lock")
	return h
}

// A clock that was not set since boot says nothing until a block of the home's own ledger moves it.
func TestClockNotSet(t *testing.T) {
	h := newHome(t)
	tr := trusting(t, h)
	boot := time.Unix(100, 0)
	clock := func() time.Time { return boot }
	if now := tr.now(clock); !now.IsZero() {
		t.Fatalf("before any block it is %s", now)
	}
	if err := tr.learn(t, h.ProveFor(h.At("home/lock")), clock); err != nil {
		t.Fatal(err)
	}
	asOf := tr.snapshot().AsOf()
	if now := tr.now(clock); !now.Equal(asOf) {
		t.Errorf("after a block of %s it is %s", asOf, now)
	}
	boot = boot.Add(time.Minute)
	if now := tr.now(clock); !now.Equal(asOf.Add(time.Minute)) {
		t.Errorf("a minute later it is %s", now)
	}
}

// A clock that was set back behind what the node has seen is not believed either.
func TestClockSetBack(t *testing.T) {
	h := newHome(t)
	tr := trusting(t, h)
	if err := tr.learn(t, h.ProveFor(h.At("home/lock")), func() time.Time { return noon.Add(time.Minute) }); err != nil {
		t.Fatal(err)
	}
	if now := tr.now(func() time.Time { return noon.Add(-24 * time.Hour) }); !now.IsZero() {
		t.Errorf("a day back it is %s", now)
	}
	if now := tr.now(func() time.Time { return noon.Add(time.Hour) }); !now.Equal(noon.Add(time.Hour)) {
		t.Errorf("an hour on it is %s", now)
	}
}

// What was learnt is on disk before it counts, and read back.
func TestTrustIsKept(t *testing.T) {
	h := newHome(t)
	tr := trusting(t, h)
	clock := func() time.Time { return noon.Add(time.Minute) }
	old := h.ProveFor(h.At("home/lock"))
	h.Add(identity.Device, "home/lamp")
	h.Remove("home/lock")
	if err := tr.learn(t, h.ProveFor(h.At("home/lamp")), clock); err != nil {
		t.Fatal(err)
	}
	var again trust
	if err := again.load(context.Background(), tr.db, h.Tree.ID); err != nil {
		t.Fatal(err)
	}
	if a, b := tr.snapshot().Sequence(), again.snapshot().Sequence(); a != b {
		t.Errorf("head %d was trusted, %d after a restart", a, b)
	}
	if err := again.learn(t, old, clock); err == nil {
		t.Error("after a restart a removed lock is believed again")
	}
}

// How late it is proved to be outlives a restart, though nothing has changed in the home: or whoever starts a thing with its
// clock set back would have it serve what has ended.
func TestTimeIsKept(t *testing.T) {
	h := newHome(t)
	tr := trusting(t, h)
	late := noon.Add(time.Minute)
	for range 20 {
		late = late.Add(5 * time.Minute)
		h.Block(late)
		if err := tr.learn(t, h.ProveFor(h.At("home/lock")), func() time.Time { return late }); err != nil {
			t.Fatal(err)
		}
	}
	var again trust
	if err := again.load(t.Context(), tr.db, h.Tree.ID); err != nil {
		t.Fatal(err)
	}
	if before, after := tr.snapshot().AsOf(), again.snapshot().AsOf(); before.Sub(after) > keepTime || after.After(before) {
		t.Errorf("the home was seen as of %s, and after a restart as of %s", before, after)
	}
	if now := again.now(func() time.Time { return noon.Add(30 * time.Minute) }); !now.IsZero() {
		t.Errorf("a clock that is an hour behind is believed: %s", now)
	}
}

// Two who learn at once lose nothing of what the other learnt.
func TestTrustLearnsFromManyAtOnce(t *testing.T) {
	h := newHome(t)
	tr := trusting(t, h)
	clock := func() time.Time { return noon.Add(time.Hour) }
	var proofs []credential.Proof
	for i := range 8 {
		h.Add(identity.Device, identity.Path("home/lamp"+string(rune('a'+i))))
		proofs = append(proofs, h.ProveFor(h.At("home/lock")))
	}
	done := make(chan error)
	for _, p := range proofs {
		go func() { done <- tr.learn(t, p, clock) }()
	}
	for range proofs {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got, want := tr.snapshot().Sequence(), h.Sequence; got != want {
		t.Errorf("head %d is trusted, want %d", got, want)
	}
}
