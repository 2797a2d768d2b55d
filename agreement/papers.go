package agreement

import (
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// Papers are all that was signed about one grant to a service, as it was signed, and what it takes to check that offline.
type Papers struct {
	Root     []byte   `cbor:"1,keyasint" json:"root"`                         // certificate of the tree's root, DER
	Grant    []byte   `cbor:"2,keyasint" json:"grant"`                        // signed grant.Terms
	Consents [][]byte `cbor:"3,keyasint,omitempty" json:"consents,omitempty"` // signed grant.Consents
	Preview  []byte   `cbor:"4,keyasint,omitempty" json:"preview,omitempty"`  // encoded Preview
	Demand   []byte   `cbor:"5,keyasint,omitempty" json:"demand,omitempty"`   // signed Demand
	Answers  [][]byte `cbor:"6,keyasint,omitempty" json:"answers,omitempty"`  // signed Deletions, the newest last
}

const (
	maxConsents = 16
	maxAnswers  = 64
)

// An Agreement is what Papers say. Only Papers.Open makes one, and it says nothing of whether the grant stands still.
type Agreement struct {
	Terms    grant.Terms
	Giver    identity.Chain    // the app that signed for the giver
	Service  identity.Chain    // the zero Chain before it accepted
	Accepted time.Time         // zero: not yet
	Seconds  []grant.Consented // who stands behind it beside the giver
	Preview  *Preview          // nil: it is not here
	Demand   *Demand           // nil: it is not taken back
	Answers  []Deletion        // the newest last

	papers    Papers
	statement signed.Digest
	withdrawn identity.Chain // the app that signed the demand
}

// Answer returns the newest answer to the demand, if there is any.
func (a Agreement) Answer() (Deletion, bool) {
	if len(a.Answers) == 0 {
		return Deletion{}, false
	}
	return a.Answers[len(a.Answers)-1], true
}

// DemandedBy returns the owner's app that signed the demand; the zero Chain if there is none.
func (a Agreement) DemandedBy() identity.Chain { return a.withdrawn }

// Papers returns what the agreement was read from.
func (a Agreement) Papers() Papers { return a.papers }

// Open checks that all of the papers were signed by those who had to, about one grant: the terms by an app of an owner;
// the acceptance by the service that they are for; the preview is the one that they name; the demand by an owner's app,
// and the answers to it by the service. Who of them is a member still is not its business.
func (p Papers) Open() (Agreement, error) {
	a, err := p.open()
	if err != nil {
		return Agreement{}, fmt.Errorf("agreement: reading the papers: %w", err)
	}
	return a, nil
}

func (p Papers) open() (a Agreement, err error) {
	if len(p.Consents) > maxConsents || len(p.Answers) > maxAnswers {
		return a, fmt.Errorf("%d consents and %d answers, of at most %d and %d", len(p.Consents), len(p.Answers), maxConsents, maxAnswers)
	}
	terms, s, err := grant.Parse(p.Grant)
	if err != nil {
		return a, err
	}
	root, err := identity.ParseRoot(terms.Tree, p.Root)
	if err != nil {
		return a, err
	}
	verify := func(chain [][]byte, at time.Time) (identity.Chain, error) {
		return identity.Verify(chain, terms.Tree, root, at)
	}
	opened, err := grant.Open(p.Grant, verify)
	if err != nil {
		return a, err
	}
	a = Agreement{Terms: opened.Terms(), Giver: opened.Signer(), papers: p, statement: s.Digest}
	switch {
	case a.Terms.Agreement.IsZero():
		return a, errors.New("the grant is no agreement with a service")
	case !a.Terms.Parent.IsZero():
		return a, errors.New("the grant passes on another one, which is not among the papers")
	}
	everyone := func(identity.MemberID) bool { return true } // who is a member still is not for here to say
	for _, raw := range p.Consents {
		c, err := grant.OpenConsent(raw, verify, root.PublicKey)
		if err != nil {
			return a, err
		}
		switch said := c.Consent(); {
		case said.Grant != a.Terms.ID || said.Statement != s.Digest:
			return a, fmt.Errorf("a consent is to %s, and the grant is %s", said.Statement, s.Digest)
		case c.Accepts(a.Terms):
			a.Service, a.Accepted = c.Signer(), time.Unix(said.Time, 0)
		case c.Seconds(a.Terms, everyone):
			a.Seconds = append(a.Seconds, c)
		default:
			return a, fmt.Errorf("a consent is of %s, whom the grant does not concern", c.Signer().ID)
		}
	}
	if err := a.preview(); err != nil {
		return a, err
	}
	return a, a.deletion(verify)
}

func (a *Agreement) preview() error {
	if a.papers.Preview == nil {
		return nil
	}
	p, digest, err := ParsePreview(a.papers.Preview)
	if err == nil && digest != a.Terms.Agreement.Preview {
		err = fmt.Errorf("the preview is %s, and the terms name %s", digest, a.Terms.Agreement.Preview)
	}
	if err == nil && (p.Thing != a.Terms.Thing.Member || p.Affordance != a.Terms.Thing.Affordance) {
		err = errors.New("the preview is of something else than the terms are about")
	}
	a.Preview = &p
	return err
}

func (a *Agreement) deletion(verify Verifier) error {
	if a.papers.Demand == nil {
		if len(a.papers.Answers) > 0 {
			return errors.New("there are answers, and no demand")
		}
		return nil
	}
	d, signer, name, err := OpenDemand(a.papers.Demand, verify)
	if err == nil && (d.Grant != a.Terms.ID || d.Statement != a.statement || d.Service != a.Terms.Subject.Member) {
		err = errors.New("the demand is about another grant")
	}
	if err != nil {
		return err
	}
	a.Demand, a.withdrawn = &d, signer
	for _, raw := range a.papers.Answers {
		answer, err := OpenDeletion(raw, d, name, verify)
		if err != nil {
			return err
		}
		a.Answers = append(a.Answers, answer)
	}
	return nil
}
