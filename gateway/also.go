package gateway

import (
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/agreement"
	"github.com/kindred-iot/kindred/control"
	"github.com/kindred-iot/kindred/grant"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// maxAlso is how many members a caller has proved beside itself: those who gave what is shown elsewhere, or demand a deletion.
const maxAlso = maxEvidence

// byName says why nobody but owners names whom they ask about. A proof tells more of a member than that it is one: what it
// is called, who let it in and when, and so of all above it.
const byName = "only owners ask by name who is a member: show what they signed"

// also returns the live members that a question is about beside the caller: whom it names, and who signed what it shows.
func (g *Gateway) also(q control.ProofQuery) (members []identity.MemberID, err error) {
	if n := len(q.Also) + len(q.Signed); n > maxAlso {
		return nil, invalid(fmt.Errorf("%d members, of at most %d", n, maxAlso))
	}
	var ids []identity.MemberID
	for _, text := range q.Also {
		id, err := identity.ParseMemberID(text)
		if err != nil {
			return nil, invalid(err)
		}
		ids = append(ids, id)
	}
	for _, raw := range q.Signed {
		id, err := g.signedBy(raw)
		if err != nil {
			return nil, invalid(err)
		}
		ids = append(ids, id)
	}
	return g.addLive(nil, ids), nil
}

// signedBy returns who of this home gave a grant or passed it on; or the leaf that signed a demand, which counts while that
// is a member.
func (g *Gateway) signedBy(raw []byte) (identity.MemberID, error) {
	charter := g.keeper.Charter()
	verify := func(chain [][]byte, at time.Time) (identity.Chain, error) {
		return identity.Verify(chain, charter.Tree, charter.RootCertificate(), at)
	}
	s, err := signed.Parse(raw)
	if err != nil {
		return identity.MemberID{}, err
	}
	if s.Type == agreement.DemandType {
		_, by, _, err := agreement.OpenDemand(raw, verify)
		if err != nil {
			return identity.MemberID{}, err
		}
		return by.Member(), nil
	}
	o, err := grant.OpenAny(raw, func(of identity.TreeID, chain [][]byte, at time.Time) (identity.Chain, error) {
		if of != charter.Tree {
			return identity.Chain{}, errors.New("its giver is of another home")
		}
		return verify(chain, at)
	})
	if err != nil {
		return identity.MemberID{}, err
	}
	return o.Terms().Giver, nil
}
