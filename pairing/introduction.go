package pairing

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/kindred-iot/kindred/credential"
	"github.com/kindred-iot/kindred/identity"
	"github.com/kindred-iot/kindred/signed"
)

// IntroductionType is the type of a signed introduction.
const IntroductionType signed.Type = "kindred/introduction"

const introductionPrefix = "kindred-home1"

// A Home is what an introduction says: which tree it introduces, and where its gateway is.
type Home struct {
	Tree       identity.TreeID
	Epoch      uint64        // of the charter
	Charter    signed.Digest // the charter in force
	Gateway    identity.MemberID
	GatewayKey crypto.PublicKey
	Addresses  []string      // of the gateway, 1 to 8
	Name       string        // what the tree calls itself: a name such as those on paths
	Life       time.Duration // whole seconds, at most MaxLife; 0: DefaultLife
}

// An Introduction is an owner's word about their own tree to somebody who is to recognize it, and be recognized in turn if
// both want. It is one line of text, as an invitation is, and like that holds a secret, which no method and no format verb
// reveals.
//
// The line is "kindred-home1" and then, in base64url, a signed statement of the type "kindred/introduction" followed by its
// CRC-32. It is signed by the leaf key of the owner's app. Its payload has the fields 1 to 7 of an invitation and
//
//	 8  what the tree calls itself
//	10  when it was made, Unix time in seconds
//	11  how long it holds, in seconds
//	12  secret, 16 random bytes
//	13  key of the app
//
// From the secret come, by D(label, data) = HMAC-SHA-256(secret, "kindred/introduction/" label 0x00 data):
//
//	ID       D("id", "")[:16]       names the introduction
//	token    D("token", "")         lets its holder ask the gateway, and answer once; the gateway is given its SHA-256 hash
//	binding  D("answer", answer)    proves to the owner that the answer is by a holder of the secret
//	digits   D("digits", both tree IDs) as a number, its first 8 bytes mod 1,000,000: both ends show them
type Introduction struct {
	Home
	Introducer crypto.PublicKey // the key that signed it
	Issued     time.Time        // whole seconds

	secret [secretSize]byte
}

type introductionPayload struct {
	Tree       identity.TreeID   `cbor:"1,keyasint"`
	Epoch      uint64            `cbor:"2,keyasint,omitempty"`
	Charter    signed.Digest     `cbor:"3,keyasint"`
	Gateway    identity.MemberID `cbor:"4,keyasint"`
	GatewayKey []byte            `cbor:"5,keyasint"`
	Endpoints  [][]byte          `cbor:"6,keyasint,omitempty"`
	Addresses  []string          `cbor:"7,keyasint,omitempty"`
	Name       string            `cbor:"8,keyasint"`
	Issued     int64             `cbor:"10,keyasint"`
	Life       int64             `cbor:"11,keyasint"`
	Secret     [secretSize]byte  `cbor:"12,keyasint"`
	Introducer []byte            `cbor:"13,keyasint"`
}

// NewIntroduction makes an introduction with a new secret, signed by the leaf key of an owner's app. The text is for whoever
// is to know the tree, and nobody else.
func NewIntroduction(key crypto.Signer, home Home, now time.Time) (in Introduction, text string, err error) {
	fail := func(err error) (Introduction, string, error) {
		return Introduction{}, "", fmt.Errorf("pairing: introducing %q: %w", home.Name, err)
	}
	if home.Life == 0 {
		home.Life = DefaultLife
	}
	p := introductionPayload{
		Tree: home.Tree, Epoch: home.Epoch, Charter: home.Charter, Gateway: home.Gateway, Name: home.Name,
		Issued: now.Unix(), Life: int64(home.Life / time.Second),
	}
	p.Endpoints, p.Addresses = packAddresses(home.Addresses)
	if p.GatewayKey, err = packKey(home.GatewayKey); err != nil {
		return fail(fmt.Errorf("the gateway's key: %w", err))
	}
	if p.Introducer, err = packKey(key.Public()); err != nil {
		return fail(fmt.Errorf("the owner's key: %w", err))
	}
	rand.Read(p.Secret[:])
	if in, err = p.open(); err != nil {
		return fail(err)
	}
	raw, err := signed.Sign(key, IntroductionType, p)
	if err == nil {
		text, err = writeLine(introductionPrefix, raw)
	}
	if err != nil {
		return fail(err)
	}
	return in, text, nil
}

// ParseIntroduction reads an introduction and checks that it holds now. The error wraps ErrExpired if its time is over.
func ParseIntroduction(text string, now time.Time) (Introduction, error) {
	in, err := readIntroduction(text)
	switch {
	case err != nil:
	case now.Add(credential.MaxSkew).Before(in.Issued):
		err = fmt.Errorf("it was made at %s UTC, which is in the future: check this machine's clock", in.Issued.Format(time.DateTime))
	case now.After(in.Expires().Add(credential.MaxSkew)):
		err = fmt.Errorf("%w, at %s UTC", ErrExpired, in.Expires().UTC().Format(time.DateTime))
	}
	if err != nil {
		return Introduction{}, fmt.Errorf("pairing: reading an introduction: %w", err)
	}
	return in, nil
}

