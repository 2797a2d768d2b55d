package credential_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/ledger"
	"github.com/kindred-iot/kindred/ledger/light"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

var now = time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC)

// household is a home with people and things.
func household(t testing.TB) *credentialtest.Home {
	t.Helper()
	h := credentialtest.New(t, now)
	people(h)
	return h
}

func people(h *credentialtest.Home) {
	h.Add(identity.Person, "sam/anna")
	h.Add(identity.App, "sam/anna/phone")
	h.Add(identity.Place, "home/porch")
	h.Add(identity.Device, "home/porch/doorbell")
	h.Add(identity.Device, "home/lock")
}

// A verifier is somebody who remembers.
type verifier struct {
	trusted credential.Trusted
}

// see verifies a proof and remembers what it proved.
func (v *verifier) see(p credential.Proof, now time.Time) (credential.Live, error) {
	live, next, err := credential.VerifyProof(p, v.trusted, now)
	v.trusted = next
	return live, err
}

// meet verifies a member's proof, and the member.
func (v *verifier) meet(m *identitytest.Member, p credential.Proof, now time.Time) (credential.Principal, error) {
	live, err := v.see(p, now)
	if err != nil {
		return credential.Principal{}, err
	}
	return credential.Verify(m.Raw, m.Signer.Public(), live)
}

// check compares an error with a part of its text; "" is no error.
func check(t *testing.T, name string, err error, want string) {
	t.Helper()
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("%s: error %v, want one with %q", name, err, want)
	}
}

// collude is the validators signing a record of their choice, in the block at a height.
func collude(t testing.TB, h *credentialtest.Home, height uint64, at time.Time, r ledger.Record) (ledger.Proof, light.Proof) {
	t.Helper()
	record, err := signed.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	key := ledger.Key(h.ID)
	records := merkle.Map{}.Set(key, record)
	path, err := records.Prove(key)
	if err != nil {
		t.Fatal(err)
	}
	return ledger.Proof{Record: record, Map: path}, h.Ledger.Sign(t, height, at, records.Root())
}

// record returns what the ledger should have of a head.
func record(h *credentialtest.Home, m credentialtest.Moment) ledger.Record {
	return ledger.Record{Charter: h.Trusted().Charter().Digest, Sequence: m.Sequence, Head: m.Digest}
}

// openHead reads the head of a moment.
func openHead(t testing.TB, h *credentialtest.Home, m credentialtest.Moment) tree.Head {
	t.Helper()
	head, _, err := tree.OpenHead(m.Head, h.ID, h.Keeper.Public())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// resign returns a proof with another head in place of its own, signed by the keeper and recorded in the block at a
// height.
func resign(t testing.TB, h *credentialtest.Home, p credential.Proof, head tree.Head, height uint64, at time.Time) credential.Proof {
	t.Helper()
	p.Head = h.Sign(h.Keeper, tree.HeadType, head)
	s, err := signed.Parse(p.Head)
	if err != nil {
		t.Fatal(err)
	}
	p.Record, p.Block = collude(t, h, height, at, ledger.Record{
		Charter: h.Trusted().Charter().Digest, Sequence: head.Sequence, Head: s.Digest,
	})
	return p
}

// reissue gives a member another certificate, at a path and with a key of its own choice, under the ID it has.
func reissue(t testing.TB, h *credentialtest.Home, m *identitytest.Member, path identity.Path) *identitytest.Member {
	t.Helper()
	key := identitytest.NewKey(t)
	chain, err := h.Authority(path.Parent()).Issue(identity.Subject{
		Kind: m.Kind(), Member: m.Member(), Name: path.Name(), Key: key.Public(),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(identitytest.Lifetime),
	})
	if err != nil {
		t.Fatal(err)
	}
	verified, err := identity.Verify(chain, h.ID, h.Root, now)
	if err != nil {
		t.Fatal(err)
	}
	return &identitytest.Member{Chain: verified, Signer: key}
}
