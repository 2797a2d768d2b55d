package credential

import (
	"errors"
	"fmt"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/merkle"
	"github.com/kindred-iot/kindred/signed"
	"github.com/kindred-iot/kindred/tree"
)

// A Notice carries a revocation to somebody who must obey it before any head does: the signed statement with its
// signer's certificates, what it takes away, and the proof that the signer is live.
type Notice struct {
	Statement []byte   `cbor:"1,keyasint"`           // a signed tree.Revocation
	Value     []byte   `cbor:"2,keyasint"`           // the value of the roster entry it takes away
	Chain     [][]byte `cbor:"3,keyasint,omitempty"` // of a member that is taken away: its certificates
	Proof     Proof    `cbor:"4,keyasint"`           // the signer and all above it are live
}

// Marshal encodes n.
func (n Notice) Marshal() ([]byte, error) { return signed.Marshal(n) }

// ParseNotice reads a notice. It checks the form and verifies nothing.
func ParseNotice(data []byte) (Notice, error) {
	var n Notice
	if len(data) > MaxHello {
		return n, fmt.Errorf("credential: reading a revocation: %d bytes, of at most %d", len(data), MaxHello)
	}
	if err := signed.Unmarshal(data, &n); err != nil {
		return Notice{}, fmt.Errorf("credential: reading a revocation: %w", err)
	}
	return n, nil
}

// Pending is a revocation that its signer was entitled to, before a head confirms it. Only VerifyNotice makes one.
type Pending struct {
	tree.Revocation
	Signer identity.Chain
	Raw    []byte // the signed tree.Revocation

	leaf merkle.Hash
}

// Giver returns whom a revocation is of that no owner's app signed: the person that the signer's app acts for, or the signer
// itself. Of an owner's it is the zero ID.
func (p Pending) Giver() identity.MemberID {
	switch by := p.Signer.ActsFor(); {
	case p.Signer.Owner():
		return identity.MemberID{}
	case !by.IsZero():
		return by
	}
	return p.Signer.Member()
}

// VerifyNotice checks that a revocation was signed by somebody who may take that away alone: the giver of a grant,
// through an app of theirs; or an owner's app, for grants, persons, services, devices, apps and recognitions. Owners and places
// take the root key or two owners. A proof of the signer as old as tree.DefaultOffline suffices, because taking away
// needs less than giving; and what was signed longer ago the gateway has, or has turned down. Of each giver MaxWaiting wait
// for a head; owners' apps are not counted.
func VerifyNotice(n Notice, trusted Trusted, now time.Time) (Pending, Trusted, error) {
	p, next, err := verifyNotice(n, trusted, now)
	if err != nil {
		return Pending{}, trusted, fmt.Errorf("credential: verifying a revocation: %w", err)
	}
	return p, next, nil
}

func verifyNotice(n Notice, trusted Trusted, now time.Time) (Pending, Trusted, error) {
	live, trusted, err := VerifyProof(n.Proof, trusted, now)
	if err != nil {
		return Pending{}, trusted, err
	}
	if age := live.now.Sub(live.AsOf); age > tree.DefaultOffline {
		return Pending{}, trusted, fmt.Errorf("the proof of its signer, %s old, %w", age.Round(time.Minute), ErrTooOld)
	}
	p, err := checkNotice(n, live.charter, live.Check, live.now)
	if err != nil {
		return p, trusted, err
	}
	if age := live.now.Sub(time.Unix(p.Time, 0)); age > tree.DefaultOffline {
		return p, trusted, fmt.Errorf("it was signed %s ago, and counts for %s", age.Round(time.Minute), tree.DefaultOffline)
	}
	return p, trusted, trusted.room(p)
}

// AcceptNotice is VerifyNotice for whoever holds the roster, and needs no proof that the signer is live: it asks live,
// whose error says why not. So nothing that delays proofs delays taking away.
func AcceptNotice(n Notice, charter tree.Ruled, live func(identity.Chain) error, now time.Time) (Pending, error) {
	p, err := checkNotice(n, charter, live, now)
	if err != nil {
		return Pending{}, fmt.Errorf("credential: accepting a revocation: %w", err)
	}
	return p, nil
}

// checkNotice checks all of a notice but its proof.
func checkNotice(n Notice, charter tree.Ruled, live func(identity.Chain) error, now time.Time) (Pending, error) {
	s, err := signed.Parse(n.Statement)
	if err != nil {
		return Pending{}, err
	}
	verify := func(chain [][]byte, at time.Time) (identity.Chain, error) {
		return identity.Verify(chain, charter.Tree, charter.RootCertificate(), at)
	}
	signer, err := verify(s.Chain, now)
	if err != nil {
		return Pending{}, err
	}
	if err := live(signer); err != nil {
		return Pending{}, err
	}
	p := Pending{Signer: signer, Raw: n.Statement}
	if err := s.Open(signer.Key, tree.RevocationType, &p.Revocation); err != nil {
		return Pending{}, err
	}
	p.leaf = merkle.LeafHash(p.Key(), n.Value)
	switch {
	case p.Tree != charter.Tree:
		err = fmt.Errorf("it is of tree %s", p.Tree)
	case p.Leaf != p.leaf:
		err = errors.New("it takes away another entry than the one shown")
	case time.Unix(p.Time, 0).After(now.Add(MaxSkew)):
		err = errors.New("it is dated in the future")
	case p.MadeSince < 0 || p.MadeSince > 0 && p.Member.IsZero():
		err = errors.New("it takes what was made along with what makes nothing")
	case p.Pause && p.Grant.IsZero():
		err = errors.New("it pauses a member: only grants are paused")
	case !p.Grant.IsZero():
		err = mayRevokeGrant(signer, n.Value)
	case !p.Other.IsZero():
		err = mayForget(signer)
	default:
		err = mayRevokeMember(signer, n, p.Member, verify)
	}
	return p, err
}

func mayRevokeGrant(signer identity.Chain, value []byte) error {
	var g tree.Grant
	if err := signed.Unmarshal(value, &g); err != nil {
		return err
	}
	if signer.Owner() || g.GivenBy(signer, signer.ID.Tree) {
		return nil
	}
	return fmt.Errorf("%s neither gave the grant nor acts for an owner", signer.ID.Path)
}

func mayForget(signer identity.Chain) error {
	if !signer.Owner() {
		return fmt.Errorf("%s does not act for an owner", signer.ID.Path)
	}
	return nil
}

func mayRevokeMember(signer identity.Chain, n Notice, member identity.MemberID, verify func([][]byte, time.Time) (identity.Chain, error)) error {
	var m tree.Member
	if err := signed.Unmarshal(n.Value, &m); err != nil {
		return err
	}
	at, err := identity.ValidFrom(n.Chain) // what has ended by itself is taken away like all else
	if err != nil {
		return err
	}
	target, err := verify(n.Chain, at)
	if err != nil {
		return err
	}
	if target.Member() != member || target.Self().Digest != m.Certificate {
		return errors.New("the certificates shown are not those of the member it takes away")
	}
	return MayRemove(signer, target)
}

// MayRemove reports, as an error, that a signer may not take a member off the tree alone.
func MayRemove(signer, target identity.Chain) error {
	if !signer.Owner() {
		return fmt.Errorf("%s does not act for an owner", signer.ID.Path)
	}
	if k := target.Kind(); k == identity.Owner || k == identity.Place {
		return fmt.Errorf("taking away %s, of kind %s, needs the root key or two owners", target.ID.Path, k)
	}
	return nil
}
