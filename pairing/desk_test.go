package pairing_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/store/storetest"
)

type claimQuestion struct {
	Token []byte        `json:"token"`
	Claim pairing.Claim `json:"claim"`
}

type resultQuestion struct {
	Token []byte     `json:"token"`
	ID    pairing.ID `json:"id"`
	App   []byte     `json:"app,omitempty"`
}

// A stranger cannot tell a wrong token from an unknown invitation, and cannot keep those with the right one out.
func TestStrangerLearnsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		inv := r.invite(identity.Device, "home/lock")
		claim, err := pairing.NewClaim(inv, deviceKeys(t))
		if err != nil {
			t.Fatal(err)
		}
		unknown := claim
		unknown.ID[0] ^= 1
		ask := func(path string, id pairing.ID, c pairing.Claim) string {
			var q any = claimQuestion{Token: make([]byte, 32), Claim: c}
			if path == pairing.ResultPath {
				q = resultQuestion{Token: make([]byte, 32), ID: id}
			}
			status, body := post(t, r.desk().Handler(), path, q)
			return fmt.Sprint(status, " ", body)
		}
		for _, path := range []string{pairing.ClaimPath, pairing.ResultPath} {
			wrong, none := ask(path, inv.ID(), claim), ask(path, unknown.ID, unknown)
			if wrong != none || !strings.Contains(wrong, "404") || !strings.Contains(wrong, `"unknown"`) {
				t.Errorf("%s: a wrong token is answered %s, an unknown invitation %s", path, wrong, none)
			}
		}
		for range 100 {
			ask(pairing.ClaimPath, inv.ID(), claim)
		}
		if wrong, none := ask(pairing.ClaimPath, inv.ID(), claim), ask(pairing.ClaimPath, unknown.ID, unknown); wrong != none || !strings.Contains(wrong, "429") {
			t.Errorf("after a hundred: %s, %s", wrong, none)
		}
		if _, err := r.join(inv, deviceKeys(t)); err != nil {
			t.Errorf("the invited machine, meanwhile: %v", err)
		}
		time.Sleep(time.Minute)
		if late := ask(pairing.ClaimPath, inv.ID(), claim); !strings.Contains(late, "404") {
			t.Errorf("a minute later: %s", late)
		}
	})
}

func TestBadQuestions(t *testing.T) {
	r := newRig(t)
	for name, body := range map[string]string{
		"empty":          "",
		"no JSON":        "x",
		"unknown field":  `{"tokens":""}`,
		"two values":     `{}{}`,
		"ID of no form":  `{"id":"x","claim":{"id":"x"}}`,
		"too long":       `{"token":"` + strings.Repeat("A", 16<<10) + `"}`,
		"deep":           strings.Repeat("[", 10_000),
		"number as text": `{"token":1}`,
	} {
		for _, path := range []string{pairing.ClaimPath, pairing.ResultPath} {
			if status, answered := post(t, r.desk().Handler(), path, []byte(body)); status != http.StatusBadRequest {
				t.Errorf("%s at %s: %d %s", name, path, status, answered)
			}
		}
	}
}

// The holder of the token can do nothing out of order.
func TestOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		inv := r.invite(identity.Person, "sam/anna")
		laptop := r.At("sam/laptop").Member()
		if err := r.desk().Answer(t.Context(), laptop, inv.ID(), nil); err == nil {
			t.Error("answered what nobody claimed")
		}
		var token []byte
		r.change = func(path string, body []byte, deliver func(string, []byte) *http.Response) (*http.Response, error) {
			if token == nil {
				token = field(t, body, "token")
				status, answered := post(t, r.desk().Handler(), pairing.ResultPath, resultQuestion{Token: token, ID: inv.ID()})
				if status != http.StatusBadRequest {
					t.Errorf("asked for the result before the claim: %d %s", status, answered)
				}
			}
			return deliver(path, body), nil
		}
		keys := personKeys(t)
		s := r.start(t.Context(), inv, keys)
		<-s.digits
		q, err := r.desk().Watch(t.Context(), inv.ID(), pairing.StageOpen)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.desk().Answer(t.Context(), laptop, inv.ID(), r.At("sam/laptop").Raw); err == nil {
			t.Error("answered with another's certificates")
		}
		chain, _ := r.issue(inv, q)
		other, _ := r.issue(inv, q)
		if err := r.desk().Answer(t.Context(), laptop, inv.ID(), chain); err != nil {
			t.Fatal(err)
		}
		if err := r.desk().Answer(t.Context(), laptop, inv.ID(), other); err != nil {
			t.Errorf("answered twice: %v", err)
		}
		if <-s.done; s.err != nil {
			t.Fatal(s.err)
		}
		if string(s.joined.CA.Raw[0]) != string(chain[0]) {
			t.Error("the second answer counted")
		}
		if _, err := r.desk().Watch(t.Context(), pairing.ID{1}, 0); !errors.Is(err, pairing.ErrUnknown) {
			t.Errorf("watched an unknown invitation: %v", err)
		}
	})
}

