package pairing_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store/storetest"
	"github.com/kindred-iot/kindred/tree"
)

const year = 365 * 24 * time.Hour

// gateway is what a desk stands in: it holds the CA of the places, and keeps the roster of a home.
type gateway struct {
	*credentialtest.Home

	mu      sync.Mutex
	signs   error                       // what Sign fails with
	admits  error                       // what Admit fails with
	removed map[identity.MemberID]bool  // who was taken off the tree
	calls   map[string]int              // of Sign and Admit
	entered map[string]pairing.Entrance // by path
}

func (g *gateway) Charter(context.Context) ([]byte, error) { return g.Home.Charter, nil }

func (g *gateway) Sign(_ context.Context, r pairing.Request, keys pairing.PublicKeys) ([][]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls["sign"]++
	if g.signs != nil || r.Path.Parent() != "home" {
		return nil, g.signs
	}
	now := time.Now()
	return pairing.Issue(g.Authority("home"), r.Kind, r.Path, keys, now, now.Add(year))
}

func (g *gateway) Admit(_ context.Context, e pairing.Entrance) (pairing.Welcome, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls["admit"]++
	if g.admits != nil {
		return pairing.Welcome{}, g.admits
	}
	members, leaf := []tree.Admission{{Chain: e.Member, Label: e.Label}}, e.Member
	if e.App.Raw != nil {
		members, leaf = append(members, tree.Admission{Chain: e.App}), e.App
	}
	if g.removed[leaf.Member()] {
		return pairing.Welcome{}, &pairing.RefusedError{Reason: "it was removed"}
	}
	if had, ok := g.State.At(e.Member.ID.Path); !ok {
		g.Clock = time.Now()
		g.Apply(tree.Update{By: e.By, Members: members})
		g.entered[string(e.Member.ID.Path)] = e
	} else if had.Chain.Member() != e.Member.Member() {
		return pairing.Welcome{}, &pairing.RefusedError{Reason: "the path is taken"}
	}
	proof, err := signed.Marshal(g.ProveFor(&identitytest.Member{Chain: leaf}))
	return pairing.Welcome{Proof: proof, Address: []byte("an address"), Extra: []byte("more")}, err
}

// rig is a home with a desk, and a network on which the desk can be reached.
type rig struct {
	*gateway
	t    testing.TB
	db   *storetest.DB
	up   atomic.Pointer[pairing.Desk]
	news chan string      // the paths and stages of requests
	now  func() time.Time // the desk's
	wait time.Duration    // the desk's

	// change sees each call on the network: it may change the question, call deliver any number of times, and
	// change the answer. If it is nil, calls are delivered.
	change func(path string, body []byte, deliver func(path string, body []byte) *http.Response) (*http.Response, error)
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{
		gateway: &gateway{
			Home: credentialtest.New(t, time.Now()), removed: map[identity.MemberID]bool{},
			calls: map[string]int{}, entered: map[string]pairing.Entrance{},
		},
		t: t, db: storetest.Wrap(storetest.Open(t)), now: time.Now, news: make(chan string, 100),
	}
	r.restart()
	return r
}

// restart opens the desk anew, as after kill -9.
func (r *rig) restart() {
	r.t.Helper()
	desk, err := pairing.NewDesk(r.t.Context(), pairing.Config{
		Tree: r.ID, Store: r.db, Gateway: r.gateway, Now: func() time.Time { return r.now() }, Wait: r.wait,
		Changed: func(q pairing.Request) { r.news <- string(q.Path) + " " + q.Stage.String() },
	})
	if err != nil {
		r.t.Error(err)
		return
	}
	r.up.Store(desk)
}

// desk returns the desk that is up.
func (r *rig) desk() *pairing.Desk { return r.up.Load() }

// RoundTrip makes the rig the transport of a client.
func (r *rig) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	deliver := func(path string, body []byte) *http.Response {
		w := httptest.NewRecorder()
		q := httptest.NewRequestWithContext(req.Context(), req.Method, path, bytes.NewReader(body))
		r.desk().Handler().ServeHTTP(w, q)
		return w.Result()
	}
	if r.change != nil {
		return r.change(req.URL.Path, body, deliver)
	}
	return deliver(req.URL.Path, body), nil
}

func (r *rig) terms(kind identity.Kind, path identity.Path) pairing.Terms {
	r.t.Helper()
	return pairing.Terms{
		Tree: r.ID, Charter: r.Trusted().Charter().Digest, Gateway: r.At("home").Member(), GatewayKey: r.At("home").Key,
		Addresses: []string{"192.168.178.20:4711"}, Kind: kind, Path: path,
	}
}

