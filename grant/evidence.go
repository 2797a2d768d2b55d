package grant

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/tree"
)

// Judge answers, from nothing but the evidence that a caller showed with a request and what is trusted of the thing's
// tree, whether the request may be served: who it is (rules 1 to 7), under which chains of grants, and whether each link
// allows it (8 to 10). It needs no network, and whoever kept the evidence can have it judged again. It returns what it
// learnt of the thing's tree. Where it denies, Reason is the first thing that stands against the request: that the
// caller's home is not known, that somebody was removed or something taken back, or what the nearest grant lacks.
//
// Of other trees, whose members call or passed on what is shown, others are what is trusted of them. For one that is not
// among these the charter counts that the thing's tree recognizes.
//
// The caller is taken to be whose certificates they are: that it holds their key is for the connection to prove, or for
// what it signed. Those of a person of another tree stand for any app of theirs.
func Judge(shown credential.Hello, trusted credential.Trusted, req Request, facts Facts, others ...credential.Trusted) (Decision, credential.Trusted, error) {
	j := judge{shown: shown, req: req, facts: facts, others: others}
	d, learnt, err := j.judge(trusted)
	if err != nil {
		return Decision{}, trusted, fmt.Errorf("grant: judging evidence: %w", err)
	}
	return d, learnt, nil
}

type judge struct {
	shown  credential.Hello
	req    Request
	facts  Facts
	others []credential.Trusted
}

func (j judge) judge(trusted credential.Trusted) (Decision, credential.Trusted, error) {
	here := slices.IndexFunc(j.shown.Proofs, func(p credential.Proof) bool {
		id, err := p.Tree()
		return err == nil && id == j.req.Thing.ID.Tree
	})
	if here < 0 {
		return Decision{}, trusted, errors.New("it has no proof of the thing's tree")
	}
	live, learnt, err := credential.VerifyProof(j.shown.Proofs[here], trusted, j.facts.Now)
	if errors.Is(err, credential.ErrRevoked) {
		if reason, ok := j.takenAway(j.shown.Proofs[here], trusted); ok {
			return Decision{Reason: reason}, trusted, nil
		}
	}
	if err != nil {
		return Decision{}, trusted, err
	}
	own, err := j.shown.Proofs[0].Tree()
	if err != nil {
		return Decision{}, trusted, err
	}
	if own == live.Tree {
		who, err := bearer(j.shown.Chain, live)
		if err != nil {
			return Decision{}, trusted, err
		}
		live, _ = j.beside(live) // who passed something on may be of another tree
		d, err := j.decide(who, live)
		return d, learnt, err
	}
	d, err := j.visitor(live, own)
	return d, learnt, err
}

// visitor judges a caller of another tree than the thing's.
func (j judge) visitor(live credential.Live, of identity.TreeID) (Decision, error) {
	if _, err := live.Recognition(of); errors.Is(err, credential.ErrStranger) {
		return Decision{Reason: Reason{Code: Unknown}}, nil
	} else if err != nil {
		return Decision{}, err
	}
	live, errs := j.beside(live)
	if err := errs[of]; errors.Is(err, credential.ErrRevoked) {
		return Decision{Reason: Reason{Code: Removed}}, nil
	} else if err != nil {
		return Decision{}, err
	}
	at, _ := live.Of(of)
	who, err := credential.Stand(j.shown.Chain, at)
	if errors.Is(err, credential.ErrUnproved) {
		return Decision{Reason: Reason{Code: Removed}}, nil
	}
	if err != nil {
		return Decision{}, err
	}
	return j.decide(who, live)
}

// beside verifies what is proved of other trees than live's, and returns live with what holds of it, and why the rest
// does not.
func (j judge) beside(live credential.Live) (credential.Live, map[identity.TreeID]error) {
	var at []credential.Live
	errs := map[identity.TreeID]error{}
	for _, p := range j.shown.Proofs {
		of, err := p.Tree()
		if err != nil || of == live.Tree {
			continue
		}
		l, err := j.other(live, of, p)
		if err != nil {
			errs[of] = err
			continue
		}
		at = append(at, l)
	}
	return live.Beside(at...), errs
}

func (j judge) other(live credential.Live, of identity.TreeID, p credential.Proof) (credential.Live, error) {
	r, err := live.Recognition(of)
	if err != nil {
		return credential.Live{}, err
	}
	i := slices.IndexFunc(j.others, func(t credential.Trusted) bool { return t.Tree == of })
	var trusted credential.Trusted
	if i >= 0 {
		trusted = j.others[i]
	} else if trusted, err = credential.Trust(of, r.Charter); err != nil {
		return credential.Live{}, err
	}
	l, _, err := credential.VerifyProof(p, trusted, j.facts.Now)
	if err == nil {
		err = live.Admits(l)
	}
	return l, err
}

// decide decides, by the grants that stand. Where nothing else is granted, what was granted and has fallen is the reason.
func (j judge) decide(who credential.Principal, live credential.Live) (Decision, error) {
	grants, errs := verifyAll(j.shown.Grants, live, j.facts.Now, openLive)
	for i := range grants {
		grants[i] = grants[i].With(consents(j.shown.Consents, live), live, j.facts.Now)
	}
	d, err := Decide(j.req, who, grants, j.facts)
	if err != nil || d.Reason.Code != NoGrant {
		return d, err
	}
	for _, err := range errs {
		var f *fallen
		if errors.As(err, &f) && f.chain.Serves(who.Chain, j.req.Thing) {
			d = Decision{Grant: f.chain.rules.terms.ID, At: f.at, AsOf: live.AsOf, Reason: Reason{Code: GiverRemoved}}
			for _, l := range f.chain.above {
				d.Above = append(d.Above, l.rules.terms.ID)
			}
		}
	}
	return d, nil
}

// takenAway says what of a proof is known to have been taken away: that the home is known before what went with that.
func (j judge) takenAway(p credential.Proof, trusted credential.Trusted) (reason Reason, found bool) {
	for _, e := range trusted.RevokedEntries(p) {
		switch {
		case !e.Other.IsZero():
			return Reason{Unknown, "its home was known here, and that was taken back"}, true
		case !e.Grant.IsZero():
			reason = Reason{TakenBack, fmt.Sprintf("%s was taken back", e.Grant)}
		case !found:
			reason = Reason{TakenBack, "somebody whom it rests on was removed, or changed, since"}
		}
		found = true
	}
	return reason, found
}

// A fallen grant is live, and does not count, because whoever gave it, or one that it passes on, is not proved to be a
// member any more.
type fallen struct {
	chain Grant
	at    tree.GrantID // whose giver it is
	err   error
}

func (f *fallen) Error() string { return f.err.Error() }
func (f *fallen) Unwrap() error { return f.err }

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
