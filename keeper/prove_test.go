package keeper

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/store/storetest"
	"github.com/kindred-iot/kindred/tree"
)

func TestProveWhat(t *testing.T) {
	h := newHome(t)
	id := h.share()
	phone, laptop := h.member("sam/anna/phone"), h.member("sam/laptop")
	p := h.proof([]identity.MemberID{phone, laptop, phone}, id, id)
	if len(p.Entries) != 5 { // sam, anna, phone, laptop, grant
		t.Errorf("the proof has %d entries", len(p.Entries))
	}
	live := h.verify(p)
	for _, path := range []identity.Path{"sam", "sam/anna", "sam/anna/phone", "sam/laptop"} {
		if err := live.Check(h.At(path).Chain); err != nil {
			t.Error(err)
		}
	}
	if err := live.Check(h.At("home/lock").Chain); err == nil {
		t.Error("the proof has a member that was not asked for")
	}
	if p := h.proof(nil); len(p.Entries) != 0 || len(p.Map) != 0 {
		t.Error("a proof of nothing has something in it")
	}
	_, err := h.Prove(t.Context(), []identity.MemberID{{1}}, nil, 0)
	wants(t, "a proof of nobody", err, ErrNotLive, "member")
	_, err = h.Prove(t.Context(), nil, []tree.GrantID{{1}}, 0)
	wants(t, "a proof of no grant", err, ErrNotLive, "grant")
}

// Prove waits for the head that is the newest when it is called, and not for those that come after: so a roster that
// keeps changing keeps nobody waiting.
func TestProveWhileTheRosterGoesOn(t *testing.T) {
	h := newHome(t)
	first := h.share()
	h.proof(nil) // on the ledger
	lock := h.At("home/lock")
	h.net.hold()

	wanted := h.sequence() + 1
	if err := h.Label(t.Context(), h.laptop(), lock.Member(), "one"); err != nil {
		t.Fatal(err)
	}
	proofs := make(chan credential.Proof, 1)
	var prover sync.WaitGroup
	prover.Go(func() {
		p, err := h.Prove(context.Background(), []identity.MemberID{lock.Member()}, []tree.GrantID{first}, 0)
		if err != nil {
			t.Error(err)
		}
		proofs <- p
	})
	second := h.share()
	if err := h.Label(t.Context(), h.laptop(), lock.Member(), "two"); err != nil {
		t.Fatal(err)
	}
	h.Add(identity.Device, "home/new")
	if err := h.admit("home/new"); err != nil {
		t.Fatal(err)
	}
	h.net.permit(1)
	h.waitEvent(func(e Event) bool { return e.Recorded != nil && e.Sequence == wanted })
	// Whether the prover asked before or after the later changes, what it gets must verify, as of the head it names.
	short, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.Prove(short, nil, []tree.GrantID{second}, 0)
	wants(t, "a proof of what the ledger does not have yet", err, context.Canceled, "waiting for the ledger to record head")
	at, err := h.at(wanted, lock.Member())
	if err != nil {
		t.Fatal(err)
	}
	live := h.verify(at)
	if m, ok := live.Member(lock.Member()); !ok || m.Label != "one" || live.Sequence != wanted {
		t.Errorf("as of head %d the lock is %+v, want label one of head %d", live.Sequence, m, wanted)
	}
	if _, err := h.at(wanted, h.member("home/new")); !errors.Is(err, errLater) {
		t.Errorf("a member admitted later is proved as of head %d: %v", wanted, err)
	}
	h.net.permit(100)
	prover.Wait()
	if live := h.verify(<-proofs); live.Sequence < wanted {
		t.Errorf("the proof is as of head %d, want %d or later", live.Sequence, wanted)
	}
	if m, _ := h.verify(h.proof([]identity.MemberID{lock.Member()}, second)).Member(lock.Member()); m.Label != "two" {
		t.Errorf("in the end the lock is %+v", m)
	}
}

// at proves a member from the head that the ledger has now, which must be the one given.
func (h *home) at(sequence uint64, member identity.MemberID) (credential.Proof, error) {
	p, _, err := h.tryProve(h.t.Context(), func() ([]credential.Entry, error) { return h.entries([]identity.MemberID{member}, nil, nil) })
	if err == nil {
		if head, _, openErr := tree.OpenHead(p.Head, h.ID, h.key.Public()); openErr != nil || head.Sequence != sequence {
			h.t.Fatalf("the ledger has head %d, %v; want %d", head.Sequence, openErr, sequence)
		}
	}
	return p, err
}

