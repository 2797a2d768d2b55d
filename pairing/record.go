package pairing

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// A Stage says how far an invitation has come at the desk. Stages only grow.
type Stage uint8

// The stages, as drawn in the package documentation.
const (
	StageOpen    Stage = 1 // nobody has claimed it
	StageWaiting Stage = 2 // claimed; somebody has to answer
	StageSigned  Stage = 3 // the member is certified and will be admitted
	StageJoined  Stage = 4 // the member is in the tree
	StageRefused Stage = 5
)

var stageNames = [...]string{StageOpen: "open", StageWaiting: "waiting", StageSigned: "signed", StageJoined: "joined", StageRefused: "refused"}

// String returns the stage's name in lower case.
func (s Stage) String() string {
	if s < StageOpen || s > StageRefused {
		return fmt.Sprintf("stage(%d)", uint8(s))
	}
	return stageNames[s]
}

// MarshalText returns what String returns.
func (s Stage) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText returns.
func (s *Stage) UnmarshalText(text []byte) error {
	if i := slices.Index(stageNames[1:], string(text)); i >= 0 {
		*s = Stage(i + 1)
		return nil
	}
	return fmt.Errorf("pairing: %.40q is no stage of an invitation", text)
}

// An Offer tells the desk of an invitation.
type Offer struct {
	ID      ID            `json:"id"`
	Token   []byte        `json:"token"` // SHA-256 of the claim token
	Kind    identity.Kind `json:"kind"`
	Path    identity.Path `json:"path"`
	Label   string        `json:"label,omitempty"`   // what people will call the member, at most MaxLabel bytes
	Parents bool          `json:"parents,omitempty"` // make the places above it that are missing
	Expires time.Time     `json:"expires"`           // whole seconds
}

// MaxLabel is the length of a label in bytes, at most.
const MaxLabel = 128

// Offer returns what the desk is told of the invitation.
func (inv Invitation) Offer(label string, parents bool) Offer {
	token := signed.Sum(inv.token())
	return Offer{
		ID: inv.ID(), Token: token[:], Kind: inv.Kind, Path: inv.Path,
		Label: label, Parents: parents, Expires: inv.Expires(),
	}
}

// A Request is an invitation as it stands at the desk.
type Request struct {
	ID      ID            `json:"id"`
	Inviter string        `json:"inviter"` // member ID, 26 characters
	Kind    identity.Kind `json:"kind"`
	Path    identity.Path `json:"path"`
	Label   string        `json:"label,omitempty"`
	Parents bool          `json:"parents,omitempty"`
	Expires time.Time     `json:"expires"`
	Stage   Stage         `json:"stage"`
	Claim   *Claim        `json:"claim,omitempty"`  // from StageWaiting on
	Claimed time.Time     `json:"claimed,omitzero"` // from StageWaiting on
	Reason  string        `json:"reason,omitempty"` // of StageRefused
}

// A Welcome is what a new member is given beside its certificates.
type Welcome struct {
	Proof   []byte `cbor:"1,keyasint,omitempty"` // that it and all above it are live: an encoded credential.Proof
	Address []byte `cbor:"2,keyasint,omitempty"` // the gateway's signed address record, opaque here
	Extra   []byte `cbor:"3,keyasint,omitempty"` // anything else, opaque here
}

// record is an invitation on disk.
type record struct {
	Inviter identity.MemberID `cbor:"1,keyasint"`
	Token   signed.Digest     `cbor:"2,keyasint"`
	Kind    identity.Kind     `cbor:"3,keyasint"`
	Path    identity.Path     `cbor:"4,keyasint"`
	Label   string            `cbor:"5,keyasint,omitempty"`
	Parents bool              `cbor:"6,keyasint,omitempty"`
	Expires int64             `cbor:"7,keyasint"` // Unix time, seconds
	Until   int64             `cbor:"8,keyasint"` // when it is forgotten, Unix time, seconds
	Stage   Stage             `cbor:"9,keyasint"`
	Claim   *Claim            `cbor:"10,keyasint,omitempty"` // from StageWaiting on
	Claimed int64             `cbor:"11,keyasint,omitempty"` // Unix time, seconds
	By      identity.MemberID `cbor:"12,keyasint,omitzero"`  // who answered, from StageSigned on
	Chain   [][]byte          `cbor:"13,keyasint,omitempty"` // the member's, from StageSigned on
	App     []byte            `cbor:"14,keyasint,omitempty"` // certificate of the person's app, DER
	Welcome *Welcome          `cbor:"15,keyasint,omitempty"` // of StageJoined
	Reason  string            `cbor:"16,keyasint,omitempty"` // of StageRefused
}

