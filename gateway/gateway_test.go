package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/device/lock"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
)

// code returns the code of a refusal, "" if err is none.
func code(err error) string {
	var p *thing.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func TestLock(t *testing.T) {
	v := gatewaytest.New(t)
	ctx := t.Context()
	laptop := v.Open("laptop")
	device := v.Invite(laptop, identity.Device, "home/lock", "", "127.0.0.1:0")
	v.Serve(device, lock.New().Thing())
	anna := v.Invite(laptop, identity.Person, "sam/anna", "phone")

	if got, err := v.State(laptop, "home/lock"); err != nil || got != `"locked"` {
		t.Fatalf("the owner reads %s, %v", got, err)
	}
	if got, err := v.State(anna, "home/lock"); err == nil {
		t.Fatalf("a person without a grant reads %s", got)
	}
	_, target := v.Share(laptop, "sam/anna", "home/lock", grant.Terms{Actions: grant.Use})
	if got, err := v.State(anna, "home/lock"); err != nil || got != `"locked"` {
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
	if _, err := client.Invoke(ctx, "open", nil); err == nil {
		t.Error("an action that the lock does not have was done") // and is not in the log below
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
	if got, err := v.State(anna, "home/lock"); err == nil {
		t.Fatalf("a person whose grant was taken back reads %s", got)
	}
	want := []string{
		"sam/laptop admit   served",
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
		told = slices.Compact(told) // a caller that is refused may ask once more with a newer proof
		return slices.Equal(told, want)
	})
}
