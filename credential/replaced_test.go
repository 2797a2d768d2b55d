package credential_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/tree"
)

// An entry may be replaced, by another label or certificate, which takes nothing away: proofs of what it was before go on
// counting. But when the member goes, or its key was stolen, all that its entry ever was goes: a thief who gives a stolen
// phone another label has nothing of the proof kept from before. So it is when the owner's phone says so straight to a thing.
func TestReplacedAndTakenAway(t *testing.T) {
	for _, replaced := range []struct {
		name string
		how  func(h *credentialtest.Home)
	}{
		{"never", func(*credentialtest.Home) {}},
		{"label", func(h *credentialtest.Home) {
			h.Apply(tree.Update{Members: []tree.Admission{{Chain: h.At("sam/phone").Chain, Label: "blue"}}})
		}},
		{"label of whom it acts for", func(h *credentialtest.Home) {
			h.Apply(tree.Update{Members: []tree.Admission{{Chain: h.At("sam").Chain, Label: "Sam"}}})
		}},
		{"certificate", func(h *credentialtest.Home) {
			h.Apply(tree.Update{Members: []tree.Admission{{Chain: reissue(t, h, h.At("sam/phone"), "sam/phone").Chain}}})
		}},
	} {
		for _, taken := range []struct {
			name string
			how  func(h *credentialtest.Home, v *verifier)
			want error
		}{
			{"not", func(*credentialtest.Home, *verifier) {}, nil},
			{"removed", func(h *credentialtest.Home, _ *verifier) { h.Remove("sam/phone") }, credential.ErrRevoked},
			{"stolen", func(h *credentialtest.Home, _ *verifier) {
				again := reissue(t, h, h.At("sam/phone"), "sam/phone")
				h.Apply(tree.Update{Members: []tree.Admission{{Chain: again.Chain, Stolen: true}}})
			}, credential.ErrRevoked},
			{"taken away by the owner alone", func(h *credentialtest.Home, v *verifier) {
				p, next, err := credential.VerifyNotice(h.NoticeOfMember(h.At("sam/laptop"), current(h, "sam/phone"), h.Clock.Unix()), v.trusted, h.Clock)
				if err != nil {
					t.Fatal(err)
				}
				data, err := next.Strike(p).Marshal()
				if err == nil {
					v.trusted, err = credential.ParseTrusted(data)
				}
				if err != nil {
					t.Fatal(err)
				}
			}, credential.ErrRevoked},
		} {
			h := credentialtest.New(t, now)
			h.Add(identity.App, "sam/phone")
			phone, before := h.At("sam/phone"), h.Moment
			replaced.how(h)
			after := h.Moment
			v := &verifier{h.Trusted()}
			taken.how(h, v)
			if _, err := v.meet(h.At("sam/laptop"), h.Prove(nil, h.At("sam/laptop")), now); err != nil {
				t.Fatal(err)
			}
			for when, m := range map[string]credentialtest.Moment{"before": before, "after": after} {
				if _, _, err := credential.VerifyProof(m.Prove(nil, phone), v.trusted, now.Add(time.Minute)); !errors.Is(err, taken.want) {
					t.Errorf("replaced: %s, taken away: %s: a proof of %s that is answered %v, want %v", replaced.name, taken.name, when, err, taken.want)
				}
			}
		}
	}
}

// current is a member as the roster has it.
func current(h *credentialtest.Home, path identity.Path) *identitytest.Member {
	e, _ := h.State.At(path)
	m := *h.At(path)
	m.Chain = e.Chain
	return &m
}