// A person's machine hands in a certificate that its CA did not make for the key that was confirmed.
func TestAppOfAnotherKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		inv := r.invite(identity.Person, "sam/anna")
		r.Tree.Add(identity.Person, "sam/anna")
		forged := r.Tree.Add(identity.App, "sam/anna/phone").Raw[0]
		r.change = func(path string, body []byte, deliver func(string, []byte) *http.Response) (*http.Response, error) {
			if path == pairing.ResultPath {
				q := resultQuestion{Token: field(t, body, "token"), ID: inv.ID(), App: forged}
				body = marshalJSON(t, q)
			}
			return deliver(path, body), nil
		}
		s := r.start(t.Context(), inv, personKeys(t))
		r.confirm(inv)
		if <-s.done; s.err == nil || !strings.Contains(s.err.Error(), "the app's certificate") {
			t.Error(s.err)
		}
		if _, ok := r.State.At("sam/anna"); ok {
			t.Error("the person is in the tree without a good app")
		}
	})
}

// The gateway hears of what it pushes to owners' apps.
func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		inv := r.invite(identity.Person, "sam/anna")
		s := r.start(t.Context(), inv, personKeys(t))
		if got := <-r.news; got != "sam/anna waiting" {
			t.Errorf("after the claim: %s", got)
		}
		r.confirm(inv)
		if <-s.done; s.err != nil {
			t.Fatal(s.err)
		}
		// signed; signed and with the app's certificate; joined
		for _, want := range []string{"sam/anna signed", "sam/anna signed", "sam/anna joined"} {
			if got := <-r.news; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	})
}

func TestRegister(t *testing.T) {
	r := newRig(t)
	good := r.invite(identity.Device, "home/lock").Offer("Küche", false)
	laptop := r.At("sam/laptop").Member()
	if err := r.desk().Register(t.Context(), laptop, good); err != nil {
		t.Errorf("the same again: %v", err)
	}
	for name, change := range map[string]func(o *pairing.Offer){
		"another with its ID": func(o *pairing.Offer) { o.Path = "home/camera" },
		"a place":             func(o *pairing.Offer) { o.ID[0]++; o.Kind = identity.Place },
		"no path":             func(o *pairing.Offer) { o.ID[0]++; o.Path = "Home" },
		"path too short":      func(o *pairing.Offer) { o.ID[0]++; o.Path = "lock" },
		"no token":            func(o *pairing.Offer) { o.ID[0]++; o.Token = nil },
		"label too long":      func(o *pairing.Offer) { o.ID[0]++; o.Label = strings.Repeat("x", 201) },
		"label no UTF-8":      func(o *pairing.Offer) { o.ID[0]++; o.Label = "\xff" },
		"over":                func(o *pairing.Offer) { o.ID[0]++; o.Expires = time.Now().Add(-time.Second) },
		"too long":            func(o *pairing.Offer) { o.ID[0]++; o.Expires = time.Now().Add(8 * 24 * time.Hour) },
	} {
		o := good
		change(&o)
		if err := r.desk().Register(t.Context(), laptop, o); err == nil {
			t.Errorf("%s: registered", name)
		}
	}
}

