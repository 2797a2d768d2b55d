package tree_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

func TestState(t *testing.T) {
	h := household(t)
	g := h.grant("sam")
	h.clock = now.Add(time.Minute)
	laptop := h.id("sam/laptop")
	h.do(tree.Update{By: laptop, Grants: []tree.Admitted{g}, Checkpoints: []tree.JournalCheckpoint{
		{Member: h.id("home/lock"), Checkpoint: tree.Checkpoint{Size: 7, Root: signed.Sum(nil), Time: 1}},
		{Member: identity.MemberID{9}, Checkpoint: tree.Checkpoint{Size: 7}}, // of nobody: its journal ended with it
	}})
	want := []identity.Path{"home", "home/lock", "home/porch", "home/porch/doorbell", "sam", "sam/anna", "sam/anna/phone", "sam/laptop"}
	if got := paths(h.State); !slices.Equal(got, want) {
		t.Errorf("members %q, want %q", got, want)
	}
	if e, ok := h.State.At("home/lock"); !ok || e.Chain.Member() != h.id("home/lock") || e.Since != now.Unix() || e.Certificate != h.At("home/lock").Self().Digest {
		t.Errorf("the lock is %+v, %v", e, ok)
	}
	if e, ok := h.State.At("home/lamp"); ok {
		t.Errorf("at home/lamp is %+v", e)
	}
	if got, ok := h.Grant(g.ID); !ok || got.By != laptop || got.Since != h.clock.Unix() || got.Statement != g.Statement {
		t.Errorf("the grant is %+v, %v", got, ok)
	}
	keys := []merkle.Hash{tree.MemberKey(h.id("home/lock")), tree.GrantKey(g.ID), tree.CheckpointKey(h.id("home/lock"))}
	entries, proof, err := h.Prove(keys...)
	if err != nil {
		t.Fatal(err)
	}
	if err := merkle.Verify(h.State.Root(), entries, proof); err != nil {
		t.Error(err)
	}
	_, _, err = h.Prove(tree.MemberKey(identity.MemberID{9}))
	check(t, "proving nobody", err, "tree: proving 1 entries: merkle: proving: key")
	h.clock = now.Add(-time.Minute)
	before := h.grant("sam")
	h.do(tree.Update{Grants: []tree.Admitted{before}})
	var order []tree.GrantID
	for g := range h.Grants() {
		order = append(order, g.ID)
	}
	if !slices.Equal(order, []tree.GrantID{before.ID, g.ID}) {
		t.Errorf("grants %v, want the oldest first", order)
	}
}

