package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// A demand is kept once the grant is taken back, is answered by the service that it is made to and nobody else, and
// outlives a restart.
func TestWithdraw(t *testing.T) {
	h, id, raw := newDeal(t)
	ctx := t.Context()
	statement := digestOf(t, raw)
	if _, _, err := h.Consent(ctx, h.consent("sam/bank", id, statement)); err != nil {
		t.Fatal(err)
	}
	demand := func(by identity.Path) agreement.Papers {
		m := h.At(by)
		d, err := agreement.Demand{
			Tree: h.ID, Grant: id, Statement: statement, Service: h.member("sam/bank"), Owner: m.ActsFor(), Time: time.Now().Unix(),
		}.Sign(m.Signer, m.Raw)
		if err != nil {
			t.Fatal(err)
		}
		consents, _ := h.Consents(id)
		return agreement.Papers{Grant: raw, Consents: consents, Demand: d}
	}
	papers := demand("kim/phone")
	if err := h.Withdraw(ctx, papers); err == nil {
		t.Error("a demand about a grant that stands is kept")
	}
	if _, err := h.Revoke(ctx, h.revokeGrant(id)); err != nil {
		t.Fatal(err)
	}
	if err := h.Withdraw(ctx, demand("sam/anna/phone")); err == nil {
		t.Error("a person's demand is kept")
	}
	for range 2 {
		if err := h.Withdraw(ctx, papers); err != nil {
			t.Fatal(err)
		}
		h.restart()
	}
	if n, others := len(h.Withdrawn(h.member("sam/bank"))), len(h.Withdrawn(h.member("sam/broker"))); n != 1 || others != 0 {
		t.Fatalf("%d demands are made to the service, and %d to another", n, others)
	}
	answer := func(by identity.Path, change func(*agreement.Deletion)) []byte {
		m := h.At(by)
		d := agreement.Deletion{
			Tree: h.ID, Demand: digestOf(t, papers.Demand), Service: m.Member(), Time: time.Now().Unix(), Done: true,
			Items: []agreement.Item{{What: "readings", Count: 2, Bytes: 64}},
		}
		change(&d)
		raw, err := d.Sign(m.Signer, m.Raw)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	as := func(d *agreement.Deletion) {}
	for name, forged := range map[string]struct {
		by  identity.Path
		raw []byte
	}{
		"another service":                {"sam/broker", answer("sam/broker", as)},
		"another service, as this one":   {"sam/broker", answer("sam/broker", func(d *agreement.Deletion) { d.Service = h.member("sam/bank") })},
		"the gateway, as the service":    {"home/gateway", answer("home/gateway", func(d *agreement.Deletion) { d.Service = h.member("sam/bank") })},
		"a gateway's, by the service":    {"sam/bank", answer("home/gateway", func(d *agreement.Deletion) { d.Service = h.member("sam/bank") })},
		"the service, to another demand": {"sam/bank", answer("sam/bank", func(d *agreement.Deletion) { d.Demand[0]++ })},
	} {
		if _, _, err := h.Deleted(ctx, h.At(forged.by).Chain, forged.raw); !errors.Is(err, ErrNotLive) {
			t.Errorf("%s: %v", name, err)
		}
	}
	reason := "the bill is due"
	later := func(d *agreement.Deletion) { d.Done, d.Items, d.Reason = false, nil, reason }
	for range 2 * maxAnswers { // a service that says no for ever, and each time twice
		reason += ", still"
		raw := answer("sam/bank", later)
		for _, again := range []bool{false, true} {
			if _, already, err := h.Deleted(ctx, h.At("sam/bank").Chain, raw); err != nil || already != again {
				t.Fatal(already, err)
			}
		}
	}
	if left := h.Withdrawn(h.member("sam/bank")); len(left) != 1 || len(left[0].Answers) != maxAnswers {
		t.Errorf("left is %d demands", len(left))
	}
	if got, _, err := h.Deleted(ctx, h.At("sam/bank").Chain, answer("sam/bank", as)); err != nil || got != id {
		t.Fatalf("%s, %v", got, err)
	}
	if _, already, err := h.Deleted(ctx, h.At("sam/bank").Chain, answer("sam/bank", later)); err != nil || !already {
		t.Error(already, err)
	}
	h.restart()
	all := h.Withdrawn(identity.MemberID{})
	if len(all) != 1 || len(h.Withdrawn(h.member("sam/bank"))) != 0 {
		t.Fatalf("%d were withdrawn, and something is left to do", len(all))
	}
	if said, ok := all[0].Answer(); !ok || !said.Done || said.Bytes() != 64 {
		t.Errorf("it says %+v", said)
	}
	if h.live(id) || id == (tree.GrantID{}) {
		t.Error("the grant came back")
	}
}

// largest returns the largest preview that can be agreed on.
func largest(t *testing.T, thing identity.MemberID) (preview []byte) {
	t.Helper()
	fields := map[string]string{}
	for {
		fields[fmt.Sprintf("field-%d", len(fields))] = strings.Repeat("x", 150)
		value, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := agreement.NewPreview(thing, "home/lock", "state", []string{"state"}, value, value, time.Now()).Marshal()
		if err != nil {
			return preview
		}
		preview = raw
	}
}

// However much an owner was shown before something was agreed, it can be withdrawn, and answered.
func TestWithdrawAfterALargePreview(t *testing.T) {
	h, _, _ := newDeal(t)
	ctx := t.Context()
	preview := largest(t, h.member("home/lock"))
	id, raw := h.sign(func(t *grant.Terms) {
		t.Subject.Member, t.Thing.Affordance, t.Actions = h.member("sam/bank"), "state", grant.See
		t.Agreement = grant.Agreement{Clear: []string{"state"}, Recipient: "First Bank", Preview: agreement.Digest(preview)}
	})
	if _, _, err := h.Grant(ctx, h.laptop(), raw); err != nil {
		t.Fatal(err)
	}
	for _, by := range []identity.Path{"sam/bank", "kim/phone", ""} {
		if _, _, err := h.Consent(ctx, h.consent(by, id, digestOf(t, raw))); err != nil {
			t.Fatal(err)
		}
	}
	consents, _ := h.Consents(id)
	if _, err := h.Revoke(ctx, h.revokeGrant(id)); err != nil {
		t.Fatal(err)
	}
	phone, bank := h.At("kim/phone"), h.At("sam/bank")
	demand, err := agreement.Demand{
		Tree: h.ID, Grant: id, Statement: digestOf(t, raw), Service: bank.Member(), Owner: phone.ActsFor(), Time: time.Now().Unix(),
	}.Sign(phone.Signer, phone.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Withdraw(ctx, agreement.Papers{Grant: raw, Consents: consents, Preview: preview, Demand: demand}); err != nil {
		t.Fatal(err)
	}
	answer, err := agreement.Deletion{
		Tree: h.ID, Demand: digestOf(t, demand), Service: bank.Member(), Time: time.Now().Unix(), Done: true,
	}.Sign(bank.Signer, bank.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Deleted(ctx, bank.Chain, answer); err != nil {
		t.Fatal(err)
	}
}