func readIntroduction(text string) (Introduction, error) {
	s, err := readLine(introductionPrefix, "an introduction", text)
	if err != nil {
		return Introduction{}, err
	}
	if s.Type != IntroductionType {
		return Introduction{}, fmt.Errorf("it is a %.40q and no introduction", s.Type)
	}
	// The payload names the key that signed it. That shows that it is whole, not that an owner signed.
	var p introductionPayload
	if err := signed.Unmarshal(s.Payload, &p); err != nil {
		return Introduction{}, err
	}
	in, err := p.open()
	if err != nil {
		return Introduction{}, err
	}
	if err := s.Open(in.Introducer, IntroductionType, &p); err != nil {
		return Introduction{}, fmt.Errorf("its signature is wrong: %w", err)
	}
	return in, nil
}

// open checks a payload and returns the introduction that it is.
func (p introductionPayload) open() (Introduction, error) {
	in := Introduction{
		Home: Home{
			Tree: p.Tree, Epoch: p.Epoch, Charter: p.Charter, Gateway: p.Gateway, Name: p.Name, Life: time.Duration(p.Life) * time.Second,
		},
		Issued: time.Unix(p.Issued, 0).UTC(), secret: p.Secret,
	}
	switch {
	case p.Tree.IsZero() || p.Charter.IsZero() || p.Gateway.IsZero():
		return Introduction{}, errors.New("the tree, its charter or its gateway is missing")
	case !validHomeName(p.Name):
		return Introduction{}, fmt.Errorf("%.80q is no name for a tree", p.Name)
	case p.Life <= 0 || p.Life > int64(MaxLife/time.Second):
		return Introduction{}, fmt.Errorf("it holds for %d s, want 1 to %d", p.Life, int64(MaxLife/time.Second))
	case p.Issued < 0 || p.Issued > 1<<40:
		return Introduction{}, fmt.Errorf("it was made at Unix time %d", p.Issued)
	case p.Secret == [secretSize]byte{}:
		return Introduction{}, errors.New("it has no secret")
	}
	var err error
	if in.GatewayKey, err = unpackKey(p.GatewayKey); err != nil {
		return Introduction{}, fmt.Errorf("the gateway: %w", err)
	}
	if in.Introducer, err = unpackKey(p.Introducer); err != nil {
		return Introduction{}, fmt.Errorf("the owner: %w", err)
	}
	in.Addresses, err = unpackAddresses(p.Endpoints, p.Addresses)
	return in, err
}

func validHomeName(s string) bool {
	p, err := identity.ParsePath(s)
	return err == nil && p.Parent() == ""
}

// Expires returns until when the introduction holds.
func (in Introduction) Expires() time.Time { return in.Issued.Add(in.Life) }

// ID returns the introduction's name.
func (in Introduction) ID() ID { return ID(in.derive("id", nil)[:16]) }

// Token lets its holder ask the gateway, and answer.
func (in Introduction) Token() []byte { return in.derive("token", nil) }

// Bind proves to who made the introduction that an answer is by a holder of its secret.
func (in Introduction) Bind(answer []byte) []byte { return in.derive("answer", answer) }

// Bound reports whether an answer is by a holder of the secret.
func (in Introduction) Bound(answer, binding []byte) bool {
	return hmac.Equal(binding, in.Bind(answer))
}

// Digits returns the six digits that both ends show if it is they who know each other by it.
func (in Introduction) Digits(other identity.TreeID) string {
	n := binary.BigEndian.Uint64(in.derive("digits", append(in.Tree[:], other[:]...)))
	return fmt.Sprintf("%06d", n%1_000_000)
}

// String names the introduction without its secret.
func (in Introduction) String() string { return fmt.Sprintf("introduction %s of %s", in.ID(), in.Name) }

// Format prints String for every verb (fmt.Formatter).
func (in Introduction) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, in.String()) }

func (in Introduction) derive(label string, data []byte) []byte {
	mac := hmac.New(sha256.New, in.secret[:])
	mac.Write([]byte("kindred/introduction/" + label + "\x00"))
	mac.Write(data)
	return mac.Sum(nil)
}

// IntroductionPath is where a gateway serves whoever holds an introduction: a POST of a Response, answered with a Greeting.
const IntroductionPath = "/pair/introduction"

// An IntroductionOffer tells the gateway of an introduction.
type IntroductionOffer struct {
	ID      ID        `json:"id"`
	Token   []byte    `json:"token"`   // SHA-256 of the token
	Expires time.Time `json:"expires"` // whole seconds
}

// Offer returns what the gateway is told of the introduction.
func (in Introduction) Offer() IntroductionOffer {
	token := signed.Sum(in.Token())
	return IntroductionOffer{ID: in.ID(), Token: token[:], Expires: in.Expires()}
}

// A Response is what the holder of an introduction says to the gateway. With neither Taken nor Answer it only asks.
type Response struct {
	ID      ID     `json:"id"`
	Token   []byte `json:"token"`
	Taken   bool   `json:"taken,omitempty"`   // the tree that was introduced is recognized now; that is said once
	Answer  []byte `json:"answer,omitempty"`  // and this is the other, to be recognized in turn
	Binding []byte `json:"binding,omitempty"` // by Bind
}

// A Greeting is what the gateway says about its tree. The introduction tells what of it is true.
type Greeting struct {
	Charter []byte   `json:"charter"`
	Chain   [][]byte `json:"chain"`             // the gateway's certificates
	Address []byte   `json:"address,omitempty"` // its signed address record
}

// An Acquaintance is what has become of an introduction. The answer counts if it is Bound.
type Acquaintance struct {
	Taken   bool   `json:"taken"`
	Answer  []byte `json:"answer,omitempty"`
	Binding []byte `json:"binding,omitempty"`
}

// MaxAnswer is the length of an answer in bytes, at most.
const MaxAnswer = 8 << 10
