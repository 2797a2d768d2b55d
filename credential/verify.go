package credential

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/identity"
)

// A Principal is a leaf that proved who it is. Only Verify makes one, and Stand, for whoever only asks.
type Principal struct {
	identity.Chain
	AsOf time.Time // as of when it and all above it are known to be live
}

// Verify is rules 5 to 7: the leaf's key is the key that the connection proved, the chain is in order, and every
// certificate on it is the live one of its member.
func Verify(chain [][]byte, peer crypto.PublicKey, live Live) (Principal, error) {
	fail := func(err error) (Principal, error) {
		return Principal{}, fmt.Errorf("credential: verifying a peer: %w", err)
	}
	c, err := live.VerifyChain(chain, live.now)
	if err != nil {
		return fail(err)
	}
	if !c.Kind().Leaf() {
		return fail(fmt.Errorf("%s is a %s and no leaf", c.ID.Path, c.Kind()))
	}
	if !identity.SameKey(c.Key, peer) {
		return fail(errors.New("the certificate is for another key than the connection's"))
	}
	if err := live.Check(c); err != nil {
		return fail(err)
	}
	return Principal{Chain: c, AsOf: live.AsOf}, nil
}

// Stand returns whoever certificates are of, if it is live: a leaf, or an owner or person in the stead of any app of
// theirs. It is for judging what somebody may do, and for nobody who calls: no key is proved by it.
func Stand(chain [][]byte, live Live) (Principal, error) {
	fail := func(err error) (Principal, error) {
		return Principal{}, fmt.Errorf("credential: looking at whose certificates they are: %w", err)
	}
	c, err := live.VerifyChain(chain, live.now)
	if err != nil {
		return fail(err)
	}
	if k := c.Kind(); !k.Leaf() && k != identity.Owner && k != identity.Person {
		return fail(fmt.Errorf("%s is a %s, and neither leaf nor person", c.ID.Path, k))
	}
	if err := live.Check(c); err != nil {
		return fail(err)
	}
	return Principal{Chain: c, AsOf: live.AsOf}, nil
}

// Check reports, as an error, who on a chain is not live with the certificate shown.
func (l Live) Check(c identity.Chain) error {
	for _, link := range c.Line {
		m, ok := l.Member(link.Member)
		if !ok {
			return fmt.Errorf("%q of %s %w", link.Name, c.ID.Path, ErrUnproved)
		}
		if m.Certificate != link.Digest {
			return fmt.Errorf("the certificate of %q of %s is not the live one", link.Name, c.ID.Path)
		}
	}
	return nil
}

// Nearest returns the path of the closest common ancestor of two leaves of one tree, "" being its root. Leaves of
// different trees have one only through a recognition, which one of the proofs given, of either's tree, must show: then
// the path is "", their roots' common root in name alone. Otherwise ok is false.
func Nearest(a, b Principal, proofs ...Live) (path identity.Path, ok bool) {
	if a.ID.Tree != b.ID.Tree {
		return "", slices.ContainsFunc(proofs, func(l Live) bool {
			return l.recognizes(a.ID.Tree, b.ID.Tree) || l.recognizes(b.ID.Tree, a.ID.Tree)
		})
	}
	for i := range min(len(a.Line), len(b.Line)) {
		if a.Line[i].Member != b.Line[i].Member {
			break
		}
		path = path.Join(a.Line[i].Name)
	}
	return path, true
}
