package grant

import (
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// ConsentType is the type of a signed Consent.
const ConsentType signed.Type = "kindred/consent"

// A Consent is what somebody else than the giver signs about a grant, or about a Class, so that it counts: the service
// that a grant is for accepts its terms; another owner, or the root key, makes one of two that open what is of the never
// class. It names the statement by its digest, so it is good for these terms and no others. As a signed statement of
// type kindred/consent its payload is a map with these keys:
//
//	1  tree       as in the grant
//	2  grant      its ID; absent: it is about a Class
//	3  statement  digest of the signed grant, or of the signed Class
//	4  by         the service, or the owner that the signer acts for; absent: signed with the root key, without certificates
//	5  time       when it was signed, Unix time, seconds
//
// Consents travel beside the grants that they are about, in a hello of their bearer's, and are kept at the gateway. That of
// a second counts if the roster's entry of the grant names it, which was so admitted while the leaf that signed it was live.
type Consent struct {
	Tree      identity.TreeID   `cbor:"1,keyasint"`
	Grant     tree.GrantID      `cbor:"2,keyasint,omitzero"`
	Statement signed.Digest     `cbor:"3,keyasint"`
	By        identity.MemberID `cbor:"4,keyasint,omitzero"`
	Time      int64             `cbor:"5,keyasint"`
}

// SignConsent returns a signed consent. The chain is the signer's; none for the root key.
func SignConsent(key crypto.Signer, chain [][]byte, c Consent) ([]byte, error) {
	return signChecked(key, chain, ConsentType, "a consent", c)
}

func (c Consent) validate() error {
	switch {
	case c.Tree.IsZero():
		return errors.New("it names no tree")
	case c.Statement.IsZero():
		return errors.New("it names no statement")
	case c.Time <= 0 || c.Time > maxTime:
		return fmt.Errorf("it is of Unix time %d", c.Time)
	}
	return nil
}

// ParseConsent reads a consent to file it. It checks the form and verifies nothing.
func ParseConsent(raw []byte) (Consent, signed.Statement, error) {
	var c Consent
	s, err := signed.Read(raw, ConsentType, &c)
	if err == nil {
		err = c.validate()
	}
	if err != nil {
		return Consent{}, signed.Statement{}, fmt.Errorf("grant: reading a consent: %w", err)
	}
	return c, s, nil
}

// Consented is a consent of a signer that may speak for whom it names. Whether that is somebody who counts is another
// matter: see Grant.With. Only OpenConsent makes one.
type Consented struct {
	consent Consent
	digest  signed.Digest
	signer  identity.Chain // none: the root key
	raw     []byte
}

// Consent returns what was signed.
func (c Consented) Consent() Consent { return c.consent }

// Signer returns the leaf that signed it; the zero Chain for the root key.
func (c Consented) Signer() identity.Chain { return c.signer }

// Digest returns the name of the signed statement, which the roster's entry of the grant holds.
func (c Consented) Digest() signed.Digest { return c.digest }

// Raw returns the signed statement.
func (c Consented) Raw() []byte { return c.raw }

// OpenConsent checks that a consent was signed by the service that it names, by an app of the owner that it names, or
// with the root key. Chains are checked by verify, as of the moment of signing, as in Open.
func OpenConsent(raw []byte, verify func(chain [][]byte, at time.Time) (identity.Chain, error), root crypto.PublicKey) (Consented, error) {
	c, s, err := ParseConsent(raw)
	if err != nil {
		return Consented{}, err
	}
	fail := func(err error) (Consented, error) {
		return Consented{}, fmt.Errorf("grant: opening a consent: %w", err)
	}
	if c.By.IsZero() {
		if len(s.Chain) != 0 {
			return fail(errors.New("it names nobody, and has certificates"))
		}
		if err := s.Open(root, ConsentType, &c); err != nil {
			return fail(err)
		}
		return Consented{consent: c, digest: s.Digest, raw: raw}, nil
	}
	signer, err := verify(s.Chain, time.Unix(c.Time, 0))
	if err != nil {
		return fail(err)
	}
	if err := s.Open(signer.Key, ConsentType, &c); err != nil {
		return fail(err)
	}
	service := signer.Kind() == identity.Service && signer.Member() == c.By
	owner := signer.Owner() && signer.ActsFor() == c.By
	switch {
	case signer.ID.Tree != c.Tree:
		return fail(fmt.Errorf("signed by %s, and about tree %s", signer.ID, c.Tree))
	case !service && !owner:
		return fail(fmt.Errorf("signed by %s, which is not the service %s and acts for no owner of that ID", signer.ID.Path, c.By))
	}
	return Consented{consent: c, digest: s.Digest, signer: signer, raw: raw}, nil
}

// With returns the grant with those consents that are about it and count: of its service; and, if the roster's entry of the
// grant names them, of an owner who is live and is not the giver, and of the root key. One that is dated in the future
// counts for nothing.
func (g Grant) With(consents []Consented, live credential.Live, now time.Time) Grant {
	if g.rules == nil {
		return g
	}
	t := &g.rules.terms
	if now.IsZero() {
		now = live.AsOf
	}
	for _, c := range consents {
		if c.consent.Grant != t.ID || c.consent.Statement != g.rules.statement || c.consent.Tree != t.Tree || c.future(now) {
			continue
		}
		g.accepted = g.accepted || c.Accepts(*t)
		g.seconded = g.seconded || c.Seconds(*t, live.IsMember) && g.entry.Seconded(c.digest)
	}
	return g
}

func (c Consented) future(now time.Time) bool {
	return time.Unix(c.consent.Time, 0).After(now.Add(credential.MaxSkew))
}

// Accepts reports whether the signer is the service that the terms are for.
func (c Consented) Accepts(t Terms) bool {
	return len(c.signer.Line) > 0 && c.signer.Kind() == identity.Service &&
		c.signer.ID.Tree == t.Subject.Tree && c.signer.Member() == t.Subject.Member
}

// Seconds reports whether the signer is one of two that open what is of the never class, the giver of the terms being
// the other. Live says which members are. What passes on another grant has but one owner behind it.
func (c Consented) Seconds(t Terms, live func(identity.MemberID) bool) bool {
	return t.Parent.IsZero() && c.second(t.Giver) && (c.consent.By.IsZero() || live(c.consent.By))
}

// second reports whether the consent is that of somebody who can stand beside an owner: another owner, or the root.
func (c Consented) second(giver identity.MemberID) bool {
	return c.consent.By.IsZero() || c.signer.Owner() && c.consent.By != giver
}

// Accepted reports whether the service that the grant is for has accepted its terms.
func (g Grant) Accepted() bool { return g.accepted }

// Seconded reports whether another owner, or the root key, stands behind the grant beside its giver.
func (g Grant) Seconded() bool { return g.seconded }

// consented is what a grant to a service lacks of consents; Granted if nothing. Nothing is shown to a service, and
// nothing done for it, before it accepted what was agreed; and nothing of the never class is shown to it on one owner's
// word alone.
func (g Grant) consented(t *Terms, never bool) Reason {
	switch {
	case t.Agreement.IsZero():
		return Reason{Code: Granted}
	case !g.accepted:
		return Reason{Unaccepted, "the service has not accepted the terms yet"}
	case never && len(t.Agreement.Clear) > 0 && !g.seconded:
		return Reason{Unseconded, "this is never shown in clear on one owner's word: another owner must approve it"}
	}
	return Reason{Code: Granted}
}
