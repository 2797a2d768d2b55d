package pairing

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// A promise is what an invitation and an introduction have in common as they are signed: where a gateway is and what it is
// known by, who promises, for how long, and a secret.
type promise struct {
	Tree       identity.TreeID   `cbor:"1,keyasint"`
	Epoch      uint64            `cbor:"2,keyasint,omitempty"`
	Charter    signed.Digest     `cbor:"3,keyasint"`
	Gateway    identity.MemberID `cbor:"4,keyasint"`
	GatewayKey []byte            `cbor:"5,keyasint"`
	Endpoints  [][]byte          `cbor:"6,keyasint,omitempty"`
	Addresses  []string          `cbor:"7,keyasint,omitempty"`
	Issued     int64             `cbor:"10,keyasint"`
	Life       int64             `cbor:"11,keyasint"`
	Secret     secret            `cbor:"12,keyasint"`
	Signer     []byte            `cbor:"13,keyasint"`
}

// make fills in what a promise is signed with: a new secret, the keys and the addresses in their short forms, the time.
func (p *promise) make(signer, gateway crypto.PublicKey, addresses []string, now time.Time, life time.Duration) (err error) {
	if life == 0 {
		life = DefaultLife
	}
	p.Issued, p.Life = now.Unix(), int64(life/time.Second)
	p.Endpoints, p.Addresses = packAddresses(addresses)
	if p.GatewayKey, err = packKey(gateway); err != nil {
		return fmt.Errorf("the gateway's key: %w", err)
	}
	if p.Signer, err = packKey(signer); err != nil {
		return fmt.Errorf("the signer's key: %w", err)
	}
	rand.Read(p.Secret[:])
	return nil
}

// opened is what is packed in a promise.
type opened struct {
	gateway, signer crypto.PublicKey
	addresses       []string
}

// open checks a promise, and unpacks it.
func (p promise) open() (o opened, err error) {
	switch {
	case p.Tree.IsZero() || p.Charter.IsZero() || p.Gateway.IsZero():
		return o, errors.New("the tree, its charter or its gateway is missing")
	case p.Life <= 0 || p.Life > int64(MaxLife/time.Second):
		return o, fmt.Errorf("it holds for %d s, want 1 to %d", p.Life, int64(MaxLife/time.Second))
	case p.Issued < 0 || p.Issued > 1<<40:
		return o, fmt.Errorf("it was made at Unix time %d", p.Issued)
	case p.Secret == secret{}:
		return o, errors.New("it has no secret")
	}
	if o.gateway, err = unpackKey(p.GatewayKey); err != nil {
		return o, fmt.Errorf("the gateway: %w", err)
	}
	if o.signer, err = unpackKey(p.Signer); err != nil {
		return o, fmt.Errorf("the signer: %w", err)
	}
	o.addresses, err = unpackAddresses(p.Endpoints, p.Addresses)
	return o, err
}

func (p promise) issued() time.Time   { return time.Unix(p.Issued, 0).UTC() }
func (p promise) life() time.Duration { return time.Duration(p.Life) * time.Second }

// inTime reports, as an error, that what holds for a while does not hold now.
func inTime(issued, expires, now time.Time) error {
	switch {
	case now.Add(credential.MaxSkew).Before(issued):
		return fmt.Errorf("it was made at %s UTC, which is in the future: check this machine's clock, which says %s",
			issued.UTC().Format(time.DateTime), now.UTC().Format(time.DateTime))
	case now.After(expires.Add(credential.MaxSkew)):
		return fmt.Errorf("%w, at %s UTC", ErrExpired, expires.UTC().Format(time.DateTime))
	}
	return nil
}

// A secret is what only the two ends know. All that they prove to each other comes from it.
type secret [16]byte

// derive is D of the package documentation, and of Introduction, by the type of what the secret is in.
func (s secret) derive(of signed.Type, label string, data []byte) []byte {
	mac := hmac.New(sha256.New, s[:])
	mac.Write([]byte(string(of) + "/" + label + "\x00"))
	mac.Write(data)
	return mac.Sum(nil)
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

// readLine reads back a payload that writeLine made a line of, whatever white space came between, and what open makes of
// it. The payload names the key that signed it: that shows that it is whole, not that its signer may promise anything.
func readLine[P, V any](prefix, what, text string, t signed.Type, open func(P) (V, crypto.PublicKey, error)) (v V, err error) {
	var none V
	s, err := parseLine(prefix, what, text)
	if err != nil {
		return none, err
	}
	if s.Type != t {
		return none, fmt.Errorf("it is a %.40q and not %s", s.Type, what)
	}
	var p P
	if err := signed.Unmarshal(s.Payload, &p); err != nil {
		return none, err
	}
	v, signer, err := open(p)
	if err != nil {
		return none, err
	}
	if err := s.Open(signer, t, &p); err != nil {
		return none, fmt.Errorf("its signature is wrong: %w", err)
	}
	return v, nil
}

// parseLine takes a line apart. It verifies nothing.
func parseLine(prefix, what, text string) (s signed.Statement, err error) {
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