func (r record) request(id ID) Request {
	q := Request{
		ID: id, Inviter: r.Inviter.String(), Kind: r.Kind, Path: r.Path, Label: r.Label, Parents: r.Parents,
		Expires: time.Unix(r.Expires, 0).UTC(), Stage: r.Stage, Claim: r.Claim, Reason: r.Reason,
	}
	if r.Claim != nil {
		q.Claimed = time.Unix(r.Claimed, 0).UTC()
	}
	return q
}

// admissible reports whether all certificates are there and the member is, or is just being, put into the roster.
func (r record) admissible() bool {
	return r.Stage == StageSigned && (r.App != nil || !bringsCA(r.Kind))
}

// verified checks the certificates of a record against its claim and returns their chains; app is the zero Chain as
// long as there is none.
func (r record) verified(charter []byte, tree identity.TreeID, now time.Time) (member, app identity.Chain, err error) {
	trusted, err := credential.Trust(tree, charter)
	if err != nil {
		return member, app, err
	}
	keys, err := r.Claim.keys(r.Kind)
	if err != nil {
		return member, app, err
	}
	return verifyChains(tree, trusted.Charter().RootCertificate(), r.Kind, r.Path, keys, r.Chain, r.App, now)
}

// verifyChains checks that chain makes the holder of keys a member of that kind at path, and that certificate, unless
// it is nil, makes them the member's app.
func verifyChains(tree identity.TreeID, root *x509.Certificate, kind identity.Kind, path identity.Path, keys PublicKeys,
	chain [][]byte, certificate []byte, now time.Time) (member, app identity.Chain, err error) {
	if member, err = verifyChain(tree, root, kind, path, keys.Member(), chain, now); err != nil || certificate == nil {
		return member, app, err
	}
	line := append([][]byte{certificate}, chain...)
	app, err = verifyChain(tree, root, identity.App, path.Join(keys.App), keys.Leaf, line, now)
	return member, app, err
}

func verifyChain(tree identity.TreeID, root *x509.Certificate, kind identity.Kind, path identity.Path, key any,
	chain [][]byte, now time.Time) (identity.Chain, error) {
	c, err := identity.Verify(chain, tree, root, now)
	switch {
	case err != nil:
	case c.Kind() != kind || c.ID.Path != path:
		err = fmt.Errorf("the certificate is of %s %s, asked for was %s %s", c.Kind(), c.ID.Path, kind, path)
	case !identity.SameKey(c.Key, key):
		err = fmt.Errorf("the certificate of %s is for another key than the one that asked", path)
	}
	if err != nil {
		return identity.Chain{}, err
	}
	return c, nil
}

// Store keeps the desk's records. Save writes all changes durably or, with an error, all or nothing; a nil value
// deletes. Load returns nil for a key that is not there. Scan goes by key.
type Store interface {
	Save(ctx context.Context, changes map[string][]byte) error
	Load(ctx context.Context, key string) ([]byte, error)
	Scan(ctx context.Context, prefix string, each func(key string, value []byte) error) error
}

const keyPrefix = "pairing/"

func (id ID) storeKey() string { return keyPrefix + id.String() }

// load reads the record of an invitation.
func load(ctx context.Context, s Store, id ID) (record, error) {
	var r record
	data, err := s.Load(ctx, id.storeKey())
	if err == nil && data == nil {
		err = ErrUnknown
	}
	if err == nil {
		err = signed.Unmarshal(data, &r)
	}
	claimed := r.Stage != StageOpen && r.Stage != StageRefused
	if err == nil && (r.Stage < StageOpen || r.Stage > StageRefused || claimed && r.Claim == nil) {
		err = errors.New("the record is damaged")
	}
	if err != nil {
		return record{}, fmt.Errorf("pairing: loading invitation %s: %w", id, err)
	}
	return r, nil
}

func save(ctx context.Context, s Store, id ID, r record) error {
	data, err := signed.Marshal(r)
	if err == nil {
		err = s.Save(ctx, map[string][]byte{id.storeKey(): data})
	}
	if err != nil {
		return fmt.Errorf("pairing: storing invitation %s: %w", id, err)
	}
	return nil
}

// sameOffer reports whether r was made from the same offer as other.
func (r record) sameOffer(other record) bool {
	return r.Inviter == other.Inviter && bytes.Equal(r.Token[:], other.Token[:]) && r.Kind == other.Kind &&
		r.Path == other.Path && r.Label == other.Label && r.Parents == other.Parents && r.Expires == other.Expires
}
