package grant

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/kindred-iot/kindred/credential"
)

// Judge answers, from nothing but the evidence that a caller showed with a request and what is trusted of the thing's
// tree, whether the request may be served: who it is (rules 1 to 7), under which chains of grants, and whether each link
// allows it (8 to 10). It needs no network, and whoever kept the evidence can have it judged again. It returns what it
// learnt of the tree. Grants and consents that do not stand count for nothing.
//
// The caller is taken to be whose certificates they are: that it holds their key is for the connection to prove, or for
// what it signed. Callers of other trees are not judged.
func Judge(shown credential.Hello, trusted credential.Trusted, req Request, facts Facts) (Decision, credential.Trusted, error) {
	fail := func(err error) (Decision, credential.Trusted, error) {
		return Decision{}, trusted, fmt.Errorf("grant: judging evidence: %w", err)
	}
	for _, p := range shown.Proofs {
		if id, err := p.Tree(); err != nil || id != req.Thing.ID.Tree {
			continue
		}
		live, learnt, err := credential.VerifyProof(p, trusted, facts.Now)
		if err != nil {
			return fail(err)
		}
		who, err := bearer(shown.Chain, live)
		if err != nil {
			return fail(err)
		}
		grants, _ := VerifyAll(shown.Grants, live, facts.Now) // those that do not stand deny by not being there
		for i := range grants {
			grants[i] = grants[i].With(consents(shown.Consents, live), live, facts.Now)
		}
		d, err := Decide(req, who, grants, facts)
		if err != nil {
			return fail(err)
		}
		return d, learnt, nil
	}
	return fail(errors.New("it has no proof of the thing's tree"))
}

// bearer verifies whose certificates they are.
func bearer(chain [][]byte, live credential.Live) (credential.Principal, error) {
	if len(chain) == 0 {
		return credential.Principal{}, errors.New("it has no certificates")
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return credential.Principal{}, err
	}
	return credential.Verify(chain, leaf.PublicKey, live)
}

// consents opens those that open.
func consents(raws [][]byte, live credential.Live) (opened []Consented) {
	for _, raw := range raws {
		if c, err := OpenConsent(raw, live.VerifyChain, live.RootKey()); err == nil {
			opened = append(opened, c)
		}
	}
	return opened
}
