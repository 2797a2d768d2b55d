package pairing_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/pairing"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A device below the gateway's place is let in at once, here over real HTTP.
func TestDeviceJoins(t *testing.T) {
	r := newRig(t)
	server := httptest.NewServer(r.desk().Handler())
	defer server.Close()
	inv := r.invite(identity.Device, "home/lock")
	keys := deviceKeys(t)
	joined, err := pairing.Join(t.Context(), server.Client(), server.URL+"/", inv, keys, func(string) {
		t.Error("somebody was asked to confirm a device below the gateway's place")
	})
	if err != nil {
		t.Fatal(err)
	}
	if joined.Leaf.ID.Path != "home/lock" || joined.Leaf.Kind() != identity.Device || !sameKey(joined.Leaf.Key, keys.Leaf.Public()) {
		t.Errorf("joined as %s %s", joined.Leaf.Kind(), joined.Leaf.ID)
	}
	if joined.CA.Raw != nil {
		t.Error("a device got a CA")
	}
	if joined.Trusted.Sequence() != r.Sequence || joined.Proof == nil || string(joined.Address) != "an address" || string(joined.Extra) != "more" {
		t.Errorf("joined with head %d, want %d; proof %d bytes; address %q; extra %q",
			joined.Trusted.Sequence(), r.Sequence, len(joined.Proof), joined.Address, joined.Extra)
	}
	if e, ok := r.State.At("home/lock"); !ok || e.Label != "Küche" || e.By != r.At("sam/laptop").Member() {
		t.Errorf("the roster has %+v", e.Member)
	}
}

// What needs somebody to confirm it, by the CA above.
func TestConfirmed(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kind identity.Kind
		path identity.Path
		keys pairing.Keys
		leaf identity.Path
	}{
		{identity.Person, "sam/anna", personKeys(t), "sam/anna/phone"},
		{identity.Person, "ben", personKeys(t), "ben/phone"},
		{identity.Owner, "eve", personKeys(t), "eve/phone"},
		{identity.App, "sam/tablet", deviceKeys(t), "sam/tablet"},
		{identity.App, "sam/token", pairing.Keys{Leaf: p256}, "sam/token"},
		{identity.Service, "energy", deviceKeys(t), "energy"},
		{identity.Device, "hall/lamp", deviceKeys(t), "hall/lamp"}, // the gateway does not hold the hall's CA
	} {
		t.Run(tt.kind.String()+" "+string(tt.path), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.Add(identity.Place, "hall")
				inv := r.invite(tt.kind, tt.path)
				s := r.start(t.Context(), inv, tt.keys)
				approver := r.confirm(inv)
				if joiner := <-s.digits; joiner != approver || len(joiner) != 6 {
					t.Errorf("the joiner shows %q, the approver %q", joiner, approver)
				}
				<-s.done
				if s.err != nil {
					t.Fatal(s.err)
				}
				if s.joined.Leaf.ID.Path != tt.leaf || !sameKey(s.joined.Leaf.Key, tt.keys.Leaf.Public()) {
					t.Errorf("joined as %s", s.joined.Leaf.ID)
				}
				if ca := tt.keys.CA; ca != nil && (s.joined.CA.ID.Path != tt.path || !sameKey(s.joined.CA.Key, ca.Public())) {
					t.Errorf("its CA is %s", s.joined.CA.ID)
				}
				if _, ok := r.State.At(tt.leaf); !ok {
					t.Errorf("%s is not in the roster", tt.leaf)
				}
				if q, err := r.desk().Watch(t.Context(), inv.ID(), pairing.StageSigned); err != nil || q.Stage != pairing.StageJoined {
					t.Errorf("the approver sees %s, %v", q.Stage, err)
				}
			})
		})
	}
}

