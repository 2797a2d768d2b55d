package keeper

import (
	"context"
	"crypto"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/store/storetest"
	"github.com/kindred-iot/kindred/tree"
)

// wants checks an error by its text and, if is is not nil, by its kind.
func wants(t *testing.T, what string, err, is error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) || is != nil && !errors.Is(err, is) {
		t.Errorf("%s: error %v, want one with %q that is %v", what, err, text, is)
	}
}

func TestShareAndTakeBack(t *testing.T) {
	h := newHome(t)
	phone, lock := h.member("sam/anna/phone"), h.member("home/lock")
	id := h.share()
	live := h.verify(h.proof([]identity.MemberID{phone, lock}, id))
	if g, ok := live.Grant(id); !ok || g.By != h.member("sam/laptop") || g.Giver != h.member("sam") {
		t.Errorf("the proof has the grant as %+v, %v", g, ok)
	}
	if _, err := credential.Verify(h.At("sam/anna/phone").Raw, h.At("sam/anna/phone").Key, live); err != nil {
		t.Errorf("anna's phone with a proof of the keeper: %v", err)
	}
	taken := h.revokeGrant(id)
	if already, err := h.Revoke(t.Context(), taken); already || err != nil {
		t.Fatalf("taking it back: %v, %v", already, err)
	}
	h.unchanged("taking it back again", func() {
		if already, err := h.Revoke(t.Context(), taken); !already || err != nil {
			t.Errorf("taking it back again: %v, %v", already, err)
		}
	})
	_, err := h.Prove(t.Context(), nil, []tree.GrantID{id}, 0)
	wants(t, "proving what was taken back", err, ErrNotLive, id.String())
	h.restart()
	if h.live(id) {
		t.Error("the grant is back after a restart")
	}
	p := h.proof([]identity.MemberID{phone})
	h.verify(p)
	var list tree.RevocationList
	if err := signed.Unmarshal(p.Revoked, &list); err != nil || len(list.Revoked) != 1 || list.Revoked[0].Leaf != taken.Leaf {
		t.Errorf("the head's list is %+v, %v; want the grant's leaf in it", list, err)
	}
}

