package kindred_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/gateway/gatewaytest"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/thing"
	"github.com/kindred-iot/kindred/vault"
)

// recorded are a home with home/cam, which records, and sam's laptop, anna's and ben's phones, which may read.
type recorded struct {
	*gatewaytest.Home
	t      *testing.T
	device *kindred.Node
	apps   map[string]*kindred.Node
}

func newRecorded(t *testing.T) *recorded {
	t.Helper()
	r := &recorded{Home: gatewaytest.New(t), t: t, apps: map[string]*kindred.Node{}}
	laptop := r.Open("laptop")
	r.apps["sam"] = laptop
	r.device = r.Invite(laptop, identity.Device, cam, "", "127.0.0.1:0")
	r.apps["anna"] = r.Invite(laptop, identity.Person, "sam/anna", "phone")
	r.apps["ben"] = r.Invite(laptop, identity.Person, "sam/ben", "phone")
	return r
}

// readers says who opens what the camera seals of what it recorded between two moments.
func (r *recorded) readers(from, until time.Time) string {
	r.t.Helper()
	to, err := r.device.Readers(r.t.Context(), "picture", from, until)
	if errors.Is(err, kindred.ErrNoReaders) {
		return "nobody"
	}
	if err != nil {
		r.t.Fatal(err)
	}
	sealed, err := vault.Seal([]byte("a cat"), to)
	if err != nil {
		r.t.Fatal(err)
	}
	var who []string
	for name, app := range r.apps {
		if content, err := app.SealedKey().Open(sealed); err == nil && string(content) == "a cat" {
			who = append(who, name)
		}
	}
	slices.Sort(who)
	return strings.Join(who, " ")
}

// expect checks who reads what is recorded from a moment on, until now.
func (r *recorded) expect(what string, from time.Time, want string) {
	r.t.Helper()
	if got := r.readers(from, time.Now()); got != want {
		r.t.Errorf("%s: %s can read it, want %s", what, got, want)
	}
}

func (r *recorded) share(who identity.Path, t grant.Terms) kindred.Target {
	r.t.Helper()
	t.Actions = grant.See
	_, target := r.Share(r.apps["sam"], who, cam, t)
	return target
}

func (r *recorded) revoke(target kindred.Target) {
	r.t.Helper()
	if _, err := r.apps["sam"].Revoke(r.t.Context(), target); err != nil {
		r.t.Fatal(err)
	}
}

// What is recorded is sealed to whoever could read it in a call, all of it.
func TestSealedToWhoeverCouldReadIt(t *testing.T) {
	r := newRecorded(t)
	before := time.Now().Add(-time.Minute)
	r.expect("shared with nobody", before, "sam")
	anna := r.share("sam/anna", grant.Terms{})
	now := time.Now()
	r.expect("shared with anna", now, "anna sam")
	r.expect("shared with anna, begun before", before, "sam")

	year := time.Now().AddDate(1, 0, 0).Unix()
	for what, terms := range map[string]grant.Terms{
		"another affordance": {Thing: grant.Thing{Affordance: "sound"}},
		"later":              {From: year},
		"three times":        {Uses: 3},
		"for a minute":       {Budget: 60},
		"now and then":       {Rate: grant.Rate{Uses: 1, Seconds: 60}},
		"at home":            {Home: true},
		"direct":             {Route: grant.DirectRoute},
		"by the hour":        {Detail: grant.Detail{Step: grant.Hour}, Zone: "Europe/Berlin"},
		"for a purpose":      {Purpose: "care"},
		"a past":             {Moments: grant.Moments{From: 1, Until: now.Unix() - 3600}},
	} {
		ben := r.share("sam/ben", terms)
		r.expect("shared with ben for "+what, now, "anna sam")
		r.revoke(ben)
	}
	ben := r.share("sam/ben", grant.Terms{Thing: grant.Thing{Affordance: "picture"}})
	r.expect("shared with ben", time.Now(), "anna ben sam")

	paused := ben
	paused.Pause = true
	r.revoke(paused)
	r.expect("paused for ben", time.Now(), "anna sam")

	r.revoke(anna)
	r.expect("taken back from anna", now.Add(-time.Second), "sam")
	r.expect("taken back from anna", time.Now(), "sam")
	r.revoke(ben)
	r.share("sam/ben", grant.Terms{})
	roster, err := r.apps["sam"].Roster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entry, _ := roster.At("sam/ben")
	r.revoke(roster.Member(entry))
	r.expect("ben is removed", time.Now(), "sam")
}