func TestUsed(t *testing.T) {
	r := newRig(t)
	inv := r.invite(identity.Device, "home/lock")
	keys := deviceKeys(t)
	first, err := r.join(inv, keys)
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.join(inv, keys)
	if err != nil || again.Leaf.Member() != first.Leaf.Member() {
		t.Errorf("the same machine again: %v, member %s, want %s", err, again.Leaf.Member(), first.Leaf.Member())
	}
	if _, err := r.join(inv, deviceKeys(t)); !errors.Is(err, pairing.ErrUsed) {
		t.Errorf("another machine: %v", err)
	}
	if n := r.calls["admit"]; n != 1 {
		t.Errorf("admitted %d times", n)
	}
}

// Who joined and was removed stays out, whatever it asks.
func TestRemovedStaysOut(t *testing.T) {
	r := newRig(t)
	inv := r.invite(identity.Device, "home/lock")
	keys := deviceKeys(t)
	if _, err := r.join(inv, keys); err != nil {
		t.Fatal(err)
	}
	r.Remove("home/lock")
	if _, err := r.join(inv, keys); err != nil {
		t.Error(err)
	}
	if _, ok := r.State.At("home/lock"); ok {
		t.Error("it is in the roster again")
	}
}

func TestExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		late, person := r.invite(identity.Device, "home/lock"), r.invite(identity.Person, "sam/anna")
		s := r.start(t.Context(), person, personKeys(t))
		<-s.digits
		time.Sleep(pairing.DefaultLife + 3*time.Minute)
		if _, err := r.join(late, deviceKeys(t)); !errors.Is(err, pairing.ErrExpired) {
			t.Errorf("claimed too late: %v", err)
		}
		if _, err := r.desk().Watch(t.Context(), late.ID(), pairing.StageOpen); !errors.Is(err, pairing.ErrExpired) {
			t.Errorf("watched what expired: %v", err)
		}
		r.confirm(person) // claimed in time, confirmed late
		<-s.done
		if s.err != nil {
			t.Errorf("claimed in time: %v", s.err)
		}
	})
}

// The clocks of inviter, gateway and joiner are never the same.
func TestClockSkew(t *testing.T) {
	for _, skew := range []time.Duration{-time.Minute, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.now = func() time.Time { return time.Now().Add(skew) }
			r.restart()
			inv := r.invite(identity.Device, "home/lock")
			time.Sleep(pairing.DefaultLife)
			if _, err := r.join(inv, deviceKeys(t)); err != nil {
				t.Errorf("the gateway's clock %s ahead: %v", skew, err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		inv := r.invite(identity.Person, "sam/anna")
		s := r.start(t.Context(), inv, personKeys(t))
		<-s.digits
		reason := "these are not the digits on my screen\n\x1b[31m" + strings.Repeat("x", 300)
		if err := r.desk().Refuse(t.Context(), inv.ID(), reason); err != nil {
			t.Fatal(err)
		}
		<-s.done
		var refused *pairing.RefusedError
		if !errors.Is(s.err, pairing.ErrRefused) || !errors.As(s.err, &refused) {
			t.Fatal(s.err)
		}
		if len(refused.Reason) > 200 || strings.ContainsAny(refused.Reason, "\n\x1b") || !strings.HasPrefix(refused.Reason, "these are not the digits") {
			t.Errorf("the joiner is told %q", refused.Reason)
		}
		if err := r.desk().Refuse(t.Context(), inv.ID(), "again"); err != nil {
			t.Errorf("refusing twice: %v", err)
		}
		err := r.desk().Answer(t.Context(), r.At("sam/laptop").Member(), inv.ID(), nil)
		if !errors.As(err, &refused) || refused.Reason == "again" {
			t.Errorf("answering what was refused: %v", err)
		}
		withdrawn := r.invite(identity.Device, "home/lock")
		if err := r.desk().Refuse(t.Context(), withdrawn.ID(), "withdrawn"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.join(withdrawn, deviceKeys(t)); !errors.Is(err, pairing.ErrRefused) {
			t.Errorf("an invitation withdrawn: %v", err)
		}
		done := r.invite(identity.Device, "home/camera")
		if _, err := r.join(done, deviceKeys(t)); err != nil {
			t.Fatal(err)
		}
		if err := r.desk().Refuse(t.Context(), done.ID(), "too late"); err == nil {
			t.Error("refused who is in the tree")
		}
	})
}

// Nobody confirms for a while; the joiner gives up, and comes back.
func TestStalledApprover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		inv := r.invite(identity.Person, "sam/anna")
		keys := personKeys(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		s := r.start(ctx, inv, keys)
		<-s.done
		if !errors.Is(s.err, context.DeadlineExceeded) {
			t.Fatal(s.err)
		}
		waiting, err := r.desk().Pending(t.Context())
		if err != nil || len(waiting) != 1 || waiting[0].Path != "sam/anna" {
			t.Fatalf("waiting: %+v, %v", waiting, err)
		}
		s = r.start(t.Context(), inv, keys)
		joiner := <-s.digits
		if approver := r.confirm(inv); joiner != approver {
			t.Errorf("the joiner shows %q, the approver %q", joiner, approver)
		}
		if <-s.done; s.err != nil {
			t.Error(s.err)
		}
	})
}

