package pairing_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/signed"
)

func introduction(t testing.TB, change func(*pairing.Home)) (pairing.Introduction, string, error) {
	t.Helper()
	home := pairing.Home{
		Tree: identity.TreeID(signed.Sum([]byte("tree"))), Charter: signed.Sum([]byte("charter")), Gateway: identity.MemberID{1},
		GatewayKey: identitytest.NewKey(t).Public(), Addresses: []string{"192.168.178.20:47110", "/dns4/home.example/udp/4711/quic-v1"},
		Name: "birch-street",
	}
	if change != nil {
		change(&home)
	}
	return pairing.NewIntroduction(identitytest.NewKey(t), home, now)
}

func TestIntroductionTravels(t *testing.T) {
	made, text, err := introduction(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	read, err := pairing.ParseIntroduction(text[:20]+"\n "+text[20:], now)
	if err != nil || !reflect.DeepEqual(made, read) {
		t.Errorf("made %#v, read %#v, %v", made.Home, read.Home, err)
	}
	if shown := fmt.Sprintf("%v %+v %#v %s", made, made, made, made); strings.Contains(shown, "secret") || strings.Contains(shown, fmt.Sprintf("%x", made.Token())) {
		t.Errorf("shown is %s", shown)
	}
	other := identity.TreeID(signed.Sum([]byte("other")))
	if d := made.Digits(other); len(d) != 6 || d != read.Digits(other) || d == made.Digits(identity.TreeID{}) {
		t.Errorf("digits %s and %s", d, read.Digits(other))
	}
	if !made.Bound([]byte("answer"), read.Bind([]byte("answer"))) || made.Bound([]byte("another"), read.Bind([]byte("answer"))) {
		t.Error("an answer is not bound to what it says")
	}
	again, _, err := introduction(t, nil)
	if err != nil || again.ID() == made.ID() || again.Bound([]byte("answer"), read.Bind([]byte("answer"))) {
		t.Errorf("two introductions have the ID %s (%v)", again.ID(), err)
	}
}

func TestIntroductionRefused(t *testing.T) {
	for want, change := range map[string]func(*pairing.Home){
		`"" is no name for a tree`:                             func(h *pairing.Home) { h.Name = "" },
		`"a/b" is no name for a tree`:                          func(h *pairing.Home) { h.Name = "a/b" },
		"the tree, its charter or its gateway is missing":      func(h *pairing.Home) { h.Tree = identity.TreeID{} },
		"0 addresses of the gateway, want 1 to 8":              func(h *pairing.Home) { h.Addresses = nil },
		"it holds for 864000 s, want 1 to 604800":              func(h *pairing.Home) { h.Life = 10 * 24 * time.Hour },
		"the gateway's key: a key of type <nil>, want Ed25519": func(h *pairing.Home) { h.GatewayKey = nil },
	} {
		if _, _, err := introduction(t, change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	_, text, err := introduction(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, invitation := mustSample(t)
	for name, test := range map[string]struct{ text, want string }{
		"nothing":       {"", "it is empty"},
		"an invitation": {invitation, `it begins with "kindred1", an introduction with "kindred-home1"`},
		"cut short":     {text[:len(text)-3], "cut short or altered"},
		"altered":       {text[:40] + "A" + text[41:], "pairing: reading an introduction: "},
		"too long":      {text + strings.Repeat("A", pairing.MaxText), "characters, of at most"},
	} {
		if _, err := pairing.ParseIntroduction(test.text, now); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if _, err := pairing.ParseIntroduction(text, now.Add(2*time.Hour)); !errors.Is(err, pairing.ErrExpired) {
		t.Errorf("after two hours: %v", err)
	}
	if _, err := pairing.ParseIntroduction(text, now.Add(-time.Hour)); err == nil || !strings.Contains(err.Error(), "in the future") {
		t.Errorf("an hour before: %v", err)
	}
}

// FuzzIntroduction reads arbitrary bytes as an introduction: what is read is within the bounds that the package promises.
func FuzzIntroduction(f *testing.F) {
	_, text, err := introduction(f, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("kindred-home1")
	f.Fuzz(func(t *testing.T, text string) {
		in, err := pairing.ParseIntroduction(text, now)
		if err != nil {
			return
		}
		if n := len(in.Addresses); n < 1 || n > 8 || in.Life <= 0 || in.Life > pairing.MaxLife || in.GatewayKey == nil || in.Introducer == nil {
			t.Errorf("read %+v", in.Home)
		}
		if p, err := identity.ParsePath(in.Name); err != nil || p.Parent() != "" {
			t.Errorf("its name is %q", in.Name)
		}
	})
}
