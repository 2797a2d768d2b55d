package gateway_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
)

// Somebody of another home who was given nothing asks for something, is told what became of that and nothing else, and the
// owner allows less.
func TestAskAbroad(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	a, err := s.anna.AskAbroad(ctx, s.atLock, grant.Ask{Terms: grant.Terms{Actions: grant.Use}, Text: "the cat"})
	if err != nil {
		t.Fatal(err)
	}
	asks, err := s.laptop.Asks(ctx)
	if err != nil || len(asks) != 1 || asks[0].By.ID.Tree != s.annas.Tree || asks[0].Terms.Subject.Path != "sam/anna" {
		t.Fatalf("the owner reads %+v, %v", asks, err)
	}
	state := func(want bool) kindred.Ask {
		t.Helper()
		mine, err := s.anna.AsksAbroad(ctx)
		if err != nil || len(mine) != 1 || mine[0].Waiting != want || mine[0].State.Raw != nil {
			t.Fatalf("anna reads %+v, %v", mine, err)
		}
		return mine[0]
	}
	state(true)
	if err := s.reads(s.anna); err == nil {
		t.Error("who asks reads")
	}
	roster, err := s.laptop.Roster(ctx)
	if err != nil {
		t.Fatal(err)
	}
	lock, _ := roster.At("home/lock")
	terms := a.Terms
	terms.Thing.Member, terms.Actions = lock.Who.Member(), grant.See
	given, err := s.laptop.Allow(ctx, asks[0], terms)
	if err != nil {
		t.Fatal(err)
	}
	if got := state(false); got.State.Grant != given.ID.String() {
		t.Errorf("anna is told of %q", got.State.Grant)
	}
	if err := s.reads(s.anna); err != nil {
		t.Errorf("anna, who was allowed to, reads: %v", err)
	}
}

// What is asked for over and over does not fill what is kept for the home's own members, and nobody asks for others.
func TestAskAbroadBounds(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	ask := func(n *kindred.Node) error {
		_, err := n.AskAbroad(ctx, s.atLock, grant.Ask{Terms: grant.Terms{Actions: grant.See}})
		return err
	}
	for range 8 {
		if err := ask(s.anna); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(s.anna); code2(err) != control.Unavailable {
		t.Errorf("the ninth ask that waits: %v", err)
	}
	mine, err := s.anna.AsksAbroad(ctx)
	if err != nil || len(mine) != 8 {
		t.Fatalf("%d asks, %v", len(mine), err)
	}
	if err := s.anna.TakeBackAsk(ctx, mine[0]); err != nil {
		t.Fatal(err)
	}
	if err := ask(s.anna); err != nil {
		t.Errorf("after one was taken back: %v", err)
	}
	to := control.Client{HTTP: s.sam.HTTP(), Base: "kindred://" + s.home.Gateway.Node().Self().Member().String() + "." + s.atLock.Tree.String()}
	asks, err := s.laptop.Asks(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]control.VisitorAsk{
		"without anything":      {},
		"without a proof":       {Raw: asks[0].State.Raw},
		"with no proof at all":  {Raw: asks[0].State.Raw, Proof: []byte("I swear")},
		"with nothing to prove": {Proof: prove(t, ctx, s.sam)},
		"with another's proof":  {Raw: asks[0].State.Raw, Proof: prove(t, ctx, s.sam), Withdraw: true},
	} {
		if _, err := to.VisitorAsk(ctx, q); code2(err) != control.Refused {
			t.Errorf("asked %s: %v", name, err)
		}
	}
	if err := ask(s.laptop); err == nil {
		t.Error("who is at home asks as if from elsewhere")
	}
	// Nobody asks of a home that is not known any more, and what was asked from there is forgotten.
	if _, err := s.laptop.Revoke(ctx, s.forget()); err != nil {
		t.Fatal(err)
	}
	if err := ask(s.sam); code2(err) != control.Refused {
		t.Errorf("of a home that is not known: %v", err)
	}
	if asks, err = s.laptop.Asks(ctx); err != nil || len(asks) != 0 {
		t.Errorf("of a home that is not known there are %d asks, %v", len(asks), err)
	}
}

// Somebody of another home asks for little, is read, and puts much in its place before the owner allows it by its ID.
func TestAskIsNotExchanged(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	asked, err := s.anna.AskAbroad(ctx, s.atLock, grant.Ask{Terms: grant.Terms{Actions: grant.See}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.KeyDir(filepath.Join(s.birch.Path("annaphone"), kindred.KeysDir)).Open(kindred.KeyLeaf)
	if err != nil {
		t.Fatal(err)
	}
	asked.Terms.Actions = grant.Use
	much, err := grant.SignAsk(key, s.anna.Self().Raw, asked)
	if err != nil {
		t.Fatal(err)
	}
	to := control.Client{HTTP: s.anna.HTTP(), Base: "kindred://" + s.home.Gateway.Node().Self().Member().String() + "." + s.atLock.Tree.String()}
	_, err = to.VisitorAsk(ctx, control.VisitorAsk{Raw: much, Proof: prove(t, ctx, s.anna)})
	says(t, "another request under the same ID", err, control.Conflict)
	asks, err := s.laptop.Asks(ctx)
	if err != nil || len(asks) != 1 {
		t.Fatalf("%d requests, %v", len(asks), err)
	}
	if got := asks[0].Terms.Actions; got != grant.See {
		t.Errorf("the owner, who read %s, allows %s", grant.See, got)
	}
}

// A home that makes as many people as it likes, each of whom asks, leaves room for those of others.
func TestAHomeAsksTooMuch(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	people := []*kindred.Node{s.sam, s.anna}
	for _, name := range []identity.Path{"sam/eve", "sam/ben"} {
		people = append(people, s.birch.Invite(s.sam, identity.Person, name, "phone"))
	}
	asked := 0
	var err error
	for asked < 32 && err == nil {
		if _, err = people[asked/8].AskAbroad(ctx, s.atLock, grant.Ask{Terms: grant.Terms{Actions: grant.See}}); err == nil {
			asked++
		}
	}
	if asked != 24 || code2(err) != control.Unavailable {
		t.Errorf("people of one home ask %d times, then %v", asked, err)
	}
}

// prove returns the proof that a node shows of itself.
func prove(t *testing.T, ctx context.Context, n *kindred.Node) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	e, err := n.Gateway().Prove(ctx, control.ProofQuery{})
	if err != nil {
		t.Fatal(err)
	}
	return e.Proof
}