// A refresher is a ledger that makes blocks when asked.
type refresher struct {
	*net
	asked int
	err   error
	block light.Block
}

func (r *refresher) Block() light.Block { return r.block }

func (r *refresher) Refresh(context.Context) error {
	r.asked++
	return r.err
}

func TestProveAsksForABlock(t *testing.T) {
	h := newHome(t)
	h.stopRun()
	r := &refresher{net: h.net, block: light.Block{Time: time.Now().Add(-time.Minute)}}
	cfg := h.config()
	cfg.Ledger = r
	var err error
	if h.Keeper, err = Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	h.run()
	for _, test := range []struct {
		maxAge time.Duration
		asked  int
	}{{0, 0}, {time.Hour, 0}, {time.Second, 1}, {time.Second, 2}} {
		if _, err := h.Prove(t.Context(), nil, nil, test.maxAge); err != nil {
			t.Error(err)
		}
		if r.asked != test.asked {
			t.Errorf("at most %s old: the ledger was asked for %d blocks, want %d", test.maxAge, r.asked, test.asked)
		}
	}
	r.err = errInjected
	_, err = h.Prove(t.Context(), nil, nil, time.Second)
	wants(t, "a ledger that makes no block", err, errInjected, "asking for a new block")
}

// Until the ledger takes a head, Prove says why not.
func TestProveSaysWhatIsWrong(t *testing.T) {
	h := newHome(t)
	h.proof(nil)
	ctx, cancel := context.WithCancel(t.Context())
	h.net.mu.Lock()
	for n := range 1000 {
		h.net.fail[n] = storetest.Failed
	}
	h.net.onSubmit = func(n int) {
		if n == 3 { // what went wrong the first time is known by now
			cancel()
		}
	}
	h.net.mu.Unlock()
	h.share()
	_, err := h.Prove(ctx, nil, nil, 0)
	wants(t, "proving", err, context.Canceled, "waiting for the ledger to record head 2")
	wants(t, "proving", err, errInjected, "submitting head 2")
}

func TestNotify(t *testing.T) {
	h := newHome(t)
	one := h.waitEvent(func(e Event) bool { return e.Recorded != nil && e.Sequence == 1 })
	if one.Recorded.Height == 0 || len(one.Revoked) != 0 {
		t.Errorf("head 1 is recorded: %+v", one)
	}
	id := h.share()
	p := h.revokeGrant(id)
	h.net.hold()
	if _, err := h.Revoke(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	e := h.eventOf(3) // before the ledger has it
	if len(e.Revoked) != 1 || e.Revoked[0] != p.Leaf || len(e.Grants) != 1 || e.Grants[0].ID != id || string(e.Statement) != string(p.Raw) {
		t.Errorf("the event of the revocation is %+v", e)
	}
	h.mu.Lock()
	for _, e := range h.events {
		if e.Recorded != nil && e.Sequence > 2 {
			t.Errorf("head %d is said to be recorded", e.Sequence)
		}
	}
	h.mu.Unlock()
	h.net.permit(1)
	h.waitEvent(func(e Event) bool { return e.Recorded != nil && e.Sequence == 3 })
	h.mu.Lock()
	h.events = nil
	h.mu.Unlock()
	h.net.block()
	h.waitEvent(func(e Event) bool { return e.Recorded != nil && e.Sequence == 3 })
}

// A listener that takes its time holds up nobody but itself, and then learns of everything that was taken away.
func TestSlowListener(t *testing.T) {
	h := newHome(t)
	h.stopRun()
	called, proceed := make(chan struct{}, 100), make(chan struct{})
	cfg := h.config()
	cfg.Notify = func(e Event) {
		called <- struct{}{}
		<-proceed
		h.note(e)
	}
	var err error
	if h.Keeper, err = Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	h.run()
	h.net.block()
	<-called
	for range 5 {
		if _, err := h.Revoke(t.Context(), h.revokeGrant(h.share())); err != nil {
			t.Fatal(err)
		}
	}
	h.verify(h.proof([]identity.MemberID{h.member("home/lock")}))
	close(proceed)
	for n := range uint64(5) {
		h.eventOf(3 + 2*n)
	}
}

func TestRunOnce(t *testing.T) {
	h := newHome(t)
	h.waitEvent(func(e Event) bool { return e.Recorded != nil })
	wants(t, "a second Run", h.Run(t.Context()), nil, "it runs already")
}