// A guest who showed a proof before the grant was taken back must not come in on it afterwards.
func TestOldProofEnds(t *testing.T) {
	h := newHome(t)
	id := h.share()
	old := h.proof([]identity.MemberID{h.member("sam/anna/phone")}, id)
	if _, err := h.Revoke(t.Context(), h.revokeGrant(id)); err != nil {
		t.Fatal(err)
	}
	trusted, err := credential.Trust(h.ID, h.charter)
	if err == nil {
		_, trusted, err = credential.VerifyProof(h.proof(nil), trusted, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := credential.VerifyProof(old, trusted, time.Now()); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("the old proof: %v, want %v", err, credential.ErrRevoked)
	}
}

func TestRemoveTakesAllBelowAndTheirGrants(t *testing.T) {
	h := newHome(t)
	id := h.share()
	h.Add(identity.Person, "sam/ben")
	if err := h.admit("sam/ben"); err != nil {
		t.Fatal(err)
	}
	if already, err := h.Revoke(t.Context(), h.revokeMember("sam/anna")); already || err != nil {
		t.Fatal(already, err)
	}
	for path, want := range map[identity.Path]bool{"sam/anna": false, "sam/anna/phone": false, "sam/ben": true, "home/lock": true} {
		if _, ok := h.entry(path); ok != want {
			t.Errorf("%s is live: %v, want %v", path, ok, want)
		}
	}
	if h.live(id) {
		t.Error("a grant to somebody who is gone is live")
	}
	h.verify(h.proof([]identity.MemberID{h.member("home/lock")}))
	e := h.eventOf(h.sequence())
	var members []identity.Path
	for _, m := range e.Members {
		members = append(members, m.ID.Path)
	}
	if !slices.Equal(members, []identity.Path{"sam/anna", "sam/anna/phone"}) || len(e.Grants) != 1 || e.Grants[0].ID != id || len(e.Revoked) != 3 {
		t.Errorf("Notify was told of members %v, grants %v, %d leaves", members, e.Grants, len(e.Revoked))
	}

	wants(t, "a member taken away", h.admit("sam/anna"), ErrGone, "sam/anna")
	h.restart()
	wants(t, "a member taken away, after a restart", h.admit("sam/anna"), ErrGone, "sam/anna")
	h.Add(identity.Person, "sam/anna") // a new member
	if err := h.admit("sam/anna"); err != nil {
		t.Errorf("a new member at a freed path: %v", err)
	}
}

// eventOf waits for the event about what a head took away.
func (h *home) eventOf(sequence uint64) Event {
	h.t.Helper()
	return h.waitEvent(func(e Event) bool { return e.Recorded == nil && e.Sequence == sequence })
}

// waitEvent waits for an event.
func (h *home) waitEvent(is func(Event) bool) Event {
	h.t.Helper()
	for {
		h.mu.Lock()
		i := slices.IndexFunc(h.events, is)
		more := h.moreLocked()
		var e Event
		if i >= 0 {
			e = h.events[i]
		}
		h.mu.Unlock()
		if i >= 0 {
			return e
		}
		select {
		case <-more:
		case <-h.t.Context().Done():
			h.t.Fatal("the event did not come")
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	db := storetest.Open(t)
	h := makeHome(t, db)
	other := identitytest.NewTree(t, time.Now())
	other.Add(identity.Owner, "sam")
	expired := h.first()
	for _, test := range []struct {
		name    string
		charter []byte
		key     crypto.Signer
		root    crypto.Signer
		first   tree.Update
		now     time.Time
		want    string
	}{
		{"no charter", nil, h.key, h.RootKey, h.first(), time.Now(), "reading the charter"},
		{"another keeper key", h.charter, identitytest.NewKey(t), h.RootKey, h.first(), time.Now(), "not the keeper key"},
		{"another root key", h.charter, h.key, other.RootKey, h.first(), time.Now(), "reading the charter"},
		{"nobody", h.charter, h.key, h.RootKey, tree.Update{}, time.Now(), "admits members"},
		{"a grant", h.charter, h.key, h.RootKey, tree.Update{Members: h.first().Members, Grants: []tree.Admitted{{}}}, time.Now(), "nothing else"},
		{"a member of another tree", h.charter, h.key, h.RootKey, tree.Update{Members: []tree.Admission{{Chain: other.At("sam").Chain}}}, time.Now(), "it is of tree"},
		{"a member without those above", h.charter, h.key, h.RootKey, tree.Update{Members: h.first().Members[1:]}, time.Now(), "not live"},
		{"an empty admission", h.charter, h.key, h.RootKey, tree.Update{Members: make([]tree.Admission, 1)}, time.Now(), "without certificates"},
		{"expired certificates", h.charter, h.key, h.RootKey, expired, time.Now().Add(2 * identitytest.Lifetime), "expired"},
	} {
		err := Create(t.Context(), db, test.charter, test.key, test.root, test.first, test.now)
		wants(t, test.name, err, nil, test.want)
	}
	_, err := Open(t.Context(), h.config())
	wants(t, "opening what was never made", err, ErrNotMade, "keeper: opening")
	if err := h.create(); err != nil {
		t.Fatal(err)
	}
	h.open()
	head, _, _ := h.Head()
	wants(t, "making it twice", h.create(), ErrExists, "keeper: making")
	h.open()
	if again, _, _ := h.Head(); !slices.Equal(again, head) {
		t.Error("making it twice changed the head")
	}
}

func TestOpenRefuses(t *testing.T) {
	h := newHome(t)
	cfg := h.config()
	cfg.Key = identitytest.NewKey(t)
	_, err := Open(t.Context(), cfg)
	wants(t, "another key", err, nil, "not the keeper key")
	cfg = h.config()
	cfg.Ledger = nil
	_, err = Open(t.Context(), cfg)
	wants(t, "no ledger", err, nil, "required")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Open(ended, h.config())
	wants(t, "a context that ended", err, context.Canceled, "keeper: opening")
}

// A certificate that has expired must not keep the gateway from starting, and its holder may ask for nothing.
func TestExpiredMembersDoNotStopTheStart(t *testing.T) {
	h := newHome(t)
	h.share()
	h.clock = func() time.Time { return time.Now().Add(2 * identitytest.Lifetime) }
	h.restart()
	_, raw := h.sign()
	_, _, err := h.Grant(t.Context(), h.laptop(), raw)
	if err == nil {
		t.Error("an app with expired certificates gave a grant")
	}
	wants(t, "a label from an expired app", h.Label(t.Context(), h.laptop(), h.member("home/lock"), "x"), ErrDenied, "expired")
	h.verify(h.proof([]identity.MemberID{h.member("home/lock")}))
}

// Heads are dated by the clock, and never before the one before.
func TestTimeDoesNotGoBack(t *testing.T) {
	h := newHome(t)
	at := func() int64 {
		raw, _, _ := h.Head()
		head, _, err := tree.OpenHead(raw, h.ID, h.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		return head.Time
	}
	made := at()
	h.clock = func() time.Time { return time.Unix(made, 0).Add(30 * time.Second) }
	h.share()
	if got := at(); got != made+30 {
		t.Errorf("the head is dated %d, the clock says %d", got, made+30)
	}
	h.clock = func() time.Time { return time.Unix(made, 0).Add(-30 * time.Second) }
	h.share()
	if got := at(); got != made+30 {
		t.Errorf("with the clock set back the head is dated %d, want %d", got, made+30)
	}
	h.verify(h.proof([]identity.MemberID{h.member("home/lock")}))
}

func TestCheckpointsRideInTheNextHead(t *testing.T) {
	h := newHome(t)
	lock := h.member("home/lock")
	at := func(member identity.MemberID) (c tree.Checkpoint, ok bool) {
		h.View(func(s *tree.State) {
			var value []byte
			if value, ok = s.Value(tree.CheckpointKey(member)); ok {
				if err := signed.Unmarshal(value, &c); err != nil {
					t.Error(err)
				}
			}
		})
		return c, ok
	}
	h.unchanged("a checkpoint", func() {
		h.Checkpoint(lock, tree.Checkpoint{Size: 7, Time: 1})
		h.Checkpoint(lock, tree.Checkpoint{Size: 9, Time: 2})
		h.Checkpoint(lock, tree.Checkpoint{Size: 8, Time: 3})
		h.Checkpoint(identity.MemberID{1}, tree.Checkpoint{Size: 1})
	})
	id := h.share()
	if c, ok := at(lock); !ok || c.Size != 9 {
		t.Errorf("the roster has checkpoint %+v, %v; want the largest", c, ok)
	}
	if _, ok := at(identity.MemberID{1}); ok {
		t.Error("the roster has a checkpoint of nobody")
	}
	h.restart()
	if c, _ := at(lock); c.Size != 9 {
		t.Errorf("after a restart the checkpoint is %+v", c)
	}
	h.Checkpoint(lock, tree.Checkpoint{Size: 12})
	if _, err := h.Revoke(t.Context(), h.revokeMember("home/lock")); err != nil {
		t.Fatal(err)
	}
	if _, ok := at(lock); ok || h.live(id) {
		t.Error("a checkpoint or grant of a removed member is in the roster")
	}
	h.restart()
}
