package kindred_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/thing"
)

// private is a home whose lock anna uses with her phone, and ben with his.
type private struct {
	*gatewaytest.Home
	t         *testing.T
	laptop    *kindred.Node // sam's
	anna, ben *kindred.Node
	lock      *kindred.Node
}

func newPrivateHome(t *testing.T) *private {
	t.Helper()
	h := &private{Home: gatewaytest.New(t), t: t}
	h.laptop = h.Open("laptop")
	h.lock = h.Invite(h.laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	h.Serve(h.lock, lock.New().Thing())
	h.anna = h.Invite(h.laptop, identity.Person, "sam/anna", "phone")
	h.ben = h.Invite(h.laptop, identity.Person, "sam/ben", "phone")
	h.Share(h.laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use})
	h.Share(h.laptop, "sam/ben", "home/lock", grant.Terms{Actions: grant.Use})
	return h
}

// conceal says for whom the lock is private, and waits until it knows.
func (h *private) conceal(people ...*kindred.Node) {
	h.t.Helper()
	var ids []identity.MemberID
	for _, n := range people {
		ids = append(ids, n.Self().ActsFor())
	}
	if err := h.laptop.Conceal(h.t.Context(), h.lock.Self().Member(), ids); err != nil {
		h.t.Fatal(err)
	}
	if err := h.lock.Refresh(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *private) unlock(n *kindred.Node) error {
	return n.Use(h.t.Context(), "home/lock", func(c *thing.Client) error {
		_, err := c.Invoke(h.t.Context(), "unlock", nil)
		return err
	})
}

// told waits until the gateway has so many entries of what was done at the lock, of which nobody but the one who asks can
// tell those that are sealed, and returns them in few words.
func (h *private) told(n *kindred.Node, sealed bool, want int) (lines []string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	for {
		entries, err := n.History(ctx, control.HistoryQuery{Thing: h.lock.Self().Member().String(), Limit: 100, Sealed: sealed})
		if err != nil {
			h.t.Fatal(err)
		}
		lines = nil
		for _, e := range entries {
			switch e.Op {
			case journal.Invoke, journal.Private:
				lines = append(lines, strings.TrimSpace(string(e.Caller.ID.Path)+" "+string(e.Op)))
			}
		}
		if len(lines) >= want || ctx.Err() != nil {
			return lines
		}
	}
}

func (h *private) expect(who string, got []string, want ...string) {
	h.t.Helper()
	if strings.Join(got, ", ") != strings.Join(want, ", ") {
		h.t.Errorf("%s is told %q, want %q", who, got, want)
	}
}

// What anna does at the lock is sealed to her: she reads it, and nobody else does, not in the lock's own journal either;
// and the journal verifies.
func TestPrivate(t *testing.T) {
	h := newPrivateHome(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.unlock(h.anna))
	h.conceal(h.anna)
	must(h.unlock(h.anna))
	must(h.unlock(h.ben))
	must(h.unlock(h.anna)) // what was done before is signed for by now

	const clear, shut = "sam/anna/phone invoke", "private"
	h.expect("sam", h.told(h.laptop, false, 4), clear, shut, "sam/ben/phone invoke", shut)
	h.expect("anna", h.told(h.anna, true, 2), clear, clear)
	if _, err := h.ben.History(t.Context(), control.HistoryQuery{Sealed: true}); err != nil {
		t.Error(err)
	}
	h.expect("ben", h.told(h.ben, true, 0))

	entries, err := h.anna.History(t.Context(), control.HistoryQuery{Sealed: true})
	must(err)
	for i, e := range entries {
		if signed := i < len(entries)-1; e.Sealed == nil || e.Grant == "" || e.Affordance != "unlock" || signed && !e.Countersigned {
			t.Errorf("anna is told %+v", e)
		}
	}
	checks, err := h.laptop.VerifyJournals(t.Context())
	must(err)
	for _, c := range checks {
		if len(c.Findings) > 0 {
			t.Errorf("the journal of %s: %+v", c.Path, c.Findings)
		}
	}
	items, err := h.lock.Journal().Query(t.Context(), journal.Filter{Since: time.Now().Add(-time.Hour), Accounts: true, Sealed: true})
	must(err)
	if len(items) < 3 {
		t.Errorf("%d entries of the lock's own journal are sealed, want two uses and a receipt", len(items))
	}
	for _, item := range items {
		if bytes.Contains(item.Raw, []byte("anna")) || bytes.Contains(item.Raw, []byte("unlock")) {
			t.Errorf("the lock's journal shows %q", item.Raw)
		}
	}

	h.conceal()
	must(h.unlock(h.anna))
	h.expect("sam, after it is told again", h.told(h.laptop, false, 5), clear, shut, "sam/ben/phone invoke", shut, clear)
}

// What is sealed is told once to others, whatever came of it; whom it concerns is told that too.
func TestPrivateInVain(t *testing.T) {
	h := newPrivateHome(t)
	h.conceal(h.anna)
	err := h.anna.Use(t.Context(), "home/lock", func(c *thing.Client) error {
		_, err := c.Invoke(t.Context(), "unlock", json.RawMessage("5"))
		return err
	})
	if err == nil {
		t.Fatal("the lock takes input")
	}
	if err := h.unlock(h.ben); err != nil { // what is told is told in order: all of hers before
		t.Fatal(err)
	}
	h.expect("anna", h.told(h.anna, true, 2), "sam/anna/phone invoke", "sam/anna/phone invoke")
	h.expect("sam", h.told(h.laptop, false, 2), "private", "sam/ben/phone invoke")
	entries, err := h.anna.History(t.Context(), control.HistoryQuery{Sealed: true})
	if err != nil {
		t.Fatal(err)
	}
	var came []journal.Outcome
	for _, e := range entries {
		came = append(came, e.Outcome)
	}
	if want := []journal.Outcome{journal.Served, journal.Failed}; !slices.Equal(came, want) {
		t.Errorf("anna is told %v, want %v", came, want)
	}
}

// It is private for people, because an owner says so; and whoever it is private for reads nothing else for that.
func TestWhoSaysWhatIsPrivate(t *testing.T) {
	h := newPrivateHome(t)
	h.conceal(h.anna)
	if err := h.unlock(h.ben); err != nil { // for whom it is not private
		t.Fatal(err)
	}
	h.expect("sam", h.told(h.laptop, false, 1), "sam/ben/phone invoke")
	for _, who := range []identity.MemberID{h.lock.Self().Member(), h.anna.Self().Member()} {
		if err := h.laptop.Conceal(t.Context(), h.lock.Self().Member(), []identity.MemberID{who}); err == nil {
			t.Errorf("the lock is private for %s, which is neither owner nor person", who)
		}
	}
	if err := h.anna.Conceal(t.Context(), h.lock.Self().Member(), nil); err == nil {
		t.Error("anna, who is no owner, says for whom the lock is private")
	}
	mine, err := h.anna.History(t.Context(), control.HistoryQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range mine {
		if e.Op == journal.Invoke {
			t.Errorf("anna is told of %s by %s", e.Op, e.Caller.ID.Path)
		}
	}
}
