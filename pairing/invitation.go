package pairing

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/credential"
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
	secretSize   = 16
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

	secret [secretSize]byte
}

// payload is an invitation as it is signed.
type payload struct {
	Tree       identity.TreeID   `cbor:"1,keyasint"`
	Epoch      uint64            `cbor:"2,keyasint,omitempty"`
	Charter    signed.Digest     `cbor:"3,keyasint"`
	Gateway    identity.MemberID `cbor:"4,keyasint"`
	GatewayKey []byte            `cbor:"5,keyasint"`
	Endpoints  [][]byte          `cbor:"6,keyasint,omitempty"`
	Addresses  []string          `cbor:"7,keyasint,omitempty"`
	Kind       identity.Kind     `cbor:"8,keyasint"`
	Path       identity.Path     `cbor:"9,keyasint"`
	Issued     int64             `cbor:"10,keyasint"`
	Life       int64             `cbor:"11,keyasint"`
	Secret     [secretSize]byte  `cbor:"12,keyasint"`
	Inviter    []byte            `cbor:"13,keyasint"`
}

// NewInvitation makes an invitation with a new secret, signed by the inviter's leaf key. The text is what the new
// member is given; it must reach nobody else.
func NewInvitation(key crypto.Signer, terms Terms, now time.Time) (inv Invitation, text string, err error) {
	fail := func(err error) (Invitation, string, error) {
		return Invitation{}, "", fmt.Errorf("pairing: inviting %q: %w", terms.Path, err)
	}
	if terms.Life == 0 {
		terms.Life = DefaultLife
	}
	p := payload{
		Tree: terms.Tree, Epoch: terms.Epoch, Charter: terms.Charter, Gateway: terms.Gateway,
		Kind: terms.Kind, Path: terms.Path, Issued: now.Unix(), Life: int64(terms.Life / time.Second),
	}
	p.Endpoints, p.Addresses = packAddresses(terms.Addresses)
	if p.GatewayKey, err = packKey(terms.GatewayKey); err != nil {
		return fail(fmt.Errorf("the gateway's key: %w", err))
	}
	if p.Inviter, err = packKey(key.Public()); err != nil {
		return fail(fmt.Errorf("the inviter's key: %w", err))
	}
	rand.Read(p.Secret[:])
	if inv, err = p.open(); err != nil {
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

// writeLine makes one line of text of a signed statement: what a person hands on.
func writeLine(prefix string, raw []byte) (string, error) {
	raw = binary.BigEndian.AppendUint32(raw, crc32.ChecksumIEEE(raw))
	text := prefix + base64.RawURLEncoding.EncodeToString(raw)
	if len(text) > MaxText {
		return "", fmt.Errorf("it would be %d characters, of at most %d: give fewer addresses", len(text), MaxText)
	}
	return text, nil
}

// readLine reads back what writeLine made, whatever white space came between. It verifies nothing.
func readLine(prefix, what, text string) (s signed.Statement, err error) {
	if len(text) > 2*MaxText {
		return s, fmt.Errorf("%d characters, of at most %d", len(text), MaxText)
	}
	text = strings.Join(strings.Fields(text), "")
	body, ok := strings.CutPrefix(text, prefix)
	switch {
	case text == "":
		return s, errors.New("it is empty")
	case !ok:
		return s, fmt.Errorf("it begins with %.8q, %s with %q", text, what, prefix)
	case len(text) > MaxText:
		return s, fmt.Errorf("%d characters, of at most %d", len(text), MaxText)
	}
	damaged := errors.New("it was cut short or altered on the way: its checksum is wrong")
	data, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(data) < crc32.Size {
		return s, damaged
	}
	raw, sum := data[:len(data)-crc32.Size], data[len(data)-crc32.Size:]
	if crc32.ChecksumIEEE(raw) != binary.BigEndian.Uint32(sum) {
		return s, damaged
	}
	return signed.Parse(raw)
}

// Parse reads an invitation and checks that it holds now. White space is ignored, so that a line that was broken is
// read as well. The error wraps ErrExpired if the invitation's time is over.
func Parse(text string, now time.Time) (Invitation, error) {
	inv, err := Read(text)
	if err != nil {
		return Invitation{}, err
	}
	switch stamp := inv.Expires().UTC().Format(time.DateTime); {
	case now.Add(credential.MaxSkew).Before(inv.Issued):
		err = fmt.Errorf("it was made at %s UTC, which is in the future: check this machine's clock, which says %s",
			inv.Issued.UTC().Format(time.DateTime), now.UTC().Format(time.DateTime))
	case now.After(inv.Expires().Add(credential.MaxSkew)):
		err = fmt.Errorf("%w, at %s UTC", ErrExpired, stamp)
	}
	if err != nil {
		return Invitation{}, fmt.Errorf("pairing: reading an invitation: %w", err)
	}
	return inv, nil
}

// Read is Parse at any time: for the inviter, who kept the text to confirm with, and for a joiner who claimed in time
// and was interrupted.
func Read(text string) (Invitation, error) {
	inv, err := read(text)
	if err != nil {
		return Invitation{}, fmt.Errorf("pairing: reading an invitation: %w", err)
	}
	return inv, nil
}

func read(text string) (Invitation, error) {
	s, err := readLine(prefix, "an invitation", text)
	if err != nil {
		return Invitation{}, err
	}
	if s.Type != InvitationType {
		return Invitation{}, fmt.Errorf("it is a %.40q and no invitation", s.Type)
	}
	// The payload names the key that signed it. That shows that it is whole, not that the signer may invite.
	var p payload
	if err := signed.Unmarshal(s.Payload, &p); err != nil {
		return Invitation{}, err
	}
	inv, err := p.open()
	if err != nil {
		return Invitation{}, err
	}
	if err := s.Open(inv.Inviter, InvitationType, &p); err != nil {
		return Invitation{}, fmt.Errorf("its signature is wrong: %w", err)
	}
	return inv, nil
}

// open checks a payload and returns the invitation that it is.
func (p payload) open() (Invitation, error) {
	inv := Invitation{
		Terms: Terms{
			Tree: p.Tree, Epoch: p.Epoch, Charter: p.Charter, Gateway: p.Gateway,
			Kind: p.Kind, Path: p.Path, Life: time.Duration(p.Life) * time.Second,
		},
		Issued: time.Unix(p.Issued, 0).UTC(), secret: p.Secret,
	}
	if err := CheckMember(p.Kind, p.Path); err != nil {
		return Invitation{}, err
	}
	if p.Tree.IsZero() || p.Charter.IsZero() || p.Gateway.IsZero() {
		return Invitation{}, errors.New("the tree, its charter or its gateway is missing")
	}
	if p.Life <= 0 || p.Life > int64(MaxLife/time.Second) {
		return Invitation{}, fmt.Errorf("it holds for %d s, want 1 to %d", p.Life, int64(MaxLife/time.Second))
	}
	if p.Issued < 0 || p.Issued > 1<<40 {
		return Invitation{}, fmt.Errorf("it was made at Unix time %d", p.Issued)
	}
	if p.Secret == [secretSize]byte{} {
		return Invitation{}, errors.New("it has no secret")
	}
	var err error
	if inv.GatewayKey, err = unpackKey(p.GatewayKey); err != nil {
		return Invitation{}, fmt.Errorf("the gateway: %w", err)
	}
	if inv.Inviter, err = unpackKey(p.Inviter); err != nil {
		return Invitation{}, fmt.Errorf("the inviter: %w", err)
	}
	inv.Addresses, err = unpackAddresses(p.Endpoints, p.Addresses)
	return inv, err
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
	mac := hmac.New(sha256.New, inv.secret[:])
	mac.Write([]byte("kindred/invitation/" + label + "\x00"))
	mac.Write(data)
	return mac.Sum(nil)
}
