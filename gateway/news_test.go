package gateway_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/peer"
)

// remove has birch remove somebody.
func (s *street) remove(path identity.Path) {
	s.t.Helper()
	roster, err := s.sam.Roster(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	who, ok := roster.At(path)
	if !ok {
		s.t.Fatalf("there is no %s in birch", path)
	}
	if _, err := s.sam.Revoke(s.t.Context(), roster.Member(who)); err != nil {
		s.t.Fatal(err)
	}
}

// Birch removes anna, who watches a lock of the other home: its gateway hears of it from birch's, and the stream ends, though
// nobody else visits from there.
func TestRemovedAtHomeWhileVisiting(t *testing.T) {
	s := newStreet(t)
	s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See})
	ended := s.watch(s.anna)
	s.remove("sam/anna")
	s.ends("removed at home", ended)
	if err := s.reads(s.anna); err == nil {
		t.Error("anna, who was removed at home, reads the lock")
	}
}

// A thing that never met anybody of birch is told as well: who was removed there does not come with a proof from before.
func TestRemovedAtHomeBeforeVisiting(t *testing.T) {
	s := newStreet(t)
	ctx := t.Context()
	if err := s.anna.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See})
	if _, _, err := s.anna.WhyAbroad(ctx, s.atLock, "state", grant.Read, ""); err != nil { // she has all she needs to show
		t.Fatal(err)
	}
	before := s.home.Gateway.Heard(s.annas.Tree)
	s.remove("sam/anna")
	s.waits("the gateway hears of it", func() bool { return s.home.Gateway.Heard(s.annas.Tree) != before })
	s.birch.Down() // so that anna hears nothing, and shows what she has
	s.waits("the lock refuses her", func() bool {
		err := s.reads(s.anna)
		return err != nil && !errors.Is(err, peer.ErrUnreachable)
	})
}

// waits waits until something is the case.
func (s *street) waits(what string, is func() bool) {
	s.t.Helper()
	for soon := time.Now().Add(20 * time.Second); !is(); {
		if time.Now().After(soon) {
			s.t.Fatalf("in vain: %s", what)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-s.t.Context().Done():
		}
	}
}

// Only the gateway that a home was introduced with asks for news of its neighbour, and is told of nobody there.
func TestNewsAreForGateways(t *testing.T) {
	s := newStreet(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s.home.ShareAbroad(s.laptop, s.annas, "home/lock", grant.Terms{Actions: grant.See})
	oak := control.Client{Base: peer.Scheme + "://" + s.home.Gateway.Node().Self().Member().String() + "." + s.atLock.Tree.String()}
	for name, who := range map[string]*kindred.Node{"a guest": s.anna, "an owner": s.sam} {
		oak.HTTP = who.HTTP()
		if _, err := oak.News(ctx, control.NewsQuery{}); code2(err) != control.Refused {
			t.Errorf("%s asks for news: %v", name, err)
		}
	}
	oak.HTTP = s.birch.Gateway.Node().HTTP()
	said, err := oak.News(ctx, control.NewsQuery{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := credential.ParseProof(said.Proof)
	if err != nil || len(p.Entries) != 0 {
		t.Errorf("the news name %d entries, %v", len(p.Entries), err)
	}
	for name, ask := range map[string]func() error{
		"the lock":   func() error { _, err := oak.Resolve(ctx, control.Lookup{Path: "home/lock"}); return err },
		"who sam is": func() error { _, err := oak.Resolve(ctx, control.Lookup{Path: "sam"}); return err },
		"the roster": func() error { _, err := oak.Roster(ctx); return err },
		"anna's right": func() error {
			_, err := oak.Prove(ctx, control.ProofQuery{Thing: s.lock.Self().Member().String()})
			return err
		},
	} {
		if err := ask(); code2(err) != control.Refused && code2(err) != control.NotFound {
			t.Errorf("birch's gateway asks for %s: %v", name, err)
		}
	}
}
