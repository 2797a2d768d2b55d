package keeper

import (
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// grantState tells what the roster has of a grant.
func (h *home) grantState(id tree.GrantID) string {
	text := "gone"
	h.View(func(s *tree.State) {
		if g, ok := s.Grant(id); ok {
			text = map[bool]string{true: "paused", false: "live"}[g.Paused]
		}
	})
	return text
}

func TestPauseAndResume(t *testing.T) {
	h := newHome(t)
	ctx := t.Context()
	id := h.share()
	before := h.proof(nil, id)
	pause := h.pending("sam/laptop", tree.Revocation{Grant: id, Pause: true})

	if already, err := h.Revoke(ctx, pause); already || err != nil || h.grantState(id) != "paused" {
		t.Fatalf("paused: already %t, %v, %s", already, err, h.grantState(id))
	}
	h.restart()
	if got := h.grantState(id); got != "paused" {
		t.Fatalf("after a restart it is %s", got)
	}
	trusted, err := credential.Trust(h.ID, h.charter)
	if err != nil {
		t.Fatal(err)
	}
	if _, trusted, err = credential.VerifyProof(h.proof(nil, id), trusted, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := credential.VerifyProof(before, trusted, time.Now()); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("a proof from before, to somebody who saw it paused: %v", err)
	}
	if got, ok := h.verify(h.proof(nil, id)).Grant(id); !ok || !got.Paused || got.Turns != 1 {
		t.Errorf("proved is %+v", got)
	}
	if already, err := h.Revoke(ctx, pause); !already || err != nil {
		t.Errorf("paused again: already %t, %v", already, err)
	}

	for path, want := range map[identity.Path]error{"sam/anna/phone": ErrDenied, "home/lock": ErrDenied} {
		h.unchanged("resumed by "+string(path), func() {
			if _, err := h.Resume(ctx, h.At(path).Chain, id); !errors.Is(err, want) {
				t.Errorf("resumed by %s: %v", path, err)
			}
		})
	}
	if _, err := h.Resume(ctx, h.laptop(), id); err != nil || h.grantState(id) != "live" {
		t.Fatalf("resumed: %v, %s", err, h.grantState(id))
	}

	// What paused it before pauses it no more, whoever brings it again.
	h.unchanged("an old pause", func() {
		if already, err := h.Revoke(ctx, pause); !already || err != nil {
			t.Errorf("an old pause: already %t, %v", already, err)
		}
	})
	if got, _ := h.verify(h.proof(nil, id)).Grant(id); got.Paused || got.Turns != 2 {
		t.Errorf("proved is %+v", got)
	}
	if _, err := h.Revoke(ctx, h.revokeGrant(id)); err != nil || h.grantState(id) != "gone" {
		t.Errorf("taken back: %v, %s", err, h.grantState(id))
	}
	if _, err := h.Resume(ctx, h.laptop(), id); !errors.Is(err, ErrNotLive) {
		t.Errorf("resumed what is gone: %v", err)
	}
}

// What an owner paused rests until an owner resumes it, also if its giver had paused it before; what its giver paused, the
// giver resumes.
func TestOwnersPauseHolds(t *testing.T) {
	h := crowd(t)
	top := h.given("sam/laptop", "sam", h.to("sam/adviser", signed.Digest{}, 1))
	id := h.given("sam/adviser/laptop", "sam/adviser", h.to("sam/eva", top.statement, 0)).id
	for _, test := range []struct {
		app   identity.Path
		pause bool
		want  string // of the error; "": it is done
		state string
	}{
		{"sam/adviser/laptop", true, "", "paused"},
		{"sam/adviser/phone", false, "", "live"},
		{"sam/laptop", true, "", "paused"},
		{"sam/adviser/laptop", false, "an owner has to resume it", "paused"},
		{"sam/adviser/laptop", true, "", "paused"}, // already, and takes nothing from the owner's
		{"sam/adviser/laptop", false, "an owner has to resume it", "paused"},
		{"sam/phone", false, "", "live"}, // another app of the owner
		{"sam/adviser/laptop", true, "", "paused"},
		{"sam/phone", true, "", "paused"}, // over the giver's
		{"sam/adviser/phone", false, "an owner has to resume it", "paused"},
		{"sam/laptop", false, "", "live"},
		{"sam/adviser/laptop", true, "", "paused"},
		{"sam/laptop", false, "", "live"},
		{"sam/adviser/laptop", true, "", "paused"},
		{"sam/adviser/laptop", false, "", "live"}, // nothing is left of the owner's
	} {
		err := h.turn(test.app, id, test.pause)
		if test.want == "" && err != nil {
			t.Fatalf("%s, pausing %t: %v", test.app, test.pause, err)
		}
		if test.want != "" {
			wants(t, string(test.app), err, ErrDenied, test.want)
		}
		if got := h.grantState(id); got != test.state {
			t.Fatalf("after %s, pausing %t, it is %s, want %s", test.app, test.pause, got, test.state)
		}
		h.restart()
	}
	if err := h.takeBackAs("sam/adviser/laptop", id); err != nil {
		t.Error(err)
	}
}
