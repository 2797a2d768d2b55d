package grant

import (
	"strings"
	"testing"

	"github.com/kindred-iot/kindred/identity"
)

// ask is anna's wish to use the lock.
func (h household) ask() Ask {
	t := h.terms("sam/anna", "home/lock")
	t.Giver, t.Thing.Member = identity.MemberID{}, identity.MemberID{}
	return Ask{Path: "home/lock", Terms: t, Text: "to water the plants"}
}

func TestAsk(t *testing.T) {
	h := newHousehold(t)
	for _, test := range []struct {
		by   identity.Path
		bend func(*Ask)
		want string // of the error; "": none
	}{
		{"sam/anna/phone", func(*Ask) {}, ""},
		{"bank", func(a *Ask) { a.Terms.Subject.Member = h.At("bank").Member() }, ""},
		{"carl/phone", func(*Ask) {}, "asks for somebody else"},
		{"sam/anna/phone", func(a *Ask) { a.Terms.Giver = h.At("sam").Member() }, "names a giver"},
		{"sam/anna/phone", func(a *Ask) { a.Terms.Thing.Member = h.At("home/lock").Member() }, "names a giver"},
		{"bank", func(a *Ask) {
			a.Terms.Subject.Member, a.Terms.Agreement.Clear = h.At("bank").Member(), []string{"state"}
		}, "shown in clear"},
		{"sam/anna/phone", func(a *Ask) { a.Terms.Actions = 0 }, "actions"},
		{"sam/anna/phone", func(a *Ask) { a.Path = "Home" }, "path"},
		{"sam/anna/phone", func(a *Ask) { a.Text = strings.Repeat("x", MaxAskText+1) }, "the text"},
		{"sam/anna/phone", func(a *Ask) { a.Text = "a\x1b[31mred" }, "the text"},
	} {
		a := h.ask()
		test.bend(&a)
		m := h.At(test.by)
		raw, err := SignAsk(m.Signer, m.Raw, a)
		if err == nil {
			var got Ask
			var signer identity.Chain
			got, signer, err = OpenAsk(raw, h.verify)
			if err == nil && (got.Text != a.Text || got.Terms.ID != a.Terms.ID || signer.Member() != m.Member() || !strings.HasPrefix(got.Name(), "r-")) {
				t.Errorf("by %s: %+v of %s", test.by, got, signer.ID)
			}
		}
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("by %s: %v, want %q", test.by, err, test.want)
		}
	}
	a := h.ask()
	raw, err := SignAsk(h.At("sam/anna/phone").Signer, h.At("sam/anna/phone").Raw, a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(raw, h.verify); err == nil {
		t.Error("an ask was taken for a grant")
	}
}

func FuzzAsk(f *testing.F) {
	h := newHousehold(f)
	raw, err := SignAsk(h.At("sam/anna/phone").Signer, h.At("sam/anna/phone").Raw, h.ask())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, signer, err := OpenAsk(data, h.verify)
		if err != nil {
			return
		}
		if err := a.validate(); err != nil || signer.ID.Tree != a.Terms.Subject.Tree {
			t.Errorf("%+v of %s: %v", a, signer.ID, err)
		}
	})
}