// With the gateway gone the camera seals to those it knew, after it was started anew too; and no longer to whoever an
// owner takes away at the camera itself.
func TestSealedWithoutTheGateway(t *testing.T) {
	r := newRecorded(t)
	anna := r.share("sam/anna", grant.Terms{Offline: 3600})
	now := time.Now()
	r.expect("with the gateway", now, "anna sam")
	if _, err := r.apps["sam"].Resolve(t.Context(), cam); err != nil { // so that it knows the way
		t.Fatal(err)
	}
	if err := r.apps["sam"].Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg := r.Config("cam", "127.0.0.1:0")
	r.Down()
	r.expect("without", now, "anna sam")
	if err := r.device.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.device, err = kindred.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.device.Close() })
	r.expect("without, started anew", now, "anna sam")
	c, err := r.apps["sam"].Resolve(t.Context(), cam)
	if err != nil {
		t.Fatal(err)
	}
	r.apps["sam"].Find(c, r.device.Addresses()...)
	r.revoke(anna)
	r.expect("taken back at the camera", now, "sam")
}

// A liar is a gateway that changes what it says of readers.
type liar struct {
	kindred.Home
	lie func(*control.Readers)
}

func (l liar) Readers(ctx context.Context, q control.ReadersQuery) (control.Readers, error) {
	a, err := l.Home.Readers(ctx, q)
	l.lie(&a)
	return a, err
}

// A gateway can leave somebody out. It can have nothing sealed to a key of its own, nor to one that was replaced.
func TestSealedToNobodySlippedIn(t *testing.T) {
	r := newRecorded(t)
	r.share("sam/anna", grant.Terms{})
	eve, err := vault.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	var lie func(*control.Readers)
	r.device = reopen(t, r.device, r.Config("cam", "127.0.0.1:0"), func(h kindred.Home) kindred.Home {
		return liar{h, func(a *control.Readers) { lie(a) }}
	})
	find := func(a *control.Readers, who string) *control.Reader {
		for i := range a.Readers {
			if slices.EqualFunc(a.Readers[i].Evidence.Chain, r.apps[who].Self().Raw, slices.Equal) {
				return &a.Readers[i]
			}
		}
		t.Fatalf("%s is not among the readers", who)
		return nil
	}
	for _, test := range []struct {
		what string
		lie  func(*control.Readers)
		want string
	}{
		{"nothing", func(*control.Readers) {}, "anna sam"},
		{"a recipient signed by somebody else", func(a *control.Readers) { find(a, "sam").Recipient = find(a, "anna").Recipient }, "anna"},
		{"a recipient altered", func(a *control.Readers) {
			said := find(a, "anna")
			said.Recipient = slices.Clone(said.Recipient)
			copy(said.Recipient[len(said.Recipient)/2:], eve.Recipient().String()[40:60])
		}, "sam"},
		{"somebody without a proof", func(a *control.Readers) { find(a, "anna").Evidence.Proof = find(a, "sam").Evidence.Proof }, "sam"},
		{"somebody without a grant", func(a *control.Readers) { find(a, "anna").Evidence.Grants = nil }, "sam"},
		{"a recipient without certificates", func(a *control.Readers) { find(a, "anna").Evidence.Chain = nil }, "sam"},
		{"somebody left out", func(a *control.Readers) { a.Readers = nil }, "nobody"},
	} {
		lie = test.lie
		r.expect(test.what, now, test.want)
	}
	var before []byte
	lie = func(a *control.Readers) { before = find(a, "anna").Recipient }
	r.expect("before the key was replaced", now, "anna sam")
	r.apps["anna"].Close()
	if err := os.Remove(filepath.Join(r.Path("annaphone"), kindred.KeysDir, vault.KeyFile)); err != nil {
		t.Fatal(err)
	}
	anna := r.apps["anna"]
	r.apps["anna"] = r.Open("annaphone")
	if err := r.apps["anna"].Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	lie = func(*control.Readers) {}
	r.expect("after the key was replaced", now, "anna sam")
	r.apps["old"] = anna
	lie = func(a *control.Readers) { find(a, "anna").Recipient = before }
	r.expect("the key that was replaced", now, "anna sam")
}

// A service is sealed to once it has accepted what was agreed, and only where that is all of what is recorded.
func TestSealedToServicesThatAccepted(t *testing.T) {
	r := newRecorded(t)
	sam := r.apps["sam"]
	r.apps["bank"] = r.Invite(sam, identity.Service, "sam/bank", "")
	r.Serve(r.device, thing.New("Camera"))
	now := time.Now()
	part := r.share("sam/bank", grant.Terms{Agreement: grant.Agreement{Clear: []string{"name"}, Recipient: "First Bank"}})
	accept := func() {
		t.Helper()
		err := r.apps["bank"].Use(t.Context(), cam, func(c *thing.Client) error {
			_, err := c.Describe(t.Context())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	accept()
	r.expect("a part of it was agreed on", now, "sam")
	r.revoke(part)
	whole := r.share("sam/bank", grant.Terms{
		Thing:     grant.Thing{Affordance: "picture"},
		Agreement: grant.Agreement{Clear: []string{"picture"}, Recipient: "First Bank"},
	})
	now = time.Now()
	r.expect("it has not accepted", now, "sam")
	r.apps["bank"] = r.Reopen("bank", r.apps["bank"])
	accept()
	r.expect("it has accepted", now, "bank sam")
	r.revoke(whole)
	r.expect("taken back from it", now, "sam")
}
