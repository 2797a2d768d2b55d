package pairing

import (
	"crypto"
	"encoding/base32"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// InvitationType is the type of a signed invitation.
const InvitationType signed.Type = "kindred/invitation"

const (
	// DefaultLife is how long an invitation holds unless its Terms say otherwise.
	DefaultLife = time.Hour
	// MaxLife is how long an invitation holds, at most.
	MaxLife = 7 * 24 * time.Hour
	// MaxText is the length of an invitation in bytes, at most. With two IPv4 addresses it is about 450.
	MaxText = 2048
)

const (
	prefix       = "kindred1"
	maxAddresses = 8
	maxAddress   = 128 // bytes of a text
)

// An ID names an invitation. It is derived from the secret and tells nothing of it.
type ID [16]byte

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ParseID reads the 26 characters that String returns.
func ParseID(s string) (ID, error) {
	var id ID
	data, err := idEncoding.DecodeString(s)
	if err != nil || len(data) != len(id) || idEncoding.EncodeToString(data) != s {
		return ID{}, fmt.Errorf("pairing: %.40q is no ID of an invitation", s)
	}
	return ID(data), nil
}

// String returns the ID in lower-case base32, 26 characters.
func (id ID) String() string { return idEncoding.EncodeToString(id[:]) }

// MarshalText returns what String returns.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText returns.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}

// Terms are what an invitation says: where the new member finds the gateway and knows it by, and what it will be.
type Terms struct {
	Tree       identity.TreeID
	Epoch      uint64        // of the charter
	Charter    signed.Digest // the charter in force
	Gateway    identity.MemberID
	GatewayKey crypto.PublicKey
	Addresses  []string // of the gateway, 1 to 8. IP:PORT is the same as /ip4|ip6/IP/udp/PORT/quic-v1, which Parse returns
	Kind       identity.Kind
	Path       identity.Path // of a person or owner: the person's own; the app comes below it
	Life       time.Duration // whole seconds, at most MaxLife; 0: DefaultLife
}

// An Invitation is a promise by its signer to let one machine in. It holds a secret, which no method and no format
// verb reveals.
type Invitation struct {
	Terms
	Inviter crypto.PublicKey // the key that signed it
	Issued  time.Time        // whole seconds

	secret secret
}

// payload is an invitation as it is signed.
type payload struct {
	promise
	Kind identity.Kind `cbor:"8,keyasint"`
	Path identity.Path `cbor:"9,keyasint"`
}

// NewInvitation makes an invitation with a new secret, signed by the inviter's leaf key. The text is what the new
// member is given; it must reach nobody else.
func NewInvitation(key crypto.Signer, terms Terms, now time.Time) (inv Invitation, text string, err error) {
	fail := func(err error) (Invitation, string, error) {
		return Invitation{}, "", fmt.Errorf("pairing: inviting %q: %w", terms.Path, err)
	}
	p := payload{
		promise: promise{Tree: terms.Tree, Epoch: terms.Epoch, Charter: terms.Charter, Gateway: terms.Gateway},
		Kind:    terms.Kind, Path: terms.Path,
	}
	if err = p.make(key.Public(), terms.GatewayKey, terms.Addresses, now, terms.Life); err != nil {
		return fail(err)
	}
	if inv, err = p.invitation(); err != nil {
		return fail(err)
	}
	raw, err := signed.Sign(key, InvitationType, p)
	if err != nil {
		return fail(err)
	}
	if text, err = writeLine(prefix, raw); err != nil {
		return fail(err)
	}
	return inv, text, nil
}

// Parse reads an invitation and checks that it holds now. White space is ignored, so that a line that was broken is
// read as well. The error wraps ErrExpired if the invitation's time is over.
func Parse(text string, now time.Time) (Invitation, error) {
	inv, err := Read(text)
	if err != nil {
		return Invitation{}, err
	}
	if err := inTime(inv.Issued, inv.Expires(), now); err != nil {
		return Invitation{}, fmt.Errorf("pairing: reading an invitation: %w", err)
	}
	return inv, nil
}

// Read is Parse at any time: for the inviter, who kept the text to confirm with, and for a joiner who claimed in time
// and was interrupted.
func Read(text string) (Invitation, error) {
	inv, err := readLine(prefix, "an invitation", text, InvitationType, func(p payload) (Invitation, crypto.PublicKey, error) {
		inv, err := p.invitation()
		return inv, inv.Inviter, err
	})
	if err != nil {
		return Invitation{}, fmt.Errorf("pairing: reading an invitation: %w", err)
	}
	return inv, nil
}

// invitation checks a payload and returns the invitation that it is.
func (p payload) invitation() (Invitation, error) {
	if err := CheckMember(p.Kind, p.Path); err != nil {
		return Invitation{}, err
	}
	o, err := p.open()
	if err != nil {
		return Invitation{}, err
	}
	return Invitation{
		Terms: Terms{
			Tree: p.Tree, Epoch: p.Epoch, Charter: p.Charter, Gateway: p.Gateway, GatewayKey: o.gateway, Addresses: o.addresses,
			Kind: p.Kind, Path: p.Path, Life: p.life(),
		},
		Inviter: o.signer, Issued: p.issued(), secret: p.Secret,
	}, nil
}

// packAddresses returns the short forms of the addresses that have one, and the others.
func packAddresses(all []string) (endpoints [][]byte, others []string) {
	for _, a := range all {
		if short := packAddress(a); short != nil {
			endpoints = append(endpoints, short)
		} else {
			others = append(others, a)
		}
	}
	return endpoints, others
}

func unpackAddresses(endpoints [][]byte, others []string) ([]string, error) {
	if n := len(endpoints) + len(others); n == 0 || n > maxAddresses {
		return nil, fmt.Errorf("%d addresses of the gateway, want 1 to %d", n, maxAddresses)
	}
	var list []string
	for _, e := range endpoints {
		a, err := unpackAddress(e)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	for _, a := range others {
		if a == "" || len(a) > maxAddress || strings.ContainsFunc(a, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("%.40q is no address", a)
		}
		list = append(list, a)
	}
	return list, nil
}

// CheckMember checks that a member of a kind can be invited to a path. Places need no invitation.
func CheckMember(kind identity.Kind, path identity.Path) error {
	if _, err := identity.ParsePath(string(path)); err != nil {
		return err
	}
	least, most, such := 1, 2, "sam/anna"
	switch kind {
	case identity.Owner:
		most, such = 1, "sam"
	case identity.Person, identity.Service:
	case identity.App:
		least, most, such = 2, 3, "sam/phone"
	case identity.Device:
		least, most, such = 2, identity.MaxDepth, "home/lock"
	default:
		return fmt.Errorf("a %s is not invited", kind)
	}
	if n := strings.Count(string(path), "/") + 1; n < least || n > most {
		return fmt.Errorf("%q is no path for the kind %s: want one such as %s", path, kind, such)
	}
	return nil
}

// bringsCA reports whether a new member of a kind is a CA, and so comes with a first app.
func bringsCA(kind identity.Kind) bool { return kind == identity.Person || kind == identity.Owner }

// Expires returns until when the invitation holds.
func (inv Invitation) Expires() time.Time { return inv.Issued.Add(inv.Life) }

// ID returns the invitation's name.
func (inv Invitation) ID() ID { return ID(inv.derive("id", nil)[:16]) }

// String names the invitation without its secret.
func (inv Invitation) String() string {
	return fmt.Sprintf("invitation %s of %s %s", inv.ID(), inv.Kind, inv.Path)
}

// Format prints String for every verb (fmt.Formatter).
func (inv Invitation) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, inv.String()) }

// token lets its holder claim the invitation at the desk.
func (inv Invitation) token() []byte { return inv.derive("claim", nil) }

// derive is D of the package documentation.
func (inv Invitation) derive(label string, data []byte) []byte {
	return inv.secret.derive(InvitationType, label, data)
}
