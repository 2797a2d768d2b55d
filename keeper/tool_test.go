package keeper

import (
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
)

// tool makes a tool for so long from now on; what cannot be one without the mark of one.
func (h *home) tool(path identity.Path, kind identity.Kind, life time.Duration) identity.Chain {
	h.t.Helper()
	member, err := identity.NewMemberID(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	raw, err := h.Authority(path.Parent()).Issue(identity.Subject{
		Kind: kind, Member: member, Name: path.Name(), Key: identitytest.NewKey(h.t).Public(),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		Tool: kind == identity.App && life < identity.ToolLife-time.Hour,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.chainOf(raw)
}

func TestWhoMayAdmitTools(t *testing.T) {
	h := village(t)
	day := 24 * time.Hour
	for _, test := range []struct {
		by   identity.Path
		kind identity.Kind
		path identity.Path
		life time.Duration
		want string // of the error; "": admitted
	}{
		{"sam/laptop", identity.App, "sam/tools", day, ""},
		{"sam/anna/phone", identity.App, "sam/anna/tools", day, ""},
		{"sam/anna/phone", identity.App, "sam/anna/watch", 25 * time.Hour, "is no tool"},
		{"sam/laptop", identity.Service, "sam/doctor", time.Hour, "is no tool"},
		{"sam/laptop", identity.App, "sam/anna/other", day, "is no app of sam/anna"}, // an owner signs no app of a person's
		{"sam/anna/phone", identity.App, "sam/other", day, "is no app of sam"},
		{"sam/helper", identity.App, "sam/other", day, "is no app of sam"},
		{"home/lock", identity.App, "sam/other", day, "is no app of sam"},
		{"sam/laptop", identity.App, "sam/laptop", day, "the path is taken"}, // by a member that is no tool
	} {
		c := h.tool(test.path, test.kind, test.life)
		before := h.sequence()
		err := h.AdmitTool(t.Context(), h.At(test.by).Chain, c)
		e, live := h.entry(test.path)
		live = live && e.Chain.Member() == c.Member()
		if test.want == "" {
			if err != nil || !live {
				t.Errorf("%s admits tool %s: %v, live: %v", test.by, test.path, err, live)
			}
			continue
		}
		wants(t, string(test.by+" admits tool "+test.path), err, nil, test.want)
		if live || h.sequence() != before {
			t.Errorf("%s was refused tool %s, and it is live: %v", test.by, test.path, live)
		}
	}
}

func TestToolsComeAndGo(t *testing.T) {
	h := village(t)
	first := h.tool("sam/tools", identity.App, time.Hour)
	if err := h.AdmitTool(t.Context(), h.laptop(), first); err != nil {
		t.Fatal(err)
	}
	id, raw := h.sign(func(g *grant.Terms) { g.Subject.Member = first.Member() })
	if _, _, err := h.Grant(t.Context(), h.laptop(), raw); err != nil {
		t.Fatal(err)
	}
	shown := h.proof([]identity.MemberID{h.member("sam"), first.Member()})

	// A new one under the same name takes its place, and what it was given goes with it.
	second := h.tool("sam/tools", identity.App, 2*time.Hour)
	if err := h.AdmitTool(t.Context(), h.laptop(), second); err != nil {
		t.Fatal(err)
	}
	if e, ok := h.entry("sam/tools"); !ok || e.Chain.Member() != second.Member() || h.live(id) {
		t.Errorf("at sam/tools is %+v, %v; the first one's grant is live: %v", e.Chain.ID, ok, h.live(id))
	}
	trusted, err := credential.Trust(h.ID, h.charter)
	if err != nil {
		t.Fatal(err)
	}
	if _, trusted, err = credential.VerifyProof(h.proof(nil), trusted, time.Now()); err != nil {
		t.Fatal(err)
	}
	_, _, err = credential.VerifyProof(shown, trusted, time.Now())
	wants(t, "what the first one showed", err, credential.ErrRevoked, "")
	wants(t, "the first one again", h.AdmitTool(t.Context(), h.laptop(), first), ErrGone, "")

	// What has ended goes when there is time, and nothing else does.
	h.unchanged("tidying up what has not ended", func() {
		if err := h.Tidy(t.Context()); err != nil {
			t.Error(err)
		}
	})
	h.clock = func() time.Time { return time.Now().Add(2*time.Hour + time.Minute) }
	wants(t, "one that has ended", h.AdmitTool(t.Context(), h.laptop(), h.tool("sam/late", identity.App, time.Hour)), nil, "expired")
	if err := h.Tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, ok := h.entry("sam/tools"); ok {
		t.Errorf("%s has ended and is still there", e.Path())
	}
	for _, path := range []identity.Path{"sam/laptop", "sam/anna/phone", "home/lock"} {
		if _, ok := h.entry(path); !ok {
			t.Errorf("%s went with the tools", path)
		}
	}
	h.restart()
	if _, ok := h.entry("sam/tools"); ok {
		t.Error("the tool is back after a restart")
	}
}

// Whoever takes a stolen phone off the tree takes off what was made with it.
func TestToolsGoWithTheirMaker(t *testing.T) {
	h := village(t)
	mine, others := h.tool("sam/anna/hub", identity.App, time.Hour), h.tool("sam/tools", identity.App, time.Hour)
	if err := errors.Join(h.AdmitTool(t.Context(), h.At("sam/anna/phone").Chain, mine), h.AdmitTool(t.Context(), h.laptop(), others)); err != nil {
		t.Fatal(err)
	}
	wants(t, "a tool's tool", h.AdmitTool(t.Context(), mine, h.tool("sam/anna/spare", identity.App, time.Hour)), ErrDenied, "is a tool itself")
	if _, err := h.Revoke(t.Context(), h.revokeMember("sam/anna/phone")); err != nil {
		t.Fatal(err)
	}
	if _, live := h.entry("sam/anna/hub"); live {
		t.Error("the phone is gone, and a tool that it made is not")
	}
	if _, live := h.entry("sam/tools"); !live {
		t.Error("a tool that another made is gone")
	}
	h.verify(h.proof([]identity.MemberID{others.Member()}))
}

func TestTooManyTools(t *testing.T) {
	h := village(t)
	for i := range maxTools {
		if err := h.AdmitTool(t.Context(), h.laptop(), h.tool(identity.Path(fmt.Sprintf("sam/t%d", i)), identity.App, time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	wants(t, "one more", h.AdmitTool(t.Context(), h.laptop(), h.tool("sam/more", identity.App, time.Hour)), nil, "tools already")
	if err := h.AdmitTool(t.Context(), h.laptop(), h.tool("sam/t0", identity.App, time.Hour)); err != nil {
		t.Errorf("one in place of another: %v", err)
	}
}