// What is over is forgotten, in memory and on disk.
func TestForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.wait = time.Hour
		r.restart()
		waiting, open := r.invite(identity.Person, "sam/anna"), r.invite(identity.Device, "home/lock")
		ids := []pairing.ID{waiting.ID(), open.ID()}
		s := r.start(t.Context(), waiting, personKeys(t))
		<-s.digits
		time.Sleep(pairing.DefaultLife + pairing.RememberedFor + time.Minute)
		if _, err := r.join(open, deviceKeys(t)); !errors.Is(err, pairing.ErrUnknown) {
			t.Errorf("long expired: %v", err)
		}
		if list, err := r.desk().Pending(t.Context()); err != nil || len(list) != 1 || list[0].ID != waiting.ID() {
			t.Errorf("waiting: %+v, %v", list, err)
		}
		time.Sleep(pairing.PendingFor)
		if <-s.done; !errors.Is(s.err, pairing.ErrUnknown) {
			t.Errorf("never answered: %v", s.err)
		}
		last := r.invite(identity.Device, "home/camera")
		if n := records(t, r.db); n != 1 {
			t.Errorf("%d records on disk, want that of %s alone", n, last.ID())
		}
		time.Sleep(2 * pairing.RememberedFor)
		r.restart()
		if n := records(t, r.db); n != 0 {
			t.Errorf("%d records on disk after a restart", n)
		}
		for _, id := range ids {
			if err := r.desk().Refuse(t.Context(), id, ""); !errors.Is(err, pairing.ErrUnknown) {
				t.Errorf("refused what is forgotten: %v", err)
			}
		}
	})
}

func records(t *testing.T, db *storetest.DB) (n int) {
	t.Helper()
	err := db.Scan(t.Context(), "pairing/", func(string, []byte) error { n++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.invite(identity.Person, "sam/zoe") // nobody comes
		for _, path := range []identity.Path{"sam/cleo", "sam/anna", "sam/ben"} {
			inv := r.invite(identity.Person, path)
			s := r.start(t.Context(), inv, personKeys(t))
			<-s.digits
			defer func() {
				if err := r.desk().Refuse(t.Context(), inv.ID(), "enough"); err != nil {
					t.Error(err)
				}
			}()
		}
		list, err := r.desk().Pending(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var paths []identity.Path
		for _, q := range list {
			paths = append(paths, q.Path)
			if q.Stage != pairing.StageWaiting || q.Inviter != r.At("sam/laptop").Member().String() || !q.Claimed.Equal(time.Now()) {
				t.Errorf("%+v", q)
			}
		}
		if fmt.Sprint(paths) != "[sam/anna sam/ben sam/cleo]" {
			t.Errorf("waiting: %v", paths)
		}
	})
}

// At most four questions for one result wait at a time.
func TestTooManyQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		inv := r.invite(identity.Person, "sam/anna")
		keys := personKeys(t)
		var token []byte
		r.change = func(path string, body []byte, deliver func(string, []byte) *http.Response) (*http.Response, error) {
			if token == nil {
				token = field(t, body, "token")
			}
			return deliver(path, body), nil
		}
		s := r.start(t.Context(), inv, keys)
		<-s.digits
		synctest.Wait() // the joiner's own question
		codes := make(chan int, 8)
		for range 8 {
			go func() {
				status, _ := post(t, r.desk().Handler(), pairing.ResultPath, resultQuestion{Token: token, ID: inv.ID()})
				codes <- status
			}()
		}
		synctest.Wait()
		if n := len(codes); n != 5 {
			t.Errorf("%d were sent away at once, want 5", n)
		}
		for range 5 {
			if status := <-codes; status != http.StatusTooManyRequests {
				t.Errorf("sent away with %d", status)
			}
		}
		r.confirm(inv)
		for range 3 {
			if status := <-codes; status != http.StatusOK {
				t.Errorf("answered with %d", status)
			}
		}
		if <-s.done; s.err != nil {
			t.Error(s.err)
		}
	})
}

// Every write of the desk fails, before and after it happened, and the gateway dies there: what was acknowledged is
// still so after the restart, and the machine gets in once.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		kind identity.Kind
		path identity.Path
	}{{identity.Device, "home/lock"}, {identity.Person, "sam/anna"}} {
		writes := 0
		run := func(name string, n int, fault storetest.Fault) {
			t.Run(tt.kind.String()+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					if n > 0 {
						r.db.FailAt(n, fault)
					}
					scenario(t, r, tt.kind, tt.path)
					if writes = max(writes, r.db.Writes()); n > writes {
						t.Errorf("write %d never happened", n)
					}
				})
			})
		}
		run("no fault", 0, 0)
		for n := 1; n <= writes; n++ {
			for _, fault := range []storetest.Fault{storetest.Failed, storetest.Happened} {
				run(fmt.Sprintf("write %d %s", n, fault), n, fault)
			}
		}
		if writes < 4 {
			t.Errorf("%d writes", writes)
		}
	}
}

