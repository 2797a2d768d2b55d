package keeper

import (
	"slices"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// robbed is a home where sam's phone was stolen. Before and after, the phone and the laptop let somebody in and
// gave something each; and whoever the thief let in lets in others.
type robbed struct {
	*home
	stolen time.Time // when
	grants map[string]tree.GrantID
}

func newRobbed(t *testing.T) *robbed {
	t.Helper()
	now := time.Now()
	h := &robbed{home: newHome(t), stolen: now.Add(20 * time.Second), grants: map[string]tree.GrantID{}}
	h.clock = func() time.Time { return now }
	h.Add(identity.App, "sam/phone")
	must(t, h.admit("sam/phone"))
	act := func(name string, app identity.Path) {
		t.Helper()
		h.let(app, identity.Service, "sam/"+identity.Path(name))
		id, raw := h.signBy(app, "sam", func(t *grant.Terms) { t.Time = h.stolen.Add(-15 * time.Minute).Unix() }) // as if it were older
		_, _, err := h.Grant(t.Context(), h.At(app).Chain, raw)
		must(t, err)
		h.grants[name] = id
	}
	act("before", "sam/phone")
	act("mine-before", "sam/laptop")
	now = h.stolen
	act("after", "sam/phone")
	act("mine-after", "sam/laptop")
	h.let("sam/phone", identity.Person, "sam/thief")
	h.let("sam/phone", identity.App, "sam/thief/phone")
	h.let("sam/phone", identity.Place, "home/shed")
	return h
}

// let has an app put a new member into the roster.
func (h *robbed) let(app identity.Path, kind identity.Kind, path identity.Path) {
	h.t.Helper()
	h.Add(kind, path)
	must(h.t, h.Admit(h.t.Context(), h.At(app).Chain, []tree.Admission{{Chain: h.At(path).Chain}}))
}

// remove has the laptop take the phone off the tree, with what it made since a moment.
func (h *robbed) remove(since time.Time) {
	h.t.Helper()
	p := h.revokeMember("sam/phone")
	p.MadeSince = since.Unix()
	already, err := h.Revoke(h.t.Context(), p)
	if already || err != nil {
		h.t.Fatal(already, err)
	}
}

func (h *robbed) expect(what string, members []identity.Path, grants []string) {
	h.t.Helper()
	var here []identity.Path
	for _, path := range []identity.Path{"sam/phone", "sam/before", "sam/mine-before", "sam/after", "sam/mine-after", "sam/thief", "sam/thief/phone", "home/shed"} {
		if _, ok := h.entry(path); ok {
			here = append(here, path)
		}
	}
	if !slices.Equal(here, members) {
		h.t.Errorf("%s: %q are there, want %q", what, here, members)
	}
	for name, id := range h.grants {
		if h.live(id) != slices.Contains(grants, name) {
			h.t.Errorf("%s: the grant of %s is live: %v", what, name, h.live(id))
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What the phone made since it was stolen goes with it, and whoever it let in with all that is theirs. What a grant's
// signature says of its time counts for nothing; what others made stays, and so does a place, which takes two owners.
func TestStolenPhone(t *testing.T) {
	h := newRobbed(t)
	h.remove(h.stolen)
	h.expect("after", []identity.Path{"sam/before", "sam/mine-before", "sam/mine-after", "home/shed"}, []string{"before", "mine-before", "mine-after"})
	told := h.waitEvent(func(e Event) bool { return len(e.Members) > 0 })
	if len(told.Members) != 4 || len(told.Grants) != 1 || len(told.Revoked) != 5 { // what is not listed could go on with an old proof
		t.Errorf("told of %d members and %d grants, and %d entries are revoked", len(told.Members), len(told.Grants), len(told.Revoked))
	}
	h.restart()
	h.expect("after a restart", []identity.Path{"sam/before", "sam/mine-before", "sam/mine-after", "home/shed"}, []string{"before", "mine-before", "mine-after"})
}

// Whoever is removed for another reason leaves what they made.
func TestRemovedPhone(t *testing.T) {
	h := newRobbed(t)
	h.remove(time.Unix(0, 0))
	h.expect("after", []identity.Path{"sam/before", "sam/mine-before", "sam/after", "sam/mine-after", "sam/thief", "sam/thief/phone", "home/shed"},
		[]string{"before", "mine-before", "after", "mine-after"})
}

// A thief who has old members labelled anew does not make them go, and whoever the thief let in is not saved by a label
// that an owner gives them.
func TestStolenPhoneAndLabels(t *testing.T) {
	h := newRobbed(t)
	must(t, h.Label(t.Context(), h.At("sam/phone").Chain, h.member("sam/mine-before"), "old"))
	must(t, h.Label(t.Context(), h.laptop(), h.member("sam/after"), "who is that?"))
	h.remove(h.stolen)
	h.expect("after", []identity.Path{"sam/before", "sam/mine-before", "sam/mine-after", "home/shed"}, []string{"before", "mine-before", "mine-after"})
}

// A thief who takes off the tree what stands between the phone and what it made saves none of it, after a restart neither:
// neither an app that was let in for that, nor a tool.
func TestStolenPhoneHidesWhatItMade(t *testing.T) {
	for _, restarts := range []bool{false, true} {
		h := newRobbed(t)
		h.let("sam/phone", identity.App, "sam/between")
		tool := h.tool("sam/tools", identity.App, time.Hour)
		must(t, h.AdmitTool(t.Context(), h.At("sam/phone").Chain, tool))
		h.let("sam/between", identity.App, "sam/last")
		h.Add(identity.Service, "sam/ear")
		must(t, h.Admit(t.Context(), tool, []tree.Admission{{Chain: h.At("sam/ear").Chain}}))
		id, raw := h.signBy("sam/between", "sam")
		_, _, err := h.Grant(t.Context(), h.At("sam/between").Chain, raw)
		must(t, err)
		_, err = h.Revoke(t.Context(), h.pending("sam/phone", tree.Revocation{Member: h.member("sam/between")}))
		must(t, err)
		must(t, h.AdmitTool(t.Context(), h.At("sam/phone").Chain, h.tool("sam/tools", identity.App, time.Hour)))
		if restarts {
			h.restart()
		}
		makers := h.GoneMakers()
		if len(makers) != 2 || makers[0].By != h.member("sam/phone") || makers[1].By != h.member("sam/phone") {
			t.Errorf("of those who are gone and made something %+v are known", makers)
		}
		h.remove(h.stolen)
		for _, path := range []identity.Path{"sam/last", "sam/ear", "sam/tools", "sam/between"} {
			if _, ok := h.entry(path); ok {
				t.Errorf("%s is there still", path)
			}
		}
		if h.live(id) {
			t.Error("what was given is there still")
		}
		h.expect("after", []identity.Path{"sam/before", "sam/mine-before", "sam/mine-after", "home/shed"}, []string{"before", "mine-before", "mine-after"})
		if makers := h.GoneMakers(); len(makers) != 1 || makers[0].Gone != h.member("sam/phone") {
			t.Errorf("of those who are gone and made something %+v are known, want the phone", makers)
		}
	}
}