// The gateway is killed and comes back while the joiner waits; answers are lost on the way.
func TestGatewayRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		inv := r.invite(identity.Person, "sam/anna")
		calls := 0
		r.change = func(path string, body []byte, deliver func(string, []byte) *http.Response) (*http.Response, error) {
			calls++
			switch calls % 3 {
			case 0:
				return nil, errors.New("connection refused")
			case 1:
				deliver(path, body)
				r.restart()
				return nil, errors.New("connection lost")
			}
			return deliver(path, body), nil
		}
		s := r.start(t.Context(), inv, personKeys(t))
		<-s.digits
		r.confirm(inv)
		if <-s.done; s.err != nil {
			t.Error(s.err)
		}
		if n := r.calls["admit"]; n != 1 {
			t.Errorf("admitted %d times", n)
		}
	})
}

func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		lost := errors.New("no route to host")
		r.change = func(string, []byte, func(string, []byte) *http.Response) (*http.Response, error) { return nil, lost }
		if _, err := r.join(r.invite(identity.Device, "home/lock"), deviceKeys(t)); !errors.Is(err, lost) {
			t.Error(err)
		}
	})
}

// The gateway changes its mind about what it cannot do now, and not about what it will not do.
func TestGatewayFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.signs = errors.New("the disk is full")
		inv := r.invite(identity.Device, "home/lock")
		s := r.start(t.Context(), inv, deviceKeys(t))
		synctest.Wait()
		r.mu.Lock()
		r.signs, r.admits = nil, errors.New("the ledger is away")
		r.mu.Unlock()
		time.Sleep(time.Second)
		r.mu.Lock()
		r.admits = nil
		r.mu.Unlock()
		if <-s.done; s.err != nil {
			t.Error(s.err)
		}
		if _, err := r.join(r.invite(identity.Device, "home/lock"), deviceKeys(t)); !errors.Is(err, pairing.ErrRefused) || !strings.Contains(err.Error(), "the path is taken") {
			t.Errorf("a path that is taken: %v", err)
		}
		r.signs = &pairing.RefusedError{Reason: "no more devices"}
		if _, err := r.join(r.invite(identity.Device, "home/camera"), deviceKeys(t)); !errors.Is(err, pairing.ErrRefused) {
			t.Errorf("a device the gateway will not sign: %v", err)
		}
	})
}