// Everything in an update happens, or nothing.
func TestPlanRefuses(t *testing.T) {
	h, other := household(t), household(t)
	g := h.grant("sam")
	h.do(tree.Update{Grants: []tree.Admitted{g}})
	lamp := h.tr.Add(identity.Device, "home/lamp")
	bell, lock := h.At("home/porch/doorbell"), h.At("home/lock")
	shed := h.tr.Add(identity.Place, "home/shed")
	heater := h.tr.Add(identity.Device, "home/shed/heater")
	porch := h.reissue(h.At("home/porch"), "home/porch")
	turned := h.tr.Authority("home")
	kind, err := turned.Issue(identity.Subject{
		Kind: identity.Place, Member: lock.Member(), Name: "lock", Key: identitytest.NewKey(t).Public(), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	good := tree.Admission{Chain: lamp.Chain}
	admit := func(all ...tree.Admission) tree.Update {
		return tree.Update{Members: append([]tree.Admission{good}, all...)}
	}
	limit := func(l ...tree.Limit) tree.Update { return admit(tree.Admission{Chain: lock.Chain, Limits: l}) }
	before := h.State.Root()
	for _, test := range []struct {
		name   string
		update tree.Update
		want   string
	}{
		{"of another tree", admit(tree.Admission{Chain: other.At("home/lock").Chain}), "admitting home/lock: it is of tree " + other.tr.ID.String()},
		{"a path that is taken", admit(tree.Admission{Chain: h.tr.Add(identity.Device, "home/lock").Chain}), "admitting home/lock: the path is taken by member " + lock.Member().String()},
		{"a path taken in the update", admit(tree.Admission{Chain: h.tr.Add(identity.Device, "home/lamp").Chain}), "the path is taken by member"},
		{"twice", admit(good), "admitting home/lamp: it is admitted twice"},
		{"below nobody", admit(tree.Admission{Chain: heater.Chain}), `admitting home/shed/heater: "shed" above it is not live with this certificate`},
		{"below one who comes after", admit(tree.Admission{Chain: heater.Chain}, tree.Admission{Chain: shed.Chain}), `"shed" above it is not live`},
		{"below one who goes", tree.Update{Members: []tree.Admission{good}, Remove: []identity.MemberID{h.id("home")}}, `"home" above it is not live`},
		{"who goes", tree.Update{Members: []tree.Admission{{Chain: lock.Chain}}, Remove: []identity.MemberID{lock.Member()}}, "its member ID was taken away before"},
		{"another kind", admit(tree.Admission{Chain: h.verify(kind)}), "a device cannot become a place"},
		{"a place without what is below", admit(tree.Admission{Chain: porch.Chain}), `"porch" has another certificate: home/porch/doorbell below it needs a new chain`},
		{"a place after what is below", admit(tree.Admission{Chain: bell.Chain}, tree.Admission{Chain: porch.Chain}), `"porch" has another certificate: home/porch/doorbell below it`},
		{"a long label", admit(tree.Admission{Chain: lock.Chain, Label: strings.Repeat("x", 129)}), "129 bytes, want at most 128 of UTF-8"},
		{"a label that is no text", admit(tree.Admission{Chain: lock.Chain, Label: "k\xfcche"}), "want at most 128 of UTF-8"},
		{"limits of one affordance twice", limit(tree.Limit{Affordance: "open"}, tree.Limit{Affordance: "open"}), `a limit of "open", which is set twice`},
		{"a limit of no text", limit(tree.Limit{Affordance: "\xff"}), "bytes of UTF-8"},
		{"a limit of a long name", limit(tree.Limit{Affordance: strings.Repeat("x", 129)}), "more than 128 bytes"},
		{"a negative limit", limit(tree.Limit{Fresh: -1}), "of -1 s fresh and 0 s offline"},
		{"a limit of centuries", limit(tree.Limit{Offline: 1 << 60}), "want at most 31622400 s"},
		{"many limits", limit(make([]tree.Limit, 65)...), "65 limits, of at most 64"},
		{"removing nobody", tree.Update{Members: []tree.Admission{good}, Remove: []identity.MemberID{{1}}}, "no member " + identity.MemberID{1}.String()},
		{"revoking nothing", tree.Update{Members: []tree.Admission{good}, Revoke: []tree.GrantID{{1}}}, "no grant g-"},
		{"a grant that is there", tree.Update{Members: []tree.Admission{good}, Grants: []tree.Admitted{g}}, "grant " + g.ID.String() + " is there already"},
		{"a grant that goes", tree.Update{Revoke: []tree.GrantID{g.ID}, Grants: []tree.Admitted{g}}, "is there already"},
		{"a grant twice", tree.Update{Grants: slices.Repeat([]tree.Admitted{h.grant("sam")}, 2)}, "is there already"},
		{"a grant without an ID", tree.Update{Grants: []tree.Admitted{{Grant: g.Grant}}}, "a grant without an ID"},
		{"a grant of nobody", tree.Update{Grants: []tree.Admitted{{ID: tree.GrantID{1}}}}, "its giver aaaaaaaaaaaaaaaaaaaaaaaaaa is no live member"},
		{"a grant of one who goes", tree.Update{Remove: []identity.MemberID{h.id("sam/anna")}, Grants: []tree.Admitted{h.grant("sam/anna")}}, "is no live member"},
	} {
		if test.update.Time.IsZero() {
			test.update.Time = now
		}
		change, err := h.Plan(test.update)
		check(t, test.name, err, test.want)
		if err != nil && !strings.HasPrefix(err.Error(), "tree: planning a change: ") {
			t.Errorf("%s: %v", test.name, err)
		}
		if len(change.Set)+len(change.Deleted)+len(change.Revoked) > 0 {
			t.Errorf("%s: it was refused, and changes something: %+v", test.name, change)
		}
		if _, ok := h.State.At("home/lamp"); ok || h.State.Root() != before {
			t.Fatalf("%s: it was refused, and some of it happened", test.name)
		}
	}
}

// A plan alone changes nothing, and a change names what it takes away.
func TestRemove(t *testing.T) {
	h := household(t)
	g := h.grant("sam/anna")
	h.do(tree.Update{Grants: []tree.Admitted{g}, Checkpoints: []tree.JournalCheckpoint{{Member: h.id("home/lock")}}})
	var want []merkle.Hash
	for _, path := range []identity.Path{"home", "home/lock", "home/porch", "home/porch/doorbell"} {
		want = append(want, h.leaf(tree.MemberKey(h.id(path))))
	}
	want = append(want, h.leaf(tree.GrantKey(g.ID)))
	before := h.State.Root()
	u := tree.Update{Time: now, Remove: []identity.MemberID{h.id("home/lock"), h.id("home"), h.id("home/lock")}, Revoke: []tree.GrantID{g.ID, g.ID}}
	change, err := h.Plan(u)
	if err != nil {
		t.Fatal(err)
	}
	if h.State.Root() != before || len(paths(h.State)) != 8 {
		t.Error("a plan changed the roster")
	}
	if !sameLeaves(change.Revoked, want) {
		t.Errorf("it revokes %v, want %v", change.Revoked, want)
	}
	h.commit(change)
	if got := paths(h.State); !slices.Equal(got, []identity.Path{"sam", "sam/anna", "sam/anna/phone", "sam/laptop"}) {
		t.Errorf("left are %q", got)
	}
	if _, ok := h.Value(tree.CheckpointKey(h.id("home/lock"))); ok {
		t.Error("the journal of the lock is still there")
	}
	if _, ok := h.Grant(g.ID); ok {
		t.Error("the grant is still there")
	}
}

// What a renewal, a move and a theft revoke.
func TestReplace(t *testing.T) {
	for _, test := range []struct {
		name    string
		path    identity.Path
		stolen  bool
		revokes bool
	}{
		{"renewed", "home/lock", false, false},
		{"stolen", "home/lock", true, true},
		{"moved", "home/porch/lock", false, true},
		{"moved up", "home/door", false, true},
	} {
		h := household(t)
		lock := h.At("home/lock")
		leaf := h.leaf(tree.MemberKey(lock.Member()))
		again := h.reissue(lock, test.path)
		change := h.do(tree.Update{Time: now.Add(time.Hour), Members: []tree.Admission{{Chain: again.Chain, Stolen: test.stolen, Label: "Schloß"}}})
		if got := slices.Contains(change.Revoked, leaf); got != test.revokes || len(change.Revoked) > 1 {
			t.Errorf("%s: it revokes %v", test.name, change.Revoked)
		}
		e, ok := h.Member(lock.Member())
		if !ok || e.Path() != test.path || e.Certificate != again.Self().Digest || e.Label != "Schloß" {
			t.Errorf("%s: the lock is %+v, %v", test.name, e, ok)
		}
		if e.Since != now.Add(time.Hour).Unix() || !e.Changed.IsZero() {
			t.Errorf("%s: it has its certificate since %d, and was changed by %s", test.name, e.Since, e.Changed)
		}
		if _, ok := h.State.At("home/lock"); ok != (test.path == "home/lock") {
			t.Errorf("%s: at its old path is somebody: %v", test.name, ok)
		}
	}
}

// Who has a label changed has not made the member: it stays whose it was, or what somebody made would become another's.
func TestChangeIsNotMaking(t *testing.T) {
	h := household(t)
	lock := h.At("home/lock")
	before, _ := h.Member(lock.Member())
	other := h.At("sam/anna/phone").Member()
	h.do(tree.Update{By: other, Time: now.Add(time.Hour), Members: []tree.Admission{{Chain: lock.Chain, Label: "Schloß"}}})
	after, _ := h.Member(lock.Member())
	if after.By != before.By || after.Since != before.Since || after.Changed != other {
		t.Errorf("by %s since %d, changed by %s; it was by %s since %d", after.By, after.Since, after.Changed, before.By, before.Since)
	}
}

// A place that gets another certificate takes all below along, and a path left in an update is free in it.
func TestReplaceAbove(t *testing.T) {
	h := household(t)
	bell := h.At("home/porch/doorbell")
	porch := h.reissue(h.At("home/porch"), "home/porch")
	authority, err := identity.NewAuthority(porch.Chain, porch.Signer)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := authority.Issue(identity.Subject{
		Kind: identity.Device, Member: bell.Member(), Name: "doorbell", Key: identitytest.NewKey(t).Public(), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.do(tree.Update{Members: []tree.Admission{{Chain: porch.Chain}, {Chain: h.verify(chain)}}})
	lock := h.At("home/lock")
	moved := h.reissue(lock, "home/old")
	h.do(tree.Update{Members: []tree.Admission{{Chain: moved.Chain}, {Chain: h.tr.Add(identity.Device, "home/lock").Chain}}})
	if e, ok := h.State.At("home/old"); !ok || e.Chain.Member() != lock.Member() {
		t.Error("the lock that moved is not where it moved to")
	}
	if e, ok := h.State.At("home/lock"); !ok || e.Chain.Member() == lock.Member() {
		t.Error("the new lock is not where the old one was")
	}
}

func TestLimitFor(t *testing.T) {
	const second = int64(1)
	all := tree.Limit{Fresh: 60 * second, Offline: 3600 * second}
	open := tree.Limit{Affordance: "open", Fresh: 5 * second}
	never := tree.Limit{Affordance: "siren", Offline: 1 * second}
	for _, test := range []struct {
		name           string
		limits         []tree.Limit
		affordance     string
		fresh, offline time.Duration
	}{
		{"none set", nil, "open", time.Hour, 7 * 24 * time.Hour},
		{"of the thing", []tree.Limit{all}, "open", time.Minute, time.Hour},
		{"of the thing, for the thing", []tree.Limit{all, open}, "", time.Minute, time.Hour},
		{"of the affordance", []tree.Limit{open}, "open", 5 * time.Second, 7 * 24 * time.Hour},
		{"of another affordance", []tree.Limit{open}, "state", time.Hour, 7 * 24 * time.Hour},
		{"of both", []tree.Limit{all, open}, "open", 5 * time.Second, time.Hour},
		{"of both, the other way round", []tree.Limit{open, all}, "open", 5 * time.Second, time.Hour},
		{"of both and another", []tree.Limit{never, open, all}, "siren", time.Minute, time.Second},
	} {
		fresh, offline := tree.Member{Limits: test.limits}.LimitFor(test.affordance)
		if fresh != test.fresh || offline != test.offline {
			t.Errorf("%s: %s and %s, want %s and %s", test.name, fresh, offline, test.fresh, test.offline)
		}
	}
}
