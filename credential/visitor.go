package credential

import (
	"crypto"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// Recognition returns the live recognition of another tree, signed by an owner's app of l's. The error is ErrStranger if
// it is not proved.
func (l Live) Recognition(other identity.TreeID) (tree.Recognition, error) {
	fail := func(err error) (tree.Recognition, error) {
		return tree.Recognition{}, fmt.Errorf("credential: looking for a recognition of tree %s: %w", other, err)
	}
	value, ok := l.values[tree.RecognitionKey(other)]
	if !ok {
		return fail(ErrStranger)
	}
	var known tree.Known
	if err := signed.Unmarshal(value, &known); err != nil {
		return fail(err)
	}
	r, _, err := tree.OpenRecognition(known.Statement, l.Tree, l.VerifyChain)
	if err == nil && r.Other != other {
		err = fmt.Errorf("it is of tree %s", r.Other)
	}
	if err != nil {
		return fail(err)
	}
	return r, nil
}

// Beside returns l with what is proved of other trees, each of which l lets count (see Admits), in place of what stood
// beside it before: so that what rests on members of several can be verified with it, see MemberOf.
func (l Live) Beside(others ...Live) Live {
	l.beside = slices.Clone(others)
	for i := range l.beside {
		l.beside[i].beside = nil
	}
	return l
}

// MemberOf is Member for a member of l's tree, or of one that l recognizes and that stands beside it.
func (l Live) MemberOf(of identity.TreeID, id identity.MemberID) (tree.Member, bool) {
	if of == l.Tree {
		return l.Member(id)
	}
	if _, known := l.values[tree.RecognitionKey(of)]; !known {
		return tree.Member{}, false
	}
	at, ok := l.Of(of)
	if !ok {
		return tree.Member{}, false
	}
	return at.Member(id)
}

// Of returns what stands beside l of another tree.
func (l Live) Of(of identity.TreeID) (Live, bool) {
	for _, at := range l.beside {
		if at.Tree == of {
			return at, true
		}
	}
	return Live{}, false
}

// Admits reports, as an error, that l does not let count what at proves of another tree: l has to recognize that, with a
// charter that is not later than the one at was verified under, and with that very one if they are of one epoch.
func (l Live) Admits(at Live) error {
	r, err := l.Recognition(at.Tree)
	if err != nil {
		return err
	}
	return at.Under(r)
}

// VerifyChainOf is VerifyChain for a chain of l's tree, or of one that l recognizes.
func (l Live) VerifyChainOf(of identity.TreeID, chain [][]byte, at time.Time) (identity.Chain, error) {
	if of == l.Tree {
		return l.VerifyChain(chain, at)
	}
	r, err := l.Recognition(of)
	if err != nil {
		return identity.Chain{}, err
	}
	return VerifyChainIn(r, chain, at)
}

// VerifyChainIn checks a certificate chain of a tree that is recognized: its form and signatures, not who on it is live.
func VerifyChainIn(r tree.Recognition, chain [][]byte, at time.Time) (identity.Chain, error) {
	charter, err := tree.OpenCharter(r.Charter, r.Other)
	if err != nil {
		return identity.Chain{}, err
	}
	return identity.Verify(chain, r.Other, charter.RootCertificate(), at)
}

// recognizes reports whether l proves that a tree recognizes another.
func (l Live) recognizes(it, other identity.TreeID) bool {
	if l.Tree != it {
		return false
	}
	_, err := l.Recognition(other)
	return err == nil
}

// VerifyVisitor is Verify for a leaf of another tree, which at proves to be live there. here is the proof of the
// verifier's own tree, which has to let the other count: see Admits. Whoever is verified so has no right but what grants
// of the verifier's tree say.
func VerifyVisitor(chain [][]byte, peer crypto.PublicKey, at, here Live) (Principal, error) {
	fail := func(err error) (Principal, error) {
		return Principal{}, fmt.Errorf("credential: verifying a visitor: %w", err)
	}
	if at.Tree == here.Tree {
		return fail(fmt.Errorf("it is of tree %s itself", here.Tree))
	}
	if err := here.Admits(at); err != nil {
		return fail(err)
	}
	return Verify(chain, peer, at)
}

// Under reports, as an error, that l was not verified under a charter that a recognition lets count.
func (l Live) Under(r tree.Recognition) error {
	known, err := tree.OpenCharter(r.Charter, r.Other)
	switch {
	case err != nil:
		return err
	case l.charter.Epoch < r.Epoch:
		return fmt.Errorf("its charter is of epoch %d, recognized are those from %d on", l.charter.Epoch, r.Epoch)
	case l.charter.Epoch == known.Epoch && l.charter.Digest != known.Digest:
		return fmt.Errorf("its charter of epoch %d is not the one that is recognized", known.Epoch)
	}
	return nil
}
