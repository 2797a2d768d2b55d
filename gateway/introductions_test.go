package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/peer"
	"github.com/kindred-iot/kindred/tree"
)

// Two owners have their homes know each other: a line of text from the one, the word of both, and the same digits.
func TestIntroduction(t *testing.T) {
	home, birch := gatewaytest.New(t), gatewaytest.New(t)
	ctx := t.Context()
	sam, kim := home.Open("laptop"), birch.Open("laptop")
	in, text, err := sam.Introduce(ctx, "oak")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	var face tree.Recognition
	go func() {
		var err error
		face, err = sam.AwaitAnswer(ctx, in)
		answered <- err
	}()
	home.Restart() // what was introduced is on disk
	m, err := kim.Meet(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	if m.Face.Other != sam.Self().ID.Tree || m.Face.Name != "oak" || m.Digits(kim.Self().ID.Tree) != in.Digits(kim.Self().ID.Tree) {
		t.Errorf("met %+v", m.Face)
	}
	if err := kim.Recognize(ctx, m.Face); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second says what was said
		if err := kim.Taken(ctx, m, true, "birch"); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if face.Other != kim.Self().ID.Tree || face.Name != "birch" {
		t.Errorf("the answer is %+v", face)
	}
	if err := sam.Recognize(ctx, face); err != nil {
		t.Fatal(err)
	}
	for who, name := range map[*kindred.Node]string{sam: "birch", kim: "oak"} {
		roster, err := who.Roster(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := roster.Called(name); !ok || len(roster.Others) != 1 {
			t.Errorf("%s recognizes %+v", who.Self().ID.Path, roster.Others)
		}
	}
	// The line is good once.
	eve := gatewaytest.New(t).Open("laptop")
	if _, err := eve.Meet(ctx, text); !errors.Is(err, pairing.ErrUsed) {
		t.Errorf("a second home meets by the same line: %v", err)
	}
	if err := kim.Taken(ctx, m, false, ""); !errors.Is(err, pairing.ErrUsed) {
		t.Errorf("another answer by the same line: %v", err)
	}
}

func TestIntroductionOneWay(t *testing.T) {
	home, birch := gatewaytest.New(t), gatewaytest.New(t)
	ctx := t.Context()
	sam, kim := home.Open("laptop"), birch.Open("laptop")
	in, text, err := sam.Introduce(ctx, "oak")
	if err != nil {
		t.Fatal(err)
	}
	m, err := kim.Meet(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	if err := kim.Taken(ctx, m, false, ""); err != nil {
		t.Fatal(err)
	}
	face, err := sam.AwaitAnswer(ctx, in)
	if err != nil || !face.Other.IsZero() {
		t.Errorf("the answer is %+v, %v", face, err)
	}
	if _, err := sam.Meet(ctx, text); err == nil {
		t.Error("a home meets itself")
	}
}

// Without an introduction the gateway says nothing of its home; and it cannot make an answer of its own.
func TestIntroductionAttacks(t *testing.T) {
	home := gatewaytest.New(t)
	ctx := t.Context()
	sam := home.Open("laptop")
	in, text, err := sam.Introduce(ctx, "oak")
	if err != nil {
		t.Fatal(err)
	}
	host, err := peer.New(peer.Config{Key: identitytest.NewKey(t), Listen: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	gateway := home.Gateway.Node()
	client := http.Client{Transport: host.Transport(func(context.Context, string) (peer.Target, error) {
		return peer.Target{Key: gateway.Self().Key, Addresses: gateway.Addresses()}, nil
	})}
	for name, test := range map[string]struct {
		body string
		want int
	}{
		"nothing":       {"", http.StatusBadRequest},
		"no token":      {`{"id":"` + in.ID().String() + `"}`, http.StatusForbidden},
		"another token": {`{"id":"` + in.ID().String() + `","token":"AAAA","taken":true}`, http.StatusForbidden},
		"an unknown ID": {`{"id":"` + pairing.ID{}.String() + `","token":"AAAA"}`, http.StatusForbidden},
		"too much":      {`{"id":"` + string(bytes.Repeat([]byte("a"), 1<<16)) + `"}`, http.StatusBadRequest},
	} {
		resp, err := client.Post("kindred://gateway"+pairing.IntroductionPath, "application/json", bytes.NewReader([]byte(test.body)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != test.want {
			t.Errorf("%s: answered %s", name, resp.Status)
		}
	}
	// Somebody else who read the line answers first.
	kim := gatewaytest.New(t).Open("laptop")
	m, err := kim.Meet(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	eve := gatewaytest.New(t).Open("laptop")
	forged, err := eve.Meet(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	if err := eve.Taken(ctx, forged, true, "kim"); err != nil { // eve read the line too, and was first
		t.Fatal(err)
	}
	if err := kim.Taken(ctx, m, true, "kim"); !errors.Is(err, pairing.ErrUsed) {
		t.Errorf("kim is not told that somebody was first: %v", err)
	}
	face, err := sam.AwaitAnswer(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if in.Digits(face.Other) == m.Digits(kim.Self().ID.Tree) {
		t.Error("sam and kim see the same digits, though it is eve who answered")
	}
}

// A stolen phone of an owner's introduces the home as often as it may: the owner's laptop does all the same.
func TestIntroductionsLeaveRoom(t *testing.T) {
	h := gatewaytest.New(t)
	laptop := h.Open("laptop")
	stolen := h.Invite(laptop, identity.App, "sam/phone", "")
	n := 0
	for ; n < 100; n++ {
		if _, _, err := stolen.Introduce(t.Context(), "oak"); err != nil {
			break
		}
	}
	if n != 32 {
		t.Errorf("one app makes %d introductions", n)
	}
	if _, _, err := laptop.Introduce(t.Context(), "oak"); err != nil {
		t.Errorf("and another one: %v", err)
	}
}