// scenario lets a machine in, with a gateway that dies at each error and everybody trying again.
func scenario(t *testing.T, r *rig, kind identity.Kind, path identity.Path) {
	t.Helper()
	laptop := r.At("sam/laptop")
	inv, _, err := pairing.NewInvitation(laptop.Signer, r.terms(kind, path), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for r.desk().Register(t.Context(), laptop.Member(), inv.Offer("Küche", false)) != nil {
		r.restart()
	}
	acknowledged := make(chan struct{})
	var once sync.Once
	r.change = func(path string, body []byte, deliver func(string, []byte) *http.Response) (*http.Response, error) {
		resp := deliver(path, body)
		if resp.StatusCode >= 500 {
			r.restart()
			return nil, errors.New("connection lost")
		}
		once.Do(func() { close(acknowledged) })
		return resp, nil
	}
	keys := deviceKeys(t)
	if kind == identity.Person {
		keys = personKeys(t)
	}
	s := r.start(t.Context(), inv, keys)
	<-acknowledged
	if kind == identity.Person {
		for {
			q, err := r.desk().Watch(t.Context(), inv.ID(), pairing.StageOpen)
			if err != nil {
				t.Fatal(err)
			}
			if q.Stage != pairing.StageWaiting {
				break
			}
			chain, _ := r.issue(inv, q)
			if err := r.desk().Answer(t.Context(), laptop.Member(), inv.ID(), chain); err != nil {
				r.restart()
			}
		}
	}
	thief := deviceKeys(t)
	if kind == identity.Person {
		thief = personKeys(t)
	}
	if _, err := r.join(inv, thief); !errors.Is(err, pairing.ErrUsed) {
		t.Errorf("another machine, after the claim was acknowledged: %v", err)
	}
	if <-s.done; s.err != nil {
		t.Fatal(s.err)
	}
	if e, ok := r.State.At(path); !ok || e.Chain.Member() != memberOf(s.joined) {
		t.Errorf("the roster has %v at %s, joined was %v", e.Chain, path, memberOf(s.joined))
	}
	members := 0
	for range r.State.Members() {
		members++
	}
	if want := 3 + len(s.joined.Leaf.Line) - 1; members != want {
		t.Errorf("%d members, want %d", members, want)
	}
}

func memberOf(j pairing.Joined) identity.MemberID {
	if j.CA.Raw != nil {
		return j.CA.Member()
	}
	return j.Leaf.Member()
}

// shelf is a store that is gone with the test.
type shelf map[string][]byte

func (s shelf) Save(_ context.Context, changes map[string][]byte) error {
	maps.Copy(s, changes)
	return nil
}

func (s shelf) Load(_ context.Context, key string) ([]byte, error) { return s[key], nil }

func (s shelf) Scan(_ context.Context, _ string, each func(string, []byte) error) error {
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if err := each(key, s[key]); err != nil {
			return err
		}
	}
	return nil
}

// A stolen phone of an owner's invites as many as it may. When it is removed, the owner's laptop invites all the same, also
// after the gateway was started again.
func TestOneInviterLeavesRoom(t *testing.T) {
	stolen, laptop := identity.MemberID{1}, identity.MemberID{2}
	cfg := pairing.Config{Tree: identity.TreeID{1}, Store: shelf{}}
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	var desk *pairing.Desk
	register := func(by identity.MemberID, n int) error {
		o := pairing.Offer{Token: make([]byte, sha256.Size), Kind: identity.Device, Path: "home/lock", Expires: expires}
		o.ID[0], o.ID[1], o.ID[2] = by[0], byte(n>>8), byte(n)
		return desk.Register(t.Context(), by, o)
	}
	for range 2 {
		var err error
		if desk, err = pairing.NewDesk(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; n <= pairing.MaxInvitations && register(stolen, n) == nil; n++ {
		}
		if n != pairing.MaxInvitations/2 {
			t.Errorf("one app invites %d", n)
		}
		if err := register(laptop, 0); err != nil {
			t.Errorf("and another one: %v", err)
		}
	}
}