// invite makes an invitation by sam's laptop and registers it.
func (r *rig) invite(kind identity.Kind, path identity.Path) pairing.Invitation {
	r.t.Helper()
	laptop := r.At("sam/laptop")
	_, text, err := pairing.NewInvitation(laptop.Signer, r.terms(kind, path), time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	inv, err := pairing.Parse(text, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.desk().Register(r.t.Context(), laptop.Member(), inv.Offer("Küche", false)); err != nil {
		r.t.Fatal(err)
	}
	return inv
}

// issue certifies the claim of a request that waits, with the CA of the path's parent.
func (r *rig) issue(inv pairing.Invitation, q pairing.Request) (chain [][]byte, digits string) {
	r.t.Helper()
	keys, err := q.Claim.Check(inv)
	if err != nil {
		r.t.Fatal(err)
	}
	if digits, err = inv.Digits(keys); err != nil {
		r.t.Fatal(err)
	}
	now := time.Now()
	chain, err = pairing.Issue(r.Authority(inv.Path.Parent()), inv.Kind, inv.Path, keys, now, now.Add(year))
	if err != nil {
		r.t.Fatal(err)
	}
	return chain, digits
}

// confirm waits for a claim and answers it. It returns the digits that the approver saw.
func (r *rig) confirm(inv pairing.Invitation) string {
	r.t.Helper()
	q, err := r.desk().Watch(r.t.Context(), inv.ID(), pairing.StageOpen)
	if err != nil {
		r.t.Fatal(err)
	}
	chain, digits := r.issue(inv, q)
	if err := r.desk().Answer(r.t.Context(), r.At("sam/laptop").Member(), inv.ID(), chain); err != nil {
		r.t.Fatal(err)
	}
	return digits
}

// started is a Join under way.
type started struct {
	digits chan string // what the joiner shows
	done   chan struct{}
	joined pairing.Joined
	err    error
}

// start joins in the background.
func (r *rig) start(ctx context.Context, inv pairing.Invitation, keys pairing.Keys) *started {
	s := &started{digits: make(chan string, 1), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.joined, s.err = pairing.Join(ctx, &http.Client{Transport: r}, "http://home", inv, keys, func(d string) { s.digits <- d })
	}()
	r.t.Cleanup(func() { <-s.done })
	return s
}

// join joins, and waits for it.
func (r *rig) join(inv pairing.Invitation, keys pairing.Keys) (pairing.Joined, error) {
	s := r.start(r.t.Context(), inv, keys)
	<-s.done
	return s.joined, s.err
}

func deviceKeys(t testing.TB) pairing.Keys { return pairing.Keys{Leaf: identitytest.NewKey(t)} }

func personKeys(t testing.TB) pairing.Keys {
	return pairing.Keys{Leaf: identitytest.NewKey(t), CA: identitytest.NewKey(t), App: "phone"}
}

// answer is what the desk answers, as the package documentation has it.
type answer struct {
	State   string   `json:"state"`
	Charter []byte   `json:"charter,omitempty"`
	Chain   [][]byte `json:"chain,omitempty"`
	App     []byte   `json:"app,omitempty"`
	Proof   []byte   `json:"proof,omitempty"`
	Address []byte   `json:"address,omitempty"`
	Extra   []byte   `json:"extra,omitempty"`
}

// rewrite makes the network change every answer.
func (r *rig) rewrite(f func(a *answer)) {
	r.change = func(path string, body []byte, deliver func(string, []byte) *http.Response) (*http.Response, error) {
		resp := deliver(path, body)
		var a answer
		if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
			return nil, err
		}
		f(&a)
		data, err := json.Marshal(a)
		resp.Body = io.NopCloser(bytes.NewReader(data))
		return resp, err
	}
}

func post(t testing.TB, h http.Handler, path string, body any) (status int, answered string) {
	t.Helper()
	data, ok := body.([]byte)
	if !ok {
		var err error
		if data, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(data)))
	return w.Code, w.Body.String()
}

func sameKey(a, b crypto.PublicKey) bool { return identity.SameKey(a, b) }

// field returns a byte string of a question.
func field(t testing.TB, body []byte, name string) []byte {
	t.Helper()
	var fields map[string]json.RawMessage
	var data []byte
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Error(err)
	}
	if err := json.Unmarshal(fields[name], &data); err != nil {
		t.Error(err)
	}
	return data
}

func marshalJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return data
}