// A gateway that puts its own keys into a claim is found out by the approver.
func TestGatewaySwapsKeys(t *testing.T) {
	for name, swap := range map[string]func(t *testing.T, mine pairing.Invitation, c *pairing.Claim){
		"app's key": func(t *testing.T, inv pairing.Invitation, c *pairing.Claim) { c.Leaf = newClaim(t, inv).Leaf },
		"CA's key":  func(t *testing.T, inv pairing.Invitation, c *pairing.Claim) { c.CA = newClaim(t, inv).CA },
		"app":       func(_ *testing.T, _ pairing.Invitation, c *pairing.Claim) { c.App = "other" },
		"binding":   func(_ *testing.T, _ pairing.Invitation, c *pairing.Claim) { c.Binding[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				inv := r.invite(identity.Person, "sam/anna")
				r.change = func(path string, body []byte, deliver func(string, []byte) *http.Response) (*http.Response, error) {
					var q struct {
						Token []byte        `json:"token"`
						Claim pairing.Claim `json:"claim"`
					}
					if path == pairing.ClaimPath && json.Unmarshal(body, &q) == nil {
						swap(t, inv, &q.Claim)
						body, _ = json.Marshal(q)
					}
					return deliver(path, body), nil
				}
				ctx, cancel := context.WithCancel(t.Context())
				s := r.start(ctx, inv, personKeys(t))
				q, err := r.desk().Watch(t.Context(), inv.ID(), pairing.StageOpen)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := q.Claim.Check(inv); !errors.Is(err, pairing.ErrSwapped) {
					t.Errorf("the approver finds %v", err)
				}
				cancel()
				<-s.done
			})
		})
	}
}

func newClaim(t *testing.T, inv pairing.Invitation) pairing.Claim {
	t.Helper()
	c, err := pairing.NewClaim(inv, personKeys(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Nothing that the gateway answers is believed.
func TestGatewayLies(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind identity.Kind
		path identity.Path
		lie  func(t *testing.T, r *rig, a *answer)
		want string
	}{
		{"another tree's charter", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) {
			a.Charter = credentialtest.New(t, time.Now()).Charter
		}, "it is of tree"},
		{"another charter", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) {
			c := r.Trusted().Charter().Charter
			c.Anchors = credentialtest.NewOn(t, time.Now(), credentialtest.NewLedger(t, 2)).Trusted().Charter().Anchors
			a.Charter = r.Home.Sign(r.RootKey, tree.CharterType, c)
		}, "the invitation names"},
		{"no charter", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) { a.Charter = nil }, "signed: "},
		{"no certificate", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) { a.Chain = nil }, "0 certificates"},
		{"another's certificate", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) {
			a.Chain = r.Tree.Add(identity.Device, "home/lock").Raw
		}, "for another key"},
		{"another path", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) {
			a.Chain = r.Tree.Add(identity.Device, "home/camera").Raw
		}, "the certificate is of device home/camera, asked for was device home/lock"},
		{"another kind", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) {
			a.Chain = r.Tree.Add(identity.Place, "home/lock").Raw
		}, "the certificate is of place home/lock"},
		{"another tree's certificate", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) {
			a.Chain = credentialtest.New(t, time.Now()).Add(identity.Device, "home/lock").Raw
		}, "identity: verifying a chain"},
		{"an app for a device", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) { a.App = a.Chain[0] }, "which a device has not"},
		{"no app for a person", identity.Person, "sam/anna", func(t *testing.T, r *rig, a *answer) { a.App = nil }, "without its app"},
		{"another's app", identity.Person, "sam/anna", func(t *testing.T, r *rig, a *answer) {
			r.Tree.Add(identity.Person, "sam/anna")
			a.App = r.Tree.Add(identity.App, "sam/anna/phone").Raw[0]
		}, "identity: verifying a chain"},
		{"a proof of another", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) {
			a.Proof = marshal(t, r.ProveFor(r.At("sam/laptop")))
		}, "is not proved to be live"},
		{"a proof of a new certificate", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) {
			r.Remove("home/lock")
			a.Proof = marshal(t, r.ProveFor(r.Home.Add(identity.Device, "home/lock")))
		}, "is not proved to be live"},
		{"another tree's proof", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) {
			h := credentialtest.New(t, time.Now())
			a.Proof = marshal(t, h.ProveFor(h.At("sam/laptop")))
		}, "credential: verifying a proof"},
		{"no proof but bytes", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) { a.Proof = []byte("x") }, "reading a proof"},
		{"an impossible state", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) { a.State = "open" }, "is open"},
		{"an unknown state", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) { a.State = "x" }, "no stage"},
		{"too much", identity.Device, "home/lock", func(t *testing.T, r *rig, a *answer) { a.Extra = make([]byte, 1<<20) }, "longer than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				inv := r.invite(tt.kind, tt.path)
				r.rewrite(func(a *answer) {
					if a.State == "joined" {
						tt.lie(t, r, a)
					}
				})
				keys := deviceKeys(t)
				if tt.kind == identity.Person {
					keys = personKeys(t)
				}
				s := r.start(t.Context(), inv, keys)
				if tt.kind == identity.Person {
					r.confirm(inv)
				}
				if <-s.done; s.err == nil || !strings.Contains(s.err.Error(), tt.want) {
					t.Errorf("%v\nwant an error with %q", s.err, tt.want)
				}
				if s.joined.Leaf.Raw != nil {
					t.Error("something was handed out with the error")
				}
			})
		})
	}
}

