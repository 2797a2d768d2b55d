package grant

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// evidence is what a leaf shows with these grants, as it comes off a wire.
func (c company) evidence(by identity.Path, grants ...tree.Admitted) credential.Hello {
	c.t.Helper()
	h, err := credential.ParseHello(c.Hello(by, grants...))
	if err != nil {
		c.t.Fatal(err)
	}
	return h
}

func (c company) reading() Request {
	return Request{Thing: c.At("home/meter").Chain, Affordance: "power", Action: Read}
}

// What was allowed is found allowed again by whoever has the evidence and the tree's charter, and nothing else is.
func TestJudge(t *testing.T) {
	c := newCompany(t)
	links := c.chain()
	shown := c.evidence("sam/tom/phone", links...)
	trusted := c.Trusted()
	d, learnt, err := Judge(shown, trusted, c.reading(), fresh(c.Clock))
	if err != nil || !d.Allowed || d.Grant != links[2].ID || len(d.Above) != 2 || learnt.Sequence() != c.Sequence {
		t.Fatalf("judged %+v, %v, learnt of head %d", d, err, learnt.Sequence())
	}
	if d, _, err := Judge(c.evidence("sam/laptop"), trusted, c.reading(), fresh(c.Clock)); err != nil || d.Reason.Code != OwnersRight {
		t.Errorf("an owner: %+v, %v", d, err)
	}
	write := c.reading()
	write.Action, write.Thing = Write, c.At("home/porch/bell").Chain
	if d, _, err := Judge(shown, trusted, write, fresh(c.Clock)); err != nil || d.Allowed {
		t.Errorf("something else: %+v, %v", d, err)
	}
	if d, _, err := Judge(shown, trusted, c.reading(), fresh(c.Clock.Add(2*time.Hour))); err != nil || d.Reason.Code != Stale {
		t.Errorf("two hours later: %+v, %v", d, err)
	}
	c.Revoke(links[0].ID)
	_, newer, err := credential.VerifyProof(c.Prove(nil, c.At("sam/laptop")), trusted, c.Clock)
	if err != nil {
		t.Fatal(err)
	}
	if d, _, err := Judge(shown, newer, c.reading(), fresh(c.Clock)); err != nil || d.Reason.Code != TakenBack {
		t.Errorf("by whoever knows that it was taken back: %+v, %v", d, err)
	}
	abroad := newCompany(t)
	for name, test := range map[string]struct {
		spoil func(*credential.Hello)
		want  string // of the error; "": it denies
	}{
		"without a link":         {func(h *credential.Hello) { h.Grants = slices.Delete(slices.Clone(h.Grants), 1, 2) }, ""},
		"without grants":         {func(h *credential.Hello) { h.Grants = nil }, ""},
		"with a link bent":       {func(h *credential.Hello) { h.Grants = slices.Clone(h.Grants); h.Grants[0] = bent(h.Grants[0]) }, ""},
		"without certificates":   {func(h *credential.Hello) { h.Chain = nil }, "no certificates"},
		"with bent certificates": {func(h *credential.Hello) { h.Chain = [][]byte{{1}} }, "x509"},
		"with another's":         {func(h *credential.Hello) { h.Chain = c.At("sam/eva/phone").Raw }, "not proved to be live"},
		"without a proof":        {func(h *credential.Hello) { h.Proofs = nil }, "no proof of the thing's tree"},
		"with another tree's":    {func(h *credential.Hello) { h.Proofs = abroad.evidence("sam/tom/phone").Proofs }, "no proof of the thing's tree"},
		"with a head not its own": {func(h *credential.Hello) {
			h.Proofs = slices.Clone(h.Proofs)
			h.Proofs[0].Head = bent(h.Proofs[0].Head)
		}, "verification error"},
	} {
		h := shown
		test.spoil(&h)
		d, _, err := Judge(h, trusted, c.reading(), fresh(now))
		if d.Allowed || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, error %v, want one with %q", name, d, err, test.want)
		}
	}
}

// bent is a signed statement whose signature is wrong.
func bent(raw []byte) []byte {
	raw = slices.Clone(raw)
	raw[len(raw)-1] ^= 1
	return raw
}

// Nothing is kept from one evidence to the next: all signatures, of certificates, grants, head and block, are checked, and
// policies compiled.
func BenchmarkJudge(b *testing.B) {
	c := newCompany(b)
	links := c.chain()
	for from, name := range []string{"links-1", "links-2", "links-3"} {
		by := []identity.Path{"sam/adviser/phone", "sam/eva/phone", "sam/tom/phone"}[from]
		raw := c.Hello(by, links[:from+1]...)
		trusted, req := c.Trusted(), c.reading()
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				shown, err := credential.ParseHello(raw)
				if err != nil {
					b.Fatal(err)
				}
				if d, _, err := Judge(shown, trusted, req, fresh(c.Clock)); err != nil || !d.Allowed {
					b.Fatal(d.Reason, err)
				}
			}
			b.ReportMetric(float64(len(raw)), "bytes")
		})
	}
}
