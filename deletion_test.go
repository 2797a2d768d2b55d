package kindred_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/journal"
	"github.com/kindred-iot/kindred/signed"
)

// A demanding home hands a service a demand for deletion that its keeper never took.
type demanding struct {
	kindred.Home
	papers *atomic.Pointer[agreement.Papers]
}

func (d demanding) Prove(ctx context.Context, q control.ProofQuery) (control.Evidence, error) {
	e, err := d.Home.Prove(ctx, q)
	if p := d.papers.Load(); p != nil {
		e.Demands = append(e.Demands, *p)
	}
	return e, err
}

// takeBack takes back what was agreed with the bank, and returns the papers of it.
func (b *bank) takeBack() agreement.Papers {
	b.t.Helper()
	ctx := b.t.Context()
	roster, err := b.laptop.Roster(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	papers, err := b.laptop.PapersOf(ctx, roster.GrantsNamed(b.grant.Terms.ID.String())[0])
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.laptop.Revoke(ctx, roster.Grant(b.grant)); err != nil {
		b.t.Fatal(err)
	}
	return papers
}

// demand takes back what was agreed, and demands that it be deleted, which the bank is told.
func (b *bank) demand() {
	b.t.Helper()
	ctx := b.t.Context()
	if err := b.node.Refresh(ctx); err != nil {
		b.t.Fatal(err)
	}
	if err := b.laptop.Demand(ctx, b.takeBack()); err != nil {
		b.t.Fatal(err)
	}
	if err := b.node.Refresh(ctx); err != nil {
		b.t.Fatal(err)
	}
}

// A service deletes what an owner's app demands that is a member, and nothing for one that was removed, though the gateway
// hands it the demand.
func TestDeletionIsForMembers(t *testing.T) {
	b := newBank(t)
	ctx := t.Context()
	said := demanding{papers: &atomic.Pointer[agreement.Papers]{}}
	b.node = reopen(t, b.node, b.Config("bank"), func(h kindred.Home) kindred.Home {
		said.Home = h
		return said
	})
	if err := b.node.Refresh(ctx); err != nil { // which accepts what is offered
		t.Fatal(err)
	}
	papers := b.takeBack()
	s, err := signed.Parse(papers.Grant)
	if err != nil {
		t.Fatal(err)
	}
	self, forged := b.tablet.Self(), papers
	forged.Demand, err = agreement.Demand{
		Tree: self.ID.Tree, Grant: b.grant.Terms.ID, Statement: s.Digest, Service: b.node.Self().Member(),
		Owner: self.ActsFor(), Time: time.Now().Add(-time.Minute).Unix(),
	}.Sign(b.key("tablet"), self.Raw)
	if err != nil {
		t.Fatal(err)
	}
	due := func() int {
		t.Helper()
		if err := b.node.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		all, err := b.node.Demands(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}

	b.remove("kim/tablet", time.Time{})
	said.papers.Store(&forged)
	for range 2 {
		if n := due(); n != 0 {
			t.Fatalf("on the word of an app that was removed, %d things are to be deleted", n)
		}
	}
	items, err := b.node.Journal().Query(ctx, journal.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, i := range items {
		if e := i.Entry; e.Op == journal.Withdraw && e.Outcome == journal.Refused && e.Caller.Member == self.Member() && e.Grant == b.grant.Terms.ID.String() {
			told++
		}
	}
	if told != 1 {
		t.Errorf("its journal tells %d times that it refused to delete something: %v", told, items)
	}

	if err := b.laptop.Demand(ctx, papers); err != nil {
		t.Fatal(err)
	}
	said.papers.Store(nil)
	if n := due(); n != 1 {
		t.Fatalf("on an owner's word, %d things are to be deleted", n)
	}
	all, err := b.node.Demands(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.node.Answer(ctx, all[0], agreement.Deletion{Reason: "the books are being closed"}); err != nil {
		t.Fatal(err)
	}
	if n := due(); n != 1 {
		t.Fatalf("what it said it will delete is %d things", n)
	}
}

// What is demanded is not deleted while the home's word on who is a member is not to be had.
func TestDeletionTakesAFreshWord(t *testing.T) {
	b := newBank(t)
	ctx := t.Context()
	b.demand()
	b.Down()
	if all, err := b.node.Demands(ctx); err == nil || !strings.Contains(err.Error(), "whether sam/laptop, who demands a deletion, is a member still") {
		t.Errorf("without its home, %d things are to be deleted, %v", len(all), err)
	}
}

// What a service deleted it says though the gateway is away just then, and deletes nothing twice: what is gone it could not
// count again.
func TestDeletionIsTold(t *testing.T) {
	b := newBank(t)
	ctx := t.Context()
	b.demand()
	all, err := b.node.Demands(ctx)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d things are to be deleted, %v", len(all), err)
	}
	b.Address, _, _ = strings.Cut(b.Gateway.Node().Addresses()[0], "/p2p/") // where it comes back
	b.Down()
	deleted := agreement.Item{What: "readings", Count: 3, Bytes: 1200}
	if err := b.node.Answer(ctx, all[0], agreement.Deletion{Done: true, Items: []agreement.Item{deleted}}); err == nil {
		t.Fatal("the gateway was told while it was away")
	}
	b.Up()
	if all, err = b.node.Demands(ctx); err != nil || len(all) != 0 {
		t.Errorf("%d things are to be deleted again, %v", len(all), err)
	}
	known, err := b.laptop.Agreements(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if d, ok := known[b.grant.Terms.ID].Answer(); !ok || !d.Done || len(d.Items) != 1 || d.Items[0] != deleted {
		t.Errorf("its owner is told of %+v", d)
	}
}