// Between the two halves of a person's joining, too, nothing is believed.
func TestGatewayLiesAboutPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		inv := r.invite(identity.Person, "sam/anna")
		r.rewrite(func(a *answer) {
			if a.State == "signed" {
				a.Chain = r.Tree.Add(identity.Person, "sam/anna").Raw
			}
		})
		s := r.start(t.Context(), inv, personKeys(t))
		r.confirm(inv)
		if <-s.done; s.err == nil || !strings.Contains(s.err.Error(), "for another key") {
			t.Error(s.err)
		}
	})
}

// A gateway that says again and again that there is no news costs one call a second.
func TestGatewayHurries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		calls := 0
		r.change = func(path string, body []byte, deliver func(string, []byte) *http.Response) (*http.Response, error) {
			calls++
			w := httptest.NewRecorder()
			w.WriteString(`{"state":"waiting"}`)
			return w.Result(), nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s := r.start(ctx, r.invite(identity.Device, "home/lock"), deviceKeys(t))
		if <-s.done; !errors.Is(s.err, context.DeadlineExceeded) || calls > 62 {
			t.Errorf("%d calls, %v", calls, s.err)
		}
	})
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := signed.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Keys that do not fit the kind are found before anything is sent.
func TestKeysFitKind(t *testing.T) {
	r := newRig(t)
	one := identitytest.NewKey(t)
	for name, tt := range map[string]struct {
		kind identity.Kind
		path identity.Path
		keys pairing.Keys
	}{
		"none":               {identity.Device, "home/lock", pairing.Keys{}},
		"CA for a device":    {identity.Device, "home/lock", personKeys(t)},
		"app for a device":   {identity.Device, "home/lock", pairing.Keys{Leaf: one, App: "phone"}},
		"no CA":              {identity.Person, "sam/anna", pairing.Keys{Leaf: one, App: "phone"}},
		"one key for both":   {identity.Person, "sam/anna", pairing.Keys{Leaf: one, CA: one, App: "phone"}},
		"no app":             {identity.Person, "sam/anna", pairing.Keys{Leaf: one, CA: identitytest.NewKey(t)}},
		"no name for an app": {identity.Person, "sam/anna", pairing.Keys{Leaf: one, CA: identitytest.NewKey(t), App: "a/b"}},
	} {
		inv := r.invite(tt.kind, tt.path)
		if _, err := r.join(inv, tt.keys); err == nil {
			t.Errorf("%s: joined", name)
		}
		if q, err := r.desk().Watch(t.Context(), inv.ID(), 0); err != nil || q.Stage != pairing.StageOpen {
			t.Errorf("%s: the desk has it %s, %v", name, q.Stage, err)
		}
	}
}
