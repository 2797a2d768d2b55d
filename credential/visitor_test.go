package credential_test

import (
	"errors"
	"testing"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/credential/credentialtest"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/identity/identitytest"
	"github.com/kindred-iot/kindred/tree"
)

// visit verifies a visitor from one home at another, each by the proof given.
func visit(m *identitytest.Member, at, here credential.Live) (credential.Principal, error) {
	return credential.VerifyVisitor(m.Raw, m.Signer.Public(), at, here)
}

func TestVisitor(t *testing.T) {
	home, birch := household(t), household(t)
	home.Recognize(birch, "birch")
	phone := birch.At("sam/anna/phone")
	at, here := verified(t, birch, birch.Prove(nil, phone)), verified(t, home, home.ProveTo(birch.ID, nil))
	who, err := visit(phone, at, here)
	if err != nil {
		t.Fatal(err)
	}
	if who.ID != (identity.ID{Tree: birch.ID, Path: "sam/anna/phone"}) {
		t.Errorf("it is %s", who.ID)
	}
	if r, err := here.Recognition(birch.ID); err != nil || r.Name != "birch" {
		t.Errorf("recognized as %+v, %v", r, err)
	}

	_, err = visit(phone, at, verified(t, home, home.Prove(nil, home.At("home/lock"))))
	if !errors.Is(err, credential.ErrStranger) {
		t.Errorf("without the recognition: %v", err)
	}
	_, err = visit(birch.At("home/lock"), at, here)
	check(t, "somebody else's proof", err, "is not proved to be live")
	_, err = visit(home.At("sam/anna/phone"), at, here)
	check(t, "a chain of the verifier's tree", err, `want "spiffe://`+birch.ID.String())
	_, err = visit(home.At("sam/anna/phone"), here, here)
	check(t, "no visitor at all", err, "it is of tree "+home.ID.String()+" itself")
	_, err = credential.VerifyVisitor(phone.Raw, birch.At("home/lock").Signer.Public(), at, here)
	check(t, "another key", err, "for another key than the connection's")

	// The recognition that is taken away ends what rests on it, also before a head says so.
	v := verifier{home.Trusted()}
	if here, err = v.see(home.ProveTo(birch.ID, nil), home.Clock); err != nil {
		t.Fatal(err)
	}
	notice := home.NoticeOfRecognition(home.At("sam/laptop"), birch.ID, home.Clock.Unix())
	p, next, err := credential.VerifyNotice(notice, v.trusted, home.Clock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := here.Renew(next.Strike(p), home.Clock); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("after the owner took it back: %v", err)
	}
	old := home.ProveTo(birch.ID, nil)
	home.Forget(birch)
	if _, err = v.see(home.Prove(nil), home.Clock); err != nil {
		t.Fatal(err)
	}
	if _, err = v.see(old, home.Clock); !errors.Is(err, credential.ErrRevoked) {
		t.Errorf("after a head took it away: %v", err)
	}
	_, _, err = credential.VerifyNotice(home.Moment.NoticeOfMember(home.At("sam/anna/phone"), home.At("home/lock"), now.Unix()), v.trusted, home.Clock)
	check(t, "a person's app", err, "does not act for an owner")
}

// A tree cannot come under another charter than the one its neighbour knows, nor under another tree's ID.
func TestVisitorUnderAnotherCharter(t *testing.T) {
	home, birch := household(t), household(t)
	home.Recognize(birch, "birch")
	here := verified(t, home, home.ProveTo(birch.ID, nil))
	phone := birch.At("sam/anna/phone")

	forged := credentialtest.NewFork(t, birch) // by the root's holder: another keeper, another ledger
	at, _, err := credential.VerifyProof(forged.Prove(nil, phone), forged.Trusted(), forged.Clock)
	if err != nil {
		t.Fatal(err)
	}
	_, err = visit(phone, at, here)
	check(t, "another charter of one root", err, "its charter of epoch 0 is not the one that is recognized")

	liar := household(t)
	trusted, err := credential.Trust(birch.ID, liar.Charter)
	if err == nil {
		t.Errorf("a charter of tree %s is trusted for tree %s: %+v", liar.ID, birch.ID, trusted)
	}
	if _, err = visit(liar.At("sam/anna/phone"), verified(t, liar, liar.Prove(nil, liar.At("sam/anna/phone"))), here); !errors.Is(err, credential.ErrStranger) {
		t.Errorf("a tree that nobody knows: %v", err)
	}
}

// Only an owner's app recognizes: a gateway that puts what a person or a device signed into its roster proves nothing.
func TestRecognitionByNobody(t *testing.T) {
	home, birch := household(t), household(t)
	by := home.At("home/lock")
	r, err := tree.ParseRecognition(home.Recognition(birch, "birch"), home.ID)
	if err != nil {
		t.Fatal(err)
	}
	home.Apply(tree.Update{Recognize: [][]byte{home.Sign(by.Signer, tree.RecognitionType, r, by.Raw...)}})
	here := verified(t, home, home.ProveTo(birch.ID, nil))
	_, err = here.Recognition(birch.ID)
	check(t, "signed by a device", err, "acts for no owner")
	phone := birch.At("sam/anna/phone")
	_, err = visit(phone, verified(t, birch, birch.Prove(nil, phone)), here)
	check(t, "a visitor by it", err, "acts for no owner")
}
